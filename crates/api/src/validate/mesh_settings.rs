//! Settings of the mesh that stand for what a DestinationRule or a route may say (Istio: pkg/config/validation/agent).

use super::{Report, locality, mesh_tls, retry, traffic_policy};
use crate::MeshConfig;
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    locality::check(&mesh.locality_lb_setting, true, &path.key("localityLbSetting"), report);
    if let Some(setting) = &mesh.zone_aware_lb_setting {
        locality::zone_aware(setting, true, &path.key("zoneAwareLbSetting"), report);
    }
    if let Some(probes) = &mesh.tcp_keepalive {
        traffic_policy::tcp_keepalive(probes, &path.key("tcpKeepalive"), report);
    }
    let policy = path.key("defaultTrafficPolicy");
    if let Some(pool) = &mesh.default_traffic_policy.connection_pool {
        traffic_policy::connection_pool(pool, &policy.key("connectionPool"), report);
    }
    if let Some(outliers) = &mesh.default_traffic_policy.outlier_detection {
        traffic_policy::outlier_detection(outliers, &policy.key("outlierDetection"), report);
    }
    inbound_retries(mesh, &path.key("defaultInboundHttpRetryPolicy"), report);
    tls_defaults(mesh, &path.key("tlsDefaults"), report);
}

fn inbound_retries(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    let Some(retries) = &mesh.default_inbound_http_retry_policy else { return };
    retry::check(retries, path, report);
    if retries.attempts == 0 && retries.backoff.is_some() {
        report.add(
            Finding::error("no-attempts", "`backoff` without attempts: nothing is tried again")
                .at(&path.key("backoff"))
                .hint("add attempts"),
        );
    }
    let ignored = [
        ("perTryTimeout", retries.per_try_timeout.is_some()),
        ("retryRemoteLocalities", retries.retry_remote_localities.is_some()),
        ("retryIgnorePreviousHosts", retries.retry_ignore_previous_hosts.is_some()),
    ];
    for (name, _) in ignored.into_iter().filter(|(_, given)| *given) {
        report.add(
            Finding::warning("field-without-effect", "inbound there is one endpoint: the application")
                .at(&path.key(name))
                .in_force("requests are tried again at the application, without it"),
        );
    }
}

fn tls_defaults(mesh: &MeshConfig, path: &FieldPath, report: &mut Report) {
    mesh_tls::cipher_suites(&mesh.tls_defaults.cipher_suites, &path.key("cipherSuites"), report);
    mesh_tls::curves(&mesh.tls_defaults.ecdh_curves, &path.key("ecdhCurves"), report);
}
