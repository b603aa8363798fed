//! What there is to serve: the latest bytes of each secret, with a number that grows when they change.
//!
//! Start at [`Secrets`].
//! Invariant: a number changes exactly if the bytes do.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use meltemi_names::Secret;
use meltemi_proto::envoy::config::core::v3::DataSource;
use meltemi_proto::envoy::config::core::v3::data_source::Specifier;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::secret::Type;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, Secret as WireSecret, TlsCertificate,
};
use prost::Message as _;

use super::name::Name;

/// One secret as it is served.
#[derive(Clone, Debug)]
pub struct Served {
    /// Which change of the whole this secret's bytes came with.
    pub number: u64,
    /// The message of Envoy, encoded.
    pub bytes: Arc<Secret<Bytes>>,
}

/// All secrets that there are. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Secrets {
    number: u64,
    all: BTreeMap<Name, Served>,
}

impl Secrets {
    /// What is served under that name, if it is there.
    pub fn served(&self, name: &Name) -> Option<&Served> {
        self.all.get(name)
    }

    /// Puts a certificate and its key, PEM. Whether anything changed.
    pub fn put_pair(&mut self, name: Name, chain: &str, key: &str) -> bool {
        let message = WireSecret {
            name: name.to_string(),
            r#type: Some(Type::TlsCertificate(TlsCertificate {
                certificate_chain: Some(inline(chain)),
                private_key: Some(inline(key)),
                ..TlsCertificate::default()
            })),
        };
        self.put(name, &message)
    }

    /// Puts what is trusted, PEM, with the revocation lists, PEM, if there are any. Whether anything changed.
    pub fn put_roots(&mut self, name: Name, roots: &str, crl: Option<&str>) -> bool {
        let message = WireSecret {
            name: name.to_string(),
            r#type: Some(Type::ValidationContext(CertificateValidationContext {
                trusted_ca: Some(inline(roots)),
                crl: crl.map(inline),
                ..CertificateValidationContext::default()
            })),
        };
        self.put(name, &message)
    }

    /// Forgets a secret: nobody asks for it any more.
    pub fn forget(&mut self, name: &Name) {
        self.all.remove(name);
    }

    fn put(&mut self, name: Name, message: &WireSecret) -> bool {
        let bytes = Bytes::from(message.encode_to_vec());
        if self.all.get(&name).is_some_and(|served| *served.bytes.reveal() == bytes) {
            return false;
        }
        self.number += 1;
        self.all.insert(name, Served { number: self.number, bytes: Arc::new(Secret::new(bytes)) });
        true
    }
}

fn inline(text: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::InlineBytes(text.as_bytes().to_vec())), ..DataSource::default() }
}
