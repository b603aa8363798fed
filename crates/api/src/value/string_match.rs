//! How a text is matched: Istio's `StringMatch`.

use serde::de::{Deserialize, Deserializer, Error};

use crate::value::Regex;

/// A condition on a text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StringMatch {
    /// Equal to.
    Exact(String),
    /// Begins with.
    Prefix(String),
    /// Matches as a whole.
    Regex(Regex),
    /// Is there at all, with any value: written as `{}`, null or regex `*` (Istio: networking/core/route). On a URI: no condition.
    Present,
}

/// As written.
#[derive(serde::Deserialize)]
struct Written {
    exact: Option<String>,
    prefix: Option<String>,
    regex: Option<String>,
}

impl<'de> Deserialize<'de> for StringMatch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Some(written) = Option::<Written>::deserialize(deserializer)? else {
            return Ok(Self::Present);
        };
        match (written.exact, written.prefix, written.regex) {
            (None, None, None) => Ok(Self::Present),
            (Some(exact), None, None) => Ok(Self::Exact(exact)),
            (None, Some(prefix), None) => Ok(Self::Prefix(prefix)),
            (None, None, Some(regex)) if regex == "*" => Ok(Self::Present),
            (None, None, Some(regex)) => Regex::parse(&regex).map(Self::Regex).map_err(D::Error::custom),
            _ => Err(D::Error::custom("only one of exact, prefix and regex may be given")),
        }
    }
}
