//! Gateways: servers that another one keeps out, certificates that no Secret holds; and VirtualServices whose gateways are not there.

use std::sync::Arc;

use meltemi_api::value::GatewayName;
use meltemi_api::{FieldPath, Finding, Gateway, VirtualService};
use meltemi_model::entry::IndexKey;
use meltemi_model::gateway::merge::{Conflict, Merged, Rejected};
use meltemi_model::gateway::{BoundTo, GatewaySet, Homes, common, selecting};
use meltemi_model::index::gateway_key;
use meltemi_model::read::{self, Read, filed, none_filed};
use meltemi_names::{Namespace, ObjectKey};

use super::listed;
use crate::gateway::secret::{secret_of, secrets_of_roots};

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
    let homes = read.ask(Homes { selector: gateway.selector.clone(), own: key.namespace.clone() });
    if homes.is_empty() && !gateway.selector.labels().is_empty() && !none_filed(read, IndexKey::Pods) {
        findings.push(nobody(gateway));
    }
    // Where its proxies are not known they are taken to be beside it, where most keep them.
    let mut homes = homes.iter().cloned().collect::<Vec<_>>();
    if homes.is_empty() {
        homes.push(key.namespace.clone());
    }
    for (index, server) in gateway.servers.iter().enumerate() {
        let Some(tls) = server.terminates() else { continue };
        let path = servers.index(index).key("tls");
        for (place, written) in tls.credentials().iter().enumerate() {
            let path = if tls.credential_names.is_empty() {
                path.key("credentialName")
            } else {
                path.key("credentialNames").index(place)
            };
            findings.extend(of_certificate(read, &homes, written).map(|finding| unserved(finding, &path)));
        }
        if let Some(written) = tls.roots_credential() {
            let path = match (&tls.ca_cert_credential_name, tls.credential_names.is_empty()) {
                (Some(_), _) => path.key("caCertCredentialName"),
                (None, true) => path.key("credentialName"),
                (None, false) => path.key("credentialNames").index(0),
            };
            let named = tls.ca_cert_credential_name.is_some();
            findings.extend(of_roots(read, &homes, written, named).map(|finding| unserved(finding, &path)));
        }
    }
    findings
}

fn nobody(gateway: &Gateway) -> Finding {
    let labels: Vec<String> =
        gateway.selector.labels().iter().map(|(label, value)| format!("{label}={value}")).collect();
    Finding::warning("no-workload", format!("no workload of any namespace has {}", labels.join(" and ")))
        .at(&FieldPath::of(&["spec", "selector"]))
        .in_force("it is for nobody that is known")
        .hint("the labels are those of the gateway's pods; see them with kubectl get pods --show-labels -A")
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

/// What follows from all of these.
fn unserved(finding: Finding, path: &FieldPath) -> Finding {
    finding.at(path).in_force("clients' handshakes fail until it is there")
}

/// Where one of the namespaces with its proxies has no such Secret.
fn of_certificate(read: &Read<'_>, homes: &[Namespace], written: &str) -> Option<Finding> {
    homes.iter().find_map(|home| {
        let Some(secret) = secret_of(written, home) else { return Some(foreign(written, home)) };
        let Some(credential) = read::credential(read, &secret) else {
            return Some(missing(&secret, CERTIFICATE));
        };
        credential.certificate.is_none().then(|| {
            Finding::warning("secret-incomplete", format!("{secret} holds no certificate with its key"))
        })
    })
}

/// The same for what clients are verified by; `named`: by a name of its own.
fn of_roots(read: &Read<'_>, homes: &[Namespace], written: &str, named: bool) -> Option<Finding> {
    homes.iter().find_map(|home| {
        let Some(secrets) = secrets_of_roots(written, home) else {
            return named.then(|| foreign(written, home));
        };
        let [beside, own] = &secrets;
        let Some(credential) = secrets.iter().find_map(|secret| read::credential(read, secret)) else {
            // What is missing as a certificate is told as such.
            return named.then(|| missing(own, ROOTS));
        };
        credential.roots.is_none().then(|| {
            let message = format!("neither {beside} nor {own} holds what clients are verified by");
            Finding::warning("secret-incomplete", message).hint("add the key ca.crt to one of them")
        })
    })
}

fn foreign(written: &str, home: &Namespace) -> Finding {
    let message =
        format!("`{written}` is no Secret of the proxies' own namespace ({home}), and no other is served");
    Finding::warning("secret-not-served", message)
        .hint(format!("put the Secret into namespace {home}, and write its name alone"))
}

/// What a Secret of a certificate, and one of roots, must hold.
const CERTIFICATE: &str = "tls.crt and tls.key (or cert and key)";
const ROOTS: &str = "ca.crt (or cacert)";

fn missing(secret: &ObjectKey, holds: &str) -> Finding {
    let message = format!("{secret} is not there, or not read; proxies look for it in their own namespace");
    Finding::warning("secret-not-found", message).hint(format!(
        "it holds {holds}, as PEM; in a cluster its namespace must be among those whose Secrets may be read"
    ))
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
