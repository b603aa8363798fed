//! Which endpoint a connection or request goes to.

use serde::de::{Deserialize, Deserializer, Error};

use super::locality::{LocalityLbSetting, ZoneAwareLbSetting};
use crate::markers::not_yet;
use crate::value::{Decimal, Duration, HeaderName, integer, non_empty};

/// The settings of a load balancer.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LoadBalancer {
    /// One of the plain algorithms; none: the default, unless a hash is given.
    pub simple: Option<SimpleLb>,
    /// Equal requests go to equal endpoints.
    pub consistent_hash: Option<ConsistentHash>,
    /// New endpoints get their share by and by; read [`LoadBalancer::warmup`].
    #[serde(rename = "warmup")]
    pub warmup_setting: Option<Warmup>,
    /// Older spelling of `warmup.duration`.
    pub warmup_duration_secs: Option<Duration>,
    /// Which endpoints come first by where they run; none: the service's or the mesh's word counts.
    pub locality_lb_setting: Option<LocalityLbSetting>,
    /// The same, by Envoy's zone-aware routing.
    pub zone_aware_lb_setting: Option<ZoneAwareLbSetting>,
    /// Not supported yet.
    pub backend_utilization: not_yet::BackendUtilization,
}

impl LoadBalancer {
    /// The warm-up in whichever spelling; the newer one counts first.
    pub fn warmup(&self) -> Option<Warmup> {
        self.warmup_setting.or_else(|| {
            self.warmup_duration_secs.map(|duration| Warmup {
                duration: Some(duration),
                minimum_percent: None,
                aggression: None,
            })
        })
    }
}

/// The plain algorithms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum SimpleLb {
    /// The default, which is [`SimpleLb::LeastRequest`].
    #[default]
    Unspecified,
    /// By chance.
    Random,
    /// To the address that the client called.
    Passthrough,
    /// In turn.
    RoundRobin,
    /// The less busy of two; `LEAST_CONN` is its older name.
    #[serde(alias = "LEAST_CONN")]
    LeastRequest,
}

/// New endpoints get their share by and by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Warmup {
    /// How long it takes; validation wants it.
    pub duration: Option<Duration>,
    /// The share at the start in percent; none: 10.
    pub minimum_percent: Option<Decimal>,
    /// How fast the share grows; none: 1, in a straight line.
    pub aggression: Option<Decimal>,
}

/// Balancing by a hash of the request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsistentHash {
    /// What is hashed; none: nothing, so that the endpoint is chosen by chance.
    pub key: Option<HashKey>,
    /// None: a ring of 1,024.
    pub algorithm: Option<HashAlgorithm>,
}

/// What is hashed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The value of this header.
    HttpHeader(HeaderName),
    /// This cookie.
    HttpCookie(HashCookie),
    /// The client's address.
    SourceIp,
    /// The value of this parameter of the query.
    HttpQueryParameter(String),
}

/// The cookie that is hashed, and made by Envoy if it has a time to live.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct HashCookie {
    /// Its name.
    #[serde(default)]
    pub name: String,
    /// Its path.
    #[serde(default, deserialize_with = "non_empty")]
    pub path: Option<String>,
    /// None: Envoy makes none. Zero: a session cookie.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// Further attributes of the cookie that Envoy makes.
    #[serde(default)]
    pub attributes: Vec<CookieAttribute>,
}

/// An attribute of a cookie.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize)]
pub struct CookieAttribute {
    /// Its name, such as `SameSite`.
    #[serde(default)]
    pub name: String,
    /// Its value.
    #[serde(default)]
    pub value: String,
}

/// How a hash becomes an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashAlgorithm {
    /// Ketama; the size of the ring, none: 1,024.
    RingHash(Option<u64>),
    /// Maglev; the size of the table (a prime), none: 65,537.
    Maglev(Option<u64>),
}

/// As written.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
#[derive(Default)]
struct Written {
    http_header_name: Option<HeaderName>,
    http_cookie: Option<HashCookie>,
    use_source_ip: Option<bool>,
    #[serde(deserialize_with = "non_empty")]
    http_query_parameter_name: Option<String>,
    ring_hash: Option<RingHash>,
    maglev: Option<Maglev>,
    #[serde(deserialize_with = "integer")]
    minimum_ring_size: Option<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RingHash {
    #[serde(deserialize_with = "integer")]
    minimum_ring_size: Option<u64>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Maglev {
    #[serde(deserialize_with = "integer")]
    table_size: Option<u64>,
}

impl<'de> Deserialize<'de> for ConsistentHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let mut keys = [
            written.http_header_name.map(HashKey::HttpHeader),
            written.http_cookie.map(HashKey::HttpCookie),
            written.use_source_ip.filter(|&used| used).map(|_| HashKey::SourceIp),
            written.http_query_parameter_name.map(HashKey::HttpQueryParameter),
        ]
        .into_iter()
        .flatten();
        let key = keys.next();
        if keys.next().is_some() {
            return Err(D::Error::custom(
                "only one of httpHeaderName, httpCookie, useSourceIp and httpQueryParameterName may be given",
            ));
        }
        let algorithm = match (written.ring_hash, written.maglev, written.minimum_ring_size) {
            (Some(_), Some(_), _) => {
                return Err(D::Error::custom("only one of ringHash and maglev may be given"));
            }
            (Some(_), _, Some(_)) | (_, Some(_), Some(_)) => {
                return Err(D::Error::custom(
                    "minimumRingSize is the older spelling of ringHash.minimumRingSize; it may not stand beside ringHash or maglev",
                ));
            }
            (Some(ring), None, None) => Some(HashAlgorithm::RingHash(ring.minimum_ring_size)),
            (None, Some(maglev), None) => Some(HashAlgorithm::Maglev(maglev.table_size)),
            (None, None, Some(size)) => Some(HashAlgorithm::RingHash(Some(size))),
            (None, None, None) => None,
        };
        Ok(Self { key, algorithm })
    }
}
