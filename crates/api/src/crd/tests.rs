//! What an API server asks of every CRD, and what Meltemi promises of its own.

mod names;
mod schema;
mod taken;

use serde_json::{Map, Value};

/// Each schema beneath this one and itself, with its path.
fn walk(path: &str, schema: &Value, visit: &mut impl FnMut(&str, &Map<String, Value>)) {
    let fields = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
    visit(path, fields);
    for (name, field) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
        walk(&format!("{path}.{name}"), field, visit);
    }
    if let Some(items) = fields.get("items") {
        walk(&format!("{path}[]"), items, visit);
    }
    if let Some(values) = fields.get("additionalProperties") {
        walk(&format!("{path}{{}}"), values, visit);
    }
}

/// The schema of a CRD's first version.
fn schema_of(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}
