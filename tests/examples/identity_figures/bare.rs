//! Certificates per second through the library, on all cores, beside bare verifying of the request and bare signing by ring.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail};
use meltemi_ca::{Authority, Csr, Material, ROOT_LIFE, Time, issue};
use meltemi_names::SpiffeId;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const KEYS: &[(&str, &[&str], &dyn VerificationAlgorithm)] = &[
    ("P-256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &signature::ECDSA_P256_SHA256_ASN1),
    ("P-384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"], &signature::ECDSA_P384_SHA384_ASN1),
    ("Ed25519", &["ed25519"], &signature::ED25519),
    ("RSA-2048", &["rsa:2048"], &signature::RSA_PKCS1_2048_8192_SHA256),
    ("RSA-4096", &["rsa:4096"], &signature::RSA_PKCS1_2048_8192_SHA256),
];

/// One kind of keys.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// A request with such a key, PEM.
    pub(crate) request: String,
    /// Verifying and signing per second, on all cores.
    pub(crate) bare: f64,
}

/// Measures each kind.
pub(crate) fn measure() -> Result<Vec<Kind>> {
    let now = Time::from(SystemTime::now());
    let authority = Authority::load(&Material::generate("cluster.local", ROOT_LIFE, now)?, now)?;
    let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/reviews")?;
    let random = SystemRandom::new();
    let signing = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).map_err(|_| anyhow!("no random numbers"))?;
    let signer = EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random);
    let signer = signer.map_err(|error| anyhow!("{error}"))?;
    let cores = cores();
    println!("certificates per second through the library, signed with P-256, on {cores} cores:");
    println!("  {:<10} {:>10} {:>22} {:>7}", "key", "library", "bare verify and sign", "ratio");
    let mut kinds = Vec::new();
    for (name, how, algorithm) in KEYS {
        let pem = request(how)?;
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())?;
        let (_, parsed) = X509CertificationRequest::from_der(&der)?;
        let info = &parsed.certification_request_info;
        let key = UnparsedPublicKey::new(*algorithm, &info.subject_pki.subject_public_key.data);
        let to_sign = [0; 500];
        // In turns, so that what else the machine does falls on both.
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            ours.push(rate(cores, || {
                let csr = Csr::from_pem(&pem)?;
                let issued = issue(&authority, &csr, &id, Duration::from_secs(3600), now)?;
                std::hint::black_box(authority.answer(&issued.certificate));
                Ok(())
            })?);
            theirs.push(rate(cores, || {
                let signed = key.verify(info.raw, &parsed.signature_value.data);
                signed.map_err(|_| anyhow!("the request does not verify"))?;
                std::hint::black_box(signer.sign(&random, &to_sign).map_err(|_| anyhow!("does not sign"))?);
                Ok(())
            })?);
        }
        let [ours, theirs] = [ours, theirs].map(median);
        println!("  {name:<10} {ours:>10.0} {theirs:>22.0} {:>7.2}", ours / theirs);
        kinds.push(Kind { name, request: pem, bare: theirs });
    }
    Ok(kinds)
}

/// How many cores there are.
pub(crate) fn cores() -> usize {
    thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// How often per second it is done, by all cores together.
fn rate(cores: usize, work: impl Fn() -> Result<()> + Sync) -> Result<f64> {
    let one = || {
        let start = Instant::now();
        let mut done = 0.0;
        while start.elapsed() < Duration::from_millis(300) {
            work()?;
            done += 1.0;
        }
        anyhow::Ok(done / start.elapsed().as_secs_f64())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(one)).collect();
        let rates =
            threads.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?);
        rates.sum()
    })
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied().unwrap_or(0.0)
}

fn request(how: &[&str]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", "-subj", "/O=shop", "-keyout", "key.pem", "-newkey"]).args(how);
    let output = command.current_dir(folder.path()).output().context("starting openssl")?;
    if !output.status.success() {
        bail!("openssl: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
