//! What the pods may do to their node, and how they are reached.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::helm::{object, rendered};

#[test]
fn the_pod_meets_the_restricted_standard_for_pods() -> Result<()> {
    for values in [json!({}), json!({"revision": "blue", "serve": {"extraArgs": ["--holds=off"]}})] {
        let objects = rendered(&values)?;
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").context("one")?;
        let pod = &deployment["spec"]["template"]["spec"];
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["runAsUser"], 65532);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        for taboo in ["hostNetwork", "hostPID", "hostIPC", "volumes"] {
            assert!(pod[taboo].is_null(), "{taboo}");
        }
        let containers = pod["containers"].as_array().context("containers")?;
        assert_eq!(containers.len(), 1);
        let context = &containers[0]["securityContext"];
        assert_eq!(context["allowPrivilegeEscalation"], false);
        assert_eq!(context["readOnlyRootFilesystem"], true);
        assert_eq!(context["capabilities"], json!({"drop": ["ALL"]}));
        assert!(context["privileged"].is_null());
        assert!(containers[0]["resources"]["requests"]["memory"].is_string());
    }
    Ok(())
}

#[test]
fn the_services_have_istiods_ports_and_each_leads_to_a_port_of_the_pod() -> Result<()> {
    let objects = rendered(&json!({"service": {"istiodAlias": "istiod"}}))?;
    let container = &object(&objects, "Deployment", "meltemi")["spec"]["template"]["spec"]["containers"][0];
    let port_of = |name: &Value| {
        let ports = container["ports"].as_array().into_iter().flatten();
        ports.filter(|port| port["name"] == *name).find_map(|port| port["containerPort"].as_u64())
    };
    for name in ["meltemi", "istiod"] {
        let service = object(&objects, "Service", name);
        let mut ports = Vec::new();
        for port in service["spec"]["ports"].as_array().context("ports")? {
            let at = (port["name"].as_str(), port["port"].as_u64(), port_of(&port["targetPort"]));
            ports.push(at);
        }
        let expected = [
            (Some("grpc-xds"), Some(15010), Some(15010)),
            (Some("https-dns"), Some(15012), Some(15012)),
            (Some("https-webhook"), Some(443), Some(15017)),
            (Some("http-monitoring"), Some(15014), Some(15014)),
        ];
        assert_eq!(ports, expected, "{name}");
    }
    Ok(())
}

#[test]
fn whatever_selects_the_pods_selects_these() -> Result<()> {
    let everything = json!({
        "service": {"istiodAlias": "istiod"},
        "networkPolicy": {"enabled": true},
        "monitoring": {"serviceMonitor": {"enabled": true}}
    });
    let objects = rendered(&everything)?;
    let deployment = object(&objects, "Deployment", "meltemi");
    let labels = deployment["spec"]["template"]["metadata"]["labels"].as_object().context("labels")?;
    let spread = deployment["spec"]["template"]["spec"]["topologySpreadConstraints"].as_array();
    let mut selectors = vec![
        &deployment["spec"]["selector"]["matchLabels"],
        &object(&objects, "Service", "meltemi")["spec"]["selector"],
        &object(&objects, "Service", "istiod")["spec"]["selector"],
        &object(&objects, "PodDisruptionBudget", "meltemi")["spec"]["selector"]["matchLabels"],
        &object(&objects, "NetworkPolicy", "meltemi")["spec"]["podSelector"]["matchLabels"],
    ];
    selectors
        .extend(spread.into_iter().flatten().map(|constraint| &constraint["labelSelector"]["matchLabels"]));
    assert_eq!(selectors.len(), 7);
    for selector in selectors {
        let selector = selector.as_object().context("a selector")?;
        assert!(!selector.is_empty() && selector.iter().all(|(name, value)| labels.get(name) == Some(value)));
        // The pods of an Istio in the same namespace have these, and its Services select by them.
        assert!(!labels.contains_key("app") && !labels.contains_key("istio"));
    }
    // By way of the one Service only, since the other one leads to the same pods.
    let monitor = &object(&objects, "ServiceMonitor", "meltemi")["spec"]["selector"]["matchLabels"];
    let is_selected = |service: &str| {
        let labels = &object(&objects, "Service", service)["metadata"]["labels"];
        monitor.as_object().into_iter().flatten().all(|(name, value)| labels[name] == *value)
    };
    assert!(is_selected("meltemi") && !is_selected("istiod"));
    Ok(())
}

#[test]
fn probes_ask_where_something_answers() -> Result<()> {
    let objects = rendered(&json!({}))?;
    let container = &object(&objects, "Deployment", "meltemi")["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["readinessProbe"]["httpGet"], json!({"path": "/ready", "port": "http"}));
    assert_eq!(container["livenessProbe"]["httpGet"], json!({"path": "/version", "port": "http-monitoring"}));
    assert_eq!(container["args"], json!(["serve"]));
    Ok(())
}

#[test]
fn the_network_policy_opens_the_debug_pages_to_those_who_are_named() -> Result<()> {
    let peer = json!({"podSelector": {"matchLabels": {"app": "prometheus"}}});
    for named in [json!([]), json!([peer.clone()])] {
        let objects = rendered(&json!({"networkPolicy": {"enabled": true, "monitoringFrom": named}}))?;
        let rules =
            object(&objects, "NetworkPolicy", "meltemi")["spec"]["ingress"].as_array().context("rules")?;
        let of_port = |number: u64| -> Vec<&Value> {
            let has = |rule: &&Value| {
                rule["ports"].as_array().into_iter().flatten().any(|port| port["port"] == number)
            };
            rules.iter().filter(has).collect()
        };
        let monitoring = of_port(15014);
        assert_eq!(monitoring.len(), 1);
        let from = monitoring[0]["from"].as_array().context("a list of who may")?;
        assert_eq!(from.len(), 1 + named.as_array().map_or(0, Vec::len));
        for open in [15010, 15012, 15017, 8080] {
            assert!(of_port(open)[0]["from"].is_null(), "{open}");
        }
    }
    Ok(())
}
