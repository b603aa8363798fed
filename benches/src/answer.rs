//! One `DeltaDiscoveryResponse`, read where it lies: a first answer is thousands of names and versions, of which nothing is kept.
//!
//! Knows: the field numbers of that message. Must not know: what a resource says.
//! Invariant: it holds what prost would have read.

use anyhow::{Context, Result, bail};
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

/// An answer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Of what.
    pub type_url: &'a str,
    /// What an acknowledgement repeats.
    pub nonce: &'a str,
    /// What it brings.
    pub resources: Vec<Entry<'a>>,
    /// The names that it takes away.
    pub removed: Vec<&'a str>,
}

/// One resource of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its name. Whether this and the version are text is seen where they are kept, once for all sidecars.
    pub name: &'a [u8],
    /// Its version; some servers give none.
    pub version: &'a [u8],
    /// The encoded `Any`.
    pub resource: &'a [u8],
}

impl<'a> Answer<'a> {
    /// Reads one.
    ///
    /// # Errors
    /// When the bytes are no such message.
    pub fn read(message: &'a [u8]) -> Result<Self> {
        let mut answer = Self::default();
        // Of `envoy.service.discovery.v3.DeltaDiscoveryResponse`.
        fields(message, |number, value| {
            match number {
                2 => answer.resources.push(Entry::read(value)?),
                4 => answer.type_url = std::str::from_utf8(value)?,
                5 => answer.nonce = std::str::from_utf8(value)?,
                6 => answer.removed.push(std::str::from_utf8(value)?),
                _ => {}
            }
            Ok(())
        })
        .context("no discovery response")?;
        Ok(answer)
    }
}

impl<'a> Entry<'a> {
    fn read(message: &'a [u8]) -> Result<Self> {
        let mut entry = Self::default();
        // Of `envoy.service.discovery.v3.Resource`.
        fields(message, |number, value| {
            match number {
                1 => entry.version = value,
                2 => entry.resource = value,
                3 => entry.name = value,
                _ => {}
            }
            Ok(())
        })?;
        Ok(entry)
    }
}

/// The fields of a message that are bytes, in their order.
fn fields<'a>(mut message: &'a [u8], mut take: impl FnMut(u32, &'a [u8]) -> Result<()>) -> Result<()> {
    while !message.is_empty() {
        let (number, wire_type) = decode_key(&mut message)?;
        if wire_type != WireType::LengthDelimited {
            skip_field(wire_type, number, &mut message, DecodeContext::default())?;
            continue;
        }
        let length = prost::decode_length_delimiter(&mut message)?;
        let Some((value, rest)) = message.split_at_checked(length) else {
            bail!("field {number} announces {length} bytes, and {} are there", message.len());
        };
        take(number, value)?;
        message = rest;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
    use meltemi_proto::google::protobuf::Any;
    use prost::Message as _;

    use super::*;

    fn full() -> DeltaDiscoveryResponse {
        let resource = |name: &str, bytes: usize| Resource {
            name: name.to_owned(),
            version: "v1".to_owned(),
            resource: Some(Any { type_url: "t".to_owned(), value: vec![7; bytes].into() }),
            // Fields that nobody here reads.
            aliases: vec!["other".to_owned()],
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            system_version_info: "s".to_owned(),
            type_url: "type".to_owned(),
            nonce: "n".to_owned(),
            resources: vec![resource("a", 0), resource("b", 300), Resource::default()],
            removed_resources: vec!["c".to_owned(), "d".to_owned()],
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn what_prost_wrote_is_read() {
        let message = full();
        let any = |resource: &Resource| resource.resource.as_ref().map(prost::Message::encode_to_vec);
        let anys: Vec<Vec<u8>> =
            message.resources.iter().map(|resource| any(resource).unwrap_or_default()).collect();
        let entries = message.resources.iter().zip(&anys);
        let meant = Answer {
            type_url: "type",
            nonce: "n",
            resources: entries
                .map(|(Resource { name, version, .. }, resource)| Entry {
                    name: name.as_bytes(),
                    version: version.as_bytes(),
                    resource,
                })
                .collect(),
            removed: vec!["c", "d"],
        };
        let mut bytes = message.encode_to_vec();
        // A field of a later protocol: number 15, a 5.
        bytes.extend([15 << 3, 5]);
        assert_eq!(Answer::read(&bytes).unwrap(), meant);
    }

    #[test]
    fn half_a_message_is_an_error_where_prost_says_so() {
        let bytes = full().encode_to_vec();
        for length in 0..bytes.len() {
            let is_whole = DeltaDiscoveryResponse::decode(&bytes[..length]).is_ok();
            assert_eq!(Answer::read(&bytes[..length]).is_ok(), is_whole, "{length} bytes");
        }
    }
}
