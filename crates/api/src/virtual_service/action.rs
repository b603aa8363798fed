//! What a rule does: answers, rewrites, retries, faults, mirrors and header changes.

use std::collections::BTreeMap;

use base64::Engine as _;
use meltemi_names::Port;
use serde::de::{Deserialize, Deserializer, Error};

use super::Destination;
use crate::markers::Unread;
use crate::value::{Duration, HeaderName, HttpStatus, Percent, Regex, non_empty, port_or_zero};

/// An answer that sends the client elsewhere; parts not given stay as in the request.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Redirect {
    /// Replaces the whole path.
    #[serde(deserialize_with = "non_empty")]
    pub uri: Option<String>,
    /// Replaces the matched prefix.
    #[serde(deserialize_with = "non_empty")]
    pub prefix_rewrite: Option<String>,
    /// Replaces the authority.
    #[serde(deserialize_with = "non_empty")]
    pub authority: Option<String>,
    /// Replaces the port.
    #[serde(deserialize_with = "port_or_zero")]
    pub port: Option<Port>,
    /// Where the port comes from when none is given.
    pub derive_port: Option<DerivePort>,
    /// `http` or `https`.
    #[serde(deserialize_with = "non_empty")]
    pub scheme: Option<String>,
    /// None: 301.
    pub redirect_code: Option<HttpStatus>,
}

/// Where a redirect's port comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DerivePort {
    /// 80 or 443 by the scheme: none is written.
    FromProtocolDefault,
    /// The port that the request came to.
    FromRequestPort,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct DirectResponse {
    /// Its code.
    pub status: HttpStatus,
    /// Its body, if any.
    #[serde(default)]
    pub body: Option<Body>,
}

/// The body of a fixed answer: written as `string`, or as `bytes` in base64.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(pub Vec<u8>);

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        struct Written {
            string: Option<String>,
            bytes: Option<String>,
        }
        let written = Written::deserialize(deserializer)?;
        match (written.string, written.bytes) {
            (Some(_), Some(_)) => Err(D::Error::custom("only one of string and bytes may be given")),
            (string, None) => Ok(Self(string.unwrap_or_default().into_bytes())),
            (None, Some(bytes)) => base64::engine::general_purpose::STANDARD
                .decode(&bytes)
                .map(Self)
                .map_err(|error| D::Error::custom(format!("bytes must be base64: {error}"))),
        }
    }
}

/// What the server sees instead of what the client sent.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Rewrite {
    /// Replaces the path, or the matched prefix.
    #[serde(deserialize_with = "non_empty")]
    pub uri: Option<String>,
    /// Replaces the authority.
    #[serde(deserialize_with = "non_empty")]
    pub authority: Option<String>,
    /// Replaces parts of the path.
    pub uri_regex_rewrite: Option<RegexRewrite>,
}

/// How a path is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UriRewrite<'a> {
    /// The matched prefix, or the whole path of an exact match, becomes this.
    Replace(&'a str),
    /// By regular expression.
    Regex(&'a RegexRewrite),
}

impl Rewrite {
    /// The rewrite of the path; the regular expression counts before the plain one.
    pub fn of_uri(&self) -> Option<UriRewrite<'_>> {
        match (&self.uri_regex_rewrite, &self.uri) {
            (Some(regex), _) => Some(UriRewrite::Regex(regex)),
            (None, Some(uri)) => Some(UriRewrite::Replace(uri)),
            (None, None) => None,
        }
    }
}

/// A rewrite by regular expression.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct RegexRewrite {
    /// What is found.
    #[serde(rename = "match")]
    pub pattern: Regex,
    /// What stands there instead; `\1` is the first group.
    #[serde(default)]
    pub rewrite: String,
}

/// How a failed request is tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Retries {
    /// How often at most; 0: never.
    pub attempts: u32,
    /// Of each try.
    pub per_try_timeout: Option<Duration>,
    /// Envoy's conditions and status codes, by comma; none: the default.
    #[serde(deserialize_with = "non_empty")]
    pub retry_on: Option<String>,
    /// Whether tries may go to other localities.
    pub retry_remote_localities: Option<bool>,
    /// Whether a try avoids the hosts that failed; none: yes.
    pub retry_ignore_previous_hosts: Option<bool>,
    /// The first pause between tries; none: Envoy's 25 ms.
    pub backoff: Option<Duration>,
}

/// Faults made on purpose.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Fault {
    /// Wait first.
    pub delay: Option<Delay>,
    /// Answer with an error.
    pub abort: Option<Abort>,
}

/// A wait before the request goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Delay {
    /// How long.
    pub fixed_delay: Option<Duration>,
    /// Of which requests; read [`Delay::share`].
    pub percentage: Option<Percent>,
    /// Older spelling.
    pub percent: Option<u32>,
    /// Refused, as by Istio.
    pub exponential_delay: Option<Unread>,
}

impl Delay {
    /// The share of requests that wait; none written is none delayed (Istio: networking/core/route).
    pub fn share(&self) -> Percent {
        self.percentage
            .or_else(|| self.percent.map(|percent| Percent::whole(percent).unwrap_or(Percent::ALL)))
            .unwrap_or(Percent::NONE)
    }
}

/// An error instead of the server's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Abort {
    /// The answer's code.
    pub http_status: Option<HttpStatus>,
    /// The answer's gRPC status by name, such as `UNAVAILABLE`.
    #[serde(deserialize_with = "non_empty")]
    pub grpc_status: Option<String>,
    /// Of which requests; none written is none.
    pub percentage: Option<Percent>,
    /// Refused, as by Istio.
    pub http2_error: Option<Unread>,
}

impl Abort {
    /// The share of requests that fail; none written is none (Istio: networking/core/route).
    pub fn share(&self) -> Percent {
        self.percentage.unwrap_or(Percent::NONE)
    }

    /// The number of `grpcStatus`; none if there is none of that name.
    pub fn grpc_code(&self) -> Option<u32> {
        let name = self.grpc_status.as_deref()?;
        GRPC_STATUS.iter().position(|code| *code == name).and_then(|code| u32::try_from(code).ok())
    }
}

/// The codes of gRPC by name, in the order of their numbers (grpc: doc/statuscodes.md); `OK` is no fault.
pub(crate) const GRPC_STATUS: &[&str] = &[
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// A copy of the request, whose answer nobody sees.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct Mirror {
    /// Where to.
    pub destination: Destination,
    /// None: all.
    #[serde(default)]
    pub percentage: Option<Percent>,
}

/// Changes of the headers of requests and answers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct HeaderOperations {
    /// Before the request goes on.
    pub request: HeaderChange,
    /// Before the answer goes back.
    pub response: HeaderChange,
}

impl HeaderOperations {
    /// Changes nothing.
    pub fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

/// Changes in one direction.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct HeaderChange {
    /// Overwritten.
    pub set: BTreeMap<HeaderName, String>,
    /// Appended.
    pub add: BTreeMap<HeaderName, String>,
    /// Taken away.
    pub remove: Vec<HeaderName>,
}

impl HeaderChange {
    /// Changes nothing.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }

    /// The authority that an operation on `host` or `:authority` sets; `set` counts before `add`.
    pub fn authority(&self) -> Option<&str> {
        [&self.set, &self.add]
            .into_iter()
            .flat_map(BTreeMap::iter)
            .find(|(name, _)| name.is_authority())
            .map(|(_, value)| value.as_str())
    }
}
