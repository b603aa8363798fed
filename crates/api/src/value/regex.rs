//! Regular expressions of the RE2 syntax, which Istio writes and Envoy runs.

mod syntax;

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
        let refused =
            |reason: String| RegexError::Syntax { pattern: text.chars().take(80).collect(), reason };
        let checked = syntax::checkable(text).map_err(refused)?;
        // Parsed only: to compile it would cost more, and Envoy has bounds of its own.
        match regex_syntax::parse(&checked) {
            Ok(parsed) if syntax::repeats(&parsed) > syntax::REPEATS => {
                Err(refused(format!("its repetitions multiply to more than {}", syntax::REPEATS)))
            }
            Ok(_) => Ok(Self(text.into())),
            Err(error) => {
                // The library draws the pattern with a caret; its last line is the reason.
                let text = error.to_string();
                let last = text.lines().last().unwrap_or_default();
                Err(refused(last.strip_prefix("error: ").unwrap_or(last).to_owned()))
            }
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

#[cfg(test)]
mod tests {
    use super::{Regex, RegexError};

    #[test]
    fn patterns_of_re2_are_taken() {
        for good in [
            "^(user-[0-9]{3}|user-[0-9]{4})$",
            "/users/{id}/.*",
            "a{,2}",
            "x{y",
            r"\Qa.b(\E.*",
            r"\Qa.b(",
            "[[a]",
            "[a&&b~]",
            r"\<a\>",
            "(?i)abc",
            "(?P<name>a)",
            r"[[:alpha:]_\]]+",
            r"\pL\C",
            "[]a]",
            "[^]]",
            r"(?s-m:a)",
            ".*",
            "a{1000}",
            "(a{10}){100}b{500}",
        ] {
            assert_eq!(Regex::parse(good).map(|regex| regex.to_string()), Ok(good.to_owned()), "{good}");
        }
    }

    #[test]
    fn what_re2_does_not_have_is_refused() {
        for bad in [
            "(a",
            "a)",
            "[a",
            "*",
            "a**b(",
            "(?=a)",
            "(?<!a)b",
            r"(a)\1",
            "(?x)a b",
            r"\u{61}",
            "a{1001}",
            "{2}",
            "\\",
            "(?R)a",
            "a{2,1}",
            "(a{50}){50}",
        ] {
            assert!(matches!(Regex::parse(bad), Err(RegexError::Syntax { .. })), "{bad}");
        }
        assert_eq!(Regex::parse(""), Err(RegexError::Empty));
        assert_eq!(Regex::parse(&"é".repeat(1025)), Err(RegexError::TooLong(1025)));
        assert!(Regex::parse(&"é".repeat(1024)).is_ok());
    }
}
