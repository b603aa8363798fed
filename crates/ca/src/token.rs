//! Tokens of file mode: signed here, for one service account and one audience, for a day at most.
//!
//! Knows: JWT (RFC 7519) in one form, EdDSA over Ed25519. Must not know: the authority's key; this one is apart from it.
//! Start at [`TokenKey::sign`].
//! A token may be used again until it ends: whoever holds it is whoever it names. Its ID is in the log where it is made and used.
//!
//! Ring and serde instead of a library of JWT: those that are kept bring a second cryptography beside ring, and a choice of
//! algorithms, which is what goes wrong with JWT. Here the header is compared, byte for byte, and never obeyed.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use meltemi_names::Secret;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject;
use serde::{Deserialize, Serialize};

use crate::bundle::to_pem;
use crate::issue::CLOCK_SKEW;
use crate::time::Time;

/// The longest life of a token.
pub const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The longest token that is read; ours have 400 bytes.
pub const MAX_BYTES: usize = 4096;
/// Whom tokens are for: the audience that Istio's agents ask Kubernetes for.
pub const AUDIENCE: &str = "istio-ca";
const HEADER: &str = r#"{"alg":"EdDSA","typ":"JWT"}"#;

/// Signs and verifies tokens.
pub struct TokenKey(Ed25519KeyPair);

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// `system:serviceaccount:<namespace>:<name>`, as Kubernetes writes it.
    sub: String,
    /// For whom.
    aud: String,
    /// Since when.
    iat: Time,
    /// Until when.
    exp: Time,
    /// Names the token in the log.
    jti: String,
}

impl Claims {
    /// The namespace and the name of the service account.
    pub fn account(&self) -> Option<(&str, &str)> {
        let (namespace, name) = self.sub.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
    }

    /// Names the token in the log.
    pub fn id(&self) -> &str {
        &self.jti
    }

    /// Until when it may be used.
    pub fn expires(&self) -> Time {
        self.exp
    }
}

/// Why a token, or a key of them, is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not one of ours, by its form.
    #[error("this is no token made by `meltemi token`")]
    Form,
    /// Signed by another key, or changed.
    #[error("the token is not signed by this mesh")]
    Signature,
    /// For another purpose.
    #[error("the token is for `{0}`, not for `{AUDIENCE}`")]
    Audience(String),
    /// No longer valid.
    #[error("the token expired at {0}")]
    Expired(Time),
    /// A longer life is wanted than tokens have, or none.
    #[error("a token lives a second at least, and a day at most")]
    Life,
    /// A name that is none.
    #[error("`{0}` is no namespace or service account")]
    Name(String),
    /// Not a key of tokens.
    #[error("this is no key of tokens (Ed25519, PKCS#8)")]
    Key,
    /// No random numbers.
    #[error("this machine has no random numbers")]
    Machine,
}

impl TokenKey {
    /// Makes a key; PEM.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn generate() -> Result<Secret<Vec<u8>>, TokenError> {
        let key = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| TokenError::Machine)?;
        Ok(Secret::new(to_pem("PRIVATE KEY", key.as_ref()).into_bytes()))
    }

    /// Reads a key.
    ///
    /// # Errors
    /// When it is of another kind.
    pub fn from_pem(pem: &Secret<Vec<u8>>) -> Result<Self, TokenError> {
        let der = PrivatePkcs8KeyDer::from_pem_slice(pem.reveal()).map_err(|_| TokenError::Key)?;
        Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map(Self).map_err(|_| TokenError::Key)
    }

    /// Signs a token for a service account.
    ///
    /// # Errors
    /// When the life is longer than a day or shorter than a second, or the names are none.
    pub fn sign(
        &self,
        namespace: &str,
        account: &str,
        life: Duration,
        now: Time,
    ) -> Result<(Secret<String>, Claims), TokenError> {
        if life < Duration::from_secs(1) || LONGEST < life {
            return Err(TokenError::Life);
        }
        if let Some(name) =
            [namespace, account].into_iter().find(|name| name.is_empty() || name.contains(':'))
        {
            return Err(TokenError::Name(name.to_owned()));
        }
        let mut id = [0; 16];
        SystemRandom::new().fill(&mut id).map_err(|_| TokenError::Machine)?;
        let claims = Claims {
            sub: format!("system:serviceaccount:{namespace}:{account}"),
            aud: AUDIENCE.to_owned(),
            iat: now,
            exp: now.after(life),
            jti: BASE64.encode(id),
        };
        let body = serde_json::to_vec(&claims).map_err(|_| TokenError::Form)?;
        let signed = format!("{}.{}", BASE64.encode(HEADER), BASE64.encode(body));
        let signature = BASE64.encode(self.0.sign(signed.as_bytes()));
        Ok((Secret::new(format!("{signed}.{signature}")), claims))
    }

    /// What a token says, if it is ours, for us, and not over.
    ///
    /// # Errors
    /// See [`TokenError`].
    pub fn verify(&self, token: &Secret<String>, now: Time) -> Result<Claims, TokenError> {
        let token = token.reveal();
        if token.len() > MAX_BYTES {
            return Err(TokenError::Form);
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Form)?;
        let (header, body) = signed.split_once('.').ok_or(TokenError::Form)?;
        if header != BASE64.encode(HEADER) {
            return Err(TokenError::Form);
        }
        let signature = BASE64.decode(signature).map_err(|_| TokenError::Form)?;
        UnparsedPublicKey::new(&ED25519, self.0.public_key().as_ref())
            .verify(signed.as_bytes(), &signature)
            .map_err(|_| TokenError::Signature)?;
        let body = BASE64.decode(body).map_err(|_| TokenError::Form)?;
        let claims: Claims = serde_json::from_slice(&body).map_err(|_| TokenError::Form)?;
        if claims.aud != AUDIENCE {
            return Err(TokenError::Audience(claims.aud));
        }
        if claims.exp <= now {
            return Err(TokenError::Expired(claims.exp));
        }
        // A key that leaked for an hour must not be worth a year.
        // Nor one that says to be made next year.
        if claims.iat.after(LONGEST) < claims.exp || now.after(LONGEST + CLOCK_SKEW) < claims.exp {
            return Err(TokenError::Life);
        }
        claims.account().ok_or(TokenError::Form)?;
        Ok(claims)
    }
}

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<redacted>")
    }
}

#[cfg(test)]
mod tests;
