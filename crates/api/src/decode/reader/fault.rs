//! Why a value does not fit, in the user's words.

use std::fmt::Display;

use serde::de::{Error, Expected, Unexpected};
use serde_json::Value;

use super::{Here, nearest};
use crate::field::FieldPath;

/// What does not fit, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
    pub(crate) path: Option<FieldPath>,
}

impl Fault {
    /// At this path, unless it is known more precisely.
    pub(super) fn at(mut self, here: &Here<'_>) -> Self {
        self.path.get_or_insert_with(|| here.path());
        self
    }

    /// The value is of another type.
    pub(super) fn of_type(value: &Value, wanted: &dyn Expected) -> Self {
        let wanted = wanted.to_string();
        let (found, hint) = match value {
            Value::Null => ("nothing".to_owned(), None),
            Value::Bool(value) if wanted == "a text" => {
                (format!("{value}"), Some("write it in quotes; without them it is true or false".to_owned()))
            }
            Value::Bool(value) => (format!("{value}"), None),
            Value::Number(number) if wanted == "a text" => {
                (format!("the number {number}"), Some(format!("write it in quotes: \"{number}\"")))
            }
            Value::Number(number) => (format!("the number {number}"), None),
            Value::String(text) if wanted != "a text" && is_plain(text) => {
                (format!("the text \"{text}\""), Some(format!("write it without quotes: {text}")))
            }
            Value::String(text) => (format!("the text \"{}\"", shortened(text)), None),
            Value::Array(_) => ("a list".to_owned(), None),
            Value::Object(_) if wanted == "a list" => {
                ("a map".to_owned(), Some("begin each item with `- `".to_owned()))
            }
            Value::Object(_) => ("a map".to_owned(), None),
        };
        Self { message: format!("must be {wanted}, found {found}"), hint, path: None }
    }
}

/// Whether the text is a number or a boolean that was put in quotes.
fn is_plain(text: &str) -> bool {
    matches!(text, "true" | "false") || (text.len() < 20 && text.parse::<f64>().is_ok_and(f64::is_finite))
}

fn shortened(text: &str) -> String {
    let mut short: String = text.chars().take(40).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    short
}

impl Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Fault {}

impl Error for Fault {
    fn custom<T: Display>(message: T) -> Self {
        Self { message: message.to_string(), hint: None, path: None }
    }

    fn invalid_type(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        Self::custom(format!("must be {wanted}, found {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, wanted: &dyn Expected) -> Self {
        match (found, wanted.to_string().as_str()) {
            (Unexpected::Signed(number), "u8" | "u16" | "u32" | "u64") if number < 0 => {
                Self::custom(format!("must not be negative, found {number}"))
            }
            (Unexpected::Signed(number), _) => Self::custom(format!("{number} is out of range")),
            (Unexpected::Unsigned(number), _) => Self::custom(format!("{number} is out of range")),
            (found, wanted) => Self::custom(format!("must be {wanted}, found {found}")),
        }
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let mut fault = Self::custom(format!(
            "`{}` is none of the values that the field takes: {}",
            shortened(variant),
            expected.join(", ")
        ));
        fault.hint = nearest(variant, expected).map(|nearest| format!("did you mean `{nearest}`?"));
        fault
    }

    fn missing_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is missing"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::custom(format!("`{field}` is given twice, in two spellings"))
    }
}
