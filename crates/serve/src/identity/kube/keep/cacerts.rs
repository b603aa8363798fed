//! The form of Secret `cacerts`: an operator's own intermediate, in Istio's pieces or as a TLS Secret. Pure.
//!
//! Source of the names and of what makes a whole: istio: pilot/pkg/bootstrap/istio_ca.go, security/pkg/pki/util/keycertbundle.go.

use meltemi_ca::Material;
use meltemi_names::Secret;

use super::secret::{CERTIFICATE, CHAIN, Data, KEY, ROOTS, Wrong, needed};

/// Istio's name for it.
pub(crate) const NAME: &str = "cacerts";

const CRL: &str = "ca-crl.pem";
const TLS_CERTIFICATE: &str = "tls.crt";
const TLS_KEY: &str = "tls.key";
const TLS_ROOTS: &str = "ca.crt";
const END: &[u8] = b"-----END CERTIFICATE-----";

/// Reads it. None: it holds no piece, so that nothing is plugged in.
pub(crate) fn decode(data: &Data) -> Result<Option<Material>, Wrong> {
    let is_there = |key: &&str| needed(data, key).is_ok();
    if [CERTIFICATE, KEY, CHAIN, ROOTS].iter().any(is_there) {
        let crl = data.get(CRL).map(|crl| crl.0.clone()).unwrap_or_default();
        // Istio's own self-signed root may be here (USE_CACERTS_FOR_SELF_SIGNED_CA): it has no chain.
        let chain = data.get(CHAIN).map(|chain| chain.0.clone()).unwrap_or_default();
        let certificate = needed(data, CERTIFICATE)?;
        let roots = needed(data, ROOTS)?;
        if chain.trim_ascii().is_empty() && certificate.trim_ascii() != roots.trim_ascii() {
            return Err(Wrong::Missing(CHAIN.to_owned()));
        }
        let key = Secret::new(needed(data, KEY)?);
        return Ok(Some(Material { certificate, key, chain, roots, crl }));
    }
    if ![TLS_CERTIFICATE, TLS_KEY, TLS_ROOTS].iter().any(is_there) {
        return Ok(None);
    }
    let chain = needed(data, TLS_CERTIFICATE)?;
    let roots = needed(data, TLS_ROOTS)?;
    let key = Secret::new(needed(data, TLS_KEY)?);
    // The first of the chain is what signs (cert-manager writes the rest behind it).
    let end =
        chain.windows(END.len()).position(|window| window == END).map_or(chain.len(), |at| at + END.len());
    let mut certificate = chain.get(..end).unwrap_or_default().to_vec();
    certificate.push(b'\n');
    Ok(Some(Material { certificate, key, chain, roots, crl: Vec::new() }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    fn data(pieces: &[(&str, &str)]) -> Data {
        pieces.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect()
    }

    #[test]
    fn a_secret_without_a_piece_plugs_nothing_in() {
        assert!(decode(&data(&[])).unwrap().is_none());
        assert!(decode(&data(&[("istio-generated", ""), ("ca-cert.pem", "")])).unwrap().is_none());
    }

    #[test]
    fn what_is_missing_is_named() {
        let whole =
            [("ca-cert.pem", "a"), ("ca-key.pem", "b"), ("cert-chain.pem", "c"), ("root-cert.pem", "d")];
        assert!(decode(&data(&whole)).unwrap().is_some());
        for left_out in 0..whole.len() {
            let mut pieces = whole.to_vec();
            let (key, _) = pieces.remove(left_out);
            assert_eq!(decode(&data(&pieces)).unwrap_err(), Wrong::Missing(key.to_owned()));
        }
        let tls = [("tls.crt", "a"), ("tls.key", "b"), ("ca.crt", "c")];
        for left_out in 0..tls.len() {
            let mut pieces = tls.to_vec();
            let (key, _) = pieces.remove(left_out);
            assert_eq!(decode(&data(&pieces)).unwrap_err(), Wrong::Missing(key.to_owned()));
        }
    }

    #[test]
    fn of_a_tls_secret_the_first_certificate_signs() {
        let block = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
        let both = block("one") + &block("two");
        let found = decode(&data(&[("tls.crt", &both), ("tls.key", "k"), ("ca.crt", "r")])).unwrap().unwrap();
        assert_eq!(found.certificate, block("one").into_bytes());
        assert_eq!(found.chain, both.into_bytes());
        assert_eq!(found.roots, b"r");
    }
}
