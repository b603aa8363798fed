//! Names of HTTP headers.

use std::sync::Arc;

use crate::value::from_text;

/// A header's name in lower case, a pseudo-header such as `:authority`, or (in matches at gateways) a JWT claim
/// `@request.auth.claims...`, whose case is kept.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HeaderName(Arc<str>);

/// Why a text is no header name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a header name: letters, digits and !#$%&'*+-.^_`|~ (RFC 9110, section 5.6.2)")]
pub struct HeaderNameError(String);

/// The pseudo-headers of a request and an answer (RFC 9113, section 8.3), and `:protocol` (RFC 8441).
const PSEUDO: [&str; 6] = [":method", ":scheme", ":authority", ":path", ":status", ":protocol"];

/// What a JWT claim's name begins with.
const CLAIM: &str = "@request.auth.claims";

impl HeaderName {
    /// Checks and folds a name.
    ///
    /// # Errors
    /// When it is no token of HTTP, no pseudo-header and no claim.
    pub fn parse(text: &str) -> Result<Self, HeaderNameError> {
        if text.strip_prefix(CLAIM).is_some_and(|rest| rest.len() > 1 && rest.starts_with(['.', '['])) {
            return Ok(Self(text.into()));
        }
        let name = text.to_ascii_lowercase();
        let token = !name.is_empty()
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b));
        if token || PSEUDO.contains(&name.as_str()) {
            Ok(Self(name.into()))
        } else {
            Err(HeaderNameError(text.to_owned()))
        }
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Begins with a colon.
    pub fn is_pseudo(&self) -> bool {
        self.0.starts_with(':')
    }

    /// Names a claim of a JWT.
    pub fn is_claim(&self) -> bool {
        self.0.starts_with(CLAIM)
    }

    /// `host` or `:authority`: as an operation it rewrites the authority (Istio: networking/core/route).
    pub fn is_authority(&self) -> bool {
        matches!(&*self.0, "host" | ":authority")
    }
}

from_text!(HeaderName);

impl std::borrow::Borrow<str> for HeaderName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for HeaderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}

impl std::fmt::Debug for HeaderName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::HeaderName;

    #[test]
    fn names_are_folded_and_claims_are_kept() {
        let read = |text| HeaderName::parse(text).map(|name| name.to_string());
        assert_eq!(read("Cookie").unwrap(), "cookie");
        assert_eq!(read(":authority").unwrap(), ":authority");
        assert_eq!(read("@request.auth.claims.Group").unwrap(), "@request.auth.claims.Group");
        for bad in ["", "a b", "x:y", ":nope", "é", "@request.auth.claims", "a\n"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
