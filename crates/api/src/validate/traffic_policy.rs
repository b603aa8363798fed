//! How connections and requests behave.

use super::{Report, balance, wrapping};
use crate::destination_rule::{
    ClientTls, ConnectionPool, H2UpgradePolicy, OutlierDetection, TcpKeepalive, TlsMode, TrafficPolicy,
};
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(policy: &TrafficPolicy, path: &FieldPath, report: &mut Report) {
    if *policy == TrafficPolicy::default() {
        report.error(path, "empty-policy", "a traffic policy must say something");
    }
    if let Some(balancer) = &policy.load_balancer {
        let outliers = policy.outlier_detection.is_some();
        balance::check(balancer, outliers, &path.key("loadBalancer"), report);
    }
    parts(
        policy.connection_pool.as_ref(),
        policy.outlier_detection.as_ref(),
        policy.tls.as_ref(),
        path,
        report,
    );
    if let Some(tunnel) = &policy.tunnel {
        wrapping::tunnel(tunnel, &path.key("tunnel"), report);
    }
    if let Some(budget) = &policy.retry_budget {
        wrapping::retry_budget(budget, &path.key("retryBudget"), report);
    }
    if policy.tunnel.is_some() && policy.proxy_protocol.is_some() {
        report.error(
            &path.key("tunnel"),
            "conflicting-policies",
            "`tunnel` and `proxyProtocol` exclude each other",
        );
    }
    for (index, port) in policy.port_level_settings.iter().enumerate() {
        let here = path.key("portLevelSettings").index(index);
        if port.port.is_none() {
            report.add(
                Finding::error("no-port", "the settings of a port say which port")
                    .at(&here)
                    .hint("add port: {number: ...}, the service's port"),
            );
        } else if policy.port_level_settings[..index].iter().any(|other| other.port == port.port) {
            report.add(
                Finding::warning("duplicate-port", "the port stands here a second time")
                    .at(&here.key("port"))
                    .in_force("the first settings of a port count"),
            );
        }
        if port.load_balancer.is_none()
            && port.connection_pool.is_none()
            && port.outlier_detection.is_none()
            && port.tls.is_none()
        {
            report.error(&here, "empty-policy", "the settings of a port must say something");
        }
        if let Some(balancer) = &port.load_balancer {
            let outliers = port.outlier_detection.is_some();
            balance::check(balancer, outliers, &here.key("loadBalancer"), report);
        }
        parts(
            port.connection_pool.as_ref(),
            port.outlier_detection.as_ref(),
            port.tls.as_ref(),
            &here,
            report,
        );
    }
}

fn parts(
    pool: Option<&ConnectionPool>,
    outliers: Option<&OutlierDetection>,
    tls: Option<&ClientTls>,
    path: &FieldPath,
    report: &mut Report,
) {
    if let Some(pool) = pool {
        connection_pool(pool, &path.key("connectionPool"), report);
    }
    if let Some(outliers) = outliers {
        outlier_detection(outliers, &path.key("outlierDetection"), report);
    }
    if let Some(tls) = tls {
        client_tls(tls, &path.key("tls"), report);
    }
}

pub(super) fn connection_pool(pool: &ConnectionPool, path: &FieldPath, report: &mut Report) {
    if pool.tcp.is_none() && pool.http.is_none() {
        report.error(path, "empty-policy", "a connection pool limits tcp or http");
    }
    if let Some(tcp) = &pool.tcp {
        let here = path.key("tcp");
        report.duration(&here.key("connectTimeout"), tcp.connect_timeout);
        report.duration(&here.key("maxConnectionDuration"), tcp.max_connection_duration);
        // Zero is "never idle" here alone.
        report.duration(&here.key("idleTimeout"), tcp.idle_timeout.filter(|timeout| !timeout.is_zero()));
        if let Some(probes) = &tcp.tcp_keepalive {
            tcp_keepalive(probes, &here.key("tcpKeepalive"), report);
        }
    }
    if let Some(http) = &pool.http {
        let here = path.key("http");
        report.duration(&here.key("idleTimeout"), http.idle_timeout);
        if let Some(keepalive) = &http.http2_keep_alive {
            wrapping::keepalive(keepalive, &here.key("http2KeepAlive"), report);
        }
        if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
            report.error(
                &here.key("useClientProtocol"),
                "conflicting-policies",
                "`h2UpgradePolicy: UPGRADE` and `useClientProtocol` exclude each other",
            );
        }
    }
}

pub(super) fn tcp_keepalive(probes: &TcpKeepalive, path: &FieldPath, report: &mut Report) {
    report.duration(&path.key("time"), probes.time);
    report.duration(&path.key("interval"), probes.interval);
}

pub(super) fn outlier_detection(outliers: &OutlierDetection, path: &FieldPath, report: &mut Report) {
    report.duration(&path.key("interval"), outliers.interval);
    report.duration(&path.key("baseEjectionTime"), outliers.base_ejection_time);
    let percentages = [
        ("maxEjectionPercent", outliers.max_ejection_percent),
        ("minHealthPercent", outliers.min_health_percent),
    ];
    for (name, percent) in percentages.into_iter().filter(|(_, percent)| *percent > 100) {
        report.error(&path.key(name), "bad-percentage", format!("a percentage is 0 to 100, found {percent}"));
    }
    if outliers.consecutive_local_origin_failures.is_some_and(|failures| failures > 0)
        && !outliers.split_external_local_origin_errors
    {
        report.add(
            Finding::error("conflicting-policies", "failures to connect are not counted apart")
                .at(&path.key("consecutiveLocalOriginFailures"))
                .hint("add splitExternalLocalOriginErrors: true"),
        );
    }
    let codes = path.key("outlierDetectionHttpErrorCodes");
    for (index, code) in outliers.outlier_detection_http_error_codes.iter().enumerate() {
        if !(100..=599).contains(code) {
            report.error(&codes.index(index), "bad-status", format!("a status is 100 to 599, found {code}"));
        }
    }
    if outliers.consecutive_errors.is_some() {
        report.add(
            Finding::warning("older-spelling", "this field has no effect any more")
                .at(&path.key("consecutiveErrors"))
                .hint("write consecutive5xxErrors or consecutiveGatewayErrors"),
        );
    }
}

/// Istio: pkg/config/validation, `validateTLS`.
fn client_tls(tls: &ClientTls, path: &FieldPath, report: &mut Report) {
    let files = [
        ("clientCertificate", tls.client_certificate.is_some()),
        ("privateKey", tls.private_key.is_some()),
        ("caCertificates", tls.ca_certificates.is_some()),
        ("caCrl", tls.ca_crl.is_some()),
    ];
    match tls.mode {
        TlsMode::Simple | TlsMode::Mutual => by_files(tls, path, &files, report),
        TlsMode::Disable | TlsMode::IstioMutual => {
            let (mode, in_force) = match tls.mode {
                TlsMode::IstioMutual => ("ISTIO_MUTUAL", "the mesh's own certificates are used"),
                _ => ("DISABLE", "connections are plain text"),
            };
            let names = tls.mode == TlsMode::Disable;
            let others = [
                ("credentialName", tls.credential_name.is_some()),
                ("insecureSkipVerify", tls.insecure_skip_verify),
                ("sni", names && tls.sni.is_some()),
                ("subjectAltNames", names && !tls.subject_alt_names.is_empty()),
            ];
            for (name, _) in files.into_iter().chain(others).filter(|(_, given)| *given) {
                report.add(
                    Finding::warning(
                        "field-without-effect",
                        format!("this field has no effect in mode {mode}"),
                    )
                    .at(&path.key(name))
                    .in_force(in_force),
                );
            }
        }
    }
}

/// Modes SIMPLE and MUTUAL.
fn by_files(tls: &ClientTls, path: &FieldPath, files: &[(&str, bool)], report: &mut Report) {
    let mutual = tls.mode == TlsMode::Mutual;
    if tls.credential_name.is_some() {
        for (name, _) in files.iter().filter(|(_, given)| *given) {
            report.error(
                &path.key(name),
                "conflicting-policies",
                "`credentialName` and files of certificates exclude each other",
            );
        }
        report.add(
            Finding::info("gateways-only", "a Secret is for gateways, of their own namespace")
                .at(&path.key("credentialName"))
                .in_force("at gateways, this; connections from sidecars are plain text, as in Istio")
                .hint("write the files of certificates that the sidecar has: caCertificates, ..."),
        );
    } else if mutual {
        for (name, _) in files.iter().take(2).filter(|(_, given)| !given) {
            report.add(
                Finding::error("no-certificate", format!("mode MUTUAL needs `{name}`")).at(path).hint(
                    "name the file at the proxy, or write mode: ISTIO_MUTUAL for the mesh's own certificates",
                ),
            );
        }
    } else {
        for (name, _) in files.iter().take(2).filter(|(_, given)| *given) {
            report.add(
                Finding::warning("field-without-effect", "this field has no effect in mode SIMPLE")
                    .at(&path.key(name))
                    .in_force("the client shows no certificate")
                    .hint("write mode: MUTUAL"),
            );
        }
    }
    if tls.insecure_skip_verify && (tls.ca_certificates.is_some() || !tls.subject_alt_names.is_empty()) {
        report.error(
            &path.key("insecureSkipVerify"),
            "conflicting-policies",
            "`insecureSkipVerify` excludes caCertificates and subjectAltNames",
        );
    }
    if tls.insecure_skip_verify && tls.ca_crl.is_some() {
        report.add(
            Finding::warning("field-without-effect", "nothing is verified, so nothing is looked up")
                .at(&path.key("caCrl"))
                .in_force("the server's certificate is not verified"),
        );
    }
}
