//! Makes a certificate: one critical URI name, a short life, and nothing that the request says but its key.
//!
//! Knows: X.509, Istio's lives. Must not know: whether the name is deserved ([`crate::entitlement`] does).
//! Start at [`issue`].

use std::time::Duration;

use meltemi_names::SpiffeId;
use rcgen::{
    CertificateParams, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, PublicKeyData, SanType,
    SerialNumber,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use crate::authority::Authority;
use crate::csr::Csr;
use crate::time::Time;

/// How far the clock of whoever verifies may be behind: Istio's two minutes.
pub const CLOCK_SKEW: Duration = Duration::from_secs(120);

/// How long certificates live.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Where nothing is asked for (`DEFAULT_WORKLOAD_CERT_TTL`).
    pub usual: Duration,
    /// The most that may be asked for (`MAX_WORKLOAD_CERT_TTL`). More is an error, and not cut short: whoever asks for a
    /// year and silently gets a quarter is down in a quarter.
    pub longest: Duration,
}

impl Default for Lifetimes {
    fn default() -> Self {
        // Istio's.
        Self { usual: Duration::from_secs(24 * 3600), longest: Duration::from_secs(90 * 24 * 3600) }
    }
}

/// More was asked for than may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a certificate of {asked} seconds was asked for, and {longest} is the most")]
pub struct TooLong {
    asked: u64,
    longest: u64,
}

impl Lifetimes {
    /// The life of a certificate for which so many seconds were asked; zero and less ask for the usual.
    ///
    /// # Errors
    /// When more is asked for than may be.
    pub fn of(&self, asked: i64) -> Result<Duration, TooLong> {
        match u64::try_from(asked) {
            Err(_) | Ok(0) => Ok(self.usual.min(self.longest)),
            Ok(asked) if asked > self.longest.as_secs() => {
                Err(TooLong { asked, longest: self.longest.as_secs() })
            }
            Ok(asked) => Ok(Duration::from_secs(asked)),
        }
    }
}

/// A certificate.
#[derive(Clone, Debug)]
pub struct Issued {
    /// DER.
    pub certificate: CertificateDer<'static>,
    /// Its last second.
    pub not_after: Time,
    /// In hexadecimal, for the log.
    pub serial: String,
}

/// Why none was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IssueError {
    /// What signs is no longer valid; for the operator.
    #[error("the signing certificate expired at {0}")]
    SignerExpired(Time),
    /// A name that no certificate can carry.
    #[error("`{0}` cannot stand in a certificate")]
    Name(String),
    /// The machine, or a clock far in the future.
    #[error("signing failed: {0}")]
    Machine(String),
}

/// Signs a certificate for the key of `csr` and the name `id`. It ends with what signs it at the latest, silently, as
/// Istio's do: nothing longer would verify.
///
/// # Errors
/// See [`IssueError`].
pub fn issue(
    authority: &Authority,
    csr: &Csr,
    id: &SpiffeId,
    life: Duration,
    now: Time,
) -> Result<Issued, IssueError> {
    sign(authority, csr, id, life, now)
}

pub(crate) fn sign(
    authority: &Authority,
    key: &impl PublicKeyData,
    id: &SpiffeId,
    life: Duration,
    now: Time,
) -> Result<Issued, IssueError> {
    let name = id.to_string();
    let uri = SanType::URI(name.as_str().try_into().map_err(|_| IssueError::Name(name.clone()))?);
    let uses = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    leaf(authority, key, vec![uri], uses, life, now)
}

/// A certificate without a subject, for what `names` says.
fn leaf(
    authority: &Authority,
    key: &impl PublicKeyData,
    names: Vec<SanType>,
    uses: Vec<ExtendedKeyUsagePurpose>,
    life: Duration,
    now: Time,
) -> Result<Issued, IssueError> {
    if authority.not_after() <= now {
        return Err(IssueError::SignerExpired(authority.not_after()));
    }
    let not_after = now.after(life).min(authority.not_after());
    let machine = |error: rcgen::Error| IssueError::Machine(error.to_string());
    let beyond = || IssueError::Machine("the time is beyond the year 9999".to_owned());
    let serial = serial()?;
    let mut params = CertificateParams::default();
    // Without a subject the name must be critical (RFC 5280, 4.2.1.6), and the library marks it so.
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.subject_alt_names = names;
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = uses;
    params.use_authority_key_identifier_extension = true;
    params.not_before = now.before(CLOCK_SKEW).date().ok_or_else(beyond)?;
    params.not_after = not_after.date().ok_or_else(beyond)?;
    params.serial_number = Some(serial.clone());
    let certificate = params.signed_by(key, authority.issuer()).map_err(machine)?;
    let serial = serial.to_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(Issued { certificate: certificate.into(), not_after, serial })
}

/// A server's certificate, with the key that was made for it.
#[derive(Debug)]
pub struct ForServer {
    /// Itself first, then what leads to a root, that left out.
    pub chain: Vec<CertificateDer<'static>>,
    /// PKCS#8.
    pub key: PrivateKeyDer<'static>,
    /// Its last second.
    pub not_after: Time,
    /// In hexadecimal, for the log.
    pub serial: String,
}

/// Makes a P-256 key and signs a certificate for it with these DNS names and addresses: for the mesh's own servers.
///
/// # Errors
/// See [`IssueError`].
pub fn for_server(
    authority: &Authority,
    names: &[String],
    life: Duration,
    now: Time,
) -> Result<ForServer, IssueError> {
    let sans = names
        .iter()
        .map(|name| match name.parse() {
            Ok(address) => Ok(SanType::IpAddress(address)),
            Err(_) => {
                let dns = name.as_str().try_into().map_err(|_| IssueError::Name(name.clone()))?;
                Ok(SanType::DnsName(dns))
            }
        })
        .collect::<Result<Vec<_>, _>>()?;
    let key = KeyPair::generate().map_err(|error| IssueError::Machine(error.to_string()))?;
    let issued = leaf(authority, &key, sans, vec![ExtendedKeyUsagePurpose::ServerAuth], life, now)?;
    let chain = std::iter::once(issued.certificate).chain(authority.chain().iter().cloned()).collect();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    Ok(ForServer { chain, key, not_after: issued.not_after, serial: issued.serial })
}

/// 128 random bits, written as a positive number.
pub(crate) fn serial() -> Result<SerialNumber, IssueError> {
    let mut bytes = [0; 16];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| IssueError::Machine("this machine has no random numbers".to_owned()))?;
    Ok(SerialNumber::from_slice(&bytes))
}

#[cfg(test)]
mod tests;
