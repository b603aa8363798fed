//! A compact way to write the schema of a CRD: what `openAPIV3Schema` may hold, and nothing that an API server refuses.
//!
//! Knows: the structural schemas of `apiextensions.k8s.io/v1`, and CEL rules. Must not know: any kind.   Start at [`object`].
//! Invariant: each schema has a type, or is [`int_or_string`]; the same calls give the same text.

use serde_json::{Map, Value, json};

/// The schema of one field, and of all beneath it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Schema(Map<String, Value>);

fn of_type(name: &str) -> Schema {
    Schema(Map::new()).set("type", name)
}

/// Text.
pub(super) fn string() -> Schema {
    of_type("string")
}

/// True or false.
pub(super) fn boolean() -> Schema {
    of_type("boolean")
}

/// A whole number of 32 bits, which may be negative.
pub(super) fn int32() -> Schema {
    of_type("integer").set("format", "int32")
}

/// A whole number from 0 to 4294967295.
pub(super) fn uint32() -> Schema {
    of_type("integer").at_least(0).at_most(u32::MAX)
}

/// A whole number from 0, of up to 64 bits. Protobuf would have it as text; the CRD says number, and so do people.
pub(super) fn uint64() -> Schema {
    of_type("integer").at_least(0)
}

/// A number with a fraction.
pub(super) fn number() -> Schema {
    of_type("number").set("format", "double")
}

/// A share in percent.
pub(super) fn percent() -> Schema {
    number().at_least(0).at_most(100)
}

/// A length of time, such as `1.5s` or `1h`, which the API server checks. `0s` is refused: Istio has it so, and who wants no
/// limit leaves the field out.
pub(super) fn duration() -> Schema {
    string().rule("duration(self) >= duration('1ms')", "must be a valid duration greater than 1ms")
}

/// The number of a port, which the API server checks.
pub(super) fn port() -> Schema {
    uint32().rule("self >= 1 && self <= 65535", "a port is a number from 1 to 65535")
}

/// One of these names. Numbers, which protobuf would take, are refused.
pub(super) fn one_of(names: &[&str]) -> Schema {
    string().set("enum", names)
}

/// A list.
pub(super) fn array(items: Schema) -> Schema {
    of_type("array").set("items", items.0)
}

/// A list of texts.
pub(super) fn strings() -> Schema {
    array(string())
}

/// Values by name.
pub(super) fn map(values: Schema) -> Schema {
    of_type("object").set("additionalProperties", values.0)
}

/// Named fields, all optional: [`Schema::required`] says which are not.
pub(super) fn object<'a>(fields: impl IntoIterator<Item = (&'a str, Schema)>) -> Schema {
    let mut fields: Vec<_> = fields.into_iter().collect();
    // The order of the text is that of the names, however the code is arranged.
    fields.sort_by(|one, other| one.0.cmp(other.0));
    let fields: Map<String, Value> =
        fields.into_iter().map(|(name, schema)| (name.to_owned(), Value::Object(schema.0))).collect();
    of_type("object").set("properties", fields)
}

/// An object of which the API server keeps every field, known or not.
pub(super) fn anything() -> Schema {
    of_type("object").open()
}

/// A number, or the text of one: a 64-bit number that went through protobuf's JSON is text.
pub(super) fn int_or_string() -> Schema {
    Schema(Map::new())
        .set("anyOf", json!([{"type": "integer"}, {"type": "string"}]))
        .set("x-kubernetes-int-or-string", true)
}

impl Schema {
    fn set(mut self, key: &str, value: impl Into<Json>) -> Self {
        self.0.insert(key.to_owned(), value.into().0);
        self
    }

    /// What `kubectl explain` says of it.
    pub(super) fn about(self, text: &str) -> Self {
        self.set("description", text)
    }

    /// `null` is as good as absent: protobuf's wrapped values are written so.
    pub(super) fn nullable(self) -> Self {
        self.set("nullable", true)
    }

    /// Fields that must be given.
    pub(super) fn required(self, names: &[&str]) -> Self {
        self.set("required", names)
    }

    /// Further fields of an object.
    pub(super) fn with<'a>(mut self, fields: impl IntoIterator<Item = (&'a str, Schema)>) -> Self {
        if let Some(Value::Object(present)) = self.0.get_mut("properties") {
            present
                .extend(fields.into_iter().map(|(name, schema)| (name.to_owned(), Value::Object(schema.0))));
            present.sort_keys();
        }
        self
    }

    /// Fields that are not in the schema are kept, not pruned.
    pub(super) fn open(self) -> Self {
        self.set("x-kubernetes-preserve-unknown-fields", true)
    }

    /// The spelling that the API server checks: `byte`, `date-time`.
    pub(super) fn format(self, name: &str) -> Self {
        self.set("format", name)
    }

    /// A pattern for the whole of a text.
    pub(super) fn pattern(self, pattern: &str) -> Self {
        self.set("pattern", pattern)
    }

    pub(super) fn at_least(self, least: u32) -> Self {
        self.set("minimum", least)
    }

    pub(super) fn at_most(self, most: u32) -> Self {
        self.set("maximum", most)
    }

    /// A text of one character at least.
    pub(super) fn not_empty(self) -> Self {
        self.set("minLength", 1)
    }

    pub(super) fn max_length(self, most: u32) -> Self {
        self.set("maxLength", most)
    }

    pub(super) fn min_items(self, least: u32) -> Self {
        self.set("minItems", least)
    }

    /// A bound on lists is also what lets the API server say beforehand what a rule may cost at most.
    pub(super) fn max_items(self, most: u32) -> Self {
        self.set("maxItems", most)
    }

    pub(super) fn min_entries(self, least: u32) -> Self {
        self.set("minProperties", least)
    }

    pub(super) fn max_entries(self, most: u32) -> Self {
        self.set("maxProperties", most)
    }

    /// A list whose elements are named by this field: no two alike, and server-side apply merges by it.
    pub(super) fn keyed_by(self, field: &str) -> Self {
        self.set("x-kubernetes-list-type", "map").set("x-kubernetes-list-map-keys", [field].as_slice())
    }

    /// A rule in CEL, and what the user is told when it does not hold.
    pub(super) fn rule(mut self, rule: &str, message: &str) -> Self {
        let rules = self.0.entry("x-kubernetes-validations").or_insert_with(|| json!([]));
        if let Value::Array(rules) = rules {
            rules.push(json!({"rule": rule, "message": message}));
        }
        self
    }

    /// A protobuf `oneof`: none of these fields, or one. That none is fine is Istio's schema; its webhook may say otherwise.
    pub(super) fn at_most_one(self, names: &[&str]) -> Self {
        let each: Vec<Value> = names.iter().map(|name| json!({"required": [name]})).collect();
        let mut branches = vec![json!({"not": {"anyOf": each}})];
        branches.extend(each);
        self.set("oneOf", Value::Array(branches))
    }

    /// Several [`Schema::at_most_one`] of one object.
    pub(super) fn at_most_one_of_each(self, groups: &[&[&str]]) -> Self {
        let all = groups.iter().map(|names| Value::Object(Self(Map::new()).at_most_one(names).0)).collect();
        self.set("allOf", Value::Array(all))
    }

    /// No more than one of these fields, said by a rule, hence with a message.
    pub(super) fn only_one(self, names: &[&str]) -> Self {
        // In pairs: what counts them would be charged by the API server as a loop, too dear in a list without a bound.
        let mut pairs = Vec::new();
        for (index, one) in names.iter().enumerate() {
            for other in &names[..index] {
                pairs.push(format!("!(has(self.{other}) && has(self.{one}))"));
            }
        }
        self.rule(&pairs.join(" && "), &format!("only one of {} can be set", names.join(", ")))
    }

    /// As JSON.
    pub(super) fn into_value(self) -> Value {
        Value::Object(self.0)
    }
}

/// A value of a schema's keyword.
struct Json(Value);

macro_rules! json_from {
    ($($from:ty),*) => {
        $(impl From<$from> for Json {
            fn from(value: $from) -> Self {
                Self(value.into())
            }
        })*
    };
}

json_from!(&str, &[&str], bool, u32, i32, Value, Map<String, Value>);
