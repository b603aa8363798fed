//! EnvoyFilter: patches of what proxies are served (Istio's reference: networking/envoy_filter).

mod matching;
pub mod value;

use meltemi_names::Selector;
use serde_json::Value;

pub use matching::{
    ChainFilter, ClusterMatch, Context, FilterChainMatch, ListenerMatch, PatchMatch, ProxyMatch, RouteAction,
    RouteConfigurationMatch, RouteMatch, SubFilter, VirtualHostMatch,
};

use crate::markers::not_yet;
use crate::target_ref::TargetRef;

/// Patches for some proxies.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct EnvoyFilter {
    /// The workloads whose proxies are patched; none, or one without labels: all of the namespace (in the root namespace: of the mesh).
    pub workload_selector: Option<WorkloadSelector>,
    /// Instead: the proxies of these Gateways of the Gateway API.
    pub target_refs: Vec<TargetRef>,
    /// In their order.
    pub config_patches: Vec<ConfigPatch>,
    /// Lower is earlier; of equal ones the root namespace's come first.
    pub priority: i32,
}

impl EnvoyFilter {
    /// The labels that it asks for; none if it is for a whole namespace or mesh.
    pub fn labels(&self) -> Option<&Selector> {
        self.workload_selector.as_ref().map(|selector| &selector.labels).filter(|labels| !labels.is_empty())
    }
}

/// Which workloads.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSelector {
    /// All of these labels.
    pub labels: Selector,
}

/// One patch.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConfigPatch {
    /// What kind of thing is patched.
    pub apply_to: ApplyTo,
    /// Which ones.
    #[serde(rename = "match")]
    pub matching: PatchMatch,
    /// What is done to them.
    pub patch: Option<Patch>,
}

/// What kind of thing is patched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs, reason = "each is the thing of that name")]
pub enum ApplyTo {
    /// Nothing is written.
    #[default]
    Invalid,
    Listener,
    FilterChain,
    NetworkFilter,
    HttpFilter,
    RouteConfiguration,
    VirtualHost,
    HttpRoute,
    Cluster,
    ExtensionConfig,
    Bootstrap,
    ListenerFilter,
}

impl ApplyTo {
    /// The full name of Envoy's message that a patch's value is (Istio: pkg/config/xds).
    pub fn message(self) -> Option<&'static str> {
        Some(match self {
            Self::Invalid => return None,
            Self::Listener => "envoy.config.listener.v3.Listener",
            Self::FilterChain => "envoy.config.listener.v3.FilterChain",
            Self::NetworkFilter => "envoy.config.listener.v3.Filter",
            Self::HttpFilter => "envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter",
            Self::RouteConfiguration => "envoy.config.route.v3.RouteConfiguration",
            Self::VirtualHost => "envoy.config.route.v3.VirtualHost",
            Self::HttpRoute => "envoy.config.route.v3.Route",
            Self::Cluster => "envoy.config.cluster.v3.Cluster",
            Self::ExtensionConfig => "envoy.config.core.v3.TypedExtensionConfig",
            Self::Bootstrap => "envoy.config.bootstrap.v3.Bootstrap",
            Self::ListenerFilter => "envoy.config.listener.v3.ListenerFilter",
        })
    }

    /// Part of a listener.
    pub fn is_of_listener(self) -> bool {
        matches!(
            self,
            Self::Listener
                | Self::FilterChain
                | Self::NetworkFilter
                | Self::HttpFilter
                | Self::ListenerFilter
        )
    }

    /// Part of a route configuration.
    pub fn is_of_routes(self) -> bool {
        matches!(self, Self::RouteConfiguration | Self::VirtualHost | Self::HttpRoute)
    }
}

/// What is done.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Patch {
    /// How.
    pub operation: Operation,
    /// One of Envoy's messages, as written.
    pub value: Option<Free>,
    /// Read by nobody, as in Istio.
    pub filter_class: not_yet::FilterClass,
}

/// How a thing is patched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Operation {
    /// Nothing is written.
    #[default]
    Invalid,
    /// The value is merged into the thing; lists grow.
    Merge,
    /// The value is put after the others.
    Add,
    /// The thing is taken away.
    Remove,
    /// The value is put before the thing.
    InsertBefore,
    /// The value is put after the thing.
    InsertAfter,
    /// The value is put first.
    InsertFirst,
    /// The value takes the thing's place.
    Replace,
    /// As merge; lists are replaced.
    MergeAndReplaceList,
}

/// Any value, kept as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Free(pub Value);

impl<'de> serde::Deserialize<'de> for Free {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self)
    }
}

impl ConfigPatch {
    /// How it is done; an insertion among things that have no order is an addition (Istio: pilot/pkg/model/envoyfilter.go).
    pub fn operation(&self) -> Operation {
        let written = self.patch.as_ref().map(|patch| patch.operation).unwrap_or_default();
        let ordered = matches!(
            self.apply_to,
            ApplyTo::HttpFilter | ApplyTo::NetworkFilter | ApplyTo::HttpRoute | ApplyTo::ListenerFilter
        );
        match written {
            Operation::InsertAfter | Operation::InsertBefore | Operation::InsertFirst if !ordered => {
                Operation::Add
            }
            written => written,
        }
    }

    /// The bytes of Envoy's message that it has for a value; empty where it has none.
    ///
    /// # Errors
    /// As [`value::message`].
    pub fn message(&self) -> Result<Vec<u8>, value::BadValue> {
        let written = self.patch.as_ref().and_then(|patch| patch.value.as_ref());
        written.map_or(Ok(Vec::new()), |written| value::message(self.apply_to, &written.0))
    }
}
