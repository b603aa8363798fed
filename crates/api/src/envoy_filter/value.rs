//! The value of a patch, as a message of Envoy's.

use meltemi_proto::json::{JsonError, from_json_tolerant};
use serde_json::Value;

use super::ApplyTo;

/// Why a value cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadValue {
    /// Nothing is patched that has such a value.
    #[error("nothing is patched by it")]
    Nothing,
    /// An extension that only Istio's build of Envoy has.
    #[error("`{0}` is of Istio's own proxy: Envoy has no such extension")]
    NotInEnvoy(String),
    /// No such message.
    #[error("{}", words(.0))]
    Json(#[from] JsonError),
}

/// The bytes of the message that a value is. Fields that the message does not have are passed over: they may be another version's
/// (Istio: pkg/config/xds).
///
/// # Errors
/// When it is no such message, or Envoy has no such extension.
pub fn message(apply_to: ApplyTo, value: &Value) -> Result<Vec<u8>, BadValue> {
    let name = apply_to.message().ok_or(BadValue::Nothing)?;
    if let Some(own) = of_istio(value) {
        return Err(BadValue::NotInEnvoy(own.to_owned()));
    }
    Ok(from_json_tolerant(name, value)?)
}

/// The reader's words without the place in a text that nobody wrote.
pub(crate) fn words(error: &JsonError) -> String {
    let text = error.to_string();
    match text.rfind(" at line ") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

/// The type of an extension within that only Istio's build of Envoy has.
fn of_istio(value: &Value) -> Option<&str> {
    match value {
        Value::Object(fields) => {
            let own = ["@type", "type_url", "typeUrl"].iter().find_map(|name| {
                fields.get(*name).and_then(Value::as_str).filter(|type_url| is_istios_type(type_url))
            });
            own.or_else(|| fields.values().find_map(of_istio))
        }
        Value::Array(values) => values.iter().find_map(of_istio),
        _ => None,
    }
}

fn is_istios_type(type_url: &str) -> bool {
    let name = type_url.rsplit('/').next().unwrap_or(type_url);
    ["istio.", "io.istio.", "stats.PluginConfig"].iter().any(|own| name.starts_with(own))
}
