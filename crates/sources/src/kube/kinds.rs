//! Which kinds are watched, at which versions, and what follows when one cannot be.
//!
//! Sources of groups and versions: Istio's CRDs (istio: manifests/charts/base), Kubernetes' API reference. Any served version of a kind
//! gives the same body (one schema, no conversion), so that the first one that is served does.

use meltemi_names::Kind;

/// What it means that a kind's objects are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Traffic would go elsewhere: nobody is served before they are known.
    Essential,
    /// Something is less good without: the rest is served.
    Helpful,
}

/// Which part of an object is kept while it is read; each names a type of [`super::slim`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Metadata,
    Spec,
    SpecAndStatus,
    Slice,
    Data,
    Pod,
    Certificate,
}

/// A kind that is watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Watched {
    /// None: the definitions of kinds, which are no object of the mesh.
    pub(super) kind: Option<Kind>,
    /// Empty for Kubernetes' core.
    pub(super) group: &'static str,
    /// The preferred one first.
    pub(super) versions: &'static [&'static str],
    pub(super) plural: &'static str,
    pub(super) part: Part,
    pub(super) need: Need,
}

impl Watched {
    /// Whether a custom resource definition brings it, which may be missing or come later.
    pub(super) fn is_custom(&self) -> bool {
        self.group.ends_with(".istio.io")
    }

    /// The name of that definition.
    pub(super) fn definition(&self) -> String {
        format!("{}.{}", self.plural, self.group)
    }

    /// `apiVersion` at that version.
    pub(super) fn api_version(&self, version: &str) -> String {
        if self.group.is_empty() { version.to_owned() } else { format!("{}/{version}", self.group) }
    }
}

const NETWORKING: &str = "networking.istio.io";
const SECURITY: &str = "security.istio.io";
const THREE: &[&str] = &["v1", "v1beta1", "v1alpha3"];

const fn core(kind: Kind, plural: &'static str, part: Part, need: Need) -> Watched {
    Watched { kind: Some(kind), group: "", versions: &["v1"], plural, part, need }
}

const fn istio(
    kind: Kind,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
) -> Watched {
    Watched { kind: Some(kind), group, versions, plural, part: Part::SpecAndStatus, need: Need::Essential }
}

/// Read only to tell that it has no effect yet.
const fn untaken(
    kind: Kind,
    group: &'static str,
    versions: &'static [&'static str],
    plural: &'static str,
) -> Watched {
    Watched { need: Need::Helpful, ..istio(kind, group, versions, plural) }
}

/// The definitions of custom kinds: which kinds there are.
pub(super) const DEFINITIONS: Watched = Watched {
    kind: None,
    group: "apiextensions.k8s.io",
    versions: &["v1"],
    plural: "customresourcedefinitions",
    part: Part::Metadata,
    need: Need::Helpful,
};

/// Secrets that may hold a gateway's certificate; followed where an operator lets them be ([`super::Secrets`]).
pub(super) const SECRETS: Watched = core(Kind::Secret, "secrets", Part::Certificate, Need::Helpful);

/// All that are followed always, in every namespace.
pub(super) const WATCHED: &[Watched] = &[
    core(Kind::Namespace, "namespaces", Part::Metadata, Need::Helpful),
    core(Kind::Node, "nodes", Part::Metadata, Need::Helpful),
    core(Kind::Service, "services", Part::Spec, Need::Essential),
    core(Kind::Pod, "pods", Part::Pod, Need::Essential),
    // Only the one that holds the mesh's settings, in Meltemi's own namespace.
    core(Kind::ConfigMap, "configmaps", Part::Data, Need::Essential),
    Watched {
        kind: Some(Kind::EndpointSlice),
        group: "discovery.k8s.io",
        versions: &["v1"],
        plural: "endpointslices",
        part: Part::Slice,
        need: Need::Essential,
    },
    istio(Kind::VirtualService, NETWORKING, THREE, "virtualservices"),
    istio(Kind::DestinationRule, NETWORKING, THREE, "destinationrules"),
    istio(Kind::WorkloadEntry, NETWORKING, THREE, "workloadentries"),
    istio(Kind::ServiceEntry, NETWORKING, THREE, "serviceentries"),
    istio(Kind::Gateway, NETWORKING, THREE, "gateways"),
    istio(Kind::Sidecar, NETWORKING, THREE, "sidecars"),
    istio(Kind::EnvoyFilter, NETWORKING, &["v1alpha3"], "envoyfilters"),
    istio(Kind::PeerAuthentication, SECURITY, &["v1", "v1beta1"], "peerauthentications"),
    istio(Kind::Telemetry, "telemetry.istio.io", &["v1", "v1alpha1"], "telemetries"),
    // Not supported yet: watched so that their authors are told.
    untaken(Kind::WorkloadGroup, NETWORKING, THREE, "workloadgroups"),
    untaken(Kind::ProxyConfig, NETWORKING, &["v1beta1"], "proxyconfigs"),
    untaken(Kind::RequestAuthentication, SECURITY, &["v1", "v1beta1"], "requestauthentications"),
    untaken(Kind::AuthorizationPolicy, SECURITY, &["v1", "v1beta1"], "authorizationpolicies"),
];

#[cfg(test)]
mod tests {
    use super::{SECRETS, WATCHED};
    use meltemi_api::decode;
    use serde_json::json;

    #[test]
    fn every_version_that_is_watched_is_one_that_is_read() {
        for watched in WATCHED.iter().chain([&SECRETS]) {
            for version in watched.versions {
                let value = json!({
                    "apiVersion": watched.api_version(version),
                    "kind": watched.kind.unwrap().as_str(),
                    // Of ConfigMaps only that one is read.
                    "metadata": {"name": "istio", "namespace": "b"},
                    "spec": {},
                    // Of a Secret only what may be a certificate is read.
                    "data": {"ca.crt": ""},
                });
                let decoded = decode(&value, "");
                assert_eq!(decoded.skipped, None, "{value}");
                let told = decoded.findings.iter().any(|finding| finding.code == "bad-api-version");
                assert!(!told, "{value}: {:?}", decoded.findings);
            }
        }
    }
}
