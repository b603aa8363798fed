//! Telemetries of which another one takes the place, and providers that are not there.

use std::collections::BTreeSet;

use meltemi_api::mesh_config::{ExtensionProvider, ServiceRef};
use meltemi_api::telemetry::ProviderRef;
use meltemi_api::{FieldPath, Finding, MeshConfig, Telemetry};
use meltemi_model::peer::IsRoot;
use meltemi_model::read::Read;
use meltemi_model::settings::settings;
use meltemi_model::telemetry::GeneralTelemetry;
use meltemi_names::ObjectKey;

use crate::listener::{CollectorOf, Missing};

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, telemetry: &Telemetry) -> Vec<Finding> {
    let spec = FieldPath::of(&["spec"]);
    let mut findings = Vec::new();
    // What stands for nothing is told by the object's own validation.
    let targets = telemetry.targets();
    if !targets.is_empty() && targets.iter().all(|target| target.gateway().is_none()) {
        return findings;
    }
    let is_root = *read.ask(IsRoot(key.namespace.clone()));
    if !targets.is_empty() {
        // It is for the proxies that it names, whatever else is for all.
    } else if telemetry.labels().is_none() {
        let older = read.ask(GeneralTelemetry(key.namespace.clone()));
        if let Some(older) = older.as_ref().as_ref().filter(|older| *older != key) {
            let whom = if is_root { "the mesh".to_owned() } else { format!("namespace {}", key.namespace) };
            findings.push(
                Finding::warning(
                    "overruled-policy",
                    format!("{older} is for all of {whom} too, and is older"),
                )
                .at(&spec)
                .in_force(format!("what {older} says; they are not merged"))
                .hint("keep one of them"),
            );
        }
    } else if is_root {
        findings.push(
            Finding::info(
                "only-own-namespace",
                "with a selector this is for workloads of the root namespace alone, not for the mesh",
            )
            .at(&spec.key("selector")),
        );
    }
    let mesh = settings(read);
    let rules = telemetry.access_logging.iter().map(|rule| &rule.providers);
    named(
        read,
        &mesh,
        rules,
        &spec.key("accessLogging"),
        "access logs",
        ExtensionProvider::logs,
        &mut findings,
    );
    let rules = telemetry.tracing.iter().map(|rule| &rule.providers);
    named(read, &mesh, rules, &spec.key("tracing"), "spans", ExtensionProvider::traces, &mut findings);
    let counts = |provider: &ExtensionProvider| provider.prometheus.is_some();
    let rules = telemetry.metrics.iter().map(|rule| &rule.providers);
    named(read, &mesh, rules, &spec.key("metrics"), "metrics", counts, &mut findings);
    findings
}

/// The providers that a list of rules names.
fn named<'a>(
    read: &Read<'_>,
    mesh: &MeshConfig,
    rules: impl Iterator<Item = &'a Vec<ProviderRef>>,
    path: &FieldPath,
    what: &str,
    takes: impl Fn(&ExtensionProvider) -> bool,
    findings: &mut Vec<Finding>,
) {
    for (index, providers) in rules.enumerate() {
        for (at, ProviderRef { name }) in providers.iter().enumerate() {
            let here = path.index(index).key("providers").index(at);
            let Some(provider) = mesh.provider(name).filter(&takes) else {
                findings.push(
                    Finding::warning(
                        "unknown-provider",
                        format!("no provider `{name}` of the mesh's settings takes {what}"),
                    )
                    .at(&here)
                    .in_force("nothing is sent to it")
                    .hint("define it in extensionProviders"),
                );
                continue;
            };
            findings.extend(unreachable(read, &provider).into_iter().map(|missing| missing.at(&here)));
        }
    }
}

/// Of the settings: providers whose services are not there, and that something asks for by default.
pub(super) fn of_settings(read: &Read<'_>, mesh: &MeshConfig) -> Vec<Finding> {
    let path = FieldPath::of(&["data", "mesh"]).key("extensionProviders");
    let asked = mesh.default_providers.access_logging.iter().chain(&mesh.default_providers.tracing);
    let asked: BTreeSet<String> = asked.map(|name| name.to_ascii_lowercase()).collect();
    let providers = mesh.extension_providers.iter().enumerate();
    let asked = providers.filter(|(_, provider)| asked.contains(&provider.name.to_ascii_lowercase()));
    let of = |(index, provider): (usize, &ExtensionProvider)| {
        unreachable(read, provider)
            .into_iter()
            .map(|missing| missing.at(&path.index(index)))
            .collect::<Vec<_>>()
    };
    asked.flat_map(of).collect()
}

fn unreachable(read: &Read<'_>, provider: &ExtensionProvider) -> Vec<Finding> {
    provider.services().filter_map(|service| of_service(read, provider, service)).collect()
}

fn of_service(read: &Read<'_>, provider: &ExtensionProvider, named: ServiceRef<'_>) -> Option<Finding> {
    let ServiceRef { service, port } = named;
    let found = read.ask(CollectorOf { service: service.to_owned(), port: port?, viewer: None, scope: None });
    let missing = found.as_ref().as_ref().err()?;
    let finding = Finding::warning("unknown-collector", format!("provider `{}`: {missing}", provider.name));
    Some(match missing {
        Missing::Hidden(_) => finding.in_force("only proxies of namespaces that see it send to it"),
        _ => finding.in_force("nothing is sent to it"),
    })
}
