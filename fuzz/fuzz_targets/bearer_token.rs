//! A bearer token: one that nobody signed, and claims and a header that were signed after all (by whoever got hold of the key, or by a
//! version of Meltemi that writes others).
//!
//! Must hold: no panic; what nobody signed is refused; of what is signed only that is taken which is for us, is not over, and lives no longer
//! than a token may; an error does not print the token.
#![no_main]

use std::sync::LazyLock;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use libfuzzer_sys::fuzz_target;
use meltemi_ca::token::{AUDIENCE, LONGEST, TokenKey};
use meltemi_ca::{CLOCK_SKEW, Time};
use meltemi_names::Secret;
use ring::signature::Ed25519KeyPair;
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;

/// The only header that is taken.
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;
const CLAIMS: &str =
    r#"{"sub":"system:serviceaccount:a:b","aud":"istio-ca","iat":1800000000,"exp":1800000009,"jti":"x"}"#;
const NOW: Time = Time::from_unix(1_800_000_000);

struct Keys {
    ours: TokenKey,
    bare: Ed25519KeyPair,
}

static KEYS: LazyLock<Keys> = LazyLock::new(|| {
    let made = || {
        let pem = TokenKey::generate().ok()?;
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.reveal()).ok()?;
        let bare = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).ok()?;
        Some(Keys { ours: TokenKey::from_pem(&pem).ok()?, bare })
    };
    made().expect("the target's own key")
});

fn signed(header: &[u8], claims: &[u8]) -> Secret<String> {
    let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = BASE64.encode(KEYS.bare.sign(text.as_bytes()));
    Secret::new(format!("{text}.{signature}"))
}

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data).into_owned();
    match KEYS.ours.verify(&Secret::new(text.clone()), NOW) {
        Ok(_) => panic!("a token that nobody signed is taken"),
        Err(error) => assert!(text.len() < 64 || !error.to_string().contains(&text)),
    }
    // A line of the header, the rest of claims.
    let (header, claims) = text.split_once('\n').unwrap_or((HEADER, &text));
    assert!(
        header == HEADER || KEYS.ours.verify(&signed(header.as_bytes(), CLAIMS.as_bytes()), NOW).is_err()
    );
    if let Ok(read) = KEYS.ours.verify(&signed(HEADER.as_bytes(), claims.as_bytes()), NOW) {
        assert!(
            claims.contains(AUDIENCE) || claims.contains('\\'),
            "a token for somebody else is taken: {claims}"
        );
        assert!(NOW < read.expires() && read.expires() <= NOW.after(LONGEST + CLOCK_SKEW), "{claims}");
        if let Some((namespace, account)) = read.account() {
            assert!(!namespace.is_empty() && !account.is_empty() && !account.contains(':'));
        }
    }
});
