//! WorkloadEntries that no service selects, or that cannot be one of its endpoints.

use std::sync::Arc;

use meltemi_api::value::Address;
use meltemi_api::{FieldPath, Finding, Meta, WorkloadEntry};
use meltemi_model::entry::IndexKey;
use meltemi_model::index::workload_labels;
use meltemi_model::read::{Read, filed};
use meltemi_model::service::{ServiceOf, declared};

pub(super) fn findings(read: &Read<'_>, meta: &Meta, entry: &WorkloadEntry) -> Vec<Finding> {
    let namespace = &meta.key.namespace;
    let labels = workload_labels(meta, &entry.labels);
    // Names are resolved for ServiceEntries alone, and for those alone that say so.
    let (mut selected, mut resolves) = (false, false);
    for (label, value) in labels.iter() {
        let services = IndexKey::ServicesSelecting(namespace.clone(), Arc::from(label), Arc::from(value));
        for id in filed(read, services).flat_map(|key| declared(read, key)) {
            let shape = read.ask(ServiceOf(id));
            let Some(shape) = shape.as_ref() else { continue };
            let selects = shape.selector.as_ref().is_some_and(|selector| selector.selects(&labels));
            selected |= selects;
            resolves |= selects && shape.resolution.is_dns();
        }
    }
    let mut findings = Vec::new();
    if !selected {
        findings.push(
            Finding::info(
                "workload-without-service",
                format!("no Service or ServiceEntry in namespace {namespace} selects these labels"),
            )
            .at(&FieldPath::of(&["spec", "labels"]))
            .in_force("no request reaches this workload, which may well be a client")
            .hint("give it all the labels of a Service's selector"),
        );
    }
    if let Some(Address::Name(name)) = entry.address.as_ref().filter(|_| selected && !resolves) {
        findings.push(
            Finding::warning(
                "address-not-an-ip",
                format!("`{name}` is a name; an endpoint of a Service is an IP address or a Unix socket"),
            )
            .at(&FieldPath::of(&["spec", "address"]))
            .in_force("the workload gets no requests")
            .hint("write its IP address, or select it by a ServiceEntry with resolution: DNS"),
        );
    }
    findings
}
