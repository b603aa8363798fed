//! Messages whose type is known only when the program runs: bytes in one order, and one merged into another.
//!
//! Must not know: who merges what, and why.   Start at [`canonical`] and [`merge`].
//! Invariant: equal messages give equal bytes, also inside what `Any` holds (prost-reflect keeps maps in no order).

use prost::Message;
use prost::bytes::Bytes;
use prost_reflect::{DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};

use crate::json::{JsonError, pool};

/// How lists are merged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lists {
    /// What comes is put after what is there.
    #[default]
    Append,
    /// What comes replaces what is there.
    Replace,
}

/// The bytes of a message: fields by number, maps by key.
pub fn canonical(message: &DynamicMessage) -> Vec<u8> {
    let mut out = Vec::new();
    write(message, &mut out);
    out
}

/// The message of that name (or type URL) that the bytes are.
///
/// # Errors
/// When the type is unknown or the bytes do not decode.
pub fn decode(type_url: &str, bytes: &[u8]) -> Result<DynamicMessage, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    DynamicMessage::decode(descriptor, bytes)
        .map_err(|source| JsonError::Decode { name: name.to_owned(), source })
}

/// The bytes of `into` with `from` merged in, both of that type: what `from` sets replaces what is there, messages are merged field by
/// field, lists as `lists` says, entries of maps replace those of the same key, and a span of time replaces the one that is there as a
/// whole (Istio: pkg/proto/merge).
///
/// # Errors
/// When the type is unknown or the bytes do not decode.
pub fn merge(type_url: &str, into: &[u8], from: &[u8], lists: Lists) -> Result<Vec<u8>, JsonError> {
    let mut merged = decode(type_url, into)?;
    merge_message(&mut merged, &decode(type_url, from)?, lists);
    Ok(canonical(&merged))
}

fn merge_message(into: &mut DynamicMessage, from: &DynamicMessage, lists: Lists) {
    for (field, value) in from.fields() {
        if !into.has_field(&field) {
            into.set_field(&field, value.clone());
            continue;
        }
        match (into.get_field_mut(&field), value) {
            (Value::List(before), Value::List(values)) => {
                if lists == Lists::Replace {
                    before.clear();
                }
                before.extend(values.iter().cloned());
            }
            (Value::Map(before), Value::Map(entries)) => {
                before.extend(entries.iter().map(|(key, value)| (key.clone(), value.clone())));
            }
            (Value::Message(before), Value::Message(message))
                if before.descriptor().full_name() != "google.protobuf.Duration" =>
            {
                merge_message(before, message, lists);
            }
            (before, value) => *before = value.clone(),
        }
    }
}

fn write(message: &DynamicMessage, out: &mut Vec<u8>) {
    if message.descriptor().full_name() == "google.protobuf.Any" {
        write_plain(&opened(message), out);
        return;
    }
    for (field, value) in message.fields() {
        match (value, field.kind()) {
            (Value::Map(entries), Kind::Message(entry)) => {
                let mut sorted: Vec<(&MapKey, &Value)> = entries.iter().collect();
                sorted.sort_by(|one, other| order(one.0, other.0));
                for (key, value) in sorted {
                    let mut one = DynamicMessage::new(entry.clone());
                    one.set_field(&entry.map_entry_key_field(), key.clone().into());
                    one.set_field(&entry.map_entry_value_field(), value.clone());
                    let mut inner = Vec::new();
                    write(&one, &mut inner);
                    length_delimited(&field, &inner, out);
                }
            }
            (Value::Message(inner), _) if !field.is_group() => {
                length_delimited(&field, &canonical(inner), out);
            }
            (Value::List(values), Kind::Message(_)) if !field.is_group() => {
                for inner in values.iter().filter_map(Value::as_message) {
                    length_delimited(&field, &canonical(inner), out);
                }
            }
            _ => {
                let mut one = DynamicMessage::new(message.descriptor());
                one.set_field(&field, value.clone());
                write_plain(&one, out);
            }
        }
    }
    for unknown in message.unknown_fields() {
        unknown.encode(out);
    }
}

/// A message without maps.
fn write_plain(message: &DynamicMessage, out: &mut Vec<u8>) {
    out.extend_from_slice(&message.encode_to_vec());
}

/// An `Any` whose content has its bytes in order; one whose type is not known stays as it is.
fn opened(any: &DynamicMessage) -> DynamicMessage {
    let mut opened = any.clone();
    let type_url = any.get_field_by_name("type_url");
    let value = any.get_field_by_name("value");
    let (Some(type_url), Some(value)) = (
        type_url.as_ref().and_then(|field| field.as_str()),
        value.as_ref().and_then(|field| field.as_bytes()),
    ) else {
        return opened;
    };
    if let Ok(inner) = decode(type_url, value) {
        opened.set_field_by_name("value", Value::Bytes(Bytes::from(canonical(&inner))));
    }
    opened
}

fn length_delimited(field: &FieldDescriptor, inner: &[u8], out: &mut Vec<u8>) {
    let number = field.number();
    prost::encoding::encode_key(number, prost::encoding::WireType::LengthDelimited, out);
    prost::encoding::encode_varint(inner.len() as u64, out);
    out.extend_from_slice(inner);
}

fn order(one: &MapKey, other: &MapKey) -> std::cmp::Ordering {
    match (one, other) {
        (MapKey::String(one), MapKey::String(other)) => one.cmp(other),
        (MapKey::Bool(one), MapKey::Bool(other)) => one.cmp(other),
        _ => number(one).cmp(&number(other)),
    }
}

fn number(key: &MapKey) -> i128 {
    match key {
        MapKey::I32(value) => (*value).into(),
        MapKey::I64(value) => (*value).into(),
        MapKey::U32(value) => (*value).into(),
        MapKey::U64(value) => (*value).into(),
        MapKey::Bool(_) | MapKey::String(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::{Lists, merge};
    use crate::envoy::config::cluster::v3::Cluster;
    use crate::json::{from_json, to_json};
    use prost::Message;
    use serde_json::{Value, json};

    const CLUSTER: &str = "envoy.config.cluster.v3.Cluster";

    fn merged(into: &Value, from: &Value, lists: Lists) -> Value {
        let bytes = |json| from_json(CLUSTER, json).unwrap();
        to_json(CLUSTER, &merge(CLUSTER, &bytes(into), &bytes(from), lists).unwrap()).unwrap()
    }

    #[test]
    fn equal_messages_have_equal_bytes_also_in_what_any_holds() {
        let entries: serde_json::Map<_, _> =
            (0..40).map(|n| (format!("k{n}"), json!({"a": {"b": n}, "c": 1}))).collect();
        let bytes = || {
            let options = json!({
                "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
                "metadata": {"filter_metadata": entries},
            });
            let cluster = json!({
                "name": "c",
                "metadata": {"filter_metadata": entries},
                "typed_extension_protocol_options": {"x": options, "a": options},
            });
            from_json(CLUSTER, &cluster).unwrap()
        };
        let first = bytes();
        assert!((0..20).all(|_| bytes() == first));
        // The typed messages, whose maps are sorted, give the same ones.
        assert_eq!(Cluster::decode(first.as_slice()).unwrap().encode_to_vec(), first);
    }

    #[test]
    fn what_comes_replaces_values_and_spans_of_time_and_is_put_after_lists() {
        let into = json!({
            "name": "c", "connect_timeout": "1.500s",
            "circuit_breakers": {"thresholds": [{"max_requests": 1}]},
            "metadata": {"filter_metadata": {"a": {"x": "1"}, "b": {"x": "1"}}},
        });
        let from = json!({
            "connect_timeout": "2s",
            "circuit_breakers": {"thresholds": [{"max_requests": 2}]},
            "metadata": {"filter_metadata": {"a": {"y": "2"}}},
        });
        let both = merged(&into, &from, Lists::Append);
        assert_eq!(both["connect_timeout"], "2s", "no half second stays behind");
        assert_eq!(both["circuit_breakers"]["thresholds"].as_array().unwrap().len(), 2);
        assert_eq!(both["metadata"]["filter_metadata"], json!({"a": {"y": "2"}, "b": {"x": "1"}}));
        let replaced = merged(&into, &from, Lists::Replace);
        assert_eq!(replaced["circuit_breakers"]["thresholds"], json!([{"max_requests": 2}]));
        assert_eq!(replaced["name"], "c");
    }

    #[test]
    fn of_alternatives_the_one_that_comes_stays() {
        let both = merged(&json!({"type": "EDS"}), &json!({"cluster_type": {"name": "x"}}), Lists::Append);
        assert_eq!((both.get("type"), &both["cluster_type"]["name"]), (None, &json!("x")));
    }
}
