//! ProxyConfig (Istio: pkg/config/validation, `ValidateProxyConfig`), and that nothing reads it yet.

use super::{Report, labels};
use crate::ProxyConfig;
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(config: &ProxyConfig, path: &FieldPath, report: &mut Report) {
    if let Some(selector) = &config.selector {
        labels::selector(&selector.match_labels, &path.key("selector"), report);
    }
    if config.concurrency.is_some_and(|threads| threads < 0) {
        report.error(&path.key("concurrency"), "bad-value", "the number of threads is 0 or more");
    }
    let given = [
        (
            "concurrency",
            config.concurrency.is_some(),
            "the proxy's own arguments say how many threads it has",
        ),
        (
            "environmentVariables",
            !config.environment_variables.is_empty(),
            "the proxy has the environment that its pod gives it",
        ),
        ("image", config.image.is_some(), "the proxy is the image that its pod names"),
    ];
    for (name, _, instead) in given.into_iter().filter(|(_, given, _)| *given) {
        report.add(
            Finding::warning(
                "not-supported-yet",
                "proxies are started with this by injection, which is not there yet",
            )
            .at(&path.key(name))
            .in_force(instead)
            .hint("write it into the pod"),
        );
    }
}
