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
    assert_eq!(config.mesh.trust_domain, "cluster.local");
    let (mesh, findings) = parse_mesh_config("rootNamespace: mesh\nproxyListenPort: x\n", "m.yaml");
    assert_eq!(mesh, None);
    assert_eq!(findings[0].place.as_ref().map(ToString::to_string).as_deref(), Some("m.yaml:2:18"));
}
