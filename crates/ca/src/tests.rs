//! What a second opinion says: OpenSSL makes what is read here, and judges what is made here.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use meltemi_names::{Secret, SpiffeId};
use tempfile::TempDir;

use crate::{Authority, Csr, Issued, KeyKind, Material, ROOT_LIFE, Time, issue};

/// The keys that get a certificate, as `openssl req` makes them.
pub(crate) const KEYS: &[(KeyKind, &[&str])] = &[
    (KeyKind::P256, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]),
    (KeyKind::P384, &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-384"]),
    (KeyKind::Rsa2048, &["-newkey", "rsa:2048"]),
    (KeyKind::Rsa3072, &["-newkey", "rsa:3072"]),
    (KeyKind::Rsa4096, &["-newkey", "rsa:4096"]),
    (KeyKind::Ed25519, &["-newkey", "ed25519"]),
];

/// Runs OpenSSL in `folder`; whether it succeeded, and all that it said.
pub(crate) fn openssl(folder: &Path, arguments: &[&str]) -> (bool, String) {
    let output =
        Command::new("openssl").args(arguments).current_dir(folder).output().expect("openssl is installed");
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&said).into_owned())
}

/// Runs OpenSSL, which must succeed.
pub(crate) fn must(folder: &Path, arguments: &[&str]) -> String {
    let (success, said) = openssl(folder, arguments);
    assert!(success, "openssl {arguments:?}: {said}");
    said
}

/// A request made by OpenSSL with a new key, left in `folder` as `key.pem` and `csr.pem`.
pub(crate) fn request(folder: &Path, how: &[&str]) -> String {
    let usual = ["req", "-new", "-nodes", "-keyout", "key.pem", "-out", "csr.pem", "-subj", "/O=me/CN=root"];
    must(folder, &[&usual, how].concat());
    std::fs::read_to_string(folder.join("csr.pem")).unwrap()
}

pub(crate) fn now() -> Time {
    Time::from(SystemTime::now())
}

pub(crate) fn hours(hours: u64) -> Duration {
    Duration::from_secs(hours * 3600)
}

pub(crate) fn root() -> Material {
    Material::generate("cluster.local", ROOT_LIFE, now()).unwrap()
}

pub(crate) fn authority() -> Authority {
    Authority::load(&root(), now()).unwrap()
}

pub(crate) fn reviews() -> SpiffeId {
    SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/reviews").unwrap()
}

/// An intermediate made by OpenSSL under a root of its own, as an operator has it.
pub(crate) fn intermediate(folder: &Path, newkey: &[&str]) -> Material {
    let ca = "basicConstraints=critical,CA:TRUE";
    let sign = "keyUsage=critical,keyCertSign,cRLSign";
    let root = ["req", "-x509", "-nodes", "-keyout", "root-key.pem", "-out", "root-cert.pem", "-days", "30"];
    must(folder, &[&root[..], &["-subj", "/O=Shop/CN=Root", "-addext", sign], newkey].concat());
    let csr =
        ["req", "-new", "-nodes", "-keyout", "ca-key.pem", "-out", "ca.csr", "-subj", "/O=Shop/CN=Mesh"];
    must(folder, &[&csr[..], newkey].concat());
    std::fs::write(folder.join("ext"), format!("{ca}\n{sign}\nsubjectKeyIdentifier=hash\n")).unwrap();
    let sign = "x509 -req -in ca.csr -CA root-cert.pem -CAkey root-key.pem -CAcreateserial -days 20 -out ca-cert.pem -extfile ext";
    must(folder, &sign.split(' ').collect::<Vec<_>>());
    let read = |name: &str| std::fs::read(folder.join(name)).unwrap();
    Material {
        certificate: read("ca-cert.pem"),
        key: Secret::new(read("ca-key.pem")),
        chain: read("ca-cert.pem"),
        roots: read("root-cert.pem"),
        crl: Vec::new(),
    }
}

/// Writes what a workload was answered, and has OpenSSL verify it.
fn verified(folder: &Path, authority: &Authority, issued: &Issued) -> String {
    let answer = authority.answer(&issued.certificate);
    let write = |name: &str, text: String| std::fs::write(folder.join(name), text).unwrap();
    write("leaf.pem", answer[0].clone());
    write("between.pem", answer[1..answer.len() - 1].concat());
    write("roots.pem", answer.last().unwrap().clone());
    let mut verify = vec!["verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", "roots.pem"];
    if answer.len() > 2 {
        verify.extend(["-untrusted", "between.pem"]);
    }
    verify.push("leaf.pem");
    must(folder, &verify);
    must(folder, &["x509", "-in", "leaf.pem", "-noout", "-text"])
}

#[test]
fn openssl_verifies_a_certificate_for_a_key_of_each_kind() {
    let authority = authority();
    for (kind, how) in KEYS {
        let folder = TempDir::new().unwrap();
        let csr = Csr::from_pem(&request(folder.path(), how)).unwrap();
        assert_eq!(csr.kind(), *kind);
        let issued = issue(&authority, &csr, &reviews(), hours(1), now()).unwrap();
        verified(folder.path(), &authority, &issued);
        let ours = must(folder.path(), &["pkey", "-in", "key.pem", "-pubout"]);
        let certified = must(folder.path(), &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]);
        assert_eq!(certified, ours, "{kind:?}: the certificate is for the key of whoever asked");
    }
}

#[test]
fn openssl_reads_one_critical_name_and_nothing_of_the_request() {
    let folder = TempDir::new().unwrap();
    let how =
        [KEYS[0].1, &["-addext", "subjectAltName=DNS:bank.example,URI:spiffe://cluster.local/ns/a/sa/root"]]
            .concat();
    let csr = Csr::from_pem(&request(folder.path(), &how)).unwrap();
    let authority = authority();
    let issued = issue(&authority, &csr, &reviews(), hours(1), now()).unwrap();
    let text = verified(folder.path(), &authority, &issued);
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let after = |line: &str| {
        let at = lines.iter().position(|found| *found == line);
        lines[at.unwrap_or_else(|| panic!("no `{line}` in {text}")) + 1]
    };
    assert_eq!(
        after("X509v3 Subject Alternative Name: critical"),
        "URI:spiffe://cluster.local/ns/shop/sa/reviews"
    );
    assert_eq!(after("X509v3 Key Usage: critical"), "Digital Signature, Key Encipherment");
    assert_eq!(
        after("X509v3 Extended Key Usage:"),
        "TLS Web Server Authentication, TLS Web Client Authentication"
    );
    assert_eq!(after("X509v3 Basic Constraints: critical"), "CA:FALSE");
    assert!(lines.contains(&"Subject:"), "the subject is empty: {text}");
    assert!(
        !text.contains("bank.example") && !text.contains("sa/root") && !text.contains("O = me"),
        "{text}"
    );
}

#[test]
fn openssl_verifies_through_an_operator_s_intermediate_with_each_kind_of_key() {
    for (kind, how) in KEYS.iter().filter(|(kind, _)| !matches!(kind, KeyKind::Rsa3072 | KeyKind::Rsa4096)) {
        let folder = TempDir::new().unwrap();
        let authority = Authority::load(&intermediate(folder.path(), how), now()).unwrap_or_else(|error| {
            panic!("{kind:?}: {error}");
        });
        let csr = Csr::from_pem(&request(folder.path(), KEYS[0].1)).unwrap();
        let issued = issue(&authority, &csr, &reviews(), hours(1), now()).unwrap();
        assert_eq!(authority.answer(&issued.certificate).len(), 3, "itself, the intermediate, the roots");
        verified(folder.path(), &authority, &issued);
    }
}
