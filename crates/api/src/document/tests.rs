//! From the text of a file to objects, findings and places.

use meltemi_names::ObjectKey;

use super::{File, parse, parse_mesh_config};
use crate::Spec;

/// The findings as lines, without the file's name and with short objects.
fn told(file: &File) -> Vec<String> {
    file.findings().iter().map(|finding| finding.to_string()).collect()
}

fn keys(file: &File) -> Vec<String> {
    file.documents.iter().filter_map(|d| d.key.as_ref()).map(ObjectKey::to_string).collect()
}

fn read(text: &str) -> File {
    parse(text, "f", "default")
}

const GOOD: &str =
    "apiVersion: v1\nkind: Service\nmetadata: {name: good}\nspec:\n  ports: [{name: http, port: 80}]\n";

#[test]
fn a_broken_document_spares_its_neighbours_and_yields_its_key() {
    let file = read(&format!(
        "{GOOD}---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata:\n  name: reviews\n  namespace: \
         shop\nspec:\n  hosts: [reviews\n  http: x\n---\n{}",
        GOOD.replace("good", "other")
    ));
    assert_eq!(keys(&file), ["Service default/good", "VirtualService shop/reviews", "Service default/other"]);
    let broken = &file.documents[1];
    assert!(broken.object.is_none());
    assert_eq!(broken.findings.len(), 1, "{:?}", told(&file));
    assert_eq!(broken.findings[0].code, "yaml-syntax");
    assert_eq!(broken.findings[0].place.as_ref().unwrap().line, 14);
    assert!(!file.incomplete);
}

#[test]
fn a_document_that_breaks_before_its_name_makes_the_file_incomplete() {
    let file = read(&format!("{GOOD}---\nkind: [VirtualService\nmetadata: {{name: x}}\n"));
    assert_eq!(keys(&file), ["Service default/good"]);
    assert!(file.incomplete);
    assert!(read("kind: Service\nmetadata: {name: x}\n").incomplete);
    assert!(!read("replicas: 1\n").incomplete);
    assert!(!read(GOOD).incomplete);
}

#[test]
fn a_wrong_value_is_told_with_its_place_and_a_hint() {
    let text = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: reviews
spec:
  hosts: [reviews]
  http:
  - route:
    - destination:
        host: reviews
        port:
          number: 90000
      weight: \"90\"
";
    assert_eq!(
        told(&read(text)),
        [
            "f:12:19: error: VirtualService default/reviews, spec.http[0].route[0].destination.port.number: a port is 1 to 65535, \
          found 90000 [bad-value]; in force: the last good version of this object, if there is one"
        ]
    );
    assert_eq!(
        told(&read(&text.replace("90000", "80"))),
        [
            "f:13:15: error: VirtualService default/reviews, spec.http[0].route[0].weight: must be a whole number, found the \
          text \"90\" [bad-value]; in force: the last good version of this object, if there is one; hint: write it \
          without quotes: 90"
        ]
    );
}

#[test]
fn unknown_fields_name_the_nearest_known_one_at_the_name_s_place() {
    let file = read(
        "apiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata:\n  name: a\n  lables: {}\nspec:\n  hosts: \
         [a]\n  http:\n  - timout: 5s\n    route: [{destination: {host: a}, foo: 1}]\n",
    );
    assert_eq!(
        told(&file),
        [
            "f:5:3: warning: VirtualService default/a, metadata.lables: there is no field `lables` here [unknown-field]; in \
             force: the field is ignored; hint: did you mean `labels`?",
            "f:9:5: warning: VirtualService default/a, spec.http[0].timout: there is no field `timout` here \
             [unknown-field]; in force: the field is ignored; hint: did you mean `timeout`?",
            "f:10:38: warning: VirtualService default/a, spec.http[0].route[0].foo: there is no field `foo` here \
             [unknown-field]; in force: the field is ignored",
        ]
    );
    assert!(file.documents[0].object.is_some());
}

#[test]
fn the_settings_of_the_mesh_are_read_from_their_config_map_with_their_places() {
    let text = "\
apiVersion: v1
kind: ConfigMap
metadata:
  name: istio
  namespace: istio-system
data:
  mesh: |-

    accessLogFile: /dev/stdout
    accesLogEncoding: JSON
    outboundTrafficPolicy:
      mode: REGISTRY
";
    assert_eq!(
        told(&read(text)),
        [
            "f:10:5: warning: ConfigMap istio-system/istio, data.mesh.accesLogEncoding: there is no field `accesLogEncoding` \
             here [unknown-field]; in force: the field is ignored; hint: did you mean `accessLogEncoding`?",
            "f:12:13: error: ConfigMap istio-system/istio, data.mesh.outboundTrafficPolicy.mode: `REGISTRY` is none of the \
             values that the field takes: REGISTRY_ONLY, ALLOW_ANY [bad-value]; in force: the last good version of this \
             object, if there is one; hint: did you mean `REGISTRY_ONLY`?",
        ]
    );
    let file = read(&text.replace("REGISTRY", "REGISTRY_ONLY").replace("accesLog", "accessLog"));
    let Some(Spec::ConfigMap(config)) = file.documents[0].object.as_ref().map(|object| &object.spec) else {
        panic!("{:?}", told(&file));
    };
    assert_eq!(config.mesh.access_log_file, "/dev/stdout");
    assert_eq!(config.mesh.outbound_traffic_policy.mode, crate::mesh_config::OutboundMode::RegistryOnly);
    assert_eq!(config.mesh.root_namespace, "istio-system");
    let (mesh, findings) = parse_mesh_config("rootNamespace: mesh\nproxyListenPort: x\n", "m.yaml");
    assert_eq!(mesh, None);
    assert_eq!(findings[0].place.as_ref().map(ToString::to_string).as_deref(), Some("m.yaml:2:18"));
}

#[test]
fn lists_give_their_items_with_fields_and_places_of_their_own() {
    let file = read(
        "apiVersion: v1\nkind: List\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: {ports: [{port: x}]}\n- \
         apiVersion: apps/v1\n  kind: Deployment\n  metadata: {name: b}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: \
         c}\n  spec: {clusterIP: None}\n",
    );
    assert_eq!(keys(&file), ["Service default/a", "Service default/c"]);
    assert_eq!(
        told(&file),
        [
            "f:7:25: error: Service default/a, spec.ports[0].port: must be a whole number, found the text \"x\" [bad-value]; in \
          force: the last good version of this object, if there is one"
        ]
    );
    assert_eq!(file.skipped.get("Deployment"), Some(&1));
    assert!(!file.incomplete);
}

#[test]
fn a_list_that_breaks_off_keeps_its_first_items_and_is_incomplete() {
    let file = read(
        "apiVersion: v1\nkind: ServiceList\nitems:\n- apiVersion: v1\n  kind: Service\n  metadata: {name: a}\n  spec: \
         {clusterIP: None}\n- apiVersion: v1\n  kind: Service\n  metadata: {name: b\n",
    );
    assert_eq!(keys(&file), ["Service default/a", "Service default/b"]);
    assert!(file.documents[0].object.is_some());
    assert!(file.documents[1].object.is_none());
    assert!(file.incomplete);
}

#[test]
fn json_is_read_as_yaml_is() {
    let json = "{\n\t\"apiVersion\": \"v1\",\n\t\"kind\": \"Service\",\n\t\"metadata\": {\"name\": \"a\", \"creationTimestamp\": null},\n\t\"spec\": {\"ports\": [{\"port\": 80, \
                \"name\": \"web\"}]}\n}\n";
    let file = read(json);
    assert_eq!(keys(&file), ["Service default/a"]);
    let place = file.documents[0].findings[0].place.as_ref().unwrap();
    assert_eq!((place.line, place.column), (5, 42), "{:?}", told(&file));
    // An escape that YAML does not have.
    let file = read(&json.replace("\"web\"", r#""http-\ud83d\ude00""#));
    assert_eq!(file.documents[0].findings[0].code, "bad-name", "{:?}", told(&file));
}

#[test]
fn line_ends_of_windows_and_a_byte_order_mark_change_nothing() {
    let file = read(&format!("\u{feff}{}", format!("---\n{GOOD}---\n{GOOD}").replace('\n', "\r\n")));
    assert_eq!(keys(&file), ["Service default/good", "Service default/good"]);
    assert_eq!(told(&file), [""; 0]);
}

#[test]
fn anchors_aliases_and_merges_stand_for_what_they_name() {
    let objects = crate::parse_all(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n  hosts: [a]\n  http:\n  - &rule\n    \
         timeout: 5s\n    match: [{port: 80}]\n    route: &route\n    - destination: {host: a}\n  - <<: *rule\n    match: \
         [{port: 81}]\n  - route: *route\n",
    )
    .unwrap();
    let Spec::VirtualService(service) = &objects[0].spec else { panic!("{objects:?}") };
    assert_eq!(service.http.len(), 3);
    assert_eq!(service.http[1].timeout, service.http[0].timeout);
    assert_eq!(service.http[1].matches[0].port.map(|port| port.number()), Some(81));
    assert_eq!(service.http[2].route, service.http[0].route);
}

#[test]
fn what_would_grow_without_bound_is_refused() {
    let code = |text: &str| {
        let file = read(text);
        file.findings().first().map(|finding| finding.code).unwrap_or_default()
    };
    let mut laughs = String::from("a: &a [lol, lol, lol, lol, lol, lol, lol, lol, lol]\n");
    for (from, to) in ["ab", "bc", "cd", "de", "ef", "fg", "gh", "hi"].iter().map(|pair| pair.split_at(1)) {
        laughs.push_str(&format!("{to}: &{to} [{}]\n", vec![format!("*{from}"); 9].join(", ")));
    }
    assert_eq!(code(&laughs), "yaml-alias");
    assert_eq!(code("a: &a [*a]\n"), "yaml-alias");
    // The parser's own bound comes first where brackets nest.
    assert_eq!(code(&format!("a: {}", "[".repeat(10_000))), "yaml-syntax");
    let deep: String = (0..200).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert_eq!(code(&deep), "yaml-depth");
    let file = parse(&"x".repeat(super::MAX_FILE + 1), "f", "default");
    assert_eq!(file.findings()[0].code, "file-too-large");
    assert!(file.incomplete);
}

#[test]
fn what_is_ambiguous_is_refused() {
    assert_eq!(
        told(&read(&GOOD.replace("spec:", "spec:\n  clusterIP: None\n  clusterIP: None"))),
        [
            "f:6:3: error: Service default/good: `clusterIP` stands here a second time [duplicate-field]; in force: the last good \
          version of this object, if there is one; hint: keep one of them"
        ]
    );
    assert_eq!(read("? [a]\n: b\n").findings()[0].code, "yaml-key");
    assert_eq!(read("a: !secret b\n").findings()[0].code, "yaml-tag");
}

#[test]
fn a_provider_of_metrics_that_nothing_is_sent_to_is_told() {
    let read = |text: &str| {
        let (mesh, findings) = parse_mesh_config(text, "m.yaml");
        let findings: Vec<String> = findings.iter().map(ToString::to_string).collect();
        (mesh.is_some_and(|mesh| mesh.counts_traffic()), findings)
    };
    assert_eq!(read("{}"), (true, Vec::new()));
    assert_eq!(read("defaultProviders: {metrics: [prometheus]}"), (true, Vec::new()));
    assert_eq!(read("defaultProviders: {metrics: []}"), (false, Vec::new()));
    let (counts, findings) = read("defaultProviders:\n  metrics:\n  - stackdriver\n");
    assert!(!counts);
    let [finding] = findings.as_slice() else { panic!("{findings:?}") };
    assert!(
        finding.contains("defaultProviders.metrics[0]") && finding.contains("[not-supported-yet]"),
        "{finding}"
    );
    let (counts, findings) = read("defaultProviders: {tracing: [zipkin]}");
    assert!(counts && findings.len() == 1, "{findings:?}");
}

#[test]
fn what_is_not_of_the_mesh_is_skipped_and_what_is_not_supported_yet_is_told() {
    let file = read(
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\n---\napiVersion: security.istio.io/v1\nkind: \
         RequestAuthentication\nmetadata: {name: gw}\n---\napiVersion: networking.istio.io/v1\nkind: VirtualServise\nmetadata: {name: a}\n---\n\
         apiVersion: networking.istio.io/v2\nkind: VirtualService\nmetadata: {name: a}\n---\na: b\n---\n\
         apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: a}\n",
    );
    assert_eq!(
        told(&file),
        [
            "f:5:1: warning: RequestAuthentication default/gw: RequestAuthentication is not supported yet [not-supported-yet]; in \
             force: no token is checked",
            "f:10:7: warning: kind: networking.istio.io/v1 has no kind `VirtualServise` [unknown-kind]; in force: the document \
             is skipped; hint: did you mean `VirtualService`?",
            "f:13:13: error: VirtualService default/a, apiVersion: VirtualService is not read at version \
             networking.istio.io/v2 [bad-api-version]; in force: the last good version of this object, if there is one; hint: \
             write apiVersion: networking.istio.io/v1 (or v1beta1, v1alpha3)",
            "f:17:1: warning: without `kind` this is no Kubernetes object [not-an-object]; in force: the document is skipped",
            "f:19:1: warning: HTTPRoute of gateway.networking.k8s.io/v1 is not supported yet [not-supported-yet]; in force: \
             requests are routed as if it were absent",
        ]
    );
    assert_eq!(file.skipped.get("Deployment"), Some(&1));
    assert_eq!(keys(&file), ["VirtualService default/a"]);
}

#[test]
fn common_mistakes_of_syntax_get_a_hint() {
    let hint = |text: &str| read(text).findings()[0].hint.clone().unwrap_or_default();
    assert_eq!(hint("a:\n  b: c\n\td: e\n"), "indent with spaces, YAML takes no tabs there");
    assert_eq!(hint("hosts:\n- *.example.com\n"), "put a text that begins with `*` in quotes");
    assert_eq!(
        hint("name: {{ .Values.name }}\n"),
        "this looks like a template; render it first (helm template)"
    );
}

#[test]
fn the_namespace_given_counts_where_none_is_written() {
    let key = |text: &str| keys(&parse(text, "f", "shop")).join(" ");
    assert_eq!(key(GOOD), "Service shop/good");
    assert_eq!(key(&GOOD.replace("{name: good}", "{name: good, namespace: other}")), "Service other/good");
    assert_eq!(key("apiVersion: v1\nkind: Node\nmetadata: {name: n}\n"), "Node n");
    assert_eq!(key("apiVersion: v1\nkind: Namespace\nmetadata: {name: n, namespace: x}\n"), "Namespace n");
}

#[test]
fn a_kind_of_the_mesh_in_a_group_that_is_not_its_own_is_told() {
    for group in ["networking.istio.io", "v1", "networking.istio.io/v2", "config.istio.io/v1"] {
        let file = read(&format!("apiVersion: {group}\nkind: VirtualService\nmetadata: {{name: a}}\n"));
        assert_eq!(file.findings()[0].code, "bad-api-version", "{group}");
    }
    assert_eq!(
        read("apiVersion: discovery.k8s.io/v1beta1\nkind: EndpointSlice\nmetadata: {name: a}\n").findings()
            [0]
        .hint
        .as_deref(),
        Some("write apiVersion: discovery.k8s.io/v1")
    );
    assert_eq!(
        told(&read("apiVersion: serving.knative.dev/v1\nkind: Service\nmetadata: {name: a}\n")),
        [""; 0]
    );
}

#[test]
fn an_object_of_ten_thousand_mistakes_has_a_hundred_findings() {
    let fields: String = (0..10_000).map(|number| format!("  f{number}: 1\n")).collect();
    let file = read(&format!("{GOOD}{fields}"));
    assert_eq!(file.findings().len(), 100);
}

#[test]
fn what_was_skipped_is_counted_by_kind() {
    let count =
        |pairs: &[(&str, usize)]| pairs.iter().map(|(kind, count)| ((*kind).to_owned(), *count)).collect();
    let message = |pairs| super::skipped_finding(&count(pairs)).map(|finding| finding.message);
    assert_eq!(message(&[]), None);
    assert_eq!(
        message(&[("Deployment", 2), ("Secret", 1)]).as_deref(),
        Some("3 objects are of kinds that the mesh does not read: Deployment 2, Secret 1")
    );
}
