//! Where two JSON values differ: paths, as short as people can read them.

use serde::Serialize;
use serde_json::Value;

/// A field that differs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct Field {
    /// From the resource's root; elements of lists are called by their `name`, or their number.
    pub(crate) path: String,
    /// None: it was not there.
    pub(crate) before: Option<String>,
    /// None: it is not there any more.
    pub(crate) after: Option<String>,
}

/// Fields that are told of one resource; the rest is counted.
const MOST: usize = 6;

/// Longer values are cut.
const LONGEST: usize = 72;

/// All fields that differ, but for those whose path begins with one of `apart`.
pub(crate) fn between(before: &Value, after: &Value, apart: &[&str]) -> Vec<Field> {
    let mut found = Vec::new();
    compare("", Some(before), Some(after), &mut found);
    found.retain(|field| {
        let within = |apart: &&str| {
            field
                .path
                .strip_prefix(*apart)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        !apart.iter().any(within)
    });
    found
}

fn compare(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Field>) {
    match (before, after) {
        (Some(before), Some(after)) if before == after => {}
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort_unstable();
            names.dedup();
            for name in names {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                compare(&path, before.get(name), after.get(name), found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) if are_named(before) && are_named(after) => {
            let mut names: Vec<&str> = before.iter().chain(after).filter_map(name).collect();
            names.sort_unstable();
            names.dedup();
            for own in names {
                let find = |all: &'_ [Value]| all.iter().position(|value| name(value) == Some(own));
                let (before, after) = (find(before).map(|at| &before[at]), find(after).map(|at| &after[at]));
                compare(&format!("{path}[{own}]"), before, after, found);
            }
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => {
            for index in 0..before.len().max(after.len()) {
                compare(&format!("{path}[{index}]"), before.get(index), after.get(index), found);
            }
        }
        _ => found.push(Field { path: path.to_owned(), before: before.map(short), after: after.map(short) }),
    }
}

fn name(value: &Value) -> Option<&str> {
    value.get("name").and_then(Value::as_str).filter(|name| !name.is_empty())
}

/// Whether each has a name of its own.
fn are_named(all: &[Value]) -> bool {
    let mut names: Vec<Option<&str>> = all.iter().map(name).collect();
    names.sort_unstable();
    let count = names.len();
    names.dedup();
    count == names.len() && names.iter().all(Option::is_some)
}

fn short(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}

/// The fields as one line: `timeout 0s -> 2s`.
pub(crate) fn told(fields: &[Field]) -> String {
    let mut all: Vec<String> = fields.iter().take(MOST).map(one).collect();
    if fields.len() > MOST {
        all.push(format!("and {} more fields", fields.len() - MOST));
    }
    all.join("; ")
}

/// The same of a large resource: what is short is told, and of the rest where it is.
pub(crate) fn summary(fields: &[Field]) -> String {
    if fields.len() <= 3 && fields.iter().all(|field| one(field).len() <= LONGEST * 2) {
        return told(fields);
    }
    let mut heads: Vec<&str> = Vec::new();
    for field in fields {
        // Names in brackets have dots of their own.
        let mut depth = 0_i32;
        let end = field.path.find(|character| {
            depth += i32::from(character == '[') - i32::from(character == ']');
            character == '.' && depth == 0
        });
        let head = &field.path[..end.unwrap_or(field.path.len())];
        if !heads.contains(&head) {
            heads.push(head);
        }
    }
    let mut text = heads.iter().take(MOST).copied().collect::<Vec<_>>().join(", ");
    if heads.len() > MOST {
        text += &format!(" and {} more", heads.len() - MOST);
    }
    let count = fields.len();
    let verb = if count == 1 { "1 field differs" } else { &format!("{count} fields differ") };
    format!("{verb}, in {text}")
}

fn one(field: &Field) -> String {
    let Field { path, before, after } = field;
    match (before, after) {
        (Some(before), Some(after)) => format!("{path} {before} -> {after}"),
        (None, Some(after)) => format!("{path} is {after} now"),
        (Some(before), None) => format!("{path} is no more (was {before})"),
        (None, None) => path.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::{between, told};
    use serde_json::json;

    #[test]
    fn fields_are_told_by_path_with_both_values() {
        let before =
            json!({"timeout": "1s", "filters": [{"name": "a", "x": 1}, {"name": "b"}], "list": [1, 2]});
        let after = json!({"timeout": "2s", "filters": [{"name": "b"}, {"name": "a", "x": 2}], "list": [1], "new": true});
        let fields = between(&before, &after, &[]);
        assert_eq!(
            told(&fields),
            "filters[a].x 1 -> 2; list[1] is no more (was 2); new is true now; timeout 1s -> 2s"
        );
        assert!(between(&before, &before, &[]).is_empty());
        assert_eq!(told(&between(&before, &after, &["filters", "list", "new"])), "timeout 1s -> 2s");
    }

    #[test]
    fn long_lists_and_values_are_cut() {
        let wide = |value: &str| {
            serde_json::Value::Object((0..9).map(|index| (format!("f{index}"), json!(value))).collect())
        };
        let text = told(&between(&wide("a"), &wide(&"b".repeat(200)), &[]));
        assert!(text.ends_with("; and 3 more fields") && text.contains("bbb..."), "{text}");
    }
}
