//! How kinds say which workloads they are about: by labels, or by naming a Gateway or Service.

use super::schema::{Schema, array, map, object, string};

/// `selector`: labels that are all asked for, as in policies.
pub(super) fn selector() -> Schema {
    let value = string()
        .max_length(63)
        .rule("!self.contains('*')", "a label's value is matched as it is: `*` cannot be used");
    let labels = map(value)
        .max_entries(4096)
        .rule("self.all(name, name != '')", "a label's name must not be empty")
        .rule(
            "self.all(name, !name.contains('*'))",
            "a label's name is matched as it is: `*` cannot be used",
        );
    object([("matchLabels", labels.about("All of these labels must be on a pod."))])
        .about("The workloads that this is about; none: all of the namespace.")
}

/// `workloadSelector`: the older spelling of the same.
pub(super) fn workload_selector() -> Schema {
    let value = string()
        .max_length(63)
        .rule("!self.contains('*')", "a label's value is matched as it is: `*` cannot be used");
    object([("labels", map(value).max_entries(256).about("All of these labels must be on a pod."))])
        .about("The workloads that this is about; none: all of the namespace.")
}

const DNS_LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// An object of the same namespace, as Gateway API's policies name it.
pub(super) fn target_ref() -> Schema {
    object([
        ("group", string().max_length(253).pattern(&format!("^$|^{DNS_LABEL}(\\.{DNS_LABEL})*$"))),
        ("kind", string().not_empty().max_length(63).pattern("^[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?$")),
        ("name", string().not_empty().max_length(253)),
        (
            "namespace",
            string().rule("self == ''", "an object of another namespace cannot be referred to yet"),
        ),
    ])
    .required(&["kind", "name"])
}

/// Objects of the same namespace.
pub(super) fn target_refs() -> Schema {
    array(target_ref()).max_items(16).about("The Gateways or Services that this is about.")
}
