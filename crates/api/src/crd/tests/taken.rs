//! What the schemas know and what is read are the same fields: none that a user can write is unknown to the reader.

use meltemi_names::Kind;
use serde_json::{Map, Value, json};

use super::schema_of;
use crate::crd::all;
use crate::decode::decode;

/// So many objects have each field of a `oneof` in one of them: none has more fields than this.
const TURNS: usize = 4;

/// An object with every field that the schema has, and of a `oneof` the one whose turn it is.
fn full(name: &str, schema: &Value, turn: usize) -> Value {
    if let Some(names) = schema["enum"].as_array() {
        return names[turn % names.len()].clone();
    }
    match schema["type"].as_str() {
        Some("object") => {
            let mut waiting = others(schema, turn);
            // Two spellings of one field, which nobody may use at once.
            waiting.push(["mirrorPercent", "mirror_percent"][turn % 2]);
            if name == "consistentHash" && turn > 0 {
                waiting.push("minimumRingSize");
            } else if name == "consistentHash" {
                waiting.extend(["ringHash", "maglev"]);
            }
            let fields = schema["properties"].as_object().into_iter().flatten();
            let fields = fields.filter(|(name, _)| !waiting.contains(&name.as_str()));
            let mut made: Map<String, Value> =
                fields.map(|(name, field)| (name.clone(), full(name, field, turn))).collect();
            if schema["additionalProperties"].is_object() {
                made.insert("one".to_owned(), full(name, &schema["additionalProperties"], turn));
            }
            Value::Object(made)
        }
        Some("array") => json!([full(name, &schema["items"], turn)]),
        Some("number") => json!(1),
        // A status code where one is asked for, and fine as a number elsewhere.
        Some("integer") if name.ends_with("tatus") => json!(200),
        Some("integer") if name == "redirectCode" => json!(302),
        Some("integer") => json!(1),
        Some("boolean") => json!(true),
        // A time is fine as any text that has no form of its own.
        _ => match name {
            "address" | "addresses" | "bind" => json!("10.0.0.1"),
            "hosts" => json!("a.example.com"),
            "protocol" => json!("HTTPS"),
            "bytes" => json!("aGVsbG8="),
            "destinationSubnets" => json!("10.0.0.0/8"),
            _ => json!("1s"),
        },
    }
}

/// The fields of an object's `oneof`s whose turn it is not.
fn others(schema: &Value, turn: usize) -> Vec<&str> {
    let groups = schema["allOf"].as_array().into_iter().flatten().chain([schema]);
    let groups = groups.filter_map(|group| group["oneOf"].as_array());
    groups
        .flat_map(|branches| {
            let names: Vec<&str> =
                branches.iter().filter_map(|branch| branch["required"][0].as_str()).collect();
            let chosen = names[turn % names.len()];
            names.into_iter().filter(move |name| *name != chosen)
        })
        .collect()
}

#[test]
fn the_reader_of_a_kind_knows_every_field_of_its_schema() {
    for kind in [
        Kind::VirtualService,
        Kind::DestinationRule,
        Kind::WorkloadEntry,
        Kind::ServiceEntry,
        Kind::Gateway,
        Kind::WorkloadGroup,
    ] {
        let crd = all().into_iter().find(|crd| crd.kind() == kind).unwrap();
        let value = crd.to_value();
        for turn in 0..TURNS {
            let object = json!({
                "apiVersion": format!("{}/v1", crd.group()), "kind": kind.as_str(), "metadata": {"name": "one"},
                "spec": full("spec", &schema_of(&value)["properties"]["spec"], turn),
            });
            let findings = decode(&object, "default").findings;
            let with = |code: &str| -> Vec<String> {
                let such = findings.iter().filter(|finding| finding.code == code);
                such.map(|finding| format!("{}: {}", finding.field, finding.message)).collect()
            };
            assert_eq!(with("unknown-field"), [""; 0], "{kind}");
            // A value that is refused would hide the fields after it.
            assert_eq!(with("bad-value"), [""; 0], "{kind}");
        }
    }
}
