//! Which scripts of other sites may call: cross-origin resource sharing (Fetch standard, "CORS protocol").

use crate::value::{Duration, StringMatch, non_empty};

/// What a browser is told about calls from pages of other origins; the proxy answers preflights itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct CorsPolicy {
    /// The older form, exact origins or `*`; read [`CorsPolicy::origins`].
    pub allow_origin: Vec<String>,
    /// The newer form; read [`CorsPolicy::origins`].
    pub allow_origins: Vec<StringMatch>,
    /// Of preflights: the methods that may be used.
    pub allow_methods: Vec<String>,
    /// Of preflights: the headers that may be sent.
    pub allow_headers: Vec<String>,
    /// The headers of the answer that a script may read.
    pub expose_headers: Vec<String>,
    /// How long a browser may keep the answer to a preflight.
    pub max_age: Option<Duration>,
    /// Whether calls may carry credentials; none: not said.
    pub allow_credentials: Option<bool>,
    /// What becomes of preflights from origins that are not allowed.
    #[serde(deserialize_with = "unmatched_preflights")]
    pub unmatched_preflights: UnmatchedPreflights,
}

/// What becomes of preflights from origins that are not allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum UnmatchedPreflights {
    /// The server gets them (Istio's default).
    #[default]
    Forward,
    /// The proxy answers them, without saying that anything is allowed.
    Ignore,
}

impl CorsPolicy {
    /// The origins that are allowed; the newer form counts before the older (Istio: networking/core/route, `TranslateCORSPolicy`).
    pub fn origins(&self) -> Vec<StringMatch> {
        if self.allow_origins.is_empty() {
            self.allow_origin.iter().cloned().map(StringMatch::Exact).collect()
        } else {
            self.allow_origins.clone()
        }
    }
}

fn unmatched_preflights<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<UnmatchedPreflights, D::Error> {
    match non_empty(deserializer)?.as_deref() {
        None | Some("UNSPECIFIED" | "FORWARD") => Ok(UnmatchedPreflights::Forward),
        Some("IGNORE") => Ok(UnmatchedPreflights::Ignore),
        Some(other) => Err(serde::de::Error::custom(format!("`{other}` is not FORWARD or IGNORE"))),
    }
}
