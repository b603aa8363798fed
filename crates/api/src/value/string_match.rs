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
    regex: Option<Pattern>,
}

/// A regular expression, or `*`.
enum Pattern {
    Anything,
    Regex(Regex),
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "*" {
            return Ok(Self::Anything);
        }
        Regex::parse(&text).map(Self::Regex).map_err(D::Error::custom)
    }
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
            (None, None, Some(Pattern::Anything)) => Ok(Self::Present),
            (None, None, Some(Pattern::Regex(regex))) => Ok(Self::Regex(regex)),
            _ => Err(D::Error::custom("only one of exact, prefix and regex may be given")),
        }
    }
}
