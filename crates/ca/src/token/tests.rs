//! Tokens: at their bounds, changed, and foreign.

use super::*;

const NOW: Time = Time::from_unix(1_800_000_000);

fn key() -> TokenKey {
    TokenKey::from_pem(&TokenKey::generate().unwrap()).unwrap()
}

fn secret(text: &str) -> Secret<String> {
    Secret::new(text.to_owned())
}

/// A token with any claims, signed by `key`.
fn signed(key: &TokenKey, header: &str, claims: &str) -> Secret<String> {
    let text = format!("{}.{}", BASE64.encode(header), BASE64.encode(claims));
    let signature = BASE64.encode(key.0.sign(text.as_bytes()));
    secret(&format!("{text}.{signature}"))
}

#[test]
fn a_token_says_for_whom_it_is_until_it_ends_and_as_often_as_it_is_used() {
    let key = key();
    let (token, claims) = key.sign("shop", "reviews", LONGEST, NOW).unwrap();
    let last = NOW.after(LONGEST).before(Duration::from_secs(1));
    for at in [NOW, NOW, last] {
        let read = key.verify(&token, at).unwrap();
        assert_eq!((read.account(), &read), (Some(("shop", "reviews")), &claims));
    }
    assert_eq!(key.verify(&token, NOW.after(LONGEST)), Err(TokenError::Expired(NOW.after(LONGEST))));
    let (_, other) = key.sign("shop", "reviews", LONGEST, NOW).unwrap();
    assert_ne!(claims.id(), other.id());
}

#[test]
fn a_token_lives_a_day_at_most() {
    let key = key();
    let life = |seconds| key.sign("shop", "reviews", Duration::from_secs(seconds), NOW).map(|_| ());
    assert_eq!(life(86_400), Ok(()));
    assert_eq!(life(86_401), Err(TokenError::Life));
    assert_eq!(life(1), Ok(()));
    assert_eq!(life(0), Err(TokenError::Life));
    let long =
        r#"{"sub":"system:serviceaccount:a:b","aud":"istio-ca","iat":1800000000,"exp":1800086401,"jti":"x"}"#;
    assert_eq!(key.verify(&signed(&key, HEADER, long), NOW), Err(TokenError::Life));
    // Made in the future, by a clock that is wrong or by somebody who had the key: a day from now is the end all the same.
    let later =
        r#"{"sub":"system:serviceaccount:a:b","aud":"istio-ca","iat":1800086400,"exp":1800086521,"jti":"x"}"#;
    assert_eq!(key.verify(&signed(&key, HEADER, later), NOW), Err(TokenError::Life));
    assert!(key.verify(&signed(&key, HEADER, &later.replace("6521", "6520")), NOW).is_ok());
}

#[test]
fn another_key_another_audience_and_another_form_are_refused() {
    let key = key();
    let (token, _) = key.sign("shop", "reviews", LONGEST, NOW).unwrap();
    assert_eq!(self::key().verify(&token, NOW), Err(TokenError::Signature));
    let claims =
        r#"{"sub":"system:serviceaccount:a:b","aud":"AUD","iat":1800000000,"exp":1800000009,"jti":"x"}"#;
    let with = |audience: &str| claims.replace("AUD", audience);
    assert!(key.verify(&signed(&key, HEADER, &with("istio-ca")), NOW).is_ok());
    assert_eq!(
        key.verify(&signed(&key, HEADER, &with("bank")), NOW),
        Err(TokenError::Audience("bank".to_owned()))
    );
    let none = r#"{"alg":"none","typ":"JWT"}"#;
    assert_eq!(key.verify(&signed(&key, none, &with("istio-ca")), NOW), Err(TokenError::Form));
    for sub in ["a", "system:serviceaccount:a", "system:serviceaccount::b", "system:serviceaccount:a:b:c"] {
        let claims = with("istio-ca").replace("system:serviceaccount:a:b", sub);
        assert_eq!(key.verify(&signed(&key, HEADER, &claims), NOW), Err(TokenError::Form), "{sub}");
    }
    for text in ["", ".", "..", "a.b.c", &"a".repeat(MAX_BYTES + 1)] {
        assert_eq!(key.verify(&secret(text), NOW), Err(TokenError::Form));
    }
    assert_eq!(key.sign("a:b", "c", LONGEST, NOW).map(|_| ()), Err(TokenError::Name("a:b".to_owned())));
}

#[test]
fn each_changed_letter_is_noticed() {
    let key = key();
    let (token, _) = key.sign("shop", "reviews", LONGEST, NOW).unwrap();
    for at in 0..token.reveal().len() {
        let mut changed = token.reveal().clone().into_bytes();
        changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
        let changed = secret(std::str::from_utf8(&changed).unwrap());
        assert!(key.verify(&changed, NOW).is_err(), "at {at}");
    }
}

#[test]
fn neither_key_nor_token_is_printed() {
    let (token, _) = key().sign("shop", "reviews", LONGEST, NOW).unwrap();
    assert_eq!(format!("{:?} {token} {token:?}", key()), "<redacted> <redacted> <redacted>");
    assert_eq!(TokenKey::from_pem(&Secret::new(b"hello".to_vec())).map(|_| ()), Err(TokenError::Key));
}
