//! Changes of headers.

use std::collections::BTreeMap;

use super::Report;
use crate::field::FieldPath;
use crate::value::HeaderName;
use crate::virtual_service::{HeaderChange, HeaderOperations};

/// Both directions.
pub(super) fn operations(operations: &HeaderOperations, path: &FieldPath, report: &mut Report) {
    if operations.is_empty() {
        return;
    }
    change(&operations.request, &path.key("request"), true, report);
    change(&operations.response, &path.key("response"), false, report);
}

fn change(change: &HeaderChange, path: &FieldPath, request: bool, report: &mut Report) {
    values(&change.set, &path.key("set"), request, report);
    values(&change.add, &path.key("add"), request, report);
    for (index, name) in change.remove.iter().enumerate() {
        if name.is_pseudo() || name.is_authority() {
            report.error(
                &path.key("remove").index(index),
                "bad-header",
                format!("`{name}` cannot be taken away"),
            );
        }
    }
}

fn values(headers: &BTreeMap<HeaderName, String>, path: &FieldPath, request: bool, report: &mut Report) {
    for (name, value) in headers {
        let here = path.key(name.as_str());
        // The authority of a request may be set, which rewrites it.
        if name.is_claim() || (!(request && name.is_authority()) && (name.is_pseudo() || name.is_authority()))
        {
            report.error(&here, "bad-header", format!("`{name}` cannot be set"));
        }
        if value.chars().any(|c| c.is_control() && c != '\t') {
            report.error(&here, "bad-header", "the value has control characters");
        } else if let Err(reason) = format_string(value) {
            report.add(
                crate::Finding::error("bad-header", reason)
                    .at(&here)
                    .hint("Envoy's variables are %NAME% or %NAME(arguments)%; write %% for the sign itself"),
            );
        }
    }
}

/// Checks Envoy's substitutions: `%NAME%`, `%NAME(arguments)%`, `%NAME(arguments):length%`, `%%`.
fn format_string(text: &str) -> Result<(), String> {
    let mut rest = text;
    while let Some(at) = rest.find('%') {
        let body = &rest[at + 1..];
        if let Some(tail) = body.strip_prefix('%') {
            rest = tail;
            continue;
        }
        let name = body.bytes().take_while(|b| b.is_ascii_alphanumeric() || *b == b'_').count();
        if name == 0 {
            return Err("a `%` begins no variable".to_owned());
        }
        let mut tail = &body[name..];
        if tail.starts_with('(') {
            let Some(end) = tail.find(')') else {
                return Err(format!("the arguments of `%{}` do not end", &body[..name]));
            };
            tail = &tail[end + 1..];
        }
        if let Some(length) = tail.strip_prefix(':') {
            tail = length.trim_start_matches(|c: char| c.is_ascii_digit());
        }
        match tail.strip_prefix('%') {
            Some(after) => rest = after,
            None => return Err(format!("the variable `%{}` does not end in `%`", &body[..name])),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::format_string;

    #[test]
    fn substitutions_must_end() {
        for good in ["", "x", "%%", "%START_TIME%", "a%REQ(X-A?:B)%b", "%REQ(A):12%", "100%%"] {
            assert_eq!(format_string(good), Ok(()), "{good}");
        }
        for bad in ["%", "100%", "%START_TIME", "%REQ(A%", "%REQ(A)", "% x%", "%(x)%"] {
            assert!(format_string(bad).is_err(), "{bad}");
        }
    }
}
