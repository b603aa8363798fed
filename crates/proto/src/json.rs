//! Any message of the compiled set as protobuf JSON: for goldens, debug pages, `meltemi translate`.

use std::sync::OnceLock;

use prost_reflect::{DescriptorPool, DeserializeOptions, DynamicMessage, SerializeOptions};

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
pub fn to_json(type_url: &str, bytes: &[u8]) -> Result<serde_json::Value, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let message = DynamicMessage::decode(descriptor, bytes)
        .map_err(|source| JsonError::Decode { name: name.to_owned(), source })?;
    let options = SerializeOptions::new().use_proto_field_name(true).stringify_64_bit_integers(false);
    Ok(message.serialize_with_options(serde_json::value::Serializer, &options)?)
}

/// Protobuf JSON (either spelling of field names) as the bytes of a message.
///
/// # Errors
/// When the type is unknown or the JSON does not fit it; unknown fields are errors.
pub fn from_json(type_url: &str, json: &serde_json::Value) -> Result<Vec<u8>, JsonError> {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    let descriptor =
        pool().get_message_by_name(name).ok_or_else(|| JsonError::UnknownType(name.to_owned()))?;
    let options = DeserializeOptions::new().deny_unknown_fields(true);
    let message = DynamicMessage::deserialize_with_options(descriptor, json, &options)?;
    Ok(prost::Message::encode_to_vec(&message))
}
