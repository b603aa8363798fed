//! The schemas are structural, as an API server asks, and small enough for it; the builder writes what it says.

use serde_json::{Value, json};

use super::{schema_of, walk};
use crate::crd::all;
use crate::crd::schema::{array, duration, int_or_string, map, object, one_of, string, uint32};

#[test]
fn every_schema_has_a_type_and_what_goes_with_it() {
    for crd in all() {
        walk(&crd.name(), schema_of(&crd.to_value()), &mut |path, schema| {
            let has = |key: &str| schema.contains_key(key);
            if schema.get("x-kubernetes-int-or-string") == Some(&json!(true)) {
                assert!(!has("type"), "{path}");
                return;
            }
            match schema.get("type").and_then(Value::as_str) {
                Some("object") => {
                    let open = has("x-kubernetes-preserve-unknown-fields");
                    let ways = [has("properties"), has("additionalProperties")];
                    assert!(
                        ways.iter().filter(|way| **way).count() == 1 || (open && ways == [false; 2]),
                        "{path}"
                    );
                }
                Some("array") => assert!(has("items"), "{path}"),
                Some("string" | "boolean" | "integer" | "number") => {
                    assert!(!has("properties") && !has("items") && !has("additionalProperties"), "{path}");
                }
                other => panic!("{path}: type {other:?}"),
            }
        });
    }
}

#[test]
fn what_must_be_given_and_what_excludes_each_other_are_fields() {
    for crd in all() {
        walk(&crd.name(), schema_of(&crd.to_value()), &mut |path, schema| {
            let fields: Vec<&String> = schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flat_map(|all| all.keys())
                .collect();
            let mut named = Vec::new();
            let ones = [schema.get("oneOf"), schema.get("allOf")];
            for value in [schema.get("required")].into_iter().chain(ones).flatten() {
                strings_of("required", &json!({"required": value}), &mut named);
            }
            for name in named {
                assert!(fields.iter().any(|field| **field == name), "{path} has no field {name}");
            }
            for key in
                schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array).into_iter().flatten()
            {
                let required = schema["items"]["required"].as_array().unwrap();
                assert!(required.contains(key), "{path}: a key of the list must be there");
            }
            if let Some(names) = schema.get("enum").and_then(Value::as_array) {
                let mut sorted: Vec<&str> = names.iter().map(|name| name.as_str().unwrap()).collect();
                sorted.sort_unstable();
                sorted.dedup();
                assert_eq!(sorted.len(), names.len(), "{path}");
            }
        });
    }
}

/// All texts beneath the fields of this name.
fn strings_of(name: &str, value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                if key == name {
                    for text in value.as_array().into_iter().flatten() {
                        match text.as_str() {
                            Some(text) => into.push(text.to_owned()),
                            None => strings_of(name, text, into),
                        }
                    }
                } else {
                    strings_of(name, value, into);
                }
            }
        }
        Value::Array(values) => values.iter().for_each(|value| strings_of(name, value, into)),
        _ => {}
    }
}

#[test]
fn a_rule_names_only_fields_that_are_there() {
    for crd in all() {
        walk(&crd.name(), schema_of(&crd.to_value()), &mut |path, schema| {
            for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten()
            {
                let text = rule["rule"].as_str().unwrap();
                assert!(!rule["message"].as_str().unwrap().is_empty(), "{path}: {text}");
                for field in text.split("has(self.").skip(1) {
                    let field = field.split(')').next().unwrap();
                    let mut at = Value::Object(schema.clone());
                    for name in field.split('.') {
                        at = at["properties"][name].clone();
                        assert!(at.is_object(), "{path}: {text}: {field}");
                    }
                }
            }
        });
    }
}

#[test]
fn all_versions_of_a_kind_are_one_schema_and_one_of_them_is_stored() {
    for crd in all() {
        let value = crd.to_value();
        let versions = value["spec"]["versions"].as_array().unwrap();
        assert_eq!(versions.len(), crd.served().len());
        for version in versions {
            assert_eq!(version["schema"], versions[0]["schema"], "{}", crd.name());
            assert_eq!(version["subresources"], json!({"status": {}}));
            assert_eq!(version["additionalPrinterColumns"], versions[0]["additionalPrinterColumns"]);
        }
        assert_eq!(versions.iter().filter(|version| version["storage"] == true).count(), 1);
    }
}

#[test]
fn a_status_keeps_what_other_controllers_write_and_takes_their_64_bit_numbers() {
    for crd in all() {
        let value = crd.to_value();
        let status = &schema_of(&value)["properties"]["status"];
        assert_eq!(status["x-kubernetes-preserve-unknown-fields"], true);
        let number =
            json!({"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true});
        let generations = [
            &status["properties"]["observedGeneration"],
            &status["properties"]["conditions"]["items"]["properties"]["observedGeneration"],
        ];
        for generation in generations {
            assert_eq!(generation["anyOf"], number["anyOf"]);
            assert_eq!(generation["x-kubernetes-int-or-string"], true);
        }
    }
}

#[test]
fn a_crd_fits_where_it_is_kept() {
    for crd in all() {
        let bytes = serde_json::to_vec(&crd.to_value()).unwrap().len();
        // `kubectl apply` without --server-side keeps a copy in an annotation, of which all together may have 256 KiB; etcd takes
        // 1.5 MiB.
        assert!(bytes < 200 * 1024, "{}: {bytes} bytes", crd.name());
    }
}

#[test]
fn the_same_calls_give_the_same_text() {
    let text = || all().iter().map(|crd| crd.to_value().to_string()).collect::<Vec<_>>();
    assert_eq!(text(), text());
    let one = object([("b", string()), ("a", string())]).into_value().to_string();
    assert_eq!(one, object([("a", string()), ("b", string())]).into_value().to_string());
}

#[test]
fn the_builder_writes_what_it_says() {
    let built = object([
        ("mode", one_of(&["ON", "OFF"]).nullable()),
        ("wait", duration()),
        ("ports", array(object([("name", string())]).required(&["name"])).keyed_by("name").max_items(9)),
        ("shares", map(uint32())),
        ("seen", int_or_string()),
    ])
    .at_most_one(&["mode", "wait"])
    .only_one(&["wait", "ports"])
    .with([("about", string().max_length(5))]);
    let expected = json!({
        "type": "object",
        "properties": {
            "about": {"type": "string", "maxLength": 5},
            "mode": {"type": "string", "enum": ["ON", "OFF"], "nullable": true},
            "ports": {
                "type": "array", "maxItems": 9,
                "items": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]
            },
            "seen": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true},
            "shares": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32}},
            "wait": {"type": "string", "x-kubernetes-validations": [
                {"rule": "duration(self) >= duration('1ms')", "message": "must be a valid duration greater than 1ms"}
            ]}
        },
        "oneOf": [
            {"not": {"anyOf": [{"required": ["mode"]}, {"required": ["wait"]}]}},
            {"required": ["mode"]}, {"required": ["wait"]}
        ],
        "x-kubernetes-validations": [
            {"rule": "!(has(self.wait) && has(self.ports))", "message": "only one of wait, ports can be set"}
        ]
    });
    assert_eq!(built.into_value(), expected);
}
