//! EnvoyFilter: what it names and the mesh does not have, and names that are the mesh's own.

use meltemi_api::envoy_filter::{ApplyTo, ConfigPatch, Operation};
use meltemi_api::{EnvoyFilter, FieldPath, Finding};
use meltemi_model::read::Read;
use meltemi_model::service::ServiceByHost;
use meltemi_names::{Host, ObjectKey, TypeUrl};
use meltemi_proto::envoy::config::cluster::v3::Cluster;
use meltemi_proto::envoy::config::listener::v3::Listener;
use meltemi_proto::envoy::config::route::v3::VirtualHost;

use crate::patch::{PatchOf, is_reserved};

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, filter: &EnvoyFilter) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (index, patch) in filter.config_patches.iter().enumerate() {
        let path = FieldPath::of(&["spec", "configPatches"]).index(index);
        findings.extend(missing_service(read, key, patch, &path));
        findings.extend(reserved_name(read, key, index, patch, &path));
        findings.extend(taken_domain(read, key, index, patch, &path));
    }
    findings
}

/// Clusters of a service that nobody has.
fn missing_service(
    read: &Read<'_>,
    key: &ObjectKey,
    patch: &ConfigPatch,
    path: &FieldPath,
) -> Option<Finding> {
    let wanted = patch.matching.cluster.as_ref().filter(|wanted| wanted.name.is_empty())?;
    if patch.apply_to != ApplyTo::Cluster || wanted.service.is_empty() || patch.operation() == Operation::Add
    {
        return None;
    }
    let host: Host = wanted.service.parse().ok()?;
    let found = read.ask(ServiceByHost { viewer: key.namespace.clone(), host: host.clone() });
    if found.is_some() {
        return None;
    }
    let finding = Finding::warning("patch-matches-nothing", format!("no service has the host `{host}`"))
        .at(&path.key("match").key("cluster").key("service"))
        .in_force("the patch is for no cluster");
    Some(if host.is_short() {
        finding.hint("write the host in full, as in reviews.default.svc.cluster.local")
    } else {
        finding
    })
}

/// A virtual host is to be added for a host that has one.
fn taken_domain(
    read: &Read<'_>,
    key: &ObjectKey,
    index: usize,
    patch: &ConfigPatch,
    path: &FieldPath,
) -> Option<Finding> {
    if patch.operation() != Operation::Add || patch.apply_to != ApplyTo::VirtualHost {
        return None;
    }
    let written = read.ask(PatchOf { object: key.clone(), patch: index });
    let host: VirtualHost = (*written).as_ref()?.message()?;
    let taken = host.domains.iter().find(|domain| {
        domain
            .parse::<Host>()
            .is_ok_and(|host| read.ask(ServiceByHost { viewer: key.namespace.clone(), host }).is_some())
    })?;
    Some(
        Finding::warning(
            "domain-taken",
            format!("`{taken}` is a service's, which has a virtual host for it"),
        )
        .at(&path.key("patch").key("value").key("domains"))
        .in_force("the patch is left out where a route configuration has that virtual host")
        .hint("merge into that virtual host, or replace it"),
    )
}

/// Something is to be added under a name that is the mesh's to give.
fn reserved_name(
    read: &Read<'_>,
    key: &ObjectKey,
    index: usize,
    patch: &ConfigPatch,
    path: &FieldPath,
) -> Option<Finding> {
    if patch.operation() != Operation::Add || !matches!(patch.apply_to, ApplyTo::Cluster | ApplyTo::Listener)
    {
        return None;
    }
    let written = read.ask(PatchOf { object: key.clone(), patch: index });
    let written = (*written).as_ref()?;
    let (type_url, name) = match patch.apply_to {
        ApplyTo::Cluster => (TypeUrl::Cluster, written.message::<Cluster>()?.name),
        _ => (TypeUrl::Listener, written.message::<Listener>()?.name),
    };
    let (what, why) = if name.is_empty() {
        ("what is added needs a name".to_owned(), "give it a name")
    } else if is_reserved(type_url, &name) {
        (
            format!("`{name}` is what the mesh calls one of its own"),
            "give it another name, or merge into that one",
        )
    } else {
        return None;
    };
    let field = path.key("patch").key("value").key("name");
    Some(Finding::warning("bad-patch-name", what).at(&field).hint(why).in_force("the patch is left out"))
}
