//! Formats of access logs: text with Envoy's command operators between `%`.
//!
//! Knows: the operators of Envoy 1.40 and how each is written (each was given to Envoy). Must not know who logs.
//! Invariant: a format that passes is one that Envoy takes: one that it does not would cost every listener.

use super::Cel;

/// Why Envoy would not take a format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogFormatError {
    /// A `%` that begins nothing.
    #[error("the `%` before `{0}` begins no command operator; a percent sign is written `%%`")]
    Form(String),
    /// No operator of that name.
    #[error("`%{0}%` is no command operator of Envoy")]
    Unknown(String),
    /// The operator is written otherwise.
    #[error("`%{name}%` takes {takes}")]
    Argument {
        /// The operator.
        name: String,
        /// What it takes.
        takes: &'static str,
    },
    /// The expression of `%CEL(...)%`.
    #[error("`%CEL({0})%` is {1}")]
    Expression(String, super::CelFault),
}

/// Operators that stand alone.
const ALONE: &[&str] = &[
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "CUSTOM_FLAGS",
    "DOWNSTREAM_CX_RTT",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "DOWNSTREAM_DETECTED_CLOSE_TYPE",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_HANDSHAKE_DURATION",
    "DOWNSTREAM_HEADER_BYTES_RECEIVED",
    "DOWNSTREAM_HEADER_BYTES_SENT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID",
    "DOWNSTREAM_LOCAL_CLOSE_REASON",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_OTHERNAME_SAN",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1",
    "DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256",
    "DOWNSTREAM_PEER_CHAIN_SERIALS",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_IP_SAN",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER_SERIAL",
    "DOWNSTREAM_PEER_OTHERNAME_SAN",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_GROUP",
    "DOWNSTREAM_TLS_SESSION_ID",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DOWNSTREAM_WIRE_BYTES_RECEIVED",
    "DOWNSTREAM_WIRE_BYTES_SENT",
    "DURATION",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "LISTENER_NAME",
    "LOCAL_REPLY_BODY",
    "PROTOCOL",
    "REQUESTED_SERVER_NAME",
    "REQUEST_DURATION",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "RESPONSE_CODE",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TX_DURATION",
    "ROUTE_NAME",
    "ROUTE_RESOLUTION_COUNT",
    "ROUTE_RESOLUTION_TIME_US",
    "SPAN_ID",
    "STREAM_ID",
    "TLS_JA3_FINGERPRINT",
    "TLS_JA4_FINGERPRINT",
    "TRACE_ID",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_IDS_ATTEMPTED",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED",
    "UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT",
    "UPSTREAM_DETECTED_CLOSE_TYPE",
    "UPSTREAM_HEADER_BYTES_RECEIVED",
    "UPSTREAM_HEADER_BYTES_SENT",
    "UPSTREAM_HOST",
    "UPSTREAM_HOSTS_ATTEMPTED",
    "UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAMES_ATTEMPTED",
    "UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_CLOSE_REASON",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_SERVER_NAME",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_GROUP",
    "UPSTREAM_TLS_SESSION_ID",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "UPSTREAM_WIRE_BYTES_RECEIVED",
    "UPSTREAM_WIRE_BYTES_SENT",
    "VIRTUAL_CLUSTER_NAME",
];

/// Operators that may have an argument.
const FREE: &[&str] = &[
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "EMIT_TIME",
    "EMIT_TIME_LOCAL",
    "RESPONSE_CODE_DETAILS",
    "START_TIME",
    "START_TIME_LOCAL",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
];

/// Operators of a header, or of one and another in its place.
const HEADERS: &[&str] =
    &["REQ", "REQUEST_HEADER", "REQ_WITHOUT_QUERY", "RESP", "RESPONSE_HEADER", "RESPONSE_TRAILER", "TRAILER"];

/// Operators that need an argument.
const KEYED: &[&str] =
    &["CLUSTER_METADATA", "DYNAMIC_METADATA", "ENVIRONMENT", "QUERY_PARAM", "UPSTREAM_METADATA"];

/// What `%METADATA(TYPE:...)%` may be of.
const METADATA: &[&str] =
    &["DYNAMIC", "CLUSTER", "ROUTE", "UPSTREAM_HOST", "LISTENER", "LISTENER_FILTER_CHAIN", "VIRTUAL_HOST"];

/// The operator that Envoy knows by an extension alone.
pub const WITHOUT_QUERY: &str = "%REQ_WITHOUT_QUERY(";

/// Whether Envoy takes `format`.
///
/// # Errors
/// The first operator that it does not take.
pub fn check_log_format(format: &str) -> Result<(), LogFormatError> {
    let mut rest = format;
    while let Some(at) = rest.find('%') {
        let after = rest.get(at + 1..).unwrap_or_default();
        if let Some(more) = after.strip_prefix('%') {
            rest = more;
            continue;
        }
        rest = operator(after)?;
    }
    Ok(())
}

/// Checks the operator whose `%` is read; answers what comes after it.
fn operator(text: &str) -> Result<&str, LogFormatError> {
    let form = || LogFormatError::Form(text.chars().take(20).collect::<String>().trim_end().to_owned());
    let end = text.find(|sign: char| !sign.is_ascii_uppercase() && !sign.is_ascii_digit() && sign != '_');
    let (name, rest) = text.split_at(end.ok_or_else(form)?);
    if name.is_empty() {
        return Err(form());
    }
    let (argument, rest) = match rest.strip_prefix('(') {
        Some(inner) => {
            // The argument goes to the first bracket that the operator can end after.
            let closes = inner.match_indices(')').find_map(|(at, _)| {
                let argument = inner.get(..at)?;
                Some((argument, after_length(inner.get(at + 1..)?)?))
            });
            let (argument, end) = closes.ok_or_else(form)?;
            (Some(argument), end)
        }
        None => (None, after_length(rest).ok_or_else(form)?),
    };
    let (has_length, rest) = rest;
    check(name, argument, has_length)?;
    Ok(rest)
}

/// What comes after an optional `:length` and the closing `%`.
fn after_length(text: &str) -> Option<(bool, &str)> {
    if let Some(rest) = text.strip_prefix('%') {
        return Some((false, rest));
    }
    let digits = text.strip_prefix(':')?;
    let rest = digits.trim_start_matches(|sign: char| sign.is_ascii_digit());
    let length = digits.get(..digits.len() - rest.len())?;
    length.parse::<u32>().ok()?;
    Some((true, rest.strip_prefix('%')?))
}

fn check(name: &str, argument: Option<&str>, has_length: bool) -> Result<(), LogFormatError> {
    let wants = |takes| Err(LogFormatError::Argument { name: name.to_owned(), takes });
    let parts: Vec<&str> = argument.unwrap_or_default().split(':').collect();
    let known = |takes: bool, what| if takes { Ok(()) } else { wants(what) };
    if ALONE.contains(&name) {
        known(argument.is_none() && !has_length, "nothing in brackets, and no length")
    } else if FREE.contains(&name) {
        Ok(())
    } else if HEADERS.contains(&name) {
        known(argument.is_some_and(headers), "a header's name in brackets, or two with `?` between them")
    } else if KEYED.contains(&name) {
        known(argument.is_some_and(|argument| !argument.is_empty()), "a name in brackets")
    } else {
        match name {
            "COMMON_DURATION" => {
                known(matches!(parts.len(), 2 | 3), "two points in time in brackets, with `:` between them")
            }
            "FILTER_STATE" | "UPSTREAM_FILTER_STATE" => known(
                matches!(parts.as_slice(), [key] | [key, "PLAIN" | "TYPED"] | [key, "FIELD", _] if !key.is_empty()),
                "the key of a filter state in brackets, with `:PLAIN`, `:TYPED` or `:FIELD:name` after it",
            ),
            "METADATA" => known(
                parts.len() > 1 && parts.first().is_some_and(|of| METADATA.contains(of)),
                "what it is of (DYNAMIC, CLUSTER, ROUTE, UPSTREAM_HOST, LISTENER ...), `:` and a name in brackets",
            ),
            "GRPC_STATUS" => known(
                argument.is_none_or(|form| matches!(form, "CAMEL_STRING" | "SNAKE_STRING" | "NUMBER")),
                "CAMEL_STRING, SNAKE_STRING or NUMBER in brackets",
            ),
            "PATH" | "QUERY_PARAMS" => known(argument.is_none(), "nothing in brackets"),
            "CEL" => {
                let Some(text) = argument else { return wants("an expression in brackets") };
                let fault = Cel::new(text).fault().cloned();
                fault.map_or(Ok(()), |fault| Err(LogFormatError::Expression(text.to_owned(), fault)))
            }
            _ => Err(LogFormatError::Unknown(name.to_owned())),
        }
    }
}

fn headers(argument: &str) -> bool {
    let is_name = |name: &str| {
        let token = name.strip_prefix(':').unwrap_or(name);
        !token.is_empty()
            && token.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$&'*+-.^_`|~".contains(&byte))
    };
    let names: Vec<&str> = argument.split('?').collect();
    names.len() <= 2 && names.into_iter().all(is_name)
}

#[cfg(test)]
mod tests {
    use super::check_log_format;

    #[test]
    fn operators_are_taken_as_envoy_takes_them() {
        for format in [
            "",
            "plain",
            "100%%",
            "[%START_TIME(%Y-%m-%dT%H:%M:%S)%] %REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH):20%",
            "%CEL(has(request.path) ? request.path : 'a')%|%CEL('x%y')%",
            "%METADATA(ROUTE:a:b)% %DYNAMIC_METADATA(a:b):5% %FILTER_STATE(a:PLAIN)%",
            "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%",
            "%GRPC_STATUS(SNAKE_STRING)% %REQ_WITHOUT_QUERY(:PATH)%",
        ] {
            assert_eq!(check_log_format(format), Ok(()), "{format}");
        }
    }

    #[test]
    fn what_envoy_refuses_is_refused_with_the_reason() {
        for (format, reason) in [
            ("%NOPE%", "`%NOPE%` is no command operator of Envoy"),
            ("100%", "the `%` before `` begins no command operator; a percent sign is written `%%`"),
            (
                "a % b % c",
                "the `%` before ` b % c` begins no command operator; a percent sign is written `%%`",
            ),
            (
                "%RESPONSE_CODE%%",
                "the `%` before `` begins no command operator; a percent sign is written `%%`",
            ),
            ("%REQ(x)", "the `%` before `REQ(x)` begins no command operator; a percent sign is written `%%`"),
            ("%REQ()%", "`%REQ%` takes a header's name in brackets, or two with `?` between them"),
            ("%DURATION(1)%", "`%DURATION%` takes nothing in brackets, and no length"),
            (
                "%PROTOCOL(",
                "the `%` before `PROTOCOL(` begins no command operator; a percent sign is written `%%`",
            ),
            ("%CEL(1 +)%", "`%CEL(1 +)%` is not CEL: it ends too early"),
            ("%CEL(request.path))%", "`%CEL(request.path))%` is not CEL: unexpected `)`"),
        ] {
            let told = check_log_format(format).unwrap_err().to_string();
            assert_eq!(told, reason, "{format}");
        }
    }
}
