//! Istio's annotations: those that nobody knows, that stand on a kind that nobody reads them of, or whose value is none.
//!
//! Knows: what Istio reads of which kind (istio.io/api: annotation/annotations.yaml; Istio: analyzers/annotations, pkg/kube/inject/validate.go).
//! Must not know: where objects come from.

use std::net::IpAddr;

use meltemi_api::{FieldPath, Finding, Severity, parse_mesh_config};

/// Every annotation, sorted, with the kind that it is read of; empty: of any. Of a workload's pods it stands in the template.
const KNOWN: &[(&str, &[&str])] = &[
    ("alpha.istio.io/canonical-serviceaccounts", &["Service"]),
    ("alpha.istio.io/kubernetes-serviceaccounts", &["Service"]),
    ("ambient.istio.io/bypass-inbound-capture", &["Pod"]),
    ("ambient.istio.io/dns-capture", &["Pod"]),
    ("ambient.istio.io/redirection", &["Pod"]),
    ("ambient.istio.io/waypoint-inbound-binding", &["GatewayClass", "Gateway"]),
    ("galley.istio.io/analyze-suppress", &[]),
    ("gateway.istio.io/controller-version", &[]),
    ("gateway.istio.io/name-override", &["Gateway"]),
    ("gateway.istio.io/service-account", &["Gateway"]),
    ("inject.istio.io/templates", &["Pod"]),
    ("istio.io/autoRegistrationGroup", &["WorkloadEntry"]),
    ("istio.io/connectedAt", &["WorkloadEntry"]),
    ("istio.io/disconnectedAt", &["WorkloadEntry"]),
    ("istio.io/dry-run", &["AuthorizationPolicy"]),
    ("istio.io/reroute-virtual-interfaces", &["Pod"]),
    // Written by injection, and so by nobody in the wrong place.
    ("istio.io/rev", &[]),
    ("istio.io/use-waypoint-canary-weight", &["Service", "ServiceEntry", "Namespace"]),
    ("istio.io/workloadController", &["WorkloadEntry"]),
    ("networking.istio.io/exportTo", &["Service"]),
    ("networking.istio.io/service-type", &["Gateway"]),
    ("networking.istio.io/traffic-distribution", &["Namespace", "Service", "ServiceEntry"]),
    ("prometheus.istio.io/merge-metrics", &["Pod"]),
    ("proxy.istio.io/config", &["Pod"]),
    ("proxy.istio.io/overrides", &["Pod"]),
    ("readiness.status.sidecar.istio.io/applicationPorts", &["Pod"]),
    ("readiness.status.sidecar.istio.io/failureThreshold", &["Pod"]),
    ("readiness.status.sidecar.istio.io/initialDelaySeconds", &["Pod"]),
    ("readiness.status.sidecar.istio.io/periodSeconds", &["Pod"]),
    ("sidecar.istio.io/agentLogLevel", &["Pod"]),
    ("sidecar.istio.io/bootstrapOverride", &["Pod"]),
    ("sidecar.istio.io/componentLogLevel", &["Pod"]),
    ("sidecar.istio.io/discoveryAddress", &["Pod"]),
    ("sidecar.istio.io/extraStatTags", &["Pod"]),
    ("sidecar.istio.io/inject", &["Pod"]),
    ("sidecar.istio.io/interceptionMode", &["Pod"]),
    ("sidecar.istio.io/logLevel", &["Pod"]),
    ("sidecar.istio.io/nativeSidecar", &["Pod"]),
    ("sidecar.istio.io/proxyCPU", &["Pod"]),
    ("sidecar.istio.io/proxyCPULimit", &["Pod"]),
    ("sidecar.istio.io/proxyImage", &["Pod"]),
    ("sidecar.istio.io/proxyImageType", &["Pod"]),
    ("sidecar.istio.io/proxyMemory", &["Pod"]),
    ("sidecar.istio.io/proxyMemoryLimit", &["Pod"]),
    ("sidecar.istio.io/rewriteAppHTTPProbers", &["Pod"]),
    ("sidecar.istio.io/statsCompression", &["Pod"]),
    ("sidecar.istio.io/statsEvictionInterval", &["Pod"]),
    ("sidecar.istio.io/statsFlushInterval", &["Pod"]),
    ("sidecar.istio.io/statsHistogramBins", &["Pod"]),
    ("sidecar.istio.io/statsHistogramBuckets", &["Pod"]),
    ("sidecar.istio.io/statsInclusionPrefixes", &["Pod"]),
    ("sidecar.istio.io/statsInclusionRegexps", &["Pod"]),
    ("sidecar.istio.io/statsInclusionSuffixes", &["Pod"]),
    // As `istio.io/rev`.
    ("sidecar.istio.io/status", &[]),
    ("sidecar.istio.io/userVolume", &["Pod"]),
    ("sidecar.istio.io/userVolumeMount", &["Pod"]),
    ("status.sidecar.istio.io/port", &["Pod"]),
    ("topology.istio.io/controlPlaneClusters", &["Namespace"]),
    ("traffic.istio.io/nodeSelector", &["Service"]),
    ("traffic.sidecar.istio.io/excludeInboundPorts", &["Pod"]),
    ("traffic.sidecar.istio.io/excludeInterfaces", &["Pod"]),
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", &["Pod"]),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", &["Pod"]),
    ("traffic.sidecar.istio.io/includeInboundPorts", &["Pod"]),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", &["Pod"]),
    ("traffic.sidecar.istio.io/includeOutboundPorts", &["Pod"]),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", &["Pod"]),
];

/// Those that Istio will not read for ever, with what takes their place; empty: nothing.
const DEPRECATED: &[(&str, &str)] = &[
    ("alpha.istio.io/canonical-serviceaccounts", ""),
    ("alpha.istio.io/kubernetes-serviceaccounts", ""),
    ("sidecar.istio.io/discoveryAddress", "proxy.istio.io/config"),
    ("sidecar.istio.io/extraStatTags", "proxy.istio.io/config"),
    ("sidecar.istio.io/inject", "the label of that name"),
    ("sidecar.istio.io/statsCompression", ""),
    ("sidecar.istio.io/statsInclusionPrefixes", "proxy.istio.io/config"),
    ("sidecar.istio.io/statsInclusionRegexps", "proxy.istio.io/config"),
    ("sidecar.istio.io/statsInclusionSuffixes", "proxy.istio.io/config"),
    ("traffic.sidecar.istio.io/kubevirtInterfaces", "istio.io/reroute-virtual-interfaces"),
];

/// What is to be said of the annotations of an object of that kind, whose own they are: not those of a template in it.
/// Who has the label of the name, too, knows.
pub(super) fn findings<'a>(
    kind: &str,
    annotations: impl Iterator<Item = (&'a str, &'a str)>,
    has_label: impl Fn(&str) -> bool,
    path: &FieldPath,
) -> Vec<Finding> {
    let ours = |name: &str| name.split_once('/').is_some_and(|(domain, _)| domain.ends_with("istio.io"));
    let ours = annotations.filter(|(name, _)| ours(name));
    ours.flat_map(|(name, value)| {
        let old = deprecated(name).filter(|_| !has_label(name));
        let all = old.into_iter().chain(one(kind, name, value));
        all.map(|finding| finding.at(&path.key(name))).collect::<Vec<_>>()
    })
    .collect()
}

fn deprecated(name: &str) -> Option<Finding> {
    let (_, instead) = DEPRECATED.iter().find(|(old, _)| *old == name)?;
    let finding = Finding::info("IST0135", format!("{name} is deprecated"));
    let hint = if instead.is_empty() { "take it away".to_owned() } else { format!("use {instead}") };
    Some(finding.hint(hint))
}

fn one(kind: &str, name: &str, value: &str) -> Option<Finding> {
    let Ok(place) = KNOWN.binary_search_by(|(known, _)| known.cmp(&name)) else {
        let finding = Finding::warning("IST0108", format!("no annotation is called {name}"));
        return Some(match nearest(name) {
            Some(meant) => finding.hint(format!("did you mean {meant}?")),
            None => finding.hint("correct it, or take it away"),
        });
    };
    let (_, kinds) = KNOWN[place];
    if kinds.is_empty() {
        return None;
    }
    if !kinds.contains(&kind) {
        let message = format!("{name} has no effect on a {kind}: it is for a {}", kinds.join(" or a "));
        let of_pods = kinds == ["Pod"] && kind == "Deployment";
        let hint = if of_pods { "put it into spec.template.metadata.annotations" } else { "move it" };
        return Some(Finding::warning("IST0107", message).hint(hint));
    }
    let wrong = invalid(name, value)?;
    Some(Finding::warning("IST0125", format!("`{value}` is no value of {name}: {wrong}")).hint("correct it"))
}

/// The known one that was probably meant.
fn nearest(name: &str) -> Option<&'static str> {
    let near = KNOWN.iter().map(|(known, _)| (strsim::damerau_levenshtein(known, name), *known));
    near.min().filter(|(distance, _)| *distance <= 3).map(|(_, known)| known)
}

/// Why the value is none, for the annotations whose values Istio looks at.
fn invalid(name: &str, value: &str) -> Option<String> {
    match name {
        "sidecar.istio.io/interceptionMode" => (!["REDIRECT", "TPROXY", "NONE"].contains(&value))
            .then(|| "REDIRECT, TPROXY and NONE are".to_owned()),
        "status.sidecar.istio.io/port" => port(value),
        "readiness.status.sidecar.istio.io/failureThreshold"
        | "readiness.status.sidecar.istio.io/initialDelaySeconds"
        | "readiness.status.sidecar.istio.io/periodSeconds" => {
            value.parse::<u32>().err().map(|_| "a whole number is".to_owned())
        }
        "traffic.sidecar.istio.io/includeOutboundIPRanges" if value == "*" => None,
        "traffic.sidecar.istio.io/includeOutboundIPRanges"
        | "traffic.sidecar.istio.io/excludeOutboundIPRanges" => each(value, block),
        "traffic.sidecar.istio.io/includeInboundPorts" if value == "*" => None,
        "traffic.sidecar.istio.io/includeInboundPorts"
        | "traffic.sidecar.istio.io/excludeInboundPorts"
        | "traffic.sidecar.istio.io/excludeOutboundPorts" => each(value.trim(), port),
        "traffic.sidecar.istio.io/excludeInterfaces"
        | "traffic.sidecar.istio.io/kubevirtInterfaces"
        | "istio.io/reroute-virtual-interfaces" => each(value, interface),
        "prometheus.istio.io/merge-metrics" => {
            const BOOLEANS: &[&str] =
                &["1", "t", "T", "true", "TRUE", "True", "0", "f", "F", "false", "FALSE", "False"];
            (!BOOLEANS.contains(&value)).then(|| "true and false are".to_owned())
        }
        "proxy.istio.io/config" => proxy_config(value),
        "sidecar.istio.io/proxyCPU"
        | "sidecar.istio.io/proxyCPULimit"
        | "sidecar.istio.io/proxyMemory"
        | "sidecar.istio.io/proxyMemoryLimit" => {
            (!is_quantity(value)).then(|| "a quantity such as 100m or 128Mi is".to_owned())
        }
        _ => None,
    }
}

/// The first of a list with commas that is wrong.
fn each(list: &str, wrong: fn(&str) -> Option<String>) -> Option<String> {
    if list.is_empty() { None } else { list.split(',').find_map(wrong) }
}

fn port(text: &str) -> Option<String> {
    text.trim().parse::<u16>().err().map(|_| format!("`{text}` is no port"))
}

fn block(text: &str) -> Option<String> {
    let is_block = text.split_once('/').is_some_and(|(address, length)| {
        let most = match address.parse::<IpAddr>() {
            Ok(IpAddr::V4(_)) => 32,
            Ok(IpAddr::V6(_)) => 128,
            Err(_) => return false,
        };
        length.parse::<u8>().is_ok_and(|length| length <= most)
    });
    (!is_block).then(|| format!("`{text}` is no block of addresses such as 10.0.0.0/8"))
}

/// As Linux takes names of interfaces.
fn interface(text: &str) -> Option<String> {
    let text = text.trim();
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_.@:+*".contains(c);
    let is_name = (1..=15).contains(&text.len()) && text.chars().all(is_of_name);
    (!is_name).then(|| format!("`{text}` is no interface"))
}

/// It is what `defaultConfig` of the mesh's settings may hold.
fn proxy_config(text: &str) -> Option<String> {
    let indented: String = text.lines().map(|line| format!("  {line}\n")).collect();
    let inline = text.trim_start().starts_with('{');
    let settings =
        if inline { format!("defaultConfig: {text}\n") } else { format!("defaultConfig:\n{indented}") };
    let (_, findings) = parse_mesh_config(&settings, "");
    let wrong = findings.into_iter().find(|finding| finding.severity == Severity::Error);
    wrong.map(|finding| finding.message)
}

/// As Kubernetes reads quantities: a number, with a power of ten or of two behind it.
fn is_quantity(text: &str) -> bool {
    const SUFFIXES: &[&str] =
        &["Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "n", "u", "m", "k", "M", "G", "T", "P", "E", ""];
    let number = |text: &str| {
        let text = text.strip_prefix(['+', '-']).unwrap_or(text);
        text.chars().any(|c| c.is_ascii_digit())
            && text.chars().filter(|c| *c == '.').count() <= 1
            && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    let power = text
        .split_once(['e', 'E'])
        .is_some_and(|(before, exponent)| number(before) && exponent.parse::<i32>().is_ok());
    power || SUFFIXES.iter().any(|suffix| text.strip_suffix(suffix).is_some_and(number))
}

#[cfg(test)]
mod tests {
    use super::{KNOWN, findings};
    use meltemi_api::FieldPath;

    fn told(kind: &str, name: &str, value: &str) -> Vec<(&'static str, String)> {
        let path = FieldPath::of(&["metadata", "annotations"]);
        let all = findings(kind, [(name, value)].into_iter(), |_| false, &path);
        all.into_iter().map(|finding| (finding.code, finding.message)).collect()
    }

    #[test]
    fn the_table_is_sorted_so_that_names_are_found() {
        assert!(KNOWN.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn values_that_istio_takes_are_taken_and_no_others() {
        let cases = [
            ("sidecar.istio.io/interceptionMode", "REDIRECT", "redirect"),
            ("status.sidecar.istio.io/port", "15020", "155020"),
            ("readiness.status.sidecar.istio.io/periodSeconds", "2", "2s"),
            ("traffic.sidecar.istio.io/includeOutboundIPRanges", "*", "10.0.0.0"),
            ("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/8,fd00::/8", "10.0.0.0/33"),
            ("traffic.sidecar.istio.io/includeInboundPorts", "*", "all"),
            ("traffic.sidecar.istio.io/excludeInboundPorts", "80, 8080", "80;8080"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "eth1,net0", "an interface of a name so long"),
            ("prometheus.istio.io/merge-metrics", "false", "no"),
            ("proxy.istio.io/config", "concurrency: 2", "- 2"),
            ("proxy.istio.io/config", "{tracing: {sampling: 10}}", "{tracing: {sampling: much}}"),
            ("sidecar.istio.io/proxyCPU", "100m", "100 m"),
            ("sidecar.istio.io/proxyMemory", "1.5Gi", "much"),
            ("sidecar.istio.io/proxyMemoryLimit", "1e9", "1e9x"),
        ];
        for (name, good, bad) in cases {
            assert_eq!(told("Pod", name, good), [], "{name}");
            let bad = told("Pod", name, bad);
            assert!(matches!(bad.as_slice(), [("IST0125", _)]), "{name}: {bad:?}");
        }
    }

    #[test]
    fn what_others_write_is_theirs() {
        assert_eq!(told("Pod", "prometheus.io/port", "x"), []);
        assert_eq!(told("Service", "sidecar.istio.io/status", "{}"), []);
    }

    #[test]
    fn an_old_one_is_told_unless_its_label_is_there_too() {
        let of = |has_label: bool| {
            let path = FieldPath::of(&["metadata", "annotations"]);
            let one = [("sidecar.istio.io/inject", "true")];
            findings("Pod", one.into_iter(), |_| has_label, &path).len()
        };
        assert_eq!((of(false), of(true)), (1, 0));
    }
}
