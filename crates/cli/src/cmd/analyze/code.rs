//! Istio's codes, as far as something here gives them, and which of Meltemi's own findings mean the same.
//!
//! (Istio: pkg/config/analysis/msg/messages.yaml.)

use meltemi_api::{Finding, Severity};
use meltemi_names::Kind;

/// A code of Istio's.
#[derive(Debug)]
pub(crate) struct Code {
    pub(crate) code: &'static str,
    pub(crate) title: &'static str,
    pub(crate) severity: Severity,
}

const fn code(code: &'static str, title: &'static str, severity: Severity) -> Code {
    Code { code, title, severity }
}

/// Sorted.
pub(crate) const CODES: &[Code] = &[
    code("IST0002", "Deprecated", Severity::Warning),
    code("IST0101", "ReferencedResourceNotFound", Severity::Error),
    code("IST0102", "NamespaceNotInjected", Severity::Info),
    code("IST0106", "SchemaValidationError", Severity::Error),
    code("IST0109", "ConflictingMeshGatewayVirtualServiceHosts", Severity::Error),
    code("IST0110", "ConflictingSidecarWorkloadSelectors", Severity::Error),
    code("IST0111", "MultipleSidecarsWithoutWorkloadSelectors", Severity::Error),
    code("IST0112", "VirtualServiceDestinationPortSelectorRequired", Severity::Error),
    code("IST0116", "DeploymentAssociatedToMultipleServices", Severity::Warning),
    code("IST0118", "PortNameIsNotUnderNamingConvention", Severity::Info),
    code("IST0123", "NamespaceMultipleInjectionLabels", Severity::Warning),
    code("IST0127", "NoMatchingWorkloadsFound", Severity::Warning),
    code("IST0128", "NoServerCertificateVerificationDestinationLevel", Severity::Warning),
    code("IST0129", "NoServerCertificateVerificationPortLevel", Severity::Warning),
    code("IST0130", "VirtualServiceUnreachableRule", Severity::Warning),
    code("IST0131", "VirtualServiceIneffectiveMatch", Severity::Info),
    code("IST0132", "VirtualServiceHostNotFoundInGateway", Severity::Warning),
    code("IST0133", "SchemaWarning", Severity::Warning),
    code("IST0137", "DeploymentConflictingPorts", Severity::Warning),
    code("IST0140", "IngressRouteRulesNotAffected", Severity::Warning),
    code("IST0145", "ConflictingGateways", Severity::Error),
    code("IST0150", "ExternalNameServiceTypeInvalidPortName", Severity::Warning),
    code("IST0160", "MultipleTelemetriesWithoutWorkloadSelectors", Severity::Error),
    code("IST0161", "InvalidGatewayCredential", Severity::Error),
    code("IST0173", "DestinationRuleSubsetNotSelectPods", Severity::Error),
    code("IST0174", "UnknownDestinationRuleHost", Severity::Warning),
];

/// That code.
pub(crate) fn find(code: &str) -> Option<&'static Code> {
    CODES.binary_search_by(|known| known.code.cmp(code)).ok().map(|place| &CODES[place])
}

/// Findings that Istio has no word for, although one object alone gives them.
const OWN: &[&str] = &[
    "bad-api-version",
    "both-sources",
    "file-changes",
    "file-too-large",
    "not-an-object",
    "not-supported-yet",
    "unknown-kind",
    "unreadable",
];

/// Which of Istio's codes a finding means; `alone`: it was found within one object.
pub(crate) fn of(finding: &Finding, alone: bool) -> Option<&'static Code> {
    if let Some(code) = find(finding.code) {
        return Some(code);
    }
    let kind = finding.key.as_ref().map(|key| key.kind);
    let is_host = finding.field.starts_with("spec.hosts");
    let code = match (finding.code, kind) {
        ("host-not-found" | "port-not-found", Some(Kind::VirtualService)) if !alone && !is_host => "IST0101",
        ("host-not-found", Some(Kind::DestinationRule)) => "IST0174",
        ("host-not-found", Some(Kind::Sidecar)) if finding.severity == Severity::Warning => "IST0101",
        ("overruled-policy", Some(Kind::Sidecar)) if finding.field == "spec" => "IST0111",
        ("overruled-policy", Some(Kind::Sidecar)) => "IST0110",
        ("no-workload", Some(Kind::Sidecar)) => "IST0127",
        ("no-workload", Some(Kind::Gateway)) => "IST0101",
        ("gateway-not-found", Some(Kind::VirtualService)) => "IST0101",
        ("hosts-not-served", Some(Kind::VirtualService)) => "IST0132",
        ("port-conflict" | "host-conflict", Some(Kind::Gateway)) if !alone => "IST0145",
        ("secret-not-found", Some(Kind::Gateway)) => "IST0101",
        ("secret-incomplete", Some(Kind::Gateway)) => "IST0161",
        ("overruled-policy", Some(Kind::Telemetry)) => "IST0160",
        ("subset-not-found", _) => "IST0101",
        ("subset-without-endpoints", _) => "IST0173",
        ("duplicate-host", Some(Kind::VirtualService)) if !alone => "IST0109",
        ("unreachable-rule", _) => "IST0130",
        ("unreachable-match", _) => "IST0131",
        ("port-protocol", _) => "IST0118",
        ("older-spelling", _) => "IST0002",
        (own, _) if OWN.contains(&own) => return None,
        _ if alone && finding.severity == Severity::Error => "IST0106",
        _ if alone && finding.severity == Severity::Warning => "IST0133",
        _ => return None,
    };
    find(code)
}

#[cfg(test)]
mod tests {
    use super::CODES;

    #[test]
    fn the_codes_are_sorted_so_that_they_are_found() {
        assert!(CODES.is_sorted_by(|one, other| one.code < other.code));
    }
}
