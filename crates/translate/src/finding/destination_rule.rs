//! DestinationRules: hosts that match no service, ports that it lacks, subsets that match no workload.

use std::collections::BTreeSet;

use meltemi_api::destination_rule::{TlsMode, TrafficPolicy};
use meltemi_api::{DestinationRule, FieldPath, Finding};
use meltemi_model::endpoints::{AnyCarries, SelectedLabels, TakeTls, WhoTakesTls, is_topology_label};
use meltemi_model::index::qualified;
use meltemi_model::peer::{Mode, NamespaceMode};
use meltemi_model::read::Read;
use meltemi_model::rule::{Rule, RuleFor};
use meltemi_model::service::{ServiceShape, VisibleServices};
use meltemi_names::{ObjectKey, Selector};

use super::{Target, listed, target};

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, rule: &DestinationRule) -> Vec<Finding> {
    let namespace = &key.namespace;
    let host = qualified(&rule.host, namespace);
    let spec = FieldPath::of(&["spec"]);
    let missing = |message: String, hint| {
        let finding = Finding::warning("host-not-found", message)
            .at(&spec.key("host"))
            .in_force("the rule has no effect until there is one");
        vec![Finding { hint, ..finding }]
    };
    if host.is_wildcard() {
        let visible = read.ask(VisibleServices(namespace.clone()));
        return if visible.iter().any(|service| host.covers(&service.host)) {
            Vec::new()
        } else {
            missing(format!("no service has a host under `{host}`"), None)
        };
    }
    let shape = match target(read, namespace, &rule.host, &host) {
        Target::Service(shape) => shape,
        Target::Missing { message, hint } => return missing(message, hint),
    };
    let mut findings = Vec::new();
    if let Some(policy) = &rule.traffic_policy {
        findings.extend(of_ports(&shape, policy, &spec.key("trafficPolicy")));
        findings.extend(of_tls(read, &shape, policy, &spec.key("trafficPolicy")));
    }
    for (index, subset) in rule.subsets.iter().enumerate() {
        if let Some(policy) = &subset.traffic_policy {
            let path = spec.key("subsets").index(index).key("trafficPolicy");
            findings.extend(of_ports(&shape, policy, &path));
        }
    }
    findings.extend(of_labels(read, &shape, rule, &spec));
    findings.extend(overruled(read, key, rule, &shape, &spec));
    findings
}

/// Settings for ports that the service lacks.
fn of_ports(shape: &ServiceShape, policy: &TrafficPolicy, path: &FieldPath) -> Vec<Finding> {
    let ports = policy.port_level_settings.iter().enumerate().filter_map(|(index, level)| {
        let port = level.port.filter(|port| shape.port(*port).is_none())?;
        let ports = listed(shape.ports.iter().map(|port| port.port));
        Some(
            Finding::warning("port-not-found", format!("{} has no port {port}", shape.id))
                .at(&path.key("portLevelSettings").index(index).key("port").key("number"))
                .in_force("these settings have no effect")
                .hint(format!("its ports are {ports}; the port is the Service's own, not its targetPort")),
        )
    });
    ports.collect()
}

/// TLS that the service's workloads do not take, or plain text where they take none of it.
fn of_tls(read: &Read<'_>, shape: &ServiceShape, policy: &TrafficPolicy, path: &FieldPath) -> Vec<Finding> {
    let own = |port| policy.port_level_settings.iter().position(|level| level.port == Some(port));
    let mut findings: Vec<Finding> = Vec::new();
    for port in &shape.ports {
        let index = own(port.port);
        let (written, here) = match index {
            Some(index) => {
                (policy.port_level_settings[index].tls.as_ref(), path.key("portLevelSettings").index(index))
            }
            None => (policy.tls.as_ref(), path.clone()),
        };
        let Some(mode) = written.map(|tls| tls.mode) else { continue };
        let here = here.key("tls").key("mode");
        let who = || *read.ask(WhoTakesTls { service: shape.id.clone(), port: port.port });
        let strict = || read.ask(NamespaceMode(shape.id.namespace().clone())).mode == Mode::Strict;
        let (message, hint) = match mode {
            TlsMode::IstioMutual if who() == TakeTls::None => (
                format!("no workload of {} takes mutual TLS on port {}", shape.id, port.port),
                "leave `tls` out: each endpoint is spoken to as it can",
            ),
            TlsMode::Disable if strict() && who() == TakeTls::All => (
                format!("namespace {} takes mutual TLS alone", shape.id.namespace()),
                "leave `tls` out, or let its PeerAuthentication say PERMISSIVE",
            ),
            _ => continue,
        };
        let finding = Finding::warning("tls-conflict", message).at(&here);
        let finding = finding.in_force("requests get 503").hint(hint);
        if findings.iter().all(|found| found.field != finding.field) {
            findings.push(finding);
        }
    }
    findings
}

/// Subsets whose labels nobody carries. Where nobody is known at all, the finding is the Service's.
fn of_labels(
    read: &Read<'_>,
    shape: &ServiceShape,
    rule: &DestinationRule,
    spec: &FieldPath,
) -> Vec<Finding> {
    let known = read.ask(SelectedLabels(shape.id.clone()));
    if known.is_empty() {
        return Vec::new();
    }
    let carried = |labels: &Selector| {
        if labels.labels().iter().any(|(key, _)| is_topology_label(key)) {
            *read.ask(AnyCarries { service: shape.id.clone(), labels: labels.clone() })
        } else {
            known.iter().any(|found| labels.selects(found))
        }
    };
    let unmatched = rule
        .subsets
        .iter()
        .enumerate()
        .filter(|(_, subset)| !subset.labels.is_empty() && !carried(&subset.labels));
    unmatched
        .map(|(index, subset)| {
            let wanted: Vec<String> =
                subset.labels.labels().iter().map(|(label, value)| format!("{label}={value}")).collect();
            let there: BTreeSet<String> = subset
                .labels
                .labels()
                .iter()
                .flat_map(|(label, _)| {
                    known.iter().filter_map(move |labels| Some(format!("{label}={}", labels.value(label)?)))
                })
                .collect();
            let there = if there.is_empty() {
                "they carry none of these labels".to_owned()
            } else {
                format!("they carry {}", listed(&there))
            };
            Finding::warning(
                "subset-without-endpoints",
                format!("no workload of {} carries {}", shape.id, listed(&wanted)),
            )
            .at(&spec.key("subsets").index(index).key("labels"))
            .in_force(format!("requests to subset `{}` get 503", subset.name))
            .hint(format!("label its workloads so, or change the subset; {there}"))
        })
        .collect()
}

/// What an older rule for the same host says already (Istio: pilot/pkg/model/destination_rule.go).
fn overruled(
    read: &Read<'_>,
    key: &ObjectKey,
    rule: &DestinationRule,
    shape: &ServiceShape,
    spec: &FieldPath,
) -> Vec<Finding> {
    let in_force = read.ask(RuleFor {
        viewer: key.namespace.clone(),
        service: shape.id.clone(),
        selectors: rule.workload_selector.iter().map(|selector| selector.match_labels.clone()).collect(),
    });
    let Some(rules) = &*in_force else { return Vec::new() };
    let Some(position) = rules.iter().position(|found| found == key).filter(|position| *position > 0) else {
        return Vec::new();
    };
    let older: Vec<ObjectKey> = rules.iter().take(position).cloned().collect();
    let names = older.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ");
    let merged = read.ask(Rule(older.into()));
    let mut findings = Vec::new();
    if rule.traffic_policy.is_some() && merged.traffic_policy.is_some() {
        findings.push(
            Finding::warning(
                "overruled-policy",
                format!("{names} has a traffic policy for this host too, and is older"),
            )
            .at(&spec.key("trafficPolicy"))
            .in_force(format!("the traffic policy of {names}"))
            .hint("move both into one DestinationRule"),
        );
    }
    for (index, subset) in rule.subsets.iter().enumerate() {
        if merged.subset(&subset.name).is_some() {
            findings.push(
                Finding::warning(
                    "overruled-subset",
                    format!("{names} has a subset `{}` too, and is older", subset.name),
                )
                .at(&spec.key("subsets").index(index).key("name"))
                .in_force(format!("the subset of {names}"))
                .hint("move both into one DestinationRule"),
            );
        }
    }
    findings
}
