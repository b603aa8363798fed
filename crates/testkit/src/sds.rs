//! What an agent does for its Envoy, as far as tests need it: an authority of the test's own, workload certificates, and a server of
//! secrets (SDS) on a unix socket.
//!
//! Knows: rcgen, the names of Istio's secrets. Must not know: Meltemi's authority and agent; tests set both beside each other.
//! Start at [`Authority`] (who signs) and [`Secrets`] (what one Envoy is served).
//! Invariant: what is served may be changed at any time, and Envoy is told at once.

mod server;

use anyhow::{Context, Result, bail};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, SanType, SerialNumber,
};
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

pub use server::Server;

/// The bootstrap's cluster that secrets come from (Istio's name).
pub const CLUSTER: &str = "sds-grpc";

/// A certificate and its key, both in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate.
    pub certificate: String,
    /// The private key, in PKCS #8.
    pub key: String,
}

/// What one Envoy is served: the secrets `default` and `ROOTCA`.
#[derive(Clone, Debug)]
pub struct Secrets {
    /// Its own certificate.
    pub identity: Identity,
    /// The roots that it trusts, in PEM.
    pub roots: String,
}

/// A certificate authority that nobody else trusts.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    /// A new one.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.distinguished_name.push(DnType::OrganizationName, "a test's mesh");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = parameters.self_signed(&key)?.pem();
        Ok(Self { issuer: Issuer::new(parameters, key), certificate })
    }

    /// Its own certificate, in PEM.
    pub fn root(&self) -> &str {
        &self.certificate
    }

    /// A workload's certificate, with that one name (`spiffe://...`), for both sides of a connection.
    ///
    /// # Errors
    /// When the name cannot stand in a certificate.
    pub fn identity(&self, name: &str) -> Result<Identity> {
        self.sign(vec![SanType::URI(name.try_into()?)])
    }

    /// A server's certificate for these DNS names.
    ///
    /// # Errors
    /// When a name cannot stand in a certificate.
    pub fn server(&self, names: &[&str]) -> Result<Identity> {
        let names = names.iter().map(|&name| Ok(SanType::DnsName(name.try_into()?)));
        self.sign(names.collect::<Result<_>>()?)
    }

    /// A list (PEM) by which it revokes nothing.
    ///
    /// # Errors
    /// When none can be made.
    pub fn revocations(&self) -> Result<String> {
        let now = OffsetDateTime::now_utc();
        let list = CertificateRevocationListParams {
            this_update: now - Duration::hours(1),
            next_update: now + Duration::hours(24),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        Ok(list.signed_by(&self.issuer)?.pem()?)
    }

    fn sign(&self, names: Vec<SanType>) -> Result<Identity> {
        let key = KeyPair::generate()?;
        let mut parameters = CertificateParams::new(Vec::new())?;
        parameters.subject_alt_names = names;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        parameters.use_authority_key_identifier_extension = true;
        let certificate = parameters.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// What an Envoy of that name is served that trusts this authority alone.
    ///
    /// # Errors
    /// As [`Authority::identity`].
    pub fn secrets(&self, name: &str) -> Result<Secrets> {
        Ok(Secrets { identity: self.identity(name)?, roots: self.certificate.clone() })
    }
}

/// The static cluster `sds-grpc` of a bootstrap, at the socket of that path.
pub fn cluster(socket: &str) -> Value {
    let options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    json!({
        "name": CLUSTER,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            options: {
                "@type": format!("type.googleapis.com/{options}"),
                "explicit_http_config": {"http2_protocol_options": {}},
            },
        },
        "load_assignment": {
            "cluster_name": CLUSTER,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": socket}}}}]}],
        },
    })
}

/// A bootstrap (JSON, as `meltemi bootstrap` prints it) whose proxy gets its certificates at the socket of that path, and says so.
///
/// # Errors
/// When it is no such bootstrap.
pub fn with_certificates(bootstrap: &str, socket: &str) -> Result<String> {
    let mut bootstrap: Value = serde_json::from_str(bootstrap).context("the bootstrap")?;
    let Some(Value::Object(node)) = bootstrap.get_mut("node") else { bail!("a bootstrap without a node") };
    let metadata = node.entry("metadata").or_insert_with(|| json!({}));
    metadata["MELTEMI_CERTIFICATES"] = "true".into();
    let Some(Value::Array(clusters)) = bootstrap.pointer_mut("/static_resources/clusters") else {
        bail!("a bootstrap without clusters")
    };
    clusters.push(cluster(socket));
    Ok(bootstrap.to_string())
}
