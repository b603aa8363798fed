//! Certificates per second on one core, by the kind of the workload's key, beside what ring's bare verifying of the request
//! and signing with P-256 give in the same run: `cargo run --release -p meltemi-ca --example certificates_per_second`.
//!
//! The ratio is what to look at; the rates are this machine's. OpenSSL makes the requests.

use std::error::Error;
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use meltemi_ca::{Authority, Csr, Material, ROOT_LIFE, Time, issue};
use meltemi_names::SpiffeId;
use ring::rand::SystemRandom;
use ring::signature::{self, EcdsaKeyPair, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

const KEYS: &[(&str, &[&str], &dyn VerificationAlgorithm)] = &[
    ("P-256", &["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], &signature::ECDSA_P256_SHA256_ASN1),
    ("P-384", &["ec", "-pkeyopt", "ec_paramgen_curve:P-384", "-sha384"], &signature::ECDSA_P384_SHA256_ASN1),
    ("Ed25519", &["ed25519"], &signature::ED25519),
    ("RSA-2048", &["rsa:2048"], &signature::RSA_PKCS1_2048_8192_SHA256),
    ("RSA-4096", &["rsa:4096"], &signature::RSA_PKCS1_2048_8192_SHA256),
];

fn main() -> Result<(), Box<dyn Error>> {
    let now = Time::from(SystemTime::now());
    let authority = Authority::load(&Material::generate("cluster.local", ROOT_LIFE, now)?, now)?;
    let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/reviews")?;
    let random = SystemRandom::new();
    let signing = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(signing, &random).map_err(|_| "no random numbers")?;
    let bare =
        EcdsaKeyPair::from_pkcs8(signing, pkcs8.as_ref(), &random).map_err(|error| error.to_string())?;
    let mut out = std::io::stdout().lock();
    writeln!(out, "{:<10} {:>14} {:>14} {:>7}", "key", "certificates/s", "bare crypto/s", "ratio")?;
    for (name, how, algorithm) in KEYS {
        let pem = request(how)?;
        let der = pem_to_der(&pem)?;
        let (_, parsed) = X509CertificationRequest::from_der(&der)?;
        let info = &parsed.certification_request_info;
        let key = UnparsedPublicKey::new(*algorithm, &info.subject_pki.subject_public_key.data);
        let to_sign = [0; 500];
        // In turns, so that what else the machine does falls on both.
        let [mut ours, mut theirs] = [Vec::new(), Vec::new()];
        for _ in 0..5 {
            ours.push(rate(|| {
                let csr = Csr::from_pem(&pem)?;
                let issued = issue(&authority, &csr, &id, Duration::from_secs(3600), now)?;
                std::hint::black_box(authority.answer(&issued.certificate));
                Ok(())
            })?);
            theirs.push(rate(|| {
                key.verify(info.raw, &parsed.signature_value.data)
                    .map_err(|_| "the request does not verify")?;
                std::hint::black_box(bare.sign(&random, &to_sign).map_err(|_| "does not sign")?);
                Ok(())
            })?);
        }
        let [ours, theirs] = [ours, theirs].map(median);
        writeln!(out, "{name:<10} {ours:>14.0} {theirs:>14.0} {:>7.2}", ours / theirs)?;
    }
    Ok(())
}

fn rate(mut work: impl FnMut() -> Result<(), Box<dyn Error>>) -> Result<f64, Box<dyn Error>> {
    let start = Instant::now();
    let mut done = 0.0;
    while start.elapsed() < Duration::from_millis(300) {
        work()?;
        done += 1.0;
    }
    Ok(done / start.elapsed().as_secs_f64())
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn request(how: &[&str]) -> Result<String, Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let mut command = Command::new("openssl");
    command.args(["req", "-new", "-nodes", "-subj", "/O=shop", "-keyout", "key.pem", "-newkey"]).args(how);
    let output = command.current_dir(folder.path()).output()?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

fn pem_to_der(pem: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    use rustls_pki_types::pem::PemObject;
    Ok(rustls_pki_types::CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())?.to_vec())
}
