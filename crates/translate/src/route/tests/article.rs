//! The article's files as pasted: v1beta1, a short host, no namespace.

use std::sync::Arc;

use meltemi_model::Event;
use serde_json::{Value, json};

use super::{MYAPP, Routes, caller};

const SERVICE: &str = "
apiVersion: v1
kind: Service
metadata:
  name: myapp
spec:
  selector:
    app: myapp
  ports:
    - name: http
      port: 80
      targetPort: 8080
";

/// The virtual host's routes in a mesh of the service and a VirtualService of that `spec.http`.
fn routes(http: &str) -> Vec<Value> {
    let text = format!(
        "{SERVICE}---\napiVersion: networking.istio.io/v1beta1\nkind: VirtualService\nmetadata:\n  name: myapp\nspec:\n  hosts:\n    - myapp\n  http:\n{http}"
    );
    let objects = meltemi_api::parse_all(&text).unwrap();
    let mesh =
        Routes::of(caller("default"), objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
    mesh.routes(MYAPP)
}

fn cluster(subset: &str) -> String {
    format!("outbound|80|{subset}|myapp.default.svc.cluster.local")
}

#[test]
fn canary() {
    let routes = routes(
        "
    - route:
        - destination:
            host: myapp
            subset: v1
          weight: 90
        - destination:
            host: myapp
            subset: v2
          weight: 10
",
    );
    let clusters = json!([{"name": cluster("v1"), "weight": 90}, {"name": cluster("v2"), "weight": 10}]);
    assert_eq!(routes.len(), 1);
    assert_eq!(routes[0]["route"]["weighted_clusters"]["clusters"], clusters);
}

#[test]
fn blue_green() {
    let routes = routes(
        "
    - route:
        - destination:
            host: myapp
            subset: blue
          weight: 100
        - destination:
            host: myapp
            subset: green
          weight: 0
",
    );
    let clusters = json!([{"name": cluster("blue"), "weight": 100}]);
    assert_eq!(routes[0]["route"]["weighted_clusters"]["clusters"], clusters);
}

#[test]
fn mirroring() {
    let routes = routes(
        "
    - route:
        - destination:
            host: myapp
            subset: v1
      mirror:
        host: myapp
        subset: v2
      mirrorPercent: 100
",
    );
    assert_eq!(routes[0]["route"]["cluster"], cluster("v1"));
    let policies = routes[0]["route"]["request_mirror_policies"].as_array().unwrap();
    assert_eq!(policies.len(), 1);
    assert_eq!(policies[0]["cluster"], cluster("v2"));
    assert_eq!(
        policies[0]["runtime_fraction"],
        json!({"default_value": {"numerator": 1_000_000, "denominator": "MILLION"}})
    );
}

#[test]
fn by_header() {
    let routes = routes(
        "
    - match:
        - headers:
            x-user-id:
              regex: ^(user-[0-9]{3}|user-[0-9]{4})$
      route:
        - destination:
            host: myapp
            subset: v2
    - route:
        - destination:
            host: myapp
            subset: v1
",
    );
    let to = |route: &Value| route["route"]["cluster"].clone();
    assert_eq!(routes.iter().map(to).collect::<Vec<_>>(), [cluster("v2"), cluster("v1")]);
    assert_eq!(
        routes[0]["match"]["headers"],
        json!([{"name": "x-user-id", "string_match": {"safe_regex": {"regex": "^(user-[0-9]{3}|user-[0-9]{4})$"}}}])
    );
    assert_eq!(routes[1]["match"], json!({"prefix": "/"}));
}
