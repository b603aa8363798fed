//! How connections and requests behave.

use super::{Report, balance};
use crate::destination_rule::{
    ClientTls, ConnectionPool, H2UpgradePolicy, OutlierDetection, TlsMode, TrafficPolicy,
};
use crate::field::FieldPath;
use crate::finding::Finding;

pub(super) fn check(policy: &TrafficPolicy, path: &FieldPath, report: &mut Report) {
    if *policy == TrafficPolicy::default() {
        report.error(path, "empty-policy", "a traffic policy must say something");
    }
    if let Some(balancer) = &policy.load_balancer {
        balance::check(balancer, &path.key("loadBalancer"), report);
    }
    parts(
        policy.connection_pool.as_ref(),
        policy.outlier_detection.as_ref(),
        policy.tls.as_ref(),
        path,
        report,
    );
    if policy.tunnel.is_given() && policy.proxy_protocol.is_given() {
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
            balance::check(balancer, &here.key("loadBalancer"), report);
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
    if let Some(tls) = tls.filter(|tls| tls.mode != TlsMode::Disable) {
        client_tls(tls, &path.key("tls"), report);
    }
}

fn connection_pool(pool: &ConnectionPool, path: &FieldPath, report: &mut Report) {
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
            report.duration(&here.key("tcpKeepalive").key("time"), probes.time);
            report.duration(&here.key("tcpKeepalive").key("interval"), probes.interval);
        }
    }
    if let Some(http) = &pool.http {
        let here = path.key("http");
        report.duration(&here.key("idleTimeout"), http.idle_timeout);
        if http.h2_upgrade_policy == H2UpgradePolicy::Upgrade && http.use_client_protocol {
            report.error(
                &here.key("useClientProtocol"),
                "conflicting-policies",
                "`h2UpgradePolicy: UPGRADE` and `useClientProtocol` exclude each other",
            );
        }
    }
}

fn outlier_detection(outliers: &OutlierDetection, path: &FieldPath, report: &mut Report) {
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
    if outliers.consecutive_errors.is_some() {
        report.add(
            Finding::warning("older-spelling", "this field has no effect any more")
                .at(&path.key("consecutiveErrors"))
                .hint("write consecutive5xxErrors or consecutiveGatewayErrors"),
        );
    }
}

fn client_tls(tls: &ClientTls, path: &FieldPath, report: &mut Report) {
    let mode = match tls.mode {
        TlsMode::Disable => "DISABLE",
        TlsMode::Simple => "SIMPLE",
        TlsMode::Mutual => "MUTUAL",
        TlsMode::IstioMutual => "ISTIO_MUTUAL",
    };
    report.add(
        Finding::warning("not-supported-yet", format!("mode {mode} is not supported yet"))
            .at(&path.key("mode"))
            .in_force("connections are plain text"),
    );
}
