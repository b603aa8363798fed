//! ServiceEntry, WorkloadEntry, WorkloadGroup: what Istio's admission refuses of them.

use super::told;
use crate::service_entry::{EntryResolution, Location};
use crate::{Spec, parse};

fn object(kind: &str, spec: &str) -> String {
    told(&format!("apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: a}}\nspec: {spec}\n"))
}

fn entry(spec: &str) -> String {
    object("ServiceEntry", spec)
}

#[test]
fn a_service_entry_is_read_with_its_defaults_and_in_full() {
    let read = |text: &str| {
        let file = parse(text, "f", "default");
        let object = file.documents[0].object.clone().unwrap();
        let Spec::ServiceEntry(entry) = object.spec else { panic!("{:?}", object.spec) };
        (object.meta, entry)
    };
    let (meta, plain) = read(
        "{apiVersion: networking.istio.io/v1beta1, kind: ServiceEntry, metadata: {name: a}, spec: {hosts: [a.com]}}",
    );
    assert_eq!((plain.resolution, plain.location), (EntryResolution::None, Location::MeshExternal));
    assert!(!plain.is_allocated(&meta), "NONE has no address of its own");
    let (meta, full) = read(
        "
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: a}
spec:
  hosts: [A.com]
  ports: [{number: 443, name: x, protocol: https, targetPort: 8443}]
  location: MESH_INTERNAL
  resolution: STATIC
  endpoints:
  - {address: 10.0.0.1, ports: {x: 8444}, labels: {v: '1'}, locality: eu/b, weight: 3, serviceAccount: s}
  subjectAltNames: [spiffe://x/y]
status:
  addresses: [{host: a.com, value: 240.240.0.7}, {host: a.com, value: '2001:2::7'}, {host: a.com, value: what}, {value: 1.2.3.4}]
  conditions: []
",
    );
    assert!(full.is_allocated(&meta));
    let allocated: Vec<String> = full.allocated.iter().map(|(host, ip)| format!("{host} {ip}")).collect();
    assert_eq!(allocated, ["a.com 240.240.0.7", "a.com 2001:2::7"]);
    assert_eq!(full.endpoints[0].weight, 3);
    let (meta, declines) = read(
        "{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a, labels: {networking.istio.io/enable-autoallocate-ip: 'False'}}, spec: {hosts: [a.com], resolution: DNS}}",
    );
    assert!(!declines.is_allocated(&meta));
}

#[test]
fn what_istio_refuses_of_a_service_entry_is_refused() {
    for (spec, said) in [
        ("{hosts: []}", "4:8 error no-host hosts: a ServiceEntry needs a host"),
        ("{hosts: ['*']}", "error bad-host hosts[0]: `*` is every host there is"),
        (
            "{hosts: [a], addresses: [what]}",
            "error bad-value addresses[0]: `what` is neither an IP address nor a block",
        ),
        (
            "{hosts: [a], resolution: DNS, addresses: [10.0.0.0/8]}",
            "error bad-address addresses[0]: `10.0.0.0/8` is a block of addresses",
        ),
        ("{hosts: [a], ports: [{name: x}]}", "error no-port ports[0].number"),
        ("{hosts: [a], ports: [{number: 80, name: x y, protocol: HTTP}]}", "error bad-name ports[0].name"),
        (
            "{hosts: [a], ports: [{number: 80, name: x, protocol: http-x}]}",
            "error bad-value ports[0].protocol: `http-x` is none of the protocols",
        ),
        (
            "{hosts: [a], ports: [{number: 80, name: x, protocol: HTTP}, {number: 80, name: y, protocol: HTTP}]}",
            "error duplicate-port ports[1].number",
        ),
        (
            "{hosts: [a], ports: [{number: 80, name: x, protocol: HTTP}, {number: 81, name: x, protocol: HTTP}]}",
            "error duplicate-port ports[1].name",
        ),
        ("{hosts: [a], endpoints: [{address: 1.1.1.1}]}", "error no-resolution endpoints: resolution NONE"),
        (
            "{hosts: [a], resolution: STATIC, endpoints: [{address: b.com}]}",
            "error bad-address endpoints[0].address: `b.com` is a name",
        ),
        ("{hosts: [a], resolution: STATIC, endpoints: [{}]}", "error no-address endpoints[0].address"),
        (
            "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: x, protocol: HTTP}], endpoints: [{address: 1.1.1.1, ports: {y: 1}}]}",
            "error port-not-found endpoints[0].ports.y: the service has no port of the name `y`",
        ),
        (
            "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: x, protocol: HTTP}, {number: 81, name: y, protocol: HTTP}], endpoints: [{address: 'unix:///s'}]}",
            "error bad-address endpoints[0].address: a service at a Unix socket has one port",
        ),
        (
            "{hosts: [a], resolution: DNS, endpoints: [{address: 'unix:///s'}]}",
            "error bad-address endpoints[0].address: `unix:///s` cannot be resolved",
        ),
        ("{hosts: ['*.a.com'], resolution: DNS}", "error bad-host hosts[0]: `*.a.com` cannot be resolved"),
        ("{hosts: ['1.2.3.4'], resolution: DNS}", "error bad-host hosts[0]: `1.2.3.4` cannot be resolved"),
        (
            "{hosts: [a], resolution: DNS_ROUND_ROBIN, endpoints: [{address: 1.1.1.1}, {address: 2.2.2.2}]}",
            "error many-endpoints endpoints",
        ),
        ("{hosts: [a.com], resolution: DYNAMIC_DNS}", "error bad-host hosts[0]: `a.com` is one name"),
        (
            "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: x, protocol: TCP}]}",
            "error bad-protocol ports[0].protocol",
        ),
        (
            "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, addresses: [1.1.1.1]}",
            "error bad-address addresses[0]",
        ),
        (
            "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, endpoints: [{address: 1.1.1.1}]}",
            "error no-resolution endpoints: with DYNAMIC_DNS",
        ),
        (
            "{hosts: [a], resolution: SOMETIMES}",
            "error bad-value resolution: `SOMETIMES` is none of the values",
        ),
        (
            "{hosts: [a, b], resolution: STATIC, ports: [{number: 1, name: x, protocol: TCP}]}",
            "error many-hosts ports[0].protocol",
        ),
        (
            "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 1.1.1.1}]}",
            "error two-sources workloadSelector",
        ),
        (
            "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: '*'}}}",
            "error bad-label workloadSelector.labels.a",
        ),
        ("{hosts: [a], exportTo: ['~', b]}", "error bad-export-to exportTo[0]: `~` stands for no namespace"),
        ("{hosts: [a], exportTo: ['.', default]}", "error bad-export-to exportTo[1]"),
    ] {
        let found = entry(spec);
        assert!(found.contains(said), "{spec}\nwanted: {said}\nfound: {found}");
    }
}

#[test]
fn what_istio_warns_of_is_a_warning() {
    for (spec, said) in [
        ("{hosts: [a], workloadSelector: {labels: {a: b}}}", "warning no-resolution workloadSelector"),
        (
            "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {}}}",
            "warning empty-selector workloadSelector",
        ),
        (
            "{hosts: [a], ports: [{number: 1, name: x, protocol: TCP}]}",
            "warning no-address ports[0].protocol",
        ),
        ("{hosts: [a], ports: [{number: 1, name: x}]}", "warning no-address ports[0].protocol"),
        (
            "{hosts: [a, b], resolution: DNS, addresses: [1.1.1.1], ports: [{number: 1, name: x, protocol: TLS}]}",
            "warning many-hosts ports[0].protocol",
        ),
    ] {
        let found = entry(spec);
        assert!(found.contains(said) && !found.contains("error"), "{spec}\nwanted: {said}\nfound: {found}");
    }
}

#[test]
fn what_istio_takes_is_taken_without_a_word() {
    for spec in [
        "{hosts: ['*.a.com'], resolution: DYNAMIC_DNS, ports: [{number: 1, name: x, protocol: HTTP2}, {number: 2, name: y, protocol: TLS}]}",
        "{hosts: [a.com], ports: [{number: 443, name: x, protocol: TLS}]}",
        "{hosts: ['*.a.com', b.com], ports: [{number: 443, name: x, protocol: HTTPS}, {number: 80, name: y, protocol: GRPC-Web}]}",
        "{hosts: [a], addresses: [10.0.0.0/8, 'fd00::/8'], ports: [{number: 1, name: x, protocol: TCP}]}",
        "{hosts: [a], resolution: DNS, ports: [{number: 1, name: x, protocol: TCP}]}",
        "{hosts: [a], resolution: DNS, ports: [{number: 1, name: x, protocol: mongo}], endpoints: [{address: b.com, ports: {x: 2}}, {address: 1.1.1.1}]}",
        "{hosts: [a], resolution: STATIC, ports: [{number: 80, name: x, protocol: HTTP}], endpoints: [{address: 'unix:///s'}]}",
        "{hosts: [a], resolution: STATIC, workloadSelector: {labels: {a: b}}, exportTo: ['~']}",
        "{hosts: [a, b], ports: [{number: 1, name: x, protocol: UDP}]}",
    ] {
        assert_eq!(entry(spec), "", "{spec}");
    }
}

#[test]
fn a_workload_entry_may_be_at_a_name_and_is_well_when_its_agent_says_so() {
    assert_eq!(object("WorkloadEntry", "{address: db.example.com}"), "");
    let unwell = |annotation: &str, status: &str| {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: a, annotations: {{proxy.istio.io/health-checks-enabled: '{annotation}'}}}}, spec: {{address: 1.1.1.1}}, status: {status}}}"
        );
        let file = parse(&text, "f", "default");
        let object = file.documents[0].object.clone().unwrap();
        let Spec::WorkloadEntry(entry) = object.spec else { panic!("{:?}", object.spec) };
        entry.unwell
    };
    assert!(unwell("true", "{}"));
    assert!(unwell("1", "{conditions: [{type: Other, status: 'True'}, {type: Healthy, status: 'False'}]}"));
    assert!(!unwell("true", "{conditions: [{type: Healthy, status: 'True'}]}"));
    assert!(!unwell("", "{}"));
    assert!(!unwell("no", "{conditions: [{type: Healthy, status: 'False'}]}"));
}

#[test]
fn a_workload_group_is_checked_and_says_that_nothing_follows_from_it_yet() {
    let group = |spec: &str| object("WorkloadGroup", spec);
    let told = "4:18 warning not-supported-yet template: no workload registers itself yet\n";
    assert_eq!(group("{template: {}}").replace("4:8 ", "4:18 "), told);
    for (spec, said) in [
        ("{}", "error no-template spec: a WorkloadGroup needs a template"),
        ("{template: {}, metadata: {labels: {'a b': c}}}", "error bad-label metadata.labels"),
        (
            "{template: {}, probe: {periodSeconds: -1, exec: {command: [a]}}}",
            "error bad-value probe.periodSeconds",
        ),
        ("{template: {}, probe: {httpGet: {port: 0}}}", "error bad-value probe.httpGet.port"),
        ("{template: {}, probe: {httpGet: {port: 80, scheme: FTP}}}", "error bad-value probe.httpGet.scheme"),
        (
            "{template: {}, probe: {httpGet: {port: 80, httpHeaders: [{name: a b}]}}}",
            "error bad-name probe.httpGet.httpHeaders[0].name",
        ),
        ("{template: {}, probe: {tcpSocket: {port: 70000}}}", "error bad-value probe.tcpSocket.port"),
        ("{template: {}, probe: {exec: {}}}", "error bad-value probe.exec.command"),
        ("{template: {}, probe: {}}", "error bad-probe probe"),
        ("{template: {}, probe: {grpc: {port: 80}}}", "error bad-probe probe"),
    ] {
        let found = group(spec);
        assert!(found.contains(said), "{spec}\nwanted: {said}\nfound: {found}");
    }
    let fine = group(
        "{template: {ports: {http: 80}, serviceAccount: a}, metadata: {annotations: {a: b}}, probe: {httpGet: {port: 80, path: /, httpHeaders: [{name: a, value: b}]}, failureThreshold: 3}}",
    );
    assert!(!fine.contains("error") && fine.contains("not-supported-yet"), "{fine}");
}
