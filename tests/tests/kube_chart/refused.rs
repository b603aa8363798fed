//! What a schema or a rule must refuse is refused, with words that help; its neighbours on the other side of the line are taken.

use anyhow::Result;
use serde_json::{Value, json};

use crate::objects::{cluster, offer};

fn object(kind: &str, spec: &Value) -> Value {
    let crd = meltemi_api::crd::all().into_iter().find(|crd| crd.kind().as_str() == kind);
    let crd = crd.unwrap_or_else(|| panic!("no CRD of {kind}"));
    let version = format!("{}/{}", crd.group(), crd.served()[0]);
    json!({"apiVersion": version, "kind": kind, "metadata": {"name": "one"}, "spec": spec})
}

/// Each is refused with these words, all of them.
async fn check(kind: &str, refused: &[(Value, &[&str])], taken: &[Value]) -> Result<()> {
    let cluster = cluster().await?;
    for (spec, words) in refused {
        match offer(&cluster, &object(kind, spec)).await {
            Ok(_) => panic!("{kind} {spec} is taken"),
            Err(error) => {
                let said = format!("{error:#}");
                for word in *words {
                    assert!(said.contains(word), "{kind} {spec}: no `{word}` in {said}");
                }
            }
        }
    }
    for spec in taken {
        if let Err(error) = offer(&cluster, &object(kind, spec)).await {
            panic!("{kind} {spec}: {error:#}");
        }
    }
    Ok(())
}

fn route(fields: &Value) -> Value {
    let mut route = json!({"route": [{"destination": {"host": "a"}}]});
    for (name, value) in fields.as_object().into_iter().flatten() {
        route[name] = value.clone();
    }
    json!({"hosts": ["a"], "http": [route]})
}

#[tokio::test]
async fn of_a_virtual_service() -> Result<()> {
    let duration = "must be a valid duration greater than 1ms";
    let refused: &[(Value, &[&str])] = &[
        (route(&json!({"timeout": "0s"})), &["spec.http[0].timeout", duration]),
        (route(&json!({"timeout": "soon"})), &["spec.http[0].timeout"]),
        (route(&json!({"retries": {"perTryTimeout": "1us"}})), &["perTryTimeout", duration]),
        (route(&json!({"corsPolicy": {"maxAge": "0s"}})), &["corsPolicy.maxAge", duration]),
        (route(&json!({"fault": {"delay": {"fixedDelay": "-1s"}}})), &["fixedDelay", duration]),
        (
            route(&json!({"redirect": {"port": 80, "derivePort": "FROM_REQUEST_PORT"}})),
            &["redirect", "oneOf"],
        ),
        (route(&json!({"match": [{"uri": {"exact": "/", "prefix": "/"}}]})), &["uri", "oneOf"]),
        (
            route(&json!({"directResponse": {"body": {"string": "a"}}})),
            &["directResponse.status", "Required"],
        ),
        (route(&json!({"route": [{"destination": {"subset": "v1"}}]})), &["destination.host", "Required"]),
        (route(&json!({"redirect": {"derivePort": "SOMEHOW"}})), &["derivePort", "Unsupported value"]),
        (route(&json!({"timeuot": "3s"})), &["timeuot"]),
        (
            json!({"hosts": ["a"], "tls": [{"route": [{"destination": {"host": "a"}}]}]}),
            &["tls[0].match", "Required"],
        ),
        (json!({"hosts": ["a"], "tls": [{"match": [{"port": 443}]}]}), &["sniHosts", "Required"]),
    ];
    let taken = [
        route(&json!({"timeout": "1ms"})),
        route(&json!({"timeout": "1h2m3.5s"})),
        route(&json!({"match": [{"uri": {}}]})),
        route(&json!({"redirect": {"derivePort": "FROM_REQUEST_PORT"}})),
        json!({}),
    ];
    check("VirtualService", refused, &taken).await
}

#[tokio::test]
async fn of_a_destination_rule() -> Result<()> {
    let policy = |policy: Value| json!({"host": "a", "trafficPolicy": policy});
    let balancer = |balancer: Value| policy(json!({"loadBalancer": balancer}));
    let refused: &[(Value, &[&str])] = &[
        (json!({}), &["spec.host", "Required"]),
        (json!({"host": "a", "subsets": [{"labels": {"a": "b"}}]}), &["subsets[0].name", "Required"]),
        (
            policy(json!({"connectionPool": {"tcp": {"connectTimeout": "0s"}}})),
            &["connectTimeout", "valid duration"],
        ),
        (
            policy(json!({"outlierDetection": {"consecutive5xxErrors": -1}})),
            &["consecutive5xxErrors", "greater than or equal to 0"],
        ),
        (policy(json!({"outlierDetection": {"interval": "0s"}})), &["interval", "valid duration"]),
        (balancer(json!({"simple": 5})), &["simple", "string"]),
        (
            balancer(json!({"simple": "RANDOM", "consistentHash": {"useSourceIp": true}})),
            &["loadBalancer", "oneOf"],
        ),
        (
            balancer(json!({"consistentHash": {"useSourceIp": true, "httpHeaderName": "a"}})),
            &["consistentHash"],
        ),
        (balancer(json!({"consistentHash": {"ringHash": {}, "maglev": {}}})), &["consistentHash"]),
        (balancer(json!({"warmup": {"minimumPercent": 10}})), &["warmup.duration", "Required"]),
        (
            balancer(json!({"warmup": {"duration": "1s", "minimumPercent": 101}})),
            &["minimumPercent", "less than or equal to 100"],
        ),
        (
            json!({"host": "a", "workloadSelector": {"matchLabels": {"a": "v*"}}}),
            &["matchLabels", "matched as it is"],
        ),
        (
            json!({"host": "a", "workloadSelector": {"matchLabels": {"a*": "v"}}}),
            &["matchLabels", "matched as it is"],
        ),
    ];
    let taken = [
        // 0s is a word of its own here: never.
        policy(json!({"connectionPool": {"tcp": {"idleTimeout": "0s"}}})),
        policy(json!({"outlierDetection": {"consecutive5xxErrors": null}})),
        balancer(
            json!({"consistentHash": {"httpCookie": {"name": "a", "ttl": "0s"}, "maglev": {"tableSize": 65537}}}),
        ),
        balancer(json!({"consistentHash": {"minimumRingSize": 1024, "useSourceIp": true}})),
        balancer(json!({"backendUtilization": {"weightUpdatePeriod": "1s"}})),
    ];
    check("DestinationRule", refused, &taken).await
}

#[tokio::test]
async fn of_a_service_entry() -> Result<()> {
    let entry = |fields: Value| {
        let mut entry = json!({"hosts": ["a.example"], "ports": [{"number": 80, "name": "http"}]});
        for (name, value) in fields.as_object().into_iter().flatten() {
            entry[name] = value.clone();
        }
        entry
    };
    let endpoint = json!([{"address": "10.0.0.1"}]);
    let refused: &[(Value, &[&str])] = &[
        (entry(json!({"hosts": []})), &["hosts", "at least 1"]),
        (entry(json!({"hosts": ["*"]})), &["hosts[0]", "`*` alone"]),
        (entry(json!({"addresses": ["10.0.0.0/8"], "resolution": "DNS"})), &["CIDR"]),
        (entry(json!({"endpoints": endpoint})), &["NONE"]),
        (entry(json!({"endpoints": endpoint, "resolution": "NONE"})), &["NONE"]),
        (
            entry(
                json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": [{"address": "a"}, {"address": "b"}]}),
            ),
            &["one endpoint at most"],
        ),
        (
            entry(
                json!({"resolution": "STATIC", "endpoints": endpoint, "workloadSelector": {"labels": {"a": "b"}}}),
            ),
            &["only one of workloadSelector, endpoints"],
        ),
        (entry(json!({"ports": [{"number": 80, "name": "a"}, {"number": 80, "name": "b"}]})), &["used once"]),
        (entry(json!({"ports": [{"number": 80, "name": "a"}, {"number": 81, "name": "a"}]})), &["ports"]),
        (entry(json!({"ports": [{"number": 0, "name": "a"}]})), &["1 to 65535"]),
        (entry(json!({"ports": [{"number": 65536, "name": "a"}]})), &["1 to 65535"]),
        (entry(json!({"resolution": "STATIC", "endpoints": [{"weight": 1}]})), &["address is needed"]),
        (entry(json!({"resolution": "SOMEHOW"})), &["resolution", "Unsupported value"]),
    ];
    let taken = [
        entry(json!({"addresses": ["10.0.0.0/8"]})),
        entry(json!({"addresses": ["10.0.0.0/8"], "resolution": "STATIC", "endpoints": endpoint})),
        entry(json!({"resolution": "DYNAMIC_DNS", "hosts": ["*.example"]})),
        entry(json!({"resolution": "DNS_ROUND_ROBIN", "endpoints": endpoint})),
        entry(json!({"resolution": "STATIC", "endpoints": [{"network": "west"}]})),
    ];
    check("ServiceEntry", refused, &taken).await
}

#[tokio::test]
async fn of_a_workload_entry_and_group() -> Result<()> {
    let refused: &[(Value, &[&str])] = &[
        (json!({"labels": {"a": "b"}}), &["address is needed"]),
        (json!({"address": "unix://relative"}), &["absolute path"]),
        (json!({"address": "unix://"}), &["absolute path"]),
        (json!({"address": "unix:///run/"}), &["cannot be a folder"]),
        (json!({"address": "unix:///run/a", "ports": {"http": 80}}), &["has no ports"]),
        (json!({"address": "10.0.0.1", "ports": {"-http": 80}}), &["letters, digits"]),
        (json!({"address": "10.0.0.1", "ports": {"http": 0}}), &["1 to 65535"]),
    ];
    let taken = [
        json!({"address": "unix:///run/a"}),
        json!({"address": "unix://@a"}),
        json!({"address": "fd00::7", "ports": {"http": 8080}, "weight": 3}),
        json!({"network": "west"}),
    ];
    check("WorkloadEntry", refused, &taken).await?;
    let group = |probe: Value| json!({"template": {"ports": {"http": 80}}, "probe": probe});
    let refused: &[(Value, &[&str])] = &[
        (json!({}), &["template", "Required"]),
        (group(json!({"httpGet": {"port": 80}, "tcpSocket": {"port": 80}})), &["probe", "oneOf"]),
        (group(json!({"httpGet": {"port": 80, "scheme": "FTP"}})), &["scheme", "Unsupported value"]),
        (group(json!({"exec": {"command": [""]}})), &["command"]),
        (group(json!({"periodSeconds": -1})), &["periodSeconds"]),
    ];
    check(
        "WorkloadGroup",
        refused,
        &[group(json!({"grpc": {"port": 80}})), group(json!({"exec": {"command": ["true"]}}))],
    )
    .await
}

#[tokio::test]
async fn of_gateways_sidecars_and_filters() -> Result<()> {
    let server = |tls: Value| json!({"servers": [{"port": {"number": 443, "protocol": "HTTPS", "name": "a"}, "hosts": ["a"], "tls": tls}]});
    let certificates = json!([{"serverCertificate": "a", "privateKey": "b"}]);
    let refused: &[(Value, &[&str])] = &[
        (json!({"servers": [{"hosts": ["a"]}]}), &["port", "Required"]),
        (
            json!({"servers": [{"port": {"number": 80, "name": "a"}, "hosts": ["a"]}]}),
            &["protocol", "Required"],
        ),
        (
            server(json!({"credentialName": "a", "credentialNames": ["b"]})),
            &["only one of credentialName, credentialNames"],
        ),
        (
            server(json!({"credentialNames": ["b"], "tlsCertificates": certificates})),
            &["only one of credentialNames, tlsCertificates"],
        ),
        (server(json!({"credentialNames": ["a", "b", "c"]})), &["credentialNames", "at most 2"]),
        (server(json!({"mode": "SOMEHOW"})), &["mode", "Unsupported value"]),
    ];
    let taken = [server(
        json!({"mode": "OPTIONAL_MUTUAL", "credentialNames": ["a", "b"], "insecureSkipVerify": null}),
    )];
    check("Gateway", refused, &taken).await?;
    let refused: &[(Value, &[&str])] = &[
        (json!({"egress": [{"port": {"number": 80}}]}), &["hosts", "Required"]),
        (json!({"ingress": [{"defaultEndpoint": "127.0.0.1:80"}]}), &["port", "Required"]),
        (json!({"workloadSelector": {"labels": {"a": "*"}}}), &["matched as it is"]),
        (json!({"inboundConnectionPool": {"http": {"idleTimeout": "0s"}}}), &["valid duration"]),
    ];
    check("Sidecar", refused, &[json!({"egress": [{"hosts": ["./*"]}]})]).await?;
    let matching =
        |matching: Value| json!({"configPatches": [{"applyTo": "HTTP_FILTER", "match": matching}]});
    let target = json!([{"kind": "Gateway", "name": "a"}]);
    let refused: &[(Value, &[&str])] = &[
        (matching(json!({"listener": {}, "cluster": {}})), &["match", "oneOf"]),
        (matching(json!({"waypoint": {}})), &["WAYPOINT"]),
        (matching(json!({"context": "WAYPOINT"})), &["WAYPOINT"]),
        (
            json!({"targetRefs": target, "workloadSelector": {"labels": {"a": "b"}}}),
            &["only one of workloadSelector, targetRefs"],
        ),
    ];
    let patch = json!({"configPatches": [{"applyTo": "CLUSTER", "patch": {"operation": "MERGE", "value": {"any": {"thing": [1]}}}}]});
    check(
        "EnvoyFilter",
        refused,
        &[patch, matching(json!({"context": "WAYPOINT", "waypoint": {"portNumber": 80}}))],
    )
    .await
}

#[tokio::test]
async fn of_policies() -> Result<()> {
    let target = json!({"kind": "Gateway", "name": "a", "group": "gateway.networking.k8s.io"});
    let selector = json!({"matchLabels": {"app": "a"}});
    let source = |source: Value| json!({"rules": [{"from": [{"source": source}]}]});
    let both = "only one of selector, targetRef, targetRefs";
    let refused: &[(Value, &[&str])] = &[
        (json!({"selector": selector, "targetRef": target}), &[both]),
        (json!({"targetRef": target, "targetRefs": [target]}), &[both]),
        (json!({"targetRefs": [{"kind": "Gateway", "name": "a", "namespace": "b"}]}), &["another namespace"]),
        (json!({"targetRefs": [{"kind": "Gateway"}]}), &["name", "Required"]),
        (json!({"targetRefs": vec![&target; 17]}), &["targetRefs", "at most 16"]),
        (json!({"selector": {"matchLabels": {"": "a"}}}), &["must not be empty"]),
        (source(json!({"serviceAccounts": ["a"], "principals": ["b"]})), &["serviceAccounts says it all"]),
        (source(json!({"notServiceAccounts": ["a"], "namespaces": ["b"]})), &["serviceAccounts says it all"]),
        (json!({"action": "MAYBE"}), &["action", "Unsupported value"]),
        (json!({"rules": [{"when": [{"values": ["a"]}]}]}), &["key", "Required"]),
    ];
    let taken = [
        json!({}),
        json!({"selector": selector, "action": "CUSTOM", "provider": {"name": "a"}}),
        source(json!({"serviceAccounts": ["a"], "ipBlocks": ["10.0.0.0/8"]})),
    ];
    check("AuthorizationPolicy", refused, &taken).await?;

    let by_port = |port: &str| json!({"selector": selector, "portLevelMtls": {port: {"mode": "STRICT"}}});
    let refused: &[(Value, &[&str])] = &[
        (json!({"portLevelMtls": {"80": {"mode": "STRICT"}}}), &["needs a selector"]),
        (
            json!({"selector": {"matchLabels": {}}, "portLevelMtls": {"80": {"mode": "STRICT"}}}),
            &["needs a selector"],
        ),
        (by_port("0"), &["1 to 65535"]),
        (by_port("http"), &["portLevelMtls"]),
        (json!({"selector": selector, "portLevelMtls": {}}), &["portLevelMtls"]),
    ];
    check("PeerAuthentication", refused, &[json!({}), by_port("8080")]).await?;

    let rule = |rule: Value| json!({"jwtRules": [rule]});
    let refused: &[(Value, &[&str])] = &[
        (json!({"selector": selector, "targetRefs": [target]}), &[both]),
        (
            rule(json!({"jwks": "{}", "jwksUri": "https://a.example"})),
            &["only one of jwks, jwksUri, jwks_uri"],
        ),
        (
            rule(json!({"jwks_uri": "https://a.example", "jwksUri": "https://a.example"})),
            &["only one of jwks"],
        ),
        (rule(json!({"jwksUri": "ftp://a.example"})), &["http:// or https://"]),
        (rule(json!({"issuer": ""})), &["issuer"]),
        (rule(json!({"timeout": "0s"})), &["valid duration"]),
        (rule(json!({"outputClaimToHeaders": [{"header": "a b", "claim": "c"}]})), &["header"]),
    ];
    let taken = [rule(json!({"issuer": "a", "jwks_uri": "http://a.example/keys", "presence": "REQUIRED"}))];
    check("RequestAuthentication", refused, &taken).await
}

#[tokio::test]
async fn of_telemetry_and_proxy_config() -> Result<()> {
    let tag = |tag: Value| json!({"metrics": [{"overrides": [{"tagOverrides": {"a": tag}}]}]});
    let refused: &[(Value, &[&str])] = &[
        (tag(json!({"operation": "UPSERT"})), &["UPSERT needs a value"]),
        (tag(json!({"operation": "UPSERT", "value": ""})), &["UPSERT needs a value"]),
        (tag(json!({"operation": "REMOVE", "value": "a"})), &["REMOVE takes no value"]),
        (json!({"metrics": [{"reportingInterval": "0s"}]}), &["valid duration"]),
        (json!({"tracing": [{"randomSamplingPercentage": 101}]}), &["randomSamplingPercentage"]),
        (
            json!({"tracing": [{"customTags": {"a": {"literal": {"value": "b"}, "header": {"name": "c"}}}}]}),
            &["customTags", "oneOf"],
        ),
        (
            json!({"metrics": [{"overrides": [{"match": {"metric": "REQUEST_SIZE", "customMetric": "a"}}]}]}),
            &["match", "oneOf"],
        ),
        (json!({"accessLogging": [{"providers": [{}]}]}), &["name", "Required"]),
    ];
    let taken = [
        tag(json!({"operation": "REMOVE"})),
        tag(json!({"value": ""})),
        json!({"tracing": [{"disableSpanReporting": null}]}),
    ];
    check("Telemetry", refused, &taken).await?;
    let refused: &[(Value, &[&str])] = &[
        (json!({"concurrency": -1}), &["concurrency"]),
        (json!({"environmentVariables": {"A": "x".repeat(2049)}}), &["environmentVariables", "2048"]),
    ];
    check(
        "ProxyConfig",
        refused,
        &[json!({"concurrency": null}), json!({"image": {"imageType": "distroless"}})],
    )
    .await
}
