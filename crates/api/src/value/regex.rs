//! Regular expressions of the RE2 syntax, which Istio writes and Envoy runs.

use crate::value::from_text;

/// A pattern that Envoy's RE2 takes, kept as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Regex(std::sync::Arc<str>);

/// Why a text is no regular expression for Envoy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegexError {
    /// Nothing there.
    #[error("a regular expression must not be empty")]
    Empty,
    /// Istio's bound (validation of StringMatch).
    #[error("a regular expression has at most 1024 characters, this one has {0}")]
    TooLong(usize),
    /// The reason of the parser.
    #[error("`{pattern}` is not a regular expression of RE2: {reason}")]
    Syntax {
        /// As written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Regex {
    /// Checks a pattern.
    ///
    /// # Errors
    /// When it is empty, longer than 1,024 characters or not of RE2's syntax.
    pub fn parse(text: &str) -> Result<Self, RegexError> {
        if text.is_empty() {
            return Err(RegexError::Empty);
        }
        if text.chars().count() > 1024 {
            return Err(RegexError::TooLong(text.chars().count()));
        }
        match regex::Regex::new(text) {
            Ok(_) => Ok(Self(text.into())),
            Err(error) => Err(RegexError::Syntax { pattern: text.to_owned(), reason: error.to_string() }),
        }
    }

    /// The pattern as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

from_text!(Regex);

impl std::fmt::Display for Regex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(&self.0)
    }
}
