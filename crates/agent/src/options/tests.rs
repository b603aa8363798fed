//! Where a setting comes from, and which one wins.

use super::*;

fn around(env: &[(&str, &str)]) -> Surroundings {
    let pod = [
        ("POD_NAME", "reviews-7"),
        ("POD_NAMESPACE", "shop"),
        ("SERVICE_ACCOUNT", "reviews"),
        ("INSTANCE_IP", "10.1.2.3"),
    ];
    let all = pod.iter().chain(env).map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    Surroundings { env: all.collect(), ..Surroundings::default() }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn read(around: &Surroundings) -> (Options, Vec<Note>) {
    Options::read(Flags::default(), &[], around).unwrap()
}

#[test]
fn a_pod_gets_istio_s_defaults() {
    let (options, notes) = read(&around(&[]));
    assert_eq!(notes, []);
    assert_eq!(options.id.to_string(), "spiffe://cluster.local/ns/shop/sa/reviews");
    assert_eq!(options.ca.server.to_string(), "istiod.istio-system.svc:15012");
    assert_eq!(options.ca.server_name, "istiod.istio-system.svc");
    assert_eq!(options.xds.to_string(), "istiod.istio-system.svc:15012");
    assert_eq!(options.ca.token, PathBuf::from("./var/run/secrets/tokens/istio-token"));
    assert_eq!(options.ca.roots, PathBuf::from("./var/run/secrets/istio/root-cert.pem"));
    assert_eq!(options.sds_socket, PathBuf::from("./var/run/secrets/workload-spiffe-uds/socket"));
    assert_eq!(options.config_path, PathBuf::from("./etc/istio/proxy"));
    assert_eq!(options.envoy, PathBuf::from("/usr/local/bin/envoy"));
    assert_eq!(
        (options.status_port, options.health_port, options.prometheus_port, options.admin_port),
        (15020, 15021, 15090, 15000)
    );
    assert_eq!((options.ca.ttl, options.grace), (Duration::from_secs(24 * 3600), Grace::default()));
    assert_eq!((options.drain, options.termination_drain), (Duration::from_secs(45), Duration::from_secs(5)));
    assert_eq!((options.concurrency, options.until_no_connections), (2, None));
    assert_eq!(options.node.to_json()["id"], "sidecar~10.1.2.3~reviews-7.shop~shop.svc.cluster.local");
    assert_eq!(options.node.to_json()["cluster"], "istio-proxy.shop");
}

#[test]
fn flags_win_over_variables_and_these_over_the_mesh() {
    let mut around =
        around(&[("CA_ADDR", "ca.example:15012"), ("ISTIO_CPU_LIMIT", "3"), ("SECRET_TTL", "1h30m")]);
    around.env.insert(
        "PROXY_CONFIG".to_owned(),
        r#"{"discoveryAddress":"meltemi.mesh:15012","statusPort":16020}"#.to_owned(),
    );
    around.mesh = Some(
        "defaultConfig: {discoveryAddress: 'other:1', terminationDrainDuration: 9s, concurrency: 7}"
            .to_owned(),
    );
    around.annotations = Some("proxy.istio.io/config=\"concurrency: 5\\ncontrolPlaneAuthPolicy: NONE\"\nstatus.sidecar.istio.io/port=\"17020\"".to_owned());
    let (options, _) = read(&around);
    assert_eq!(options.ca.server.to_string(), "ca.example:15012");
    assert_eq!(options.xds.to_string(), "meltemi.mesh:15012");
    assert!(options.xds_tls.is_none());
    assert_eq!((options.status_port, options.concurrency), (17020, 5));
    assert_eq!(
        (options.termination_drain, options.ca.ttl),
        (Duration::from_secs(9), Duration::from_secs(5400))
    );
    let flags = Flags {
        ca: Some(HostPort::parse("10.0.0.1:1").unwrap()),
        concurrency: Some(1),
        ttl: Some(Duration::from_secs(1)),
        id: Some(("a".to_owned(), "b".to_owned())),
        ..Flags::default()
    };
    let (options, _) = Options::read(flags, &[], &around).unwrap();
    assert_eq!(
        (options.ca.server.to_string(), options.ca.server_name),
        ("10.0.0.1:1".to_owned(), "10.0.0.1".to_owned())
    );
    assert_eq!((options.concurrency, options.ca.ttl), (1, Duration::from_secs(1)));
    assert_eq!(options.id.to_string(), "spiffe://cluster.local/ns/b/sa/reviews");
}

#[test]
fn who_names_one_control_plane_means_it_for_both() {
    let flags = Flags { ca: Some(HostPort::parse("127.0.0.1:15012").unwrap()), ..Flags::default() };
    let (options, _) = Options::read(flags, &[], &around(&[])).unwrap();
    assert_eq!(options.xds.to_string(), "127.0.0.1:15012");
    assert_eq!(options.xds_tls.map(|tls| tls.name), Some("127.0.0.1".to_owned()));
}

#[test]
fn metadata_labels_and_locality_are_what_the_pod_says() {
    let mut around = around(&[
        ("ISTIO_META_CLUSTER_ID", "east"),
        ("ISTIO_METAJSON_MORE", r#"{"A": {"b": 1}}"#),
        ("ISTIO_METAJSON_LABELS", r#"{"app": "by hand", "tier": "web"}"#),
        ("ISTIO_METAJSON_BAD", "no"),
        ("XDS_HEADER_x-team", "blue"),
    ]);
    around.labels = Some("app=\"reviews\"\npod-template-hash=\"6f\"\ntopology.istio.io/locality=\"r1.z1.s1\"\nquote=\"a\\\"b\"\n".to_owned());
    let (options, notes) = read(&around);
    let node = options.node.to_json();
    let metadata = &node["metadata"];
    assert_eq!(metadata["CLUSTER_ID"], "east");
    assert_eq!(metadata["A"]["b"], 1);
    assert_eq!(metadata["MELTEMI_CERTIFICATES"], "true");
    assert_eq!(
        metadata["LABELS"],
        serde_json::json!({"app": "reviews", "tier": "web", "topology.istio.io/locality": "r1.z1.s1", "quote": "a\"b"})
    );
    assert_eq!(node["locality"], serde_json::json!({"region": "r1", "zone": "z1", "sub_zone": "s1"}));
    assert_eq!(node["cluster"], "reviews.shop");
    assert_eq!(
        options.xds_headers,
        [("x-team".to_owned(), "blue".to_owned()), ("clusterid".to_owned(), "east".to_owned())]
    );
    let bad =
        Note::Ignored { place: "ISTIO_METAJSON_BAD".to_owned(), reason: "it is no JSON object".to_owned() };
    assert_eq!(notes, [bad]);
}

#[test]
fn an_injected_pod_s_arguments_are_read_and_what_does_nothing_is_said() {
    let line = "proxy router --domain shop.svc.mesh --proxyLogLevel=info --proxyComponentLogLevel misc:error --log_output_level=default:info --concurrency 4";
    let (options, notes) = Options::read(Flags::default(), &words(line), &around(&[])).unwrap();
    assert_eq!((options.kind, options.node.dns_domain.as_str()), (Kind::Router, "shop.svc.mesh"));
    assert_eq!(
        (options.envoy_log_level.as_str(), options.envoy_component_log_level.as_str()),
        ("info", "misc:error")
    );
    assert_eq!(options.concurrency, 4);
    let said: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        said,
        ["--log_output_level is set and not supported: a flag of Istio's agent that does nothing here"]
    );
    for (line, why) in [("proxy waypoint", "waypoint"), ("wait", "wait")] {
        let error = Options::read(Flags::default(), &words(line), &around(&[])).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[test]
fn what_is_set_and_not_supported_is_said_and_its_usual_value_is_not() {
    let (_, notes) =
        read(&around(&[("PILOT_CERT_PROVIDER", "istiod"), ("CA_PROVIDER", "Citadel"), ("ECC_CURVE", "")]));
    assert_eq!(notes, []);
    let (_, notes) =
        read(&around(&[("ECC_CURVE", "P384"), ("PROXY_CONFIG", "tracing: {}\nextraStatTags: [a]")]));
    let places: Vec<String> = notes.iter().map(ToString::to_string).collect();
    assert_eq!(places.len(), 2, "{places:?}");
    assert!(
        places[0].starts_with("ProxyConfig's extraStatTags") && places[1].starts_with("ECC_CURVE"),
        "{places:?}"
    );
}

#[test]
fn what_stands_before_a_gateway_is_handed_to_the_control_plane() {
    let config = "gatewayTopology: {numTrustedProxies: 2, proxyProtocol: {}}";
    let (options, notes) = read(&around(&[("PROXY_CONFIG", config)]));
    assert_eq!(notes, []);
    assert_eq!(
        options.node.metadata["PROXY_CONFIG"],
        serde_json::json!({"gatewayTopology": {"numTrustedProxies": 2, "proxyProtocol": {}}})
    );
}

#[test]
fn what_cannot_be_is_an_error_that_names_its_place() {
    for (name, text) in [
        ("SECRET_TTL", "soon"),
        ("SECRET_TTL", "-5s"),
        ("INSTANCE_IP", "here"),
        ("CA_ADDR", "here"),
        ("ENVOY_STATUS_PORT", "70000"),
        ("SECRET_GRACE_PERIOD_RATIO", "1.5"),
        ("PROXY_CONFIG", "statusPort: x"),
        ("PROXY_CONFIG", "- a list"),
    ] {
        let error = Options::read(Flags::default(), &[], &around(&[(name, text)])).unwrap_err().to_string();
        assert!(error.contains(name) || error.contains("ProxyConfig's statusPort"), "{error}");
    }
    let error = Options::read(Flags::default(), &[], &Surroundings::default()).unwrap_err();
    assert!(error.to_string().contains("POD_NAME"), "{error}");
    let error = Options::read(Flags::default(), &[], &around(&[("TRUST_DOMAIN", "a/b")])).unwrap_err();
    assert!(error.to_string().contains("spiffe://a/b/ns"), "{error}");
}
