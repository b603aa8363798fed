//! Which kinds are read, at which versions, and what becomes of the others.

use meltemi_names::Kind;

use super::reader::nearest;

/// What to do with an object, by its `apiVersion` and `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is read.
    Read(Kind),
    /// It belongs to the mesh, but nothing follows from it yet; what happens instead.
    NotYet(Kind, &'static str),
    /// As before, of kinds that have no name here.
    Foreign(&'static str),
    /// Another matter: Deployments and whatever else people keep in the same file.
    Skip,
    /// A kind that is read, at a version that is not.
    Version(Kind, &'static str),
    /// A group of the mesh, but no kind of it; the nearest one.
    Unknown(Option<&'static str>),
}

/// Istio serves these three with one schema (istio: manifests/charts/base, crd-all.gen.yaml).
const NETWORKING: &[&str] = &["v1", "v1beta1", "v1alpha3"];

/// Istio serves these two with one schema.
const SECURITY: &[&str] = &["v1", "v1beta1"];

/// Decides by group, version and kind.
pub(crate) fn reading(api_version: &str, kind: &str) -> Reading {
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    match (group, kind) {
        ("", "Service") => core(Kind::Service, version),
        ("", "Pod") => core(Kind::Pod, version),
        ("", "Node") => core(Kind::Node, version),
        ("", "Namespace") => core(Kind::Namespace, version),
        ("", "ConfigMap") => core(Kind::ConfigMap, version),
        ("", "Secret") if version == "v1" => Reading::Read(Kind::Secret),
        ("discovery.k8s.io", "EndpointSlice") if version == "v1" => Reading::Read(Kind::EndpointSlice),
        ("networking.istio.io", _) => networking(kind, version),
        ("security.istio.io", _) => security(kind, version),
        ("telemetry.istio.io", "Telemetry") => {
            Reading::NotYet(Kind::Telemetry, "access logs follow the mesh configuration alone")
        }
        ("telemetry.istio.io", _) => Reading::Unknown(nearest(kind, &["Telemetry"])),
        ("extensions.istio.io", _) => Reading::Foreign("requests pass without the extension"),
        ("gateway.networking.k8s.io", _) => Reading::Foreign("requests are routed as if it were absent"),
        // These names are the mesh's alone, so the group is a mistake: never silence.
        (
            _,
            "VirtualService" | "DestinationRule" | "WorkloadEntry" | "ServiceEntry" | "EnvoyFilter"
            | "WorkloadGroup",
        ) => networking(kind, ""),
        (_, "PeerAuthentication") => security(kind, ""),
        (_, "EndpointSlice") => Reading::Version(Kind::EndpointSlice, "discovery.k8s.io/v1"),
        _ => Reading::Skip,
    }
}

fn core(kind: Kind, version: &str) -> Reading {
    if version == "v1" { Reading::Read(kind) } else { Reading::Version(kind, "v1") }
}

fn networking(kind: &str, version: &str) -> Reading {
    let read = match kind {
        "VirtualService" => Kind::VirtualService,
        "DestinationRule" => Kind::DestinationRule,
        "WorkloadEntry" => Kind::WorkloadEntry,
        "ServiceEntry" => Kind::ServiceEntry,
        "Gateway" => Kind::Gateway,
        "WorkloadGroup" => Kind::WorkloadGroup,
        "EnvoyFilter" if version == "v1alpha3" => Kind::EnvoyFilter,
        "EnvoyFilter" => return Reading::Version(Kind::EnvoyFilter, "networking.istio.io/v1alpha3"),
        "Sidecar" => {
            return Reading::NotYet(Kind::Sidecar, "sidecars see everything that is exported to them");
        }
        "ProxyConfig" => return Reading::NotYet(Kind::ProxyConfig, "proxies start with the defaults"),
        _ => {
            let known = [
                "VirtualService",
                "DestinationRule",
                "WorkloadEntry",
                "ServiceEntry",
                "Gateway",
                "Sidecar",
                "EnvoyFilter",
                "WorkloadGroup",
                "ProxyConfig",
            ];
            return Reading::Unknown(nearest(kind, &known));
        }
    };
    if NETWORKING.contains(&version) {
        Reading::Read(read)
    } else {
        Reading::Version(read, "networking.istio.io/v1 (or v1beta1, v1alpha3)")
    }
}

fn security(kind: &str, version: &str) -> Reading {
    match kind {
        "PeerAuthentication" if SECURITY.contains(&version) => Reading::Read(Kind::PeerAuthentication),
        "PeerAuthentication" => {
            Reading::Version(Kind::PeerAuthentication, "security.istio.io/v1 (or v1beta1)")
        }
        "RequestAuthentication" => Reading::NotYet(Kind::RequestAuthentication, "no token is checked"),
        "AuthorizationPolicy" => {
            Reading::NotYet(Kind::AuthorizationPolicy, "every request is allowed, also one that it denies")
        }
        _ => Reading::Unknown(nearest(
            kind,
            &["PeerAuthentication", "RequestAuthentication", "AuthorizationPolicy"],
        )),
    }
}
