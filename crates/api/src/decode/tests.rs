//! What the API server and controllers write is read as they mean it.

use serde_json::json;

use super::decode;
use crate::endpoint_slice::EndpointHealth;
use crate::service::TargetPort;
use crate::{Object, Spec};

fn object(value: serde_json::Value) -> Object {
    let decoded = decode(&value, "default");
    decoded.object.unwrap_or_else(|| panic!("{:?}", decoded.findings))
}

#[test]
fn a_pod_of_the_api_server_is_read_without_a_word() {
    let value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "web-6d4b75cb6d-x2x9p", "generateName": "web-6d4b75cb6d-", "namespace": "shop", "uid": "u",
            "labels": {"app": "web", "pod-template-hash": "6d4b75cb6d"},
            "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}", "sidecar.istio.io/status": "x"},
            "creationTimestamp": "2026-01-31T12:00:00Z", "managedFields": [{"manager": "kubelet"}],
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-6d4b75cb6d", "controller": true}]
        },
        "spec": {
            "nodeName": "n1", "serviceAccountName": "web", "dnsPolicy": "ClusterFirst",
            "containers": [{"name": "web", "image": "web:1", "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}]}],
            "initContainers": [
                {"name": "istio-proxy", "restartPolicy": "Always", "ports": [{"name": "envoy-prom", "containerPort": 15090}]},
                {"name": "once", "ports": [{"containerPort": 1}]}
            ]
        },
        "status": {
            "phase": "Running", "podIP": "10.0.0.7", "podIPs": [{"ip": "10.0.0.7"}, {"ip": "fd00::7"}],
            "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}]
        }
    });
    let decoded = decode(&value, "default");
    assert_eq!(decoded.findings, []);
    let object = decoded.object.unwrap();
    assert_eq!(object.meta.created.map(|time| time.seconds()), Some(1_769_860_800));
    assert_eq!(object.meta.annotations.iter().collect::<Vec<_>>(), [("sidecar.istio.io/status", "x")]);
    let Spec::Pod(pod) = object.spec else { panic!("not a pod") };
    assert_eq!(pod.ips.iter().map(ToString::to_string).collect::<Vec<_>>(), ["10.0.0.7", "fd00::7"]);
    assert_eq!(pod.ports.iter().map(|port| port.port.number()).collect::<Vec<_>>(), [8080, 15090]);
    assert_eq!((&*pod.workload, &*pod.workload_kind, &*pod.service_account), ("web", "Deployment", "web"));
    assert!(pod.ready && !pod.terminating);
}

#[test]
fn the_workload_behind_a_pod_is_the_one_that_people_know() {
    let workload = |kind: &str, name: &str, labels: serde_json::Value| {
        let object = object(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {
                "name": format!("{name}-abcde"), "generateName": format!("{name}-"), "labels": labels,
                "ownerReferences": [{"kind": kind, "name": name, "controller": true}]
            }
        }));
        let Spec::Pod(pod) = object.spec else { panic!("not a pod") };
        format!("{} {}", pod.workload_kind, pod.workload)
    };
    assert_eq!(workload("ReplicaSet", "web-7f9", json!({"pod-template-hash": "7f9"})), "Deployment web");
    assert_eq!(
        workload("ReplicaSet", "web-7f9", json!({"rollouts-pod-template-hash": "7f9"})),
        "Rollout web"
    );
    assert_eq!(workload("ReplicaSet", "web-7f9", json!({})), "ReplicaSet web-7f9");
    assert_eq!(workload("Job", "tidy-27853200", json!({})), "CronJob tidy");
    assert_eq!(workload("Job", "tidy-2", json!({})), "Job tidy-2");
    assert_eq!(workload("Job", "tidy-12345678", json!({})), "CronJob tidy");
    assert_eq!(workload("Job", "tidy-12345678901", json!({})), "Job tidy-12345678901");
    assert_eq!(
        workload("ReplicationController", "web-3", json!({"deploymentconfig": "web"})),
        "DeploymentConfig web"
    );
    assert_eq!(workload("ReplicationController", "web-3", json!({})), "ReplicationController web-3");
    assert_eq!(workload("StatefulSet", "db", json!({})), "StatefulSet db");
    assert_eq!(
        workload("StatefulSet", "db", json!({"service.istio.io/workload-name": "mine"})),
        "StatefulSet mine"
    );
}

#[test]
fn a_service_of_the_api_server_is_read_without_a_word() {
    let value = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "10.1.0.1", "clusterIPs": ["10.1.0.1", "fd00::1"], "sessionAffinity": "None",
            "ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "PreferDualStack", "externalTrafficPolicy": "Cluster",
            "internalTrafficPolicy": "Local", "allocateLoadBalancerNodePorts": true, "selector": {"app": "web"},
            "ports": [
                {"name": "http", "port": 80, "targetPort": "web", "nodePort": 30080, "protocol": "TCP"},
                {"name": "grpc", "port": 81, "targetPort": 8081, "appProtocol": "grpc"},
                {"name": "tcp", "port": 82}
            ]
        },
        "status": {"loadBalancer": {}}
    });
    let decoded = decode(&value, "default");
    assert_eq!(decoded.findings, []);
    let Some(Spec::Service(service)) = decoded.object.map(|object| object.spec) else {
        panic!("not a service")
    };
    assert_eq!(service.cluster_ips.len(), 2);
    assert!(service.internal_traffic_local && !service.headless);
    let target = |index: usize| service.ports[index].target_port.clone();
    assert_eq!(target(0), TargetPort::Name("web".to_owned()));
    assert!(matches!(target(1), TargetPort::Number(port) if port.number() == 8081));
    assert!(matches!(target(2), TargetPort::Number(port) if port.number() == 82));
}

#[test]
fn a_slice_says_which_service_and_who_is_ready() {
    let value = json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
        "metadata": {"name": "web-1", "labels": {"kubernetes.io/service-name": "web"}, "generation": "7"},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true, "serving": true, "terminating": false},
             "nodeName": "n1", "zone": "z1", "targetRef": {"kind": "Pod", "name": "web-a", "namespace": "default", "uid": "u"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": null}, "hints": {"forZones": [{"name": "z1"}]}}
        ],
        "ports": [{"name": "http", "port": 8080, "protocol": "TCP", "appProtocol": null}]
    });
    let decoded = decode(&value, "default");
    assert_eq!(decoded.findings, []);
    let object = decoded.object.unwrap();
    assert_eq!(object.meta.generation, Some(7));
    let Spec::EndpointSlice(slice) = object.spec else { panic!("not a slice") };
    assert_eq!(slice.service.as_ref().map(|name| name.as_str()), Some("web"));
    assert_eq!(slice.endpoints[0].pod.as_ref().map(|name| name.as_str()), Some("web-a"));
    assert!(slice.endpoints[1].health.is_ready());
    let health = |ready, terminating| EndpointHealth { ready: Some(ready), serving: None, terminating };
    assert!(health(false, None).is_terminating());
    assert!(!health(false, Some(false)).is_terminating());
    assert!(!health(true, None).is_terminating());
    let mut bad = value;
    bad["endpoints"][0]["addresses"][0] = json!("10.0.0.300");
    assert_eq!(decode(&bad, "default").findings[0].message, "`10.0.0.300` is not an IP address");
}

#[test]
fn numbers_of_floating_point_and_null_are_read_as_go_reads_them() {
    // Argo Rollouts counts weights in floating point; client libraries write null for what is not set.
    let object = object(json!({
        "apiVersion": "networking.istio.io/v1alpha3", "kind": "VirtualService", "metadata": {"name": "a", "labels": null},
        "spec": {"hosts": ["a"], "gateways": null, "http": [{"match": null, "name": "primary", "timeout": null, "route": [
            {"destination": {"host": "a", "subset": "", "port": {"number": 0}}, "weight": 95.0},
            {"destination": {"host": "b", "subset": null}, "weight": 5.0}
        ]}]},
        "status": {"observedGeneration": "3"}
    }));
    let Spec::VirtualService(service) = object.spec else { panic!("not a virtual service") };
    assert!(service.is_in_mesh());
    let route = &service.http[0].route;
    assert_eq!((route[0].weight, route[1].weight), (95, 5));
    assert_eq!((&route[0].destination.subset, route[0].destination.port), (&None, None));
}

#[test]
fn an_object_that_cannot_be_read_keeps_its_key() {
    let value = json!({
        "apiVersion": "networking.istio.io/v1", "kind": "VirtualService",
        "metadata": {"name": "a", "namespace": "shop", "labels": {"n": 1}}, "spec": {"hosts": 7}
    });
    let decoded = decode(&value, "default");
    assert_eq!(decoded.key.map(|key| key.to_string()).as_deref(), Some("VirtualService shop/a"));
    assert!(decoded.object.is_none());
    for name in [json!("a b"), json!("a/b"), json!("*")] {
        let decoded =
            decode(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}), "default");
        assert!(decoded.object.is_none() && decoded.key.is_some());
    }
    for nameless in
        [json!({}), json!({"name": ""}), json!({"name": 7}), json!({"generateName": "a-"}), json!(null)]
    {
        let decoded = decode(&json!({"apiVersion": "v1", "kind": "Pod", "metadata": nameless}), "default");
        assert_eq!(decoded.findings[0].code, "no-name");
        assert!(decoded.key.is_none());
    }
}

#[test]
fn a_pod_that_no_controller_named_is_its_own_workload() {
    let owned = |metadata: serde_json::Value| {
        let object = object(json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}}));
        let Spec::Pod(pod) = object.spec else { panic!("not a pod") };
        format!("{} {} {}", pod.workload_kind, pod.workload, pod.service_account)
    };
    let owner = json!([{"kind": "ReplicaSet", "name": "web-7f9", "controller": true}]);
    assert_eq!(owned(json!({"name": "web", "ownerReferences": owner})), "Pod web default", "no generateName");
    let other = json!([{"kind": "ReplicaSet", "name": "web-7f9"}]);
    assert_eq!(
        owned(json!({"name": "web", "generateName": "web-", "ownerReferences": other})),
        "Pod web default",
        "an owner that is no controller"
    );
}

#[test]
fn a_slice_of_several_clusters_belongs_to_no_service() {
    let slice = object(json!({
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4", "endpoints": [], "ports": [],
        "metadata": {"name": "a", "labels": {"kubernetes.io/service-name": "a", "multicluster.kubernetes.io/service-name": "a"}}
    }));
    assert!(matches!(slice.spec, Spec::EndpointSlice(slice) if slice.service.is_none()));
}
