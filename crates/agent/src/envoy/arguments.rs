//! Envoy's command line (Istio: pkg/envoy/proxy.go).

use std::ffi::OsString;
use std::path::Path;

use crate::options::Options;

/// Its arguments. `override_yaml` is laid over the bootstrap (Istio: `ISTIO_BOOTSTRAP_OVERRIDE`).
pub(crate) fn arguments(
    options: &Options,
    bootstrap: &Path,
    admin_address: &Path,
    override_yaml: Option<&str>,
) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = vec!["-c".into(), bootstrap.into()];
    let mut pair = |name: &str, value: &str| arguments.extend([name.into(), value.into()]);
    pair("--drain-time-s", &options.drain.as_secs().to_string());
    pair("--drain-strategy", "immediate");
    pair("--local-address-ip-version", if options.is_v6() { "v6" } else { "v4" });
    pair("--file-flush-interval-msec", "1000");
    pair("-l", &options.envoy_log_level);
    pair("--log-format", "%Y-%m-%dT%T.%fZ\t%l\tenvoy %n %g:%#\t%v\tthread=%t");
    if !options.envoy_component_log_level.is_empty() {
        pair("--component-log-level", &options.envoy_component_log_level);
    }
    // 0: as many as the machine has.
    if options.concurrency > 0 {
        pair("--concurrency", &options.concurrency.to_string());
    }
    if let Some(yaml) = override_yaml {
        pair("--config-yaml", yaml);
    }
    arguments.extend(["--admin-address-path".into(), admin_address.into()]);
    for flag in ["--disable-hot-restart", "--allow-unknown-static-fields", "--skip-deprecated-logs"] {
        arguments.push(flag.into());
    }
    arguments
}
