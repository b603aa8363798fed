//! What the client sees in the end, and why it is not an endpoint's answer.

use serde::Serialize;

use crate::share::Share;

/// What some of such requests see.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SeenShare {
    /// How many of them, by weights and percentages.
    pub share: Share,
    /// What.
    #[serde(flatten)]
    pub seen: Seen,
}

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "seen", rename_all = "snake_case")]
pub enum Seen {
    /// What an endpoint of the cluster answers.
    Endpoint {
        /// The cluster.
        cluster: String,
    },
    /// A response that the proxy makes itself.
    Status {
        /// Its status.
        status: u32,
        /// What the access log's `%RESPONSE_FLAGS%` says; `-`: nothing.
        flags: &'static str,
        /// Why.
        cause: Cause,
    },
    /// No response: the connection is refused, or closed.
    Closed {
        /// As for [`Seen::Status`].
        flags: &'static str,
        /// Why.
        cause: Cause,
    },
    /// The walk ends at something that it does not read.
    Unknown,
}

/// Why the proxy answers itself, or closes the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// Nothing listens there.
    NoListener,
    /// No filter chain of the listener takes such a connection.
    NoFilterChain,
    /// The filter chain asks for a certificate, and the client has none.
    NoClientCertificate,
    /// The filter chain's certificate is for the client's TLS, and the client speaks in the clear.
    TlsExpected,
    /// The client's certificate has none of the names that are accepted.
    ClientNotAccepted,
    /// No virtual host has the request's host among its domains.
    NoVirtualHost,
    /// No route of the virtual host matches.
    NoRoute,
    /// The virtual host takes encrypted requests only.
    TlsRequired,
    /// The route sends the client elsewhere.
    Redirect,
    /// The route answers.
    DirectResponse,
    /// A fault that is made on purpose.
    FaultAbort,
    /// A browser asks whether a script may call, and is told.
    Preflight,
    /// The route names a cluster that there is not.
    UnknownCluster,
    /// The cluster has no endpoint that takes requests.
    NoEndpoint,
}

impl Seen {
    pub(crate) fn status(status: u32, flags: &'static str, cause: Cause) -> Self {
        Self::Status { status, flags, cause }
    }

    pub(crate) fn closed(flags: &'static str, cause: Cause) -> Self {
        Self::Closed { flags, cause }
    }

    pub(crate) fn always(self) -> Vec<SeenShare> {
        vec![SeenShare { share: Share::ALL, seen: self }]
    }
}

/// The same outcomes for that part of the requests.
pub(crate) fn part(share: Share, seen: Vec<SeenShare>) -> Vec<SeenShare> {
    seen.into_iter()
        .map(|SeenShare { share: of, seen }| SeenShare { share: of.of_share(share), seen })
        .filter(|part| !part.share.is_none())
        .collect()
}

/// Equal outcomes as one, the most frequent first.
pub(crate) fn merged(all: Vec<SeenShare>) -> Vec<SeenShare> {
    let mut merged: Vec<SeenShare> = Vec::new();
    for part in all {
        match merged.iter_mut().find(|found| found.seen == part.seen) {
            Some(found) => found.share.0 += part.share.0,
            None => merged.push(part),
        }
    }
    merged.sort_by(|one, other| other.share.0.total_cmp(&one.share.0));
    merged
}
