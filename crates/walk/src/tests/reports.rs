//! Logs, metrics and traces.

use serde_json::json;

use super::configuration;
use crate::{Destination, Request, walk};

const TELLING: &str = "
listeners:
- name: here
  address: {socket_address: {address: 127.0.0.1, port_value: 80}}
  filter_chains:
  - filters:
    - name: envoy.filters.network.http_connection_manager
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
        stat_prefix: a
        rds: {route_config_name: '80', config_source: {ads: {}}}
        access_log:
        - name: envoy.access_loggers.file
          typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /dev/stdout}
        - name: envoy.access_loggers.http_grpc
          filter:
            and_filter:
              filters:
              - extension_filter: {name: cel, typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter, expression: 'response.code >= 500'}}
              - status_code_filter: {comparison: {op: GE, value: {default_value: 1, runtime_key: a}}}
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig
            common_config: {log_name: a, grpc_service: {envoy_grpc: {cluster_name: lines}}}
        - name: envoy.access_loggers.stdout
          typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}
        - name: envoy.access_loggers.stats
          typed_config:
            '@type': type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config
            stat_prefix: x
            counters: [{stat: {name: requests}, value_fixed: 1}]
            histograms: [{stat: {name: duration}, unit: Milliseconds, value_format: '%DURATION%'}]
        tracing:
          random_sampling: {value: 20}
          overall_sampling: {value: 10}
          provider:
            name: envoy.tracers.zipkin
            typed_config: {'@type': type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: spans, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON}
- name: there
  address: {socket_address: {address: 127.0.0.1, port_value: 81}}
  filter_chains:
  - metadata: {filter_metadata: {istio: {config: /apis/networking.istio.io/v1/namespaces/shop/virtual-service/db}}}
    filters:
    - name: envoy.filters.network.tcp_proxy
      typed_config:
        '@type': type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
        stat_prefix: a
        cluster: there
        access_log:
        - name: envoy.access_loggers.file
          filter: {log_type_filter: {types: [TcpUpstreamConnected], exclude: true}}
          typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /tmp/log}
        - name: envoy.access_loggers.file
          filter: {log_type_filter: {types: [TcpUpstreamConnected]}}
          typed_config: {'@type': type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog, path: /tmp/opened}
routes:
- {name: '80'}
clusters:
- {name: there, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}
";

fn told(port: u16) -> serde_json::Value {
    let destination = Destination { address: Some("127.0.0.1".parse().unwrap()), port };
    let way = walk(&configuration(TELLING), &Request::new("GET", "a", "/", destination)).unwrap();
    serde_json::to_value(way).unwrap()
}

#[test]
fn what_a_connection_manager_tells_is_read_from_its_loggers_and_its_tracer() {
    assert_eq!(
        told(80)["reports"],
        json!({
            "logs": [
                {"kind": "file", "to": "/dev/stdout"},
                {"kind": "grpc", "to": "lines", "only": "response.code >= 500", "filtered": true},
                {"kind": "envoy.access_loggers.stdout", "to": ""},
            ],
            "metrics": ["duration", "requests"],
            "tracing": {"tracer": "envoy.tracers.zipkin", "cluster": "spans", "share": 10.0},
        })
    );
}

#[test]
fn the_end_of_a_connection_is_what_a_log_is_about() {
    let way = told(81);
    let expected = json!([
        {"kind": "file", "to": "/tmp/log"},
        {"kind": "file", "to": "/tmp/opened", "filtered": true},
    ]);
    assert_eq!(way["reports"], json!({"logs": expected, "metrics": [], "tracing": null}));
    assert_eq!(way["chain"]["object"], "/apis/networking.istio.io/v1/namespaces/shop/virtual-service/db");
}
