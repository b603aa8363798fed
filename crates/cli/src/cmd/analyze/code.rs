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
    code("IST0103", "PodMissingProxy", Severity::Warning),
    code("IST0106", "SchemaValidationError", Severity::Error),
    code("IST0107", "MisplacedAnnotation", Severity::Warning),
    code("IST0108", "UnknownAnnotation", Severity::Warning),
    code("IST0109", "ConflictingMeshGatewayVirtualServiceHosts", Severity::Error),
    code("IST0110", "ConflictingSidecarWorkloadSelectors", Severity::Error),
    code("IST0111", "MultipleSidecarsWithoutWorkloadSelectors", Severity::Error),
    code("IST0112", "VirtualServiceDestinationPortSelectorRequired", Severity::Error),
    code("IST0116", "DeploymentAssociatedToMultipleServices", Severity::Warning),
    code("IST0118", "PortNameIsNotUnderNamingConvention", Severity::Info),
    code("IST0123", "NamespaceMultipleInjectionLabels", Severity::Warning),
    code("IST0125", "InvalidAnnotation", Severity::Warning),
    code("IST0127", "NoMatchingWorkloadsFound", Severity::Warning),
    code("IST0128", "NoServerCertificateVerificationDestinationLevel", Severity::Warning),
    code("IST0129", "NoServerCertificateVerificationPortLevel", Severity::Warning),
    code("IST0130", "VirtualServiceUnreachableRule", Severity::Warning),
    code("IST0131", "VirtualServiceIneffectiveMatch", Severity::Info),
    code("IST0132", "VirtualServiceHostNotFoundInGateway", Severity::Warning),
    code("IST0133", "SchemaWarning", Severity::Warning),
    code("IST0134", "ServiceEntryAddressesRequired", Severity::Warning),
    code("IST0135", "DeprecatedAnnotation", Severity::Info),
    code("IST0137", "DeploymentConflictingPorts", Severity::Warning),
    code("IST0138", "GatewayDuplicateCertificate", Severity::Warning),
    code("IST0140", "IngressRouteRulesNotAffected", Severity::Warning),
    code("IST0144", "InvalidApplicationUID", Severity::Warning),
    code("IST0145", "ConflictingGateways", Severity::Error),
    code("IST0150", "ExternalNameServiceTypeInvalidPortName", Severity::Warning),
    code("IST0151", "EnvoyFilterUsesRelativeOperation", Severity::Warning),
    code("IST0152", "EnvoyFilterUsesReplaceOperationIncorrectly", Severity::Error),
    code("IST0153", "EnvoyFilterUsesAddOperationIncorrectly", Severity::Error),
    code("IST0154", "EnvoyFilterUsesRemoveOperationIncorrectly", Severity::Error),
    code("IST0155", "EnvoyFilterUsesRelativeOperationWithProxyVersion", Severity::Warning),
    code("IST0157", "InvalidTelemetryProvider", Severity::Warning),
    code("IST0159", "ConflictingTelemetryWorkloadSelectors", Severity::Error),
    code("IST0160", "MultipleTelemetriesWithoutWorkloadSelectors", Severity::Error),
    code("IST0161", "InvalidGatewayCredential", Severity::Error),
    code("IST0162", "GatewayPortNotDefinedOnService", Severity::Warning),
    code("IST0171", "NegativeConditionStatus", Severity::Warning),
    code("IST0173", "DestinationRuleSubsetNotSelectPods", Severity::Error),
    code("IST0174", "UnknownDestinationRuleHost", Severity::Warning),
    code("IST0177", "ConflictingServiceEntryProtocol", Severity::Warning),
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
        ("no-workload", Some(Kind::Sidecar | Kind::Gateway)) => "IST0101",
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

    /// Every code that the table names: `IST0109 to IST0112` are four.
    fn documented() -> (Vec<u32>, Vec<u32>) {
        let text = include_str!("../../../../../docs/operations.md");
        let (_, section) = text.split_once("### Codes of analyze").unwrap();
        let (given, rest) = section.split_once("| not given |").unwrap();
        let of = |text: &str| {
            let mut all: Vec<u32> = Vec::new();
            let rows = text.lines().filter_map(|line| line.strip_prefix("| IST")?.split(" |").next());
            for part in
                rows.flat_map(|row| format!("IST{row}").split(", ").map(str::to_owned).collect::<Vec<_>>())
            {
                let mut ends = part.split(" to ").map(|code| code.trim_start_matches("IST").parse().unwrap());
                let first: u32 = ends.next().unwrap();
                all.extend(first..=ends.next().unwrap_or(first));
            }
            all
        };
        (of(given), of(rest.split("\n## ").next().unwrap()))
    }

    #[test]
    fn the_documents_name_each_code_once() {
        let (given, others) = documented();
        let mut all: Vec<u32> = given.iter().chain(&others).copied().collect();
        all.sort_unstable();
        let mut once = all.clone();
        once.dedup();
        assert_eq!(all, once);
        let own: Vec<u32> =
            CODES.iter().map(|code| code.code.trim_start_matches("IST").parse().unwrap()).collect();
        // IST0113 to IST0115 and the like are retired: Istio has none of that number.
        let missing: Vec<&u32> = own.iter().filter(|code| !given.contains(code)).collect();
        assert_eq!(missing, Vec::<&u32>::new());
        let beyond: Vec<&u32> = given.iter().filter(|code| !own.contains(code)).collect();
        assert_eq!(beyond, Vec::<&u32>::new());
    }

    #[test]
    fn the_codes_are_sorted_so_that_they_are_found() {
        assert!(CODES.is_sorted_by(|one, other| one.code < other.code));
    }
}
