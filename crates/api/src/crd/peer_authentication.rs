//! PeerAuthentication.

use super::schema::{Schema, map, object, one_of};
use super::selector::selector;

pub(super) fn spec() -> Schema {
    let mtls = object([("mode", one_of(&["UNSET", "DISABLE", "PERMISSIVE", "STRICT"]))]);
    let by_port = map(mtls.clone())
        .min_entries(1)
        .rule("self.all(port, int(port) >= 1 && int(port) <= 65535)", "a port is a number from 1 to 65535");
    object([
        ("selector", selector()),
        ("mtls", mtls.about("Whether plain text is taken.")),
        ("portLevelMtls", by_port.about("For single ports of the workload.")),
    ])
    .rule(
        "!has(self.portLevelMtls) || (has(self.selector) && has(self.selector.matchLabels) \
         && self.selector.matchLabels.size() > 0)",
        "portLevelMtls needs a selector: the ports are those of a workload",
    )
    .about("Whether a workload takes plain text from its callers.")
}
