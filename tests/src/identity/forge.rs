//! What an attacker, or another mesh, would show: made here with rcgen and ring, never with the code under test.

use std::path::Path;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevocationReason,
    RevokedCertParams, SanType, SerialNumber,
};
use ring::signature::Ed25519KeyPair;
use serde_json::{Value, json};
use time::{Duration, OffsetDateTime};

use super::client::Holder;

/// A certificate to be, good in all that is not said otherwise.
pub struct Leaf<'a> {
    /// Its URI names.
    pub names: &'a [&'a str],
    /// For how long it is valid from now on; less than nothing: it has ended that long ago.
    pub hours: i64,
}

/// The mesh's own root, from its state folder.
///
/// # Errors
/// When it is not there.
pub fn stolen(state: &Path) -> Result<Issuer<'static, KeyPair>> {
    let rotation: Value = serde_json::from_slice(&std::fs::read(state.join("rotation.json"))?)?;
    let signer = rotation["phase"]["signer"].as_str().context("a signer")?;
    let key = KeyPair::from_pem(&std::fs::read_to_string(state.join(format!("{signer}-key.pem")))?)?;
    let certificate = std::fs::read_to_string(state.join(format!("{signer}-cert.pem")))?;
    Ok(Issuer::from_ca_cert_pem(&certificate, key)?)
}

/// A root of another mesh.
///
/// # Errors
/// When none can be made.
pub fn foreign() -> Result<Issuer<'static, KeyPair>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(rcgen::DnType::CommonName, "Another root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    Ok(Issuer::new(params, KeyPair::generate()?))
}

fn params(leaf: &Leaf<'_>) -> Result<CertificateParams> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.subject_alt_names =
        leaf.names.iter().map(|name| Ok(SanType::URI((*name).try_into()?))).collect::<Result<_>>()?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let end = OffsetDateTime::now_utc() + Duration::hours(leaf.hours);
    (params.not_before, params.not_after) = (end - Duration::hours(48), end);
    Ok(params)
}

/// A certificate by that root.
///
/// # Errors
/// When none can be made.
pub fn signed(issuer: &Issuer<'static, KeyPair>, leaf: &Leaf<'_>) -> Result<Holder> {
    let key = KeyPair::generate()?;
    let chain = params(leaf)?.signed_by(&key, issuer)?.pem();
    Ok(Holder { key, chain })
}

/// A list of that root's (PEM) that revokes that certificate.
///
/// # Errors
/// When none can be made.
pub fn revoked(issuer: &Issuer<'static, KeyPair>, holder: &Holder) -> Result<String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(holder.chain.as_bytes())?;
    let serial_number = SerialNumber::from_slice(pem.parse_x509()?.raw_serial());
    let now = OffsetDateTime::now_utc();
    let lost = RevokedCertParams {
        serial_number,
        revocation_time: now - Duration::hours(1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    };
    let list = CertificateRevocationListParams {
        this_update: now - Duration::hours(1),
        next_update: now + Duration::hours(24),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: vec![lost],
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(issuer)?.pem()?)
}

/// A certificate by itself.
///
/// # Errors
/// When none can be made.
pub fn self_signed(leaf: &Leaf<'_>) -> Result<Holder> {
    let key = KeyPair::generate()?;
    let chain = params(leaf)?.self_signed(&key)?.pem();
    Ok(Holder { key, chain })
}

/// The key of the mesh's tokens, from its state folder.
///
/// # Errors
/// When it is not there.
pub fn token_key(state: &Path) -> Result<Ed25519KeyPair> {
    let pem = std::fs::read_to_string(state.join("token-key.pem"))?;
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    Ed25519KeyPair::from_pkcs8(&STANDARD.decode(text)?).ok().context("an Ed25519 key")
}

/// A key of somebody else's tokens.
///
/// # Errors
/// When none can be made.
pub fn other_token_key() -> Result<Ed25519KeyPair> {
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).ok().context("a key")?;
    Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).ok().context("an Ed25519 key")
}

/// What a good token says, that was made so many seconds ago for an hour.
pub fn claims(account: &str, age: i64) -> Value {
    let made = OffsetDateTime::now_utc().unix_timestamp() - age;
    json!({
        "sub": format!("system:serviceaccount:{account}"),
        "aud": "istio-ca",
        "iat": made,
        "exp": made + 3600,
        "jti": "forged",
    })
}

/// A signed token (RFC 7519, RFC 8037).
pub fn token(key: &Ed25519KeyPair, claims: &Value) -> String {
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let head = encode(br#"{"alg":"EdDSA","typ":"JWT"}"#);
    let signed = format!("{head}.{}", encode(claims.to_string().as_bytes()));
    format!("{signed}.{}", encode(key.sign(signed.as_bytes()).as_ref()))
}
