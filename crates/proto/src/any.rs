//! Packing messages into `google.protobuf.Any`, and back.

use bytes::Bytes;
use prost::{Message, Name};

use crate::google::protobuf::Any;

/// `message` as an `Any` under its own type URL (`type.googleapis.com/<full name>`).
pub fn pack<M: Message + Name>(message: &M) -> Any {
    Any { type_url: M::type_url(), value: Bytes::from(message.encode_to_vec()) }
}

/// The message inside `any`, if it is an `M`.
///
/// # Errors
/// When the type URL names another message, or the bytes do not decode.
pub fn unpack<M: Message + Name + Default>(any: &Any) -> Result<M, prost::DecodeError> {
    let expected = M::type_url();
    if any.type_url == expected {
        M::decode(any.value.clone())
    } else {
        Err(prost::DecodeError::new_unexpected_type_url(&any.type_url, expected))
    }
}
