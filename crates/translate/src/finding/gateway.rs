//! Gateways: servers that another one keeps out, certificates that no Secret holds; and VirtualServices whose gateways are not there.

use std::sync::Arc;

use meltemi_api::gateway::ServerTlsMode;
use meltemi_api::value::GatewayName;
use meltemi_api::{FieldPath, Finding, Gateway, VirtualService};
use meltemi_model::entry::IndexKey;
use meltemi_model::gateway::merge::{Conflict, Merged, Rejected};
use meltemi_model::gateway::{BoundTo, GatewaySet, common, selecting};
use meltemi_model::index::gateway_key;
use meltemi_model::read::{self, Read, filed};
use meltemi_names::{Kind, Namespace, ObjectKey};

use super::listed;
use crate::gateway::secret::secret_of;

pub(super) fn findings(read: &Read<'_>, key: &ObjectKey, gateway: &Gateway) -> Vec<Finding> {
    let servers = FieldPath::of(&["spec", "servers"]);
    let mut findings = Vec::new();
    // Which Gateways meet is decided by the labels of proxies: those with just the labels that are asked for have no more of them than
    // any other proxy of this Gateway.
    let gateways = selecting(read, gateway.selector.labels());
    let set = GatewaySet { gateways, ports: Arc::default(), unprivileged: false };
    let merged = read.ask(Merged(set));
    let own = merged.rejected.iter().filter(|rejected| rejected.gateway == *key);
    findings.extend(own.map(|rejected| of_conflict(rejected, gateway, &servers)));
    for (index, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = server.terminates() else { continue };
        let path = servers.index(index).key("tls");
        for (place, written) in tls.credentials().iter().enumerate() {
            let path = if tls.credential_names.is_empty() {
                path.key("credentialName")
            } else {
                path.key("credentialNames").index(place)
            };
            findings.extend(of_credential(read, &key.namespace, written, tls.mode, place == 0, &path));
        }
    }
    findings
}

fn of_conflict(rejected: &Rejected, gateway: &Gateway, servers: &FieldPath) -> Finding {
    let path = servers.index(rejected.index);
    match &rejected.why {
        Conflict::Protocol { other, speaks } => {
            let server = gateway.servers.get(rejected.index);
            let port =
                server.and_then(|server| server.number()).map(|port| format!(" {port}")).unwrap_or_default();
            let speaks = format!("{speaks:?}").to_ascii_uppercase();
            Finding::warning(
                "port-conflict",
                format!("port{port} is {speaks} by {other}, whose proxies this is for, too"),
            )
            .at(&path.key("port"))
            .in_force("the older server; this one is left out")
            .hint("choose another port, or other proxies by spec.selector")
        }
        Conflict::Host { other, host } => Finding::warning(
            "host-conflict",
            format!("{other} has an encrypted server for `{host}` on this port, too"),
        )
        .at(&path.key("hosts"))
        .in_force("the older server; this one is left out, with all of its hosts")
        .hint("keep the host in one of them"),
    }
}

/// Judged in the Gateway's own namespace, where most keep its proxies and their Secrets.
fn of_credential(
    read: &Read<'_>,
    own: &Namespace,
    written: &str,
    mode: ServerTlsMode,
    first: bool,
    path: &FieldPath,
) -> Option<Finding> {
    let in_force = "clients' handshakes fail until it is there";
    let Some(secret) = secret_of(written, own) else {
        let finding = Finding::warning(
            "secret-not-served",
            format!("`{written}` is no Secret of the proxies' own namespace, and no other is served"),
        );
        return Some(finding.at(path).in_force(in_force).hint("write the Secret's name alone"));
    };
    let Some(credential) = read::credential(read, &secret) else {
        let message =
            format!("{secret} is not there, or not read; proxies look for it in their own namespace");
        return Some(
            Finding::warning("secret-not-found", message)
                .at(path)
                .in_force(in_force)
                .hint("its type is kubernetes.io/tls or Opaque; in a cluster its namespace must be among those whose Secrets may be read"),
        );
    };
    if credential.certificate.is_none() {
        let message = format!("{secret} holds no certificate with its key");
        return Some(Finding::warning("secret-incomplete", message).at(path).in_force(in_force));
    }
    let beside = ObjectKey::new(Kind::Secret, own.clone(), format!("{}-cacert", secret.name).as_str());
    let roots = read::credential(read, &beside).unwrap_or(credential).roots.is_some();
    (mode.verifies() && first && !roots).then(|| {
        Finding::warning(
            "secret-incomplete",
            format!("neither {beside} nor {secret} holds what clients are verified by"),
        )
        .at(path)
        .in_force(in_force)
        .hint("add the key ca.crt to one of them")
    })
}

/// What a VirtualService says of gateways.
pub(super) fn of_virtual_service(
    read: &Read<'_>,
    key: &ObjectKey,
    written: &VirtualService,
    spec: &FieldPath,
) -> Vec<Finding> {
    let at = spec.key("gateways");
    let names = written.gateways.iter().enumerate();
    names.filter_map(|(index, name)| of_gateway(read, key, name, &at.index(index))).collect()
}

fn of_gateway(read: &Read<'_>, key: &ObjectKey, name: &GatewayName, path: &FieldPath) -> Option<Finding> {
    let named = gateway_key(name, &key.namespace)?;
    let Some((_, gateway)) = read::gateway(read, &named) else {
        let elsewhere = filed(read, IndexKey::Gateways).find(|other| other.name == named.name);
        let finding = Finding::warning("gateway-not-found", format!("there is no {named}"))
            .at(path)
            .in_force("no gateway has the rules; they wait for it");
        return Some(match elsewhere {
            Some(other) => {
                finding.hint(format!("write {}/{} for the one of that name", other.namespace, other.name))
            }
            None => finding,
        });
    };
    let bound = read.ask(BoundTo(named.clone()));
    let outline = bound.iter().find(|outline| outline.key == *key)?;
    let met =
        gateway.servers.iter().any(|server| !common(&server.hosts, &named.namespace, outline).is_empty());
    (!met).then(|| {
        let hosts = gateway.servers.iter().flat_map(|server| &server.hosts);
        Finding::warning(
            "hosts-not-served",
            format!("{named} serves none of these hosts for namespace {}", key.namespace),
        )
        .at(path)
        .in_force("that gateway has nothing of these rules")
        .hint(format!("its hosts are {}", listed(hosts)))
    })
}
