//! Every value has an effect, a wrong one is refused, and what is made by default is what the documentation says.

use anyhow::{Context, Result};
use serde_json::{Map, Value, json};

use crate::helm::{chart, helm, names, object, objects, rendered, text};

/// Each value differs from its default.
fn turned() -> Value {
    let probe =
        json!({"initialDelaySeconds": 7, "periodSeconds": 8, "timeoutSeconds": 9, "failureThreshold": 11});
    let peer =
        json!([{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "observability"}}}]);
    let mut liveness = probe.clone();
    liveness["enabled"] = json!(false);
    json!({
        "revision": "blue",
        "image": {
            "repository": "registry.example/mesh/meltemi", "tag": "9.9.9",
            "digest": format!("sha256:{}", "0123456789abcdef".repeat(4)), "pullPolicy": "Always",
            "pullSecrets": [{"name": "registry"}]
        },
        "replicaCount": 3,
        "autoscaling": {"enabled": true, "minReplicas": 4, "maxReplicas": 9, "targetCPUUtilizationPercentage": 50},
        "podDisruptionBudget": {"enabled": false, "minAvailable": "50%"},
        "rollingUpdate": {"maxSurge": "100%", "maxUnavailable": 1},
        "resources": {"requests": {"cpu": "2", "memory": "3Gi"}, "limits": {"memory": "4Gi"}},
        "serve": {
            "holds": "off", "virtualHosts": "off", "status": "off", "ca": "off", "maxConnectionAge": "1h", "logFormat": "text", "logLevel": "debug",
            "extraArgs": ["--namespace=shop"], "extraEnv": [{"name": "TZ", "value": "UTC"}]
        },
        "gateways": {"secrets": "off", "secretNamespaces": ["edge"]},
        "meshConfig": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}},
        "crds": {"install": false, "exclude": ["gateways.networking.istio.io"], "keepForeign": false},
        "serviceAccount": {"create": false, "name": "own", "annotations": {"a": "b"}},
        "rbac": {"create": false},
        "service": {"type": "LoadBalancer", "annotations": {"c": "d"}, "istiodAlias": "istiod"},
        "monitoring": {
            "podAnnotations": false,
            "serviceMonitor": {"enabled": true, "interval": "1m", "labels": {"release": "prometheus"}}
        },
        "networkPolicy": {"enabled": true, "proxiesFrom": peer, "monitoringFrom": peer},
        "probes": {"readiness": probe, "liveness": liveness},
        "terminationGracePeriodSeconds": 60,
        "podAnnotations": {"e": "f"},
        "podLabels": {"g": "h"},
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control-plane", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "priorityClassName": "system-cluster-critical",
        "topologySpreadConstraints": [{"maxSkew": 2, "topologyKey": "rack", "whenUnsatisfiable": "DoNotSchedule"}]
    })
}

/// Values whose effect needs an API server, hence tested there (`kube_chart`).
const NEED_A_CLUSTER: &[&str] = &["crds.keepForeign"];

fn defaults() -> Result<Value> {
    Ok(serde_norway::from_str(&std::fs::read_to_string(chart().join("values.yaml"))?)?)
}

/// The paths of the values that users set: those whose default is no map with fields of its own.
fn leaves(values: &Value) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    for (name, value) in values.as_object().into_iter().flatten() {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                found.extend(leaves(value).into_iter().map(|path| [vec![name.clone()], path].concat()));
            }
            _ => found.push(vec![name.clone()]),
        }
    }
    found
}

fn at<'a>(values: &'a Value, path: &[String]) -> &'a Value {
    path.iter().fold(values, |value, name| &value[name])
}

fn with(mut values: Value, path: &[String], value: &Value) -> Value {
    let mut place = &mut values;
    for name in path {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place = &mut place[name];
    }
    *place = value.clone();
    values
}

#[test]
fn the_chart_lints_by_default_and_with_every_value_turned() -> Result<()> {
    for values in [json!({}), turned()] {
        let chart = chart();
        let output = helm(&["lint", "--strict", chart.to_str().context("text")?], &values)?;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
    Ok(())
}

#[test]
fn by_default_it_makes_what_the_documentation_says() -> Result<()> {
    let objects = rendered(&json!({}))?;
    let expected = [
        "ClusterRole meltemi-istio-system",
        "ClusterRoleBinding meltemi-istio-system",
        "Deployment meltemi",
        "PodDisruptionBudget meltemi",
        "Role meltemi",
        "RoleBinding meltemi",
        "Service meltemi",
        "ServiceAccount meltemi",
    ];
    assert_eq!(names(&objects), expected);
    let crds = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").count();
    assert_eq!(crds, 13);
    Ok(())
}

#[test]
fn with_every_value_turned_it_makes_the_rest() -> Result<()> {
    let expected = [
        "ConfigMap istio-blue",
        "Deployment meltemi-blue",
        "HorizontalPodAutoscaler meltemi-blue",
        "NetworkPolicy meltemi-blue",
        "Service istiod",
        "Service meltemi-blue",
        "ServiceMonitor meltemi-blue",
    ];
    assert_eq!(names(&rendered(&turned())?), expected);
    Ok(())
}

/// Turned alone, or turned back among others that are all turned, it changes what is rendered.
#[test]
fn every_value_has_an_effect() -> Result<()> {
    let (defaults, turned) = (defaults()?, turned());
    let (plain, all) = (text(&json!({}))?, text(&turned)?);
    let mut without = Vec::new();
    for path in leaves(&defaults) {
        let (default, other) = (at(&defaults, &path), at(&turned, &path));
        let name = path.join(".");
        assert!(!other.is_null() && default != other, "{name} is not turned");
        let has_effect = text(&with(json!({}), &path, other))? != plain
            || text(&with(turned.clone(), &path, default))? != all;
        if !has_effect {
            without.push(name);
        }
    }
    assert_eq!(without, NEED_A_CLUSTER);
    Ok(())
}

#[test]
fn a_wrong_value_is_refused_with_its_name() -> Result<()> {
    let cases = [
        (json!({"replicas": 2}), "replicas"),
        (json!({"replicaCount": "two"}), "replicaCount"),
        (json!({"serve": {"holds": "maybe"}}), "holds"),
        (json!({"serve": {"staus": "on"}}), "staus"),
        (json!({"serve": {"maxConnectionAge": "long"}}), "maxConnectionAge"),
        (json!({"revision": "Blue!"}), "revision"),
        (json!({"gateways": {"secrets": "some"}}), "secrets"),
        (json!({"gateways": {"secretNamespaces": ["*"]}}), "secretNamespaces"),
        (json!({"crds": {"exclude": ["gateways"]}}), "exclude"),
        (json!({"image": {"digest": "latest"}}), "digest"),
        (json!({"monitoring": {"serviceMonitor": {"interval": "soon"}}}), "interval"),
    ];
    for (values, named) in cases {
        let chart = chart();
        let output = helm(&["template", "meltemi", chart.to_str().context("text")?], &values)?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{values} is taken");
        assert!(said.contains(named), "{values}: {said}");
    }
    Ok(())
}

#[test]
fn definitions_are_left_out_one_by_one_or_all() -> Result<()> {
    let crds = |values: Value| -> Result<Vec<String>> {
        let objects = rendered(&values)?;
        let crds = objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition");
        Ok(crds.filter_map(|crd| crd["metadata"]["name"].as_str().map(str::to_owned)).collect())
    };
    let all = crds(json!({}))?;
    let gateways = "gateways.networking.istio.io";
    assert!(all.iter().any(|name| name == gateways));
    let rest = crds(json!({"crds": {"exclude": [gateways]}}))?;
    assert_eq!(rest, all.into_iter().filter(|name| name != gateways).collect::<Vec<_>>());
    assert_eq!(crds(json!({"crds": {"install": false}}))?, [""; 0]);
    Ok(())
}

#[test]
fn a_revision_stands_beside_another_one() -> Result<()> {
    let (first, second) = (rendered(&json!({}))?, rendered(&json!({"revision": "blue"}))?);
    let shared: Vec<String> =
        names(&first).into_iter().filter(|name| names(&second).contains(name)).collect();
    assert_eq!(shared, [""; 0], "two releases cannot both own an object");
    let role = object(&second, "Role", "meltemi-blue");
    assert_eq!(role["rules"][0]["resourceNames"], json!(["istio-blue"]));
    // The revision that is called default is the one without a name: so is its ConfigMap.
    let default = rendered(&json!({"revision": "default"}))?;
    assert_eq!(object(&default, "Role", "meltemi-default")["rules"][0]["resourceNames"], json!(["istio"]));
    let deployment = object(&second, "Deployment", "meltemi-blue");
    let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
    let value = |name: &str| variables.into_iter().flatten().find(|variable| variable["name"] == name);
    assert_eq!(value("MELTEMI_REVISION").context("set")?["value"], "blue");
    assert_eq!(value("MELTEMI_SERVICE_NAME").context("set")?["value"], "meltemi-blue");
    Ok(())
}

/// With one replica, a budget of one would only keep a node from being drained.
#[test]
fn a_disruption_budget_is_for_two_replicas_or_more() -> Result<()> {
    let has = |values: Value| -> Result<bool> {
        Ok(names(&rendered(&values)?).iter().any(|name| name.starts_with("PodDisruptionBudget")))
    };
    assert!(has(json!({"replicaCount": 2}))?);
    assert!(!has(json!({"replicaCount": 1}))?);
    assert!(!has(json!({"replicaCount": 3, "autoscaling": {"enabled": true, "minReplicas": 1}}))?);
    assert!(has(json!({"replicaCount": 1, "autoscaling": {"enabled": true, "minReplicas": 2}}))?);
    Ok(())
}

#[test]
fn the_chart_is_of_the_programs_version() -> Result<()> {
    let chart: Value = serde_norway::from_str(&std::fs::read_to_string(chart().join("Chart.yaml"))?)?;
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    Ok(())
}

#[test]
fn mesh_settings_are_the_text_that_is_read() -> Result<()> {
    let objects = objects(&text(&json!({"meshConfig": {"accessLogFile": "/dev/stdout"}}))?)?;
    let settings = object(&objects, "ConfigMap", "istio");
    let mesh: Value = serde_norway::from_str(settings["data"]["mesh"].as_str().context("a text")?)?;
    assert_eq!(mesh, json!({"accessLogFile": "/dev/stdout"}));
    Ok(())
}
