//! Handshakes without a socket: revocation, and sessions that are not resumed.

use std::time::{Duration, SystemTime};

use meltemi_ca::{Authority, Material, Time, for_server};
use meltemi_names::Secret;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use rustls::client::{ClientSessionMemoryCache, Resumption};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, HandshakeKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;

const REVOKED: u64 = 666;

struct Mesh {
    authority: Authority,
    intermediate: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

fn ca(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// An operator's intermediate under a root of theirs, with a list that revokes one serial number.
fn mesh() -> Mesh {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let root_certificate = ca("Root").self_signed(&root_key).unwrap();
    let root = Issuer::new(ca("Root"), root_key);
    let certificate = ca("Mesh").signed_by(&key, &root).unwrap();
    let key_pem = key.serialize_pem();
    let intermediate = Issuer::new(ca("Mesh"), key);
    let day = time_now();
    let list = CertificateRevocationListParams {
        this_update: day,
        next_update: day + Duration::from_secs(24 * 3600),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from(REVOKED),
            revocation_time: day,
            reason_code: None,
            invalidity_date: None,
        }],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let material = Material {
        certificate: certificate.pem().into_bytes(),
        key: Secret::new(key_pem.into_bytes()),
        chain: certificate.pem().into_bytes(),
        roots: root_certificate.pem().into_bytes(),
        crl: list.signed_by(&intermediate).unwrap().pem().unwrap().into_bytes(),
    };
    let authority = Authority::load(&material, Time::from(SystemTime::now())).unwrap();
    Mesh { authority, intermediate, certificate: certificate.der().clone() }
}

fn time_now() -> time::OffsetDateTime {
    SystemTime::now().into()
}

impl Mesh {
    fn server(&self) -> TlsAcceptor {
        let now = Time::from(SystemTime::now());
        let shown =
            for_server(&self.authority, &["localhost".to_owned()], Duration::from_secs(3600), now).unwrap();
        assert_eq!(shown.chain.len(), 2, "itself and the intermediate");
        let domains = watch::channel(Arc::new(Rules::new("cluster.local", [], []))).1;
        TlsAcceptor::from(Arc::new(config(&shown, self.authority.bundle(), domains).unwrap()))
    }

    /// A client with a certificate of that serial number.
    fn client(&self, serial: u64) -> ClientConfig {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            vec![SanType::URI("spiffe://cluster.local/ns/shop/sa/reviews".try_into().unwrap())];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.serial_number = Some(SerialNumber::from(serial));
        let leaf = params.signed_by(&key, &self.intermediate).unwrap().der().clone();
        let mut roots = RootCertStore::empty();
        for root in self.authority.bundle().roots() {
            roots.add(root.clone()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(
                vec![leaf, self.certificate.clone()],
                PrivateKeyDer::Pkcs8(key.serialize_der().into()),
            )
            .unwrap()
    }
}

/// A handshake, and a word each way; how it went for the client.
async fn shake(server: &TlsAcceptor, client: &ClientConfig) -> Result<HandshakeKind, std::io::Error> {
    let (near, far) = tokio::io::duplex(64 << 10);
    let connector = TlsConnector::from(Arc::new(client.clone()));
    let serves = async {
        let mut stream = server.accept(far).await?;
        stream.write_all(b"hello").await?;
        stream.flush().await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        Ok::<_, std::io::Error>(())
    };
    let asks = async {
        let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), near).await?;
        let mut word = [0; 5];
        stream.read_exact(&mut word).await?;
        stream.write_all(&word).await?;
        stream.flush().await?;
        Ok::<_, std::io::Error>(stream.get_ref().1.handshake_kind().unwrap())
    };
    let (served, asked) = tokio::join!(serves, asks);
    served.and(asked)
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_and_its_neighbour_is_not() {
    let mesh = mesh();
    let server = mesh.server();
    shake(&server, &mesh.client(1)).await.unwrap();
    let error = shake(&server, &mesh.client(REVOKED)).await.unwrap_err();
    assert!(error.to_string().contains("Revoked"), "{error}");
}

#[tokio::test]
async fn no_session_is_taken_up_again_with_either_version() {
    let mesh = mesh();
    let server = mesh.server();
    for version in [&TLS12, &TLS13] {
        let mut client = mesh.client(1);
        let provider = Arc::clone(client.crypto_provider());
        let resolver = Arc::clone(&client.client_auth_cert_resolver);
        let mut roots = RootCertStore::empty();
        for root in mesh.authority.bundle().roots() {
            roots.add(root.clone()).unwrap();
        }
        client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(resolver);
        client.resumption = Resumption::store(Arc::new(ClientSessionMemoryCache::new(8)));
        for _ in 0..3 {
            assert_eq!(shake(&server, &client).await.unwrap(), HandshakeKind::Full);
        }
    }
}
