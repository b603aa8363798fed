//! Requests as OpenSSL makes them, and as nobody should.

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::tests::{KEYS, request};

fn read(how: &[&str]) -> Result<Csr, CsrError> {
    Csr::from_pem(&request(TempDir::new().unwrap().path(), how))
}

fn der(pem: &str) -> Vec<u8> {
    CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec()
}

fn p256() -> String {
    request(TempDir::new().unwrap().path(), KEYS[0].1)
}

#[test]
fn keys_that_are_too_weak_or_unusual_are_refused_by_name() {
    let ec = |curve| read(&["-newkey", "ec", "-pkeyopt", curve]);
    assert_eq!(ec("ec_paramgen_curve:secp521r1"), Err(CsrError::Key("ECDSA over secp521r1".to_owned())));
    assert_eq!(ec("ec_paramgen_curve:secp256k1"), Err(CsrError::Key("ECDSA over 1.3.132.0.10".to_owned())));
    assert_eq!(read(&["-newkey", "rsa:1024"]), Err(CsrError::Key("RSA of 1024 bits".to_owned())));
    assert_eq!(read(&["-newkey", "rsa:2056"]), Err(CsrError::Key("RSA of 2056 bits".to_owned())));
    assert_eq!(read(&["-newkey", "ed448"]), Err(CsrError::Key("ed448".to_owned())));
}

#[test]
fn a_request_signed_with_sha1_or_in_an_unusual_way_is_refused() {
    assert!(matches!(read(&["-newkey", "rsa:2048", "-sha1"]), Err(CsrError::Algorithm(_))));
    let pss = ["-newkey", "rsa:2048", "-sha256", "-sigopt", "rsa_padding_mode:pss"];
    assert!(matches!(read(&pss), Err(CsrError::Algorithm(_))));
}

#[test]
fn a_request_that_was_changed_or_signed_by_another_key_is_refused() {
    let mut changed = der(&p256());
    let at = changed.windows(4).position(|bytes| bytes == b"root").unwrap();
    changed[at] = b'R';
    assert_eq!(Csr::from_der(&changed), Err(CsrError::Signature));

    let mut signature = der(&p256());
    *signature.last_mut().unwrap() ^= 1;
    assert_eq!(Csr::from_der(&signature), Err(CsrError::Signature));
}

#[test]
fn one_pem_block_of_the_right_kind_is_wanted() {
    let pem = p256();
    assert_eq!(Csr::from_pem(""), Err(CsrError::NotPem));
    assert_eq!(Csr::from_pem("hello"), Err(CsrError::NotPem));
    assert_eq!(Csr::from_pem(&pem.repeat(2)), Err(CsrError::NotPem));
    assert_eq!(Csr::from_pem(&pem.replace(" REQUEST", "")), Err(CsrError::NotPem));
    assert_eq!(Csr::from_pem(&pem[..pem.len() / 2]), Err(CsrError::NotPem));
    let mut trailing = der(&pem);
    trailing.push(0);
    assert_eq!(Csr::from_der(&trailing), Err(CsrError::NotPkcs10));
}

#[test]
fn the_longest_request_is_read_and_one_byte_more_is_not() {
    let pem = p256();
    let padded = |bytes: usize| format!("{}{pem}", "\n".repeat(bytes - pem.len()));
    assert!(Csr::from_pem(&padded(MAX_BYTES)).is_ok());
    assert_eq!(Csr::from_pem(&padded(MAX_BYTES + 1)), Err(CsrError::TooLarge(MAX_BYTES + 1)));
    assert_eq!(Csr::from_der(&vec![0; MAX_BYTES]), Err(CsrError::NotPkcs10));
    assert_eq!(Csr::from_der(&vec![0; MAX_BYTES + 1]), Err(CsrError::TooLarge(MAX_BYTES + 1)));
}

proptest! {
    #[test]
    fn whatever_bytes_come_the_answer_is_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(Csr::from_der(&bytes).is_err());
        prop_assert!(Csr::from_pem(&String::from_utf8_lossy(&bytes)).is_err());
    }

    #[test]
    fn whatever_becomes_of_a_request_the_answer_is_an_error_or_the_key_that_signed_it(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        // Made once by OpenSSL; each case changes another byte or cuts it elsewhere.
        static REQUEST: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| der(&p256()));
        let mut changed = REQUEST.clone();
        let at = at.index(changed.len());
        changed[at] = byte;
        // The name of the signature's algorithm may be spelled otherwise: that is outside of what is signed.
        if let Ok(read) = Csr::from_der(&changed) {
            prop_assert_eq!(Ok(read), Csr::from_der(&REQUEST));
        }
        prop_assert!(Csr::from_der(&REQUEST[..cut.index(REQUEST.len())]).is_err());
    }
}
