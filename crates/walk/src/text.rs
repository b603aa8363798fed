//! Comparing texts as Envoy does.

use meltemi_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meltemi_proto::envoy::r#type::matcher::v3::{RegexMatcher, StringMatcher};
use regex::Regex;
use serde::Serialize;

/// How a text is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum How {
    /// Equal.
    Exact,
    /// Begins so.
    Prefix,
    /// Begins with these segments of a path.
    SegmentPrefix,
    /// Ends so.
    Suffix,
    /// Holds it.
    Contains,
    /// The whole of it is matched by the expression.
    Regex,
    /// A whole number of that range, `from..until`; the end is not in it.
    Range,
    /// There is one, whatever it says.
    Present,
    /// A part of all requests, by chance.
    Chance,
    /// In a way that the walk does not read.
    Unread,
}

/// What a text is to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Wanted {
    /// How it is compared.
    pub how: How,
    /// With what.
    pub value: String,
    /// Upper and lower case are the same.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ignores_case: bool,
    /// The opposite is wanted.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub negated: bool,
}

impl Wanted {
    pub(crate) fn new(how: How, value: impl Into<String>) -> Self {
        Self { how, value: value.into(), ignores_case: false, negated: false }
    }

    pub(crate) fn regex(matcher: &RegexMatcher) -> Self {
        Self::new(How::Regex, &matcher.regex)
    }

    pub(crate) fn matcher(matcher: &StringMatcher) -> Self {
        let (how, value) = match &matcher.match_pattern {
            Some(MatchPattern::Exact(value)) => (How::Exact, value.clone()),
            Some(MatchPattern::Prefix(value)) => (How::Prefix, value.clone()),
            Some(MatchPattern::Suffix(value)) => (How::Suffix, value.clone()),
            Some(MatchPattern::Contains(value)) => (How::Contains, value.clone()),
            Some(MatchPattern::SafeRegex(regex)) => (How::Regex, regex.regex.clone()),
            Some(MatchPattern::Custom(extension)) => (How::Unread, extension.name.clone()),
            None => (How::Unread, String::new()),
        };
        // Envoy reads the field for none of the others.
        let ignores_case = matcher.ignore_case && how != How::Regex;
        Self { ignores_case, ..Self::new(how, value) }
    }

    /// Whether `text` is so, leaving [`Wanted::negated`] aside; none if the walk cannot tell.
    pub fn holds(&self, text: &str) -> Option<bool> {
        let fold = |text: &str| if self.ignores_case { text.to_ascii_lowercase() } else { text.to_owned() };
        let (text, value) = (fold(text), fold(&self.value));
        Some(match self.how {
            How::Exact => text == value,
            How::Prefix => text.starts_with(&value),
            How::SegmentPrefix => {
                text.strip_prefix(&value).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            }
            How::Suffix => text.ends_with(&value),
            How::Contains => text.contains(&value),
            How::Present => true,
            How::Regex => return whole(&self.value).map(|regex| regex.is_match(&text)),
            How::Range => {
                let (from, until) = self.value.split_once("..")?;
                let (from, until): (i64, i64) = (from.parse().ok()?, until.parse().ok()?);
                text.parse::<i64>().is_ok_and(|number| (from..until).contains(&number))
            }
            How::Chance | How::Unread => return None,
        })
    }
}

/// The expression as Envoy applies it: to all of the text. None if it is one that only RE2 reads.
fn whole(pattern: &str) -> Option<Regex> {
    Regex::new(&format!(r"\A(?:{pattern})\z")).ok()
}

/// The expression as Envoy rewrites by it: wherever it matches; `\1` in the new text stands for a group.
pub(crate) fn substituted(pattern: &str, substitution: &str, text: &str) -> Option<String> {
    let regex = Regex::new(pattern).ok()?;
    let mut replacement = String::new();
    let mut characters = substitution.chars().peekable();
    while let Some(character) = characters.next() {
        match (character, characters.peek()) {
            ('\\', Some(digit)) if digit.is_ascii_digit() => {
                replacement.push_str(&format!("${{{digit}}}"));
                characters.next();
            }
            ('\\', Some('\\')) => {
                replacement.push('\\');
                characters.next();
            }
            ('$', _) => replacement.push_str("$$"),
            _ => replacement.push(character),
        }
    }
    Some(regex.replace_all(text, replacement.as_str()).into_owned())
}
