//! AuthorizationPolicy.

use super::schema::{Schema, array, object, one_of, string, strings};
use super::selector::{selector, target_ref, target_refs};

/// How long a list of rules, and of sources, may be.
const RULES: u32 = 512;

pub(super) fn spec() -> Schema {
    let condition = object([("key", string()), ("values", strings()), ("notValues", strings())]);
    let rule = object([
        ("from", array(object([("source", source())])).max_items(RULES).about("Who calls; one of these.")),
        ("to", array(object([("operation", operation())])).about("What is called; one of these.")),
        ("when", array(condition.required(&["key"])).about("What else must hold; all of these.")),
    ]);
    object([
        ("selector", selector()),
        ("targetRef", target_ref()),
        ("targetRefs", target_refs()),
        (
            "rules",
            array(rule)
                .max_items(RULES)
                .about("A request is matched by one of these; by none if there are none."),
        ),
        (
            "action",
            one_of(&["ALLOW", "DENY", "AUDIT", "CUSTOM"]).about("What happens to a request that matches."),
        ),
        ("provider", object([("name", string())]).about("Who decides, for CUSTOM.")),
    ])
    .at_most_one(&["provider"])
    .only_one(&["selector", "targetRef", "targetRefs"])
    .about("Which requests a workload takes.")
}

fn source() -> Schema {
    let accounts = array(string().max_length(320)).max_items(16);
    object([
        ("principals", strings()),
        ("notPrincipals", strings()),
        ("requestPrincipals", strings()),
        ("notRequestPrincipals", strings()),
        ("namespaces", strings()),
        ("notNamespaces", strings()),
        ("ipBlocks", strings()),
        ("notIpBlocks", strings()),
        ("remoteIpBlocks", strings()),
        ("notRemoteIpBlocks", strings()),
        ("serviceAccounts", accounts.clone()),
        ("notServiceAccounts", accounts),
        ("trustDomains", strings()),
        ("notTrustDomains", strings()),
    ])
    .rule(
        "!(has(self.serviceAccounts) || has(self.notServiceAccounts)) || !(has(self.principals) \
         || has(self.notPrincipals) || has(self.namespaces) || has(self.notNamespaces))",
        "serviceAccounts says it all: principals and namespaces cannot be set beside it",
    )
}

fn operation() -> Schema {
    object([
        ("hosts", strings()),
        ("notHosts", strings()),
        ("ports", strings()),
        ("notPorts", strings()),
        ("methods", strings()),
        ("notMethods", strings()),
        ("paths", strings()),
        ("notPaths", strings()),
    ])
}
