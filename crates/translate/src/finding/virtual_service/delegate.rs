//! Delegates: those that are missing, or say less than was written, and those that nobody uses.

use meltemi_api::{FieldPath, Finding, Meta, VirtualService};
use meltemi_model::entry::IndexKey;
use meltemi_model::read::{Read, none_filed};
use meltemi_model::virtual_service::delegate::{DelegateFault, WhyNoDelegate, http_rules};

pub(super) fn findings(read: &Read<'_>, meta: &Meta, written: &VirtualService) -> Vec<Finding> {
    if written.is_delegate() {
        return unused(read, meta).into_iter().collect();
    }
    let faults = http_rules(read, meta, written).faults;
    faults.iter().map(|fault| of_fault(fault, meta)).collect()
}

fn unused(read: &Read<'_>, meta: &Meta) -> Option<Finding> {
    none_filed(read, IndexKey::DelegatingTo(meta.key.clone())).then(|| {
        Finding::warning("unused-delegate", "it has no hosts, and no VirtualService delegates to it")
            .at(&FieldPath::of(&["spec"]))
            .in_force("nothing follows from it")
            .hint("add hosts, or delegate to it by http[].delegate of one that has hosts")
    })
}

fn of_fault(fault: &DelegateFault, root: &Meta) -> Finding {
    let delegate = &fault.delegate;
    let left_out = "the rule is left out: its requests go on to the next one";
    let (code, message, in_force, hint) = match fault.why {
        WhyNoDelegate::Missing => (
            "delegate-not-found",
            format!("there is no {delegate}"),
            left_out,
            "add it, without hosts, or correct the name; the namespace is this object's unless it is written".to_owned(),
        ),
        WhyNoDelegate::HasHosts => (
            "delegate-not-found",
            format!("{delegate} has hosts, and so is no delegate"),
            left_out,
            "delegate to one that has no hosts".to_owned(),
        ),
        WhyNoDelegate::NotExported => (
            "delegate-not-found",
            format!("{delegate} is not exported to namespace {}", root.key.namespace),
            left_out,
            format!("add {} to its exportTo", root.key.namespace),
        ),
        WhyNoDelegate::Conflict { rule, matching, field } => (
            "delegate-conflict",
            format!("http[{rule}].match[{matching}] of {delegate} contradicts every match of this rule, in `{field}`"),
            "that rule of the delegate is left out",
            "a delegate may only narrow what its rule matches: the same, or a longer prefix of it; with a regular \
             expression on one side leave the other's field out"
                .to_owned(),
        ),
    };
    Finding::warning(code, message)
        .at(&FieldPath::of(&["spec", "http"]).index(fault.rule).key("delegate"))
        .in_force(in_force)
        .hint(hint)
}
