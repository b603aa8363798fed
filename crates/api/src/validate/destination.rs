//! Destinations and their weights.

use super::Report;
use crate::field::FieldPath;
use crate::finding::Finding;
use crate::value::is_dns_label;
use crate::virtual_service::Destination;

/// One service, which may be one that is declared for many names (Istio: pkg/config/validation, `validateDestination`).
pub(super) fn destination(destination: &Destination, path: &FieldPath, report: &mut Report) {
    if destination.host.as_str() == "*" {
        report.error(&path.key("host"), "bad-host", "`*` is every host there is; write that of one service");
    }
    if let Some(subset) = destination.subset.as_deref().filter(|subset| !is_dns_label(subset)) {
        report.error(&path.key("subset"), "bad-subset", format!("`{subset}` is not the name of a subset"));
    }
}

/// The weights of a route's destinations; `what` is sent there.
pub(super) fn weights(weights: &[u32], what: &str, path: &FieldPath, report: &mut Report) {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    match weights {
        [] => {}
        // Flagger leaves the weight 0 on a destination that is alone (facts: it must receive all traffic).
        [0 | 100] => {}
        [only] => report.add(
            Finding::warning("weight-sum", format!("the only destination gets every {what}, not {only}%"))
                .at(&path.index(0).key("weight"))
                .hint("add the destination for the rest, or leave the weight out"),
        ),
        _ if sum == 0 => report.add(
            Finding::error("weight-sum", "none of the destinations has a weight")
                .at(path)
                .hint("give each a weight"),
        ),
        _ if sum != 100 => report.add(
            Finding::warning("weight-sum", format!("the weights sum to {sum}, not 100"))
                .at(path)
                .in_force(format!("each destination gets its weight of {sum}"))
                .hint("make them sum to 100"),
        ),
        _ => {}
    }
}
