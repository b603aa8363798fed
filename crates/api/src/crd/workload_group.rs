//! WorkloadGroup.

use super::schema::{Schema, array, int32, map, object, one_of, port, string};
use super::workload_entry::workload;

pub(super) fn spec() -> Schema {
    let metadata =
        object([("labels", map(string()).max_entries(256)), ("annotations", map(string()).max_entries(256))]);
    object([
        ("metadata", metadata.about("Put on each entry that is made.")),
        ("template", workload().about("What the entries have in common.")),
        ("probe", probe()),
    ])
    .required(&["template"])
    .about("Workloads outside Kubernetes that register themselves.")
}

fn probe() -> Schema {
    let header = object([("name", string().pattern("^[-_A-Za-z0-9]+$")), ("value", string())]);
    let http_get = object([
        ("path", string()),
        ("port", port()),
        ("host", string()),
        ("scheme", one_of(&["", "HTTP", "HTTPS"])),
        ("httpHeaders", array(header)),
    ]);
    let tcp_socket = object([("host", string()), ("port", port())]);
    let exec = object([("command", array(string().not_empty()))]);
    let seconds = int32().at_least(0);
    object([
        ("initialDelaySeconds", seconds.clone()),
        ("timeoutSeconds", seconds.clone()),
        ("periodSeconds", seconds.clone()),
        ("successThreshold", seconds.clone()),
        ("failureThreshold", seconds),
        ("httpGet", http_get.required(&["port"])),
        ("tcpSocket", tcp_socket.required(&["port"])),
        ("exec", exec.required(&["command"])),
        ("grpc", object([("port", port()), ("service", string())])),
    ])
    .at_most_one(&["httpGet", "tcpSocket", "exec", "grpc"])
    .about("How its agent asks whether the workload is well.")
}
