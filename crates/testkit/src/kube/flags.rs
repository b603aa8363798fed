//! What each part of the cluster is told on its command line, and the files that it reads.
//!
//! Where a flag is not as in a cluster that people run, its comment says why; all else is Kubernetes' default.

use std::path::Path;

/// Who signs the tokens of service accounts; their usual audience, too.
pub(super) const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

/// Names and addresses under which the API server may be called, in its certificate.
pub(super) const SERVER_NAMES: &[&str] = &[
    "127.0.0.1",
    "10.96.0.1",
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
];

/// The controllers that make what users expect to happen by itself. Left out: those that act on machines (nodes without
/// a heartbeat would be found broken and emptied), on clouds and on disks.
const CONTROLLERS: &[&str] = &[
    "clusterrole-aggregation-controller",
    "daemonset-controller",
    "deployment-controller",
    "endpointslice-controller",
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "replicaset-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "statefulset-controller",
];

/// Who asked for what: requests of service accounts, without their bodies. People's and controllers' are not written.
pub(super) const AUDIT_POLICY: &str = "\
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: Metadata
  userGroups: ['system:serviceaccounts']
- level: None
";

/// Arguments of etcd.
pub(super) fn etcd(folder: &Path, client: u16, peer: u16) -> Vec<String> {
    vec![
        format!("--data-dir={}", folder.join("etcd").display()),
        format!("--listen-client-urls=http://127.0.0.1:{client}"),
        format!("--advertise-client-urls=http://127.0.0.1:{client}"),
        format!("--listen-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-advertise-peer-urls=http://127.0.0.1:{peer}"),
        format!("--initial-cluster=default=http://127.0.0.1:{peer}"),
        // Its data outlives the process and not the machine, and waiting for the disk is most of a write.
        "--unsafe-no-fsync".to_owned(),
        "--log-level=warn".to_owned(),
    ]
}

/// Arguments of the API server.
pub(super) fn api_server(folder: &Path, port: u16, etcd: u16) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        // Must be no loopback address; nobody is sent there, since nothing keeps the endpoints of `kubernetes`.
        "--advertise-address=192.0.2.1".to_owned(),
        "--endpoint-reconciler-type=none".to_owned(),
        format!("--cert-dir={}", file("certificates")),
        format!("--tls-cert-file={}", file("server.crt")),
        format!("--tls-private-key-file={}", file("server.key")),
        format!("--token-auth-file={}", file("tokens.csv")),
        "--anonymous-auth=false".to_owned(),
        "--authorization-mode=RBAC".to_owned(),
        "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
        format!("--service-account-issuer={ISSUER}"),
        format!("--service-account-key-file={}", file("accounts.pub")),
        format!("--service-account-signing-key-file={}", file("accounts.key")),
        "--allow-privileged=true".to_owned(),
        format!("--audit-policy-file={}", file("audit-policy.yaml")),
        format!("--audit-log-path={}", file("audit.log")),
        "--profiling=false".to_owned(),
    ]
}

/// Arguments of the controllers.
pub(super) fn controllers(folder: &Path) -> Vec<String> {
    let file = |name: &str| folder.join(name).display().to_string();
    vec![
        format!("--kubeconfig={}", file("admin.kubeconfig")),
        format!("--controllers={}", CONTROLLERS.join(",")),
        format!("--root-ca-file={}", file("ca.crt")),
        format!("--service-account-private-key-file={}", file("accounts.key")),
        // It serves nothing that a test asks for.
        "--secure-port=0".to_owned(),
        // There is one, and a test that restarts it does not wait for the lease of the one before.
        "--leader-elect=false".to_owned(),
        // The usual 20 a second are the whole duration of a test that makes a thousand pods.
        "--kube-api-qps=2000".to_owned(),
        "--kube-api-burst=4000".to_owned(),
        "--concurrent-service-endpoint-syncs=10".to_owned(),
        "--concurrent-deployment-syncs=10".to_owned(),
        "--concurrent-replicaset-syncs=10".to_owned(),
        "--concurrent-namespace-syncs=20".to_owned(),
        "--concurrent-gc-syncs=20".to_owned(),
        // A node's certificate is asked for by none of those above.
        "--use-service-account-credentials=false".to_owned(),
        "--profiling=false".to_owned(),
    ]
}
