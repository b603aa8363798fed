//! WorkloadEntries that no service selects, or that cannot be one of its endpoints.

use std::sync::Arc;

use meltemi_api::value::Address;
use meltemi_api::{FieldPath, Finding, Meta, WorkloadEntry};
use meltemi_model::entry::IndexKey;
use meltemi_model::index::workload_labels;
use meltemi_model::read::{Read, filed};
use meltemi_model::service::{ServiceId, ServiceOf};

pub(super) fn findings(read: &Read<'_>, meta: &Meta, entry: &WorkloadEntry) -> Vec<Finding> {
    let namespace = &meta.key.namespace;
    let labels = workload_labels(meta, &entry.labels);
    let selected = labels.iter().any(|(label, value)| {
        let services = IndexKey::ServicesSelecting(namespace.clone(), Arc::from(label), Arc::from(value));
        filed(read, services).any(|key| {
            let shape = read.ask(ServiceOf(ServiceId::of(key)));
            let selector = shape.as_ref().as_ref().and_then(|shape| shape.selector.clone());
            selector.is_some_and(|selector| selector.selects(&labels))
        })
    });
    let mut findings = Vec::new();
    if !selected {
        findings.push(
            Finding::warning(
                "workload-without-service",
                format!("no Service in namespace {namespace} selects these labels"),
            )
            .at(&FieldPath::of(&["spec", "labels"]))
            .in_force("no request reaches this workload")
            .hint("give it all the labels of a Service's selector"),
        );
    }
    if let Some(Address::Name(name)) = &entry.address {
        findings.push(
            Finding::warning(
                "address-not-an-ip",
                format!("`{name}` is a name; an endpoint of a Service is an IP address or a Unix socket"),
            )
            .at(&FieldPath::of(&["spec", "address"]))
            .in_force("the workload gets no requests")
            .hint("write its IP address"),
        );
    }
    findings
}
