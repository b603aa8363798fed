//! Readings of plain fields in protobuf's sense: the zero value means "not set".

use meltemi_names::Port;
use serde::de::{Deserialize, Deserializer, Error, Unexpected, Visitor};

/// A text; the empty one is not set.
pub(crate) fn non_empty<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.filter(|text| !text.is_empty()))
}

/// Istio's message `PortSelector`, `{number: 80}`; 0 is not set.
pub(crate) fn optional_port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Port>, D::Error> {
    #[derive(serde::Deserialize)]
    struct Selector {
        #[serde(default, deserialize_with = "port_or_zero")]
        number: Option<Port>,
    }
    Ok(Option::<Selector>::deserialize(deserializer)?.and_then(|selector| selector.number))
}

/// The number of a port; 0 is not set.
pub(crate) fn port_or_zero<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Port>, D::Error> {
    match Option::<u32>::deserialize(deserializer)? {
        None | Some(0) => Ok(None),
        Some(number) => Port::new(number)
            .map(Some)
            .ok_or_else(|| D::Error::custom(format!("a port is 1 to 65535, found {number}"))),
    }
}

/// A 64-bit number that may be negative, in either form.
pub(crate) fn signed_integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = i64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number")
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<i64, E> {
            i64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Unsigned(number), &self))
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<i64, E> {
            Ok(number)
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<i64, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}

/// A 64-bit number, which protobuf JSON writes as a text and YAML as a number.
pub(crate) fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    struct Either;
    impl Visitor<'_> for Either {
        type Value = u64;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a whole number, 0 or more")
        }
        fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
            Ok(number)
        }
        fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
            u64::try_from(number).map_err(|_| E::invalid_value(Unexpected::Signed(number), &self))
        }
        fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
            text.parse().map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
        }
    }
    deserializer.deserialize_any(Either).map(Some)
}
