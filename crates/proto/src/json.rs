//! Any message of the compiled set as protobuf JSON: for goldens, debug pages, `meltemi translate`.

use std::sync::OnceLock;

use prost_reflect::{
    DescriptorPool, DeserializeOptions, DynamicMessage, Kind, MessageDescriptor, ReflectMessage,
    SerializeOptions,
};
use serde_json::Value;

use crate::dynamic;

/// Why bytes could not be shown as JSON, or JSON not be read as a message.
#[derive(Debug, thiserror::Error)]
pub enum JsonError {
    /// No message of that name is compiled in.
    #[error("`{0}` is not a message that this build knows")]
    UnknownType(String),
    /// The bytes are not a message of that type.
    #[error("not a valid {name}: {source}")]
    Decode {
        /// Full name of the message.
        name: String,
        /// What the decoder said.
        source: prost::DecodeError,
    },
    /// The JSON does not fit the message.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// All descriptors compiled by build.rs.
pub fn pool() -> &'static DescriptorPool {
    static POOL: OnceLock<DescriptorPool> = OnceLock::new();
    POOL.get_or_init(|| {
        let bytes: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
        // The bytes were written by this crate's own build; an empty pool would show every type as unknown.
        DescriptorPool::decode(bytes).unwrap_or_default()
    })
}

/// The bytes of a message as protobuf JSON; field names in snake case, as Envoy's documentation and its config dump write them.
///
/// `type_url` may be the full name or a type URL. `Any` fields are opened.
///
/// # Errors
/// When the type is unknown or the bytes do not decode.
pub fn to_json(type_url: &str, bytes: &[u8]) -> Result<Value, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let message = DynamicMessage::decode(descriptor, bytes)
        .map_err(|source| JsonError::Decode { name: name.to_owned(), source })?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    let mut json = message.serialize_with_options(serde_json::value::Serializer, &options)?;
    sort_maps(&mut json, &message.descriptor());
    Ok(json)
}

/// Sorts the entries of Protobuf maps, which prost-reflect keeps in no order; fields stay in that of their message.
fn sort_maps(json: &mut Value, descriptor: &MessageDescriptor) {
    let Value::Object(fields) = json else { return };
    let opened = fields.get("@type").and_then(Value::as_str).and_then(|name| name.rsplit('/').next());
    let opened = opened.and_then(|name| pool().get_message_by_name(name));
    if let Some(opened) = opened.filter(|opened| opened != descriptor) {
        return sort_maps(json, &opened);
    }
    for (name, value) in fields {
        let Some(field) = descriptor.get_field_by_name(name) else { continue };
        if field.is_map() {
            let Value::Object(entries) = value else { continue };
            entries.sort_keys();
            let Kind::Message(entry) = field.kind() else { continue };
            let Kind::Message(of_values) = entry.map_entry_value_field().kind() else { continue };
            entries.values_mut().for_each(|entry| sort_maps(entry, &of_values));
        } else if let Kind::Message(inner) = field.kind() {
            match value {
                Value::Array(values) => values.iter_mut().for_each(|value| sort_maps(value, &inner)),
                value => sort_maps(value, &inner),
            }
        }
    }
}

/// Protobuf JSON (either spelling of field names) as the bytes of a message, the same for equal messages.
///
/// # Errors
/// When the type is unknown or the JSON does not fit it; unknown fields are errors.
pub fn from_json(type_url: &str, json: &Value) -> Result<Vec<u8>, JsonError> {
    read(type_url, json, true)
}

/// The same; fields that the message does not have are passed over.
///
/// # Errors
/// When the type is unknown or the JSON does not fit it.
pub fn from_json_tolerant(type_url: &str, json: &Value) -> Result<Vec<u8>, JsonError> {
    read(type_url, json, false)
}

fn read(type_url: &str, json: &Value, strict: bool) -> Result<Vec<u8>, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let options = DeserializeOptions::new().deny_unknown_fields(strict);
    let message = DynamicMessage::deserialize_with_options(descriptor, json, &options)?;
    Ok(dynamic::canonical(&message))
}

#[cfg(test)]
mod tests {
    use super::{from_json, to_json};

    #[test]
    fn entries_of_maps_are_in_order_also_in_what_any_holds() {
        let names = ["g", "c", "a", "h", "e", "b", "f", "d"];
        let entries: serde_json::Map<_, _> =
            names.iter().map(|name| ((*name).to_owned(), serde_json::json!({"x": 1}))).collect();
        let cluster = serde_json::json!({
            "@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster",
            "name": "c",
            "metadata": {"filter_metadata": entries},
        });
        let any = from_json("google.protobuf.Any", &cluster).unwrap();
        let shown = to_json("google.protobuf.Any", &any).unwrap();
        let keys: Vec<&String> = shown["metadata"]["filter_metadata"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["a", "b", "c", "d", "e", "f", "g", "h"]);
        // Fields of a message stay in its own order.
        let fields: Vec<&String> = shown.as_object().unwrap().keys().collect();
        assert_eq!(fields, ["@type", "name", "metadata"]);
    }
}
