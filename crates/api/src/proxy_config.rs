//! ProxyConfig: how proxies are started (Istio's reference: networking/proxy-config).
//!
//! Of these settings nothing reaches a proxy that runs: whoever injects sidecars writes them into the pod.

use std::collections::BTreeMap;

use crate::markers::Unread;
use crate::peer_authentication::MatchLabels;

/// How the proxies of a mesh, a namespace or a selector are started.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyConfig {
    /// The workloads that it is for; none: all of the namespace (in the root namespace: of the mesh).
    pub selector: Option<MatchLabels>,
    /// Worker threads; 0: one for each core.
    pub concurrency: Option<i32>,
    /// By name. What they hold may be secret, and is not kept.
    pub environment_variables: BTreeMap<String, Unread>,
    /// Which image of the proxy.
    pub image: Option<ProxyImage>,
}

/// Which image of a proxy.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProxyImage {
    /// `default`, `debug`, `distroless`.
    pub image_type: String,
}
