//! What a scalar means.

use saphyr_parser::{ScalarStyle, Tag};
use serde_json::{Number, Value};

/// The value of a scalar without a tag; only plain ones can be other than texts.
pub(super) fn resolve(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::String(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

/// The value of a scalar with a tag of YAML's own; none for others.
pub(super) fn tagged(text: &str, tag: &Tag) -> Option<Value> {
    if !tag.is_yaml_core_schema() {
        return None;
    }
    match tag.suffix.as_str() {
        "str" => Some(Value::String(text.to_owned())),
        "int" | "float" | "bool" | "null" => Some(resolve(text, ScalarStyle::Plain)),
        _ => None,
    }
}

/// Whole numbers in base 10, 16 (`0x`), 8 (`0o`, and a leading 0 as in YAML 1.1), and decimals.
fn number(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    let negative = text.starts_with('-');
    let radix = |digits: &str, radix| -> Option<Number> {
        // `from_str_radix` would take another sign.
        let value = digits.starts_with(|c: char| c.is_ascii_hexdigit()).then_some(digits)?;
        let value = i64::from_str_radix(value, radix).ok()?;
        Some(Number::from(if negative { -value } else { value }))
    };
    if let Some(hex) = digits.strip_prefix("0x") {
        return radix(hex, 16);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return radix(octal, 8);
    }
    if digits.bytes().all(|b| b.is_ascii_digit()) {
        if digits.len() > 1 && digits.starts_with('0') && digits.bytes().all(|b| b < b'8') {
            return radix(digits, 8);
        }
        let signed = text.strip_prefix('+').unwrap_or(text);
        if let Ok(value) = signed.parse::<u64>() {
            return Some(value.into());
        }
        if let Ok(value) = signed.parse::<i64>() {
            return Some(value.into());
        }
    }
    let decimal = digits.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'-' | b'+'));
    let value = decimal.then(|| text.parse::<f64>().ok()).flatten()?;
    Number::from_f64(value)
}

/// What to do about a text that is no YAML, where the cause is a common one.
pub(super) fn hint_for_syntax(text: &str, line: usize) -> Option<&'static str> {
    // The parser names the line where it noticed, which may be a neighbour of the line at fault.
    let lines = || text.lines().skip(line.saturating_sub(2)).take(3);
    if lines().any(|line| line.trim_start_matches(' ').starts_with('\t')) {
        return Some("indent with spaces, YAML takes no tabs there");
    }
    if lines().any(|line| line.contains("{{")) {
        return Some("this looks like a template; render it first (helm template)");
    }
    if lines().any(|line| line.contains("*.") || line.trim_end().ends_with(": *")) {
        return Some("put a text that begins with `*` in quotes");
    }
    None
}

#[cfg(test)]
mod tests {
    use saphyr_parser::ScalarStyle;
    use serde_json::{Value, json};

    fn plain(text: &str) -> Value {
        super::resolve(text, ScalarStyle::Plain)
    }

    #[test]
    fn plain_scalars_mean_what_they_mean_to_kubectl() {
        assert_eq!(plain("90"), json!(90));
        assert_eq!(plain("-5"), json!(-5));
        assert_eq!(plain("+5"), json!(5));
        assert_eq!(plain("1.5"), json!(1.5));
        assert_eq!(plain("1e3"), json!(1000.0));
        assert_eq!(plain("0x1F"), json!(31));
        assert_eq!(plain("0o17"), json!(15));
        assert_eq!(plain("010"), json!(8));
        assert_eq!(plain("yes"), json!(true));
        assert_eq!(plain("Off"), json!(false));
        assert_eq!(plain(""), Value::Null);
        assert_eq!(plain("~"), Value::Null);
        assert_eq!(plain("18446744073709551615"), json!(u64::MAX));
    }

    #[test]
    fn all_else_is_a_text() {
        for text in [
            "v1",
            "1.5s",
            "10.0.0.1",
            "2026-01-31T12:00:00Z",
            "y",
            "n",
            "1_000",
            ".",
            "-",
            "+",
            "0x",
            "0x-1",
            "1e",
            "--1",
            ".inf",
            "nan",
            "1-2",
            "089x",
            "e5",
            "0o9",
        ] {
            assert_eq!(plain(text), json!(text));
        }
        assert_eq!(super::resolve("90", ScalarStyle::DoubleQuoted), json!("90"));
    }
}
