//! A request for a certificate, as PEM and as DER, and a token of file mode: what anybody who reaches the port may send.
//!
//! Must hold: no panic; an error says what is wrong; what is taken is taken again alike.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use meltemi_ca::token::TokenKey;
use meltemi_ca::{Bundle, Csr, Time};
use meltemi_names::Secret;

static KEY: LazyLock<TokenKey> =
    LazyLock::new(|| match TokenKey::generate().and_then(|pem| TokenKey::from_pem(&pem)) {
        Ok(key) => key,
        Err(error) => panic!("the target's own key: {error}"),
    });

fuzz_target!(|data: &[u8]| {
    let now = Time::from_unix(1_800_000_000);
    let text = String::from_utf8_lossy(data);
    for read in [Csr::from_der(data), Csr::from_pem(&text)] {
        if let Err(error) = read {
            assert!(!error.to_string().is_empty());
        }
    }
    if let Ok(bundle) = Bundle::read(data, now) {
        assert_eq!(Bundle::read(bundle.pem().as_bytes(), now), Ok(bundle));
    }
    assert!(KEY.verify(&Secret::new(text.into_owned()), now).is_err(), "a token that nobody signed is taken");
});
