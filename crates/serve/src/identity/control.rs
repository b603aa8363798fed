//! What an operator asks of the authority, and is shown: `meltemi ca`.
//!
//! Knows: the words, a JSON object a line. Must not know: how they travel ([`server`] and [`client`], a socket in the state folder).
//! Start at [`Status`].

pub mod client;
pub(super) mod server;

use meltemi_ca::rotate::{Phase, Waiting};
use meltemi_ca::{Kept, Time};
use serde::{Deserialize, Serialize};

/// The socket's name in the state folder.
const SOCKET: &str = "control";

/// The longest line.
const LINE_BYTES: u64 = 64 << 10;

/// What is asked for: one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "ask")]
enum Ask {
    /// One [`Status`].
    Status,
    /// A [`Status`] now and at each change, until no change of signers is under way.
    Follow,
    /// Begin a change; then as [`Ask::Follow`].
    Rotate,
    /// One [`Preview`].
    Preview,
    /// Do the step that was looked at; then one [`Status`].
    Force { revision: u64 },
}

/// What is answered: a line each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
enum Answer {
    Status(Status),
    Preview(Preview),
    Refused { reason: String },
}

/// What a forced step would not wait for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Preview {
    /// The state at which that is so.
    pub revision: u64,
    /// Where the change stands: `steady`, `distributing`, `renewing`, `retiring`.
    pub phase: String,
    /// What it waits for; none: nothing, the step comes by itself.
    pub waiting: Option<Wait>,
}

/// What signs, what is trusted, and where a change of it stands. Fields are added, never changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Of the names that are given.
    pub trust_domain: String,
    /// `steady`, `distributing`, `renewing` or `retiring`.
    pub phase: String,
    /// Counts changes of what signs or is trusted.
    pub epoch: u64,
    /// All that is trusted, what signs first.
    pub signers: Vec<Signer>,
    /// What the change waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Wait>,
}

/// One that is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Signer {
    /// What its certificate's SHA-256 begins with.
    pub id: String,
    /// Whether it signs now.
    pub signs: bool,
    /// When it expires, as RFC 3339 writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<String>,
    /// No certificate of it ends later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_until: Option<String>,
}

/// What is waited for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "for")]
pub enum Wait {
    /// These replicas do not yet answer with both roots.
    #[serde(rename_all = "camelCase")]
    Replicas {
        /// Their names.
        names: Vec<String>,
    },
    /// Workloads that live on what they were answered before, and trust only the old root.
    #[serde(rename_all = "camelCase")]
    Workloads {
        /// How many, where it is known.
        #[serde(skip_serializing_if = "Option::is_none")]
        behind: Option<u64>,
        /// Until then at the latest.
        until: String,
    },
    /// Certificates that the old one signed.
    #[serde(rename_all = "camelCase")]
    Expiry {
        /// When the last of them ends.
        until: String,
    },
}

impl Wait {
    fn of(waiting: &Waiting) -> Option<Self> {
        match waiting {
            Waiting::Nothing => None,
            Waiting::Replicas(names) => Some(Self::Replicas { names: names.clone() }),
            Waiting::Workloads { behind, until } => {
                Some(Self::Workloads { behind: *behind, until: until.to_string() })
            }
            Waiting::Expiry(until) => Some(Self::Expiry { until: until.to_string() }),
        }
    }
}

/// For people.
impl std::fmt::Display for Wait {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Replicas { names } if names.is_empty() => {
                f.write_str("replicas to be known: none has said that it answers with both roots")
            }
            Self::Replicas { names } => {
                write!(f, "replicas that do not yet answer with both roots: {}", names.join(", "))
            }
            Self::Workloads { behind: Some(behind), until } => {
                write!(f, "{behind} workloads that trust only the old root, until {until} at the latest")
            }
            Self::Workloads { behind: None, until } => {
                write!(
                    f,
                    "workloads that trust only the old root: until {until}, when the last of their certificates has ended"
                )
            }
            Self::Expiry { until } => {
                write!(
                    f,
                    "certificates that the old root signed: until {until}, when the last of them has ended"
                )
            }
        }
    }
}

/// The status of what is kept.
pub(crate) fn status(kept: &Kept, waiting: &Waiting, trust_domain: &str) -> Status {
    let rotation = &kept.rotation;
    let signer = |id: &meltemi_ca::SignerId| Signer {
        id: id.to_string(),
        signs: id == rotation.signer(),
        expires: kept.signers.get(id).and_then(|material| material.not_after()).as_ref().map(Time::to_string),
        signed_until: rotation.signed_until(id).as_ref().map(Time::to_string),
    };
    Status {
        trust_domain: trust_domain.to_owned(),
        phase: rotation.phase().name().to_owned(),
        epoch: rotation.epoch(),
        signers: rotation.trusted().into_iter().map(signer).collect(),
        waiting: Wait::of(waiting).filter(|_| !matches!(rotation.phase(), Phase::Steady { .. })),
    }
}
