//! `virtualInbound` of classes of workloads.

use serde_json::{Value, json};

use super::super::Treatment;
use meltemi_model::peer::Mode;

use super::super::inbound::matches::rows;
use super::{Bench, json, listener_filters, needs, service};

/// Name, match and aim of each chain.
fn chains(listener: &Value) -> Vec<String> {
    let chains = listener["filter_chains"].as_array().unwrap().iter();
    chains
        .map(|chain| {
            let matching = &chain["filter_chain_match"];
            let port = matching["destination_port"].as_u64().map_or("*".to_owned(), |port| port.to_string());
            let protocols: Vec<&str> = matching["application_protocols"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|protocol| protocol.as_str().unwrap())
                .collect();
            let transport = matching["transport_protocol"].as_str().unwrap_or("*");
            let config = &chain["filters"][0]["typed_config"];
            let aim = match config["cluster"].as_str() {
                Some(cluster) => format!("tcp {cluster}"),
                None => {
                    let host = &config["route_config"]["virtual_hosts"][0];
                    let cluster = host["routes"][0]["route"]["cluster"].as_str().unwrap();
                    format!("http {} {cluster}", host["name"].as_str().unwrap())
                }
            };
            format!("{}: {port} {} {transport} {aim}", chain["name"].as_str().unwrap(), protocols.join(","))
        })
        .collect()
}

#[test]
fn each_target_port_has_its_chains_after_those_for_unknown_ports() {
    let ports = "{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 5432}, {name: x, port: 7000}";
    let inbound = Bench::of(&service("a", None, ports)).inbound("a");
    let message = json(&inbound);
    assert_eq!(
        chains(&message),
        [
            "virtualInbound-blackhole: 15006  * tcp BlackHoleCluster",
            "virtualInbound-catchall-http: * http/1.1,h2c raw_buffer http inbound|http|0 InboundPassthroughCluster",
            "virtualInbound: *  raw_buffer tcp InboundPassthroughCluster",
            "0.0.0.0_5432: 5432  * tcp inbound|5432||",
            "0.0.0.0_7000: 7000 http/1.1,h2c raw_buffer http inbound|http|7000 inbound|7000||",
            "0.0.0.0_7000: 7000  raw_buffer tcp inbound|7000||",
            "0.0.0.0_8080: 8080  raw_buffer http inbound|http|80 inbound|8080||",
        ]
    );
    assert_eq!(message["address"], json!({"socket_address": {"address": "0.0.0.0", "port_value": 15006}}));
    assert_eq!(message["traffic_direction"], json!("INBOUND"));
    assert_eq!(message.get("use_original_dst"), None);
    assert_eq!(message["continue_on_listener_filters_timeout"], json!(true));
    assert_eq!(
        needs(&inbound),
        [
            "CDS BlackHoleCluster",
            "CDS InboundPassthroughCluster",
            "CDS inbound|5432||",
            "CDS inbound|7000||",
            "CDS inbound|8080||"
        ]
    );
    assert_eq!(format!("{:?}", inbound.origin()), "[Service default/a]");
}

#[test]
fn nothing_waits_for_bytes_on_ports_whose_protocol_is_known() {
    let ports = "{name: http, port: 80, targetPort: 8080}, {name: tcp-db, port: 5432}, {name: x, port: 7000}";
    let inbound = Bench::of(&service("a", None, ports)).inbound("a");
    assert_eq!(listener_filters(&inbound), ["original_dst", "http_inspector"]);
    assert_eq!(
        json(&inbound)["listener_filters"][1]["filter_disabled"],
        json!({"or_match": {"rules": [
            {"destination_port_range": {"start": 5432, "end": 5433}},
            {"destination_port_range": {"start": 8080, "end": 8081}},
        ]}})
    );
    let one = Bench::of(&service("a", None, "{name: http, port: 80}")).inbound("a");
    assert_eq!(
        json(&one)["listener_filters"][1]["filter_disabled"],
        json!({"destination_port_range": {"start": 80, "end": 81}})
    );
    let none = Bench::of("").inbound("a");
    assert_eq!(json(&none)["listener_filters"][1].get("filter_disabled"), None);
}

#[test]
fn inbound_requests_have_no_time_limit_and_are_retried_only_before_they_reached_the_application() {
    let ports = "{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 90, targetPort: 9090}";
    let message = json(&Bench::of(&service("a", None, ports)).inbound("a"));
    let manager = |at: usize| &message["filter_chains"][at]["filters"][0]["typed_config"];
    let http = manager(3);
    assert_eq!(http["stat_prefix"], json!("inbound_0.0.0.0_8080;"));
    assert_eq!(http["server_name"], json!("istio-envoy"));
    assert_eq!(http["forward_client_cert_details"], json!("APPEND_FORWARD"));
    assert_eq!(http["set_current_client_cert_details"], json!({"subject": true, "uri": true, "dns": true}));
    assert_eq!(http.get("http2_protocol_options"), None);
    assert_eq!(
        http["route_config"],
        json!({
            "name": "inbound|8080||",
            "validate_clusters": false,
            "virtual_hosts": [{
                "name": "inbound|http|80",
                "domains": ["*"],
                "routes": [{
                    "name": "default",
                    "match": {"prefix": "/"},
                    "decorator": {"operation": "a.default.svc.cluster.local:80/*"},
                    "route": {
                        "cluster": "inbound|8080||",
                        "timeout": "0s",
                        "max_stream_duration": {"max_stream_duration": "0s", "grpc_timeout_header_max": "0s"},
                        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
                    },
                }],
            }],
        })
    );
    let grpc = manager(4);
    assert_eq!(grpc["http2_protocol_options"], json!({}));
    assert_eq!(grpc["route_config"]["virtual_hosts"][0]["routes"][0]["route"].get("retry_policy"), None);
    assert_eq!(manager(1)["stat_prefix"], json!("InboundPassthroughCluster;"));
}

#[test]
fn the_table_of_chains_is_istios() {
    let told = |mode, treatment| -> Vec<String> {
        rows(mode, treatment)
            .iter()
            .map(|row| {
                let kind = if row.http { "http" } else { "tcp" };
                let tls = if row.mutual_tls { "mtls " } else { "" };
                format!("{tls}{kind} [{}]/{}", row.application_protocols.join(" "), row.transport_protocol)
            })
            .collect()
    };
    use Mode::{Disable, Permissive, Strict};
    use Treatment::{Http, Sniffed, Tcp};
    assert_eq!(told(Disable, Http), ["http []/raw_buffer"]);
    assert_eq!(told(Disable, Tcp), ["tcp []/"]);
    assert_eq!(told(Disable, Sniffed), ["http [http/1.1 h2c]/raw_buffer", "tcp []/raw_buffer"]);
    let any = "[istio istio-http/1.0 istio-http/1.1 istio-h2]/tls";
    assert_eq!(told(Permissive, Http), [format!("mtls http {any}"), "http []/raw_buffer".to_owned()]);
    assert_eq!(
        told(Permissive, Tcp),
        [format!("mtls tcp {any}"), "tcp []/tls".to_owned(), "tcp []/raw_buffer".to_owned()]
    );
    let http = "mtls http [istio-http/1.0 istio-http/1.1 istio-h2]/tls";
    assert_eq!(
        told(Permissive, Sniffed),
        [http, "http [http/1.1 h2c]/raw_buffer", "mtls tcp [istio]/tls", "tcp []/raw_buffer", "tcp []/tls"]
    );
    assert_eq!(told(Strict, Http), ["mtls http []/tls"]);
    assert_eq!(told(Strict, Tcp), ["mtls tcp []/tls"]);
    assert_eq!(told(Strict, Sniffed), [http, "mtls tcp []/tls"]);
}
