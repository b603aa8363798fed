//! Telemetry: what proxies tell of the traffic (Istio's reference: telemetry/v1).

use std::collections::BTreeMap;

use meltemi_names::Selector;
use serde::de::{Deserialize, Deserializer, Error};

use crate::markers::not_yet;
use crate::peer_authentication::MatchLabels;
use crate::target_ref::TargetRef;
use crate::value::{Cel, Decimal, non_empty};

/// What the proxies of a mesh, a namespace or some workloads log, count and trace.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Telemetry {
    /// The workloads that it is for; none, or one without labels: all of the namespace (in the root namespace: of the mesh).
    pub selector: Option<MatchLabels>,
    /// Instead: the proxies of this Gateway of the Gateway API.
    pub target_ref: Option<TargetRef>,
    /// The same of several; where there are some, `targetRef` is not read.
    pub target_refs: Vec<TargetRef>,
    /// Which requests are traced; later ones override earlier ones.
    pub tracing: Vec<Tracing>,
    /// What is counted; later ones override earlier ones.
    pub metrics: Vec<Metrics>,
    /// What is logged.
    pub access_logging: Vec<AccessLogging>,
}

impl Telemetry {
    /// The labels that it asks for; none if it is for a whole namespace or mesh.
    pub fn labels(&self) -> Option<&Selector> {
        self.selector.as_ref().map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty())
    }

    /// The objects that it is for by name; none: it is for workloads by their labels, or for all.
    pub fn targets(&self) -> &[TargetRef] {
        if self.target_refs.is_empty() { self.target_ref.as_slice() } else { &self.target_refs }
    }
}

/// A provider, by the name that the mesh's settings define it under.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ProviderRef {
    /// The name.
    pub name: String,
}

/// Whose word counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum WorkloadMode {
    /// Both sides.
    #[default]
    ClientAndServer,
    /// The caller's proxy.
    Client,
    /// The proxy of who is called.
    Server,
}

impl WorkloadMode {
    /// Whether it is for the caller's side.
    pub fn has_client(self) -> bool {
        self != Self::Server
    }

    /// Whether it is for the side of who is called.
    pub fn has_server(self) -> bool {
        self != Self::Client
    }
}

/// For which side something is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct ModeMatch {
    /// The side.
    pub mode: WorkloadMode,
}

/// A rule of tracing. What it does not say stays as the rules before it have it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Tracing {
    /// For which side.
    #[serde(rename = "match")]
    pub matches: ModeMatch,
    /// Who takes the spans; only the first counts, as in Istio.
    pub providers: Vec<ProviderRef>,
    /// How many of the requests that nobody has decided about are traced, 0 to 100.
    pub random_sampling_percentage: Option<Decimal>,
    /// Nothing is traced.
    pub disable_span_reporting: Option<bool>,
    /// Tags of each span, by name.
    pub custom_tags: Option<BTreeMap<String, CustomTag>>,
    /// Whether the request's ID says whether it is traced; yes where nobody says.
    pub use_request_id_for_trace_sampling: Option<bool>,
    /// Whether spans have Istio's own tags; yes where nobody says.
    pub enable_istio_tags: Option<bool>,
    /// The trace is not handed on to who is called.
    pub disable_context_propagation: Option<bool>,
}

/// Where a tag of a span has its value from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CustomTag {
    /// This text.
    Literal(String),
    /// The proxy's environment variable of that name.
    Environment {
        /// Of the variable.
        name: String,
        /// Where there is none.
        default: String,
    },
    /// The request's header of that name.
    Header {
        /// Of the header.
        name: String,
        /// Where there is none.
        default: String,
    },
    /// Envoy's command operators.
    Formatter(String),
    /// Nothing is said: an error, or a tag without a value.
    Unset,
}

impl<'de> Deserialize<'de> for CustomTag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Value {
            value: String,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(rename_all = "camelCase", default)]
        struct Named {
            name: String,
            default_value: String,
        }
        #[derive(Default, serde::Deserialize)]
        #[serde(default)]
        struct Written {
            literal: Option<Value>,
            environment: Option<Named>,
            header: Option<Named>,
            formatter: Option<Value>,
        }
        let Written { literal, environment, header, formatter } = Written::deserialize(deserializer)?;
        let given = [
            literal.map(|Value { value }| Self::Literal(value)),
            environment.map(|Named { name, default_value: default }| Self::Environment { name, default }),
            header.map(|Named { name, default_value: default }| Self::Header { name, default }),
            formatter.map(|Value { value }| Self::Formatter(value)),
        ];
        let mut given = given.into_iter().flatten();
        let tag = given.next().unwrap_or(Self::Unset);
        if given.next().is_some() {
            return Err(D::Error::custom(
                "only one of literal, environment, header and formatter may be given",
            ));
        }
        Ok(tag)
    }
}

/// A rule of what is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Metrics {
    /// Who counts; empty: as the rules before it say.
    pub providers: Vec<ProviderRef>,
    /// What is counted otherwise than usual; later ones override earlier ones.
    pub overrides: Vec<MetricsOverride>,
    /// Not supported yet.
    pub reporting_interval: not_yet::ReportingInterval,
}

/// What is counted otherwise than usual.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricsOverride {
    /// Which metrics; all of both sides where nothing is said.
    #[serde(rename = "match")]
    pub matches: MetricSelector,
    /// They are not counted.
    pub disabled: Option<bool>,
    /// Their labels, by name.
    pub tag_overrides: BTreeMap<String, TagOverride>,
}

/// Which metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MetricSelector {
    /// By Istio's name for it; none, or [`IstioMetric::AllMetrics`]: all.
    pub metric: Option<IstioMetric>,
    /// Not supported yet.
    pub custom_metric: not_yet::CustomMetric,
    /// Of which side.
    pub mode: WorkloadMode,
}

/// Istio's metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "each is the metric of that name")]
pub enum IstioMetric {
    #[default]
    AllMetrics,
    RequestCount,
    RequestDuration,
    RequestSize,
    ResponseSize,
    TcpOpenedConnections,
    TcpClosedConnections,
    TcpSentBytes,
    TcpReceivedBytes,
    GrpcRequestMessages,
    GrpcResponseMessages,
}

impl IstioMetric {
    /// Those that proxies count here.
    pub const COUNTED: [Self; 8] = [
        Self::RequestCount,
        Self::RequestDuration,
        Self::RequestSize,
        Self::ResponseSize,
        Self::TcpOpenedConnections,
        Self::TcpClosedConnections,
        Self::TcpSentBytes,
        Self::TcpReceivedBytes,
    ];
}

/// What becomes of a label.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct TagOverride {
    /// What.
    pub operation: TagOperation,
    /// Its value, for [`TagOperation::Upsert`]: CEL over Envoy's attributes.
    #[serde(deserialize_with = "expression")]
    pub value: Option<Cel>,
}

/// What becomes of a label.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum TagOperation {
    /// It has that value.
    #[default]
    Upsert,
    /// It is not there.
    Remove,
}

/// A rule of what is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct AccessLogging {
    /// For which side.
    #[serde(rename = "match")]
    pub matches: ModeMatch,
    /// Who takes the log; empty: as the rules before it say.
    pub providers: Vec<ProviderRef>,
    /// They do not take it.
    pub disabled: Option<bool>,
    /// What of it.
    pub filter: Option<LogFilter>,
}

/// What is logged.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct LogFilter {
    /// CEL over Envoy's attributes; none is empty, and true.
    #[serde(deserialize_with = "expression")]
    pub expression: Option<Cel>,
}

/// CEL; the empty text is not set.
fn expression<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Cel>, D::Error> {
    Ok(non_empty(deserializer)?.map(Cel::new))
}
