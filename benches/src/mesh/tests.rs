//! The mesh as files.

use std::collections::BTreeSet;

use super::*;

fn shape(endpoints: Endpoints) -> Shape {
    Shape { services: 600, namespaces: 7, endpoints, ..Shape::default() }
}

fn written(endpoints: Endpoints) -> (tempfile::TempDir, Mesh) {
    let folder = tempfile::tempdir().unwrap();
    let mesh =
        Mesh::write(&folder.path().join("mesh"), &folder.path().join("staging"), shape(endpoints)).unwrap();
    (folder, mesh)
}

#[test]
fn each_service_has_two_files_and_a_change_replaces_one() {
    let (_folder, mesh) = written(Endpoints::Slices);
    let file = mesh.folder().join("routing/team-4/service-00200.yaml");
    let before = std::fs::read_to_string(&file).unwrap();
    assert!(before.contains("subset: v1}\n      weight: 90\n"), "{before}");
    mesh.weigh(200, 35).unwrap();
    let after = std::fs::read_to_string(&file).unwrap();
    assert_eq!(after, before.replace("weight: 90", "weight: 35").replace("weight: 10", "weight: 65"));
}

#[test]
fn a_disturbed_label_leaves_everything_else() {
    for endpoints in [Endpoints::Slices, Endpoints::WorkloadEntries] {
        let (_folder, mesh) = written(endpoints);
        let file = mesh.folder().join("services/team-0/service-00000.yaml");
        let before = std::fs::read_to_string(&file).unwrap();
        mesh.disturb(Unrelated::PodLabel, 17).unwrap();
        let after = std::fs::read_to_string(&file).unwrap();
        assert_ne!(after, before);
        assert_eq!(after, before.replace("build: \"0\"", "build: \"17\""));
    }
}

#[test]
fn a_rollout_adds_a_pod_before_it_takes_one_away() {
    let (_folder, mesh) = written(Endpoints::Slices);
    let file = mesh.folder().join("services/team-3/service-00003.yaml");
    let first = std::fs::read_to_string(&file).unwrap();
    let endpoints = |turn| {
        mesh.roll(3, turn).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("  targetRef: {kind: Pod, name: "));
        let short = |name: &str| name.split(',').next().unwrap().replace("service-00003-", "");
        names.map(short).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        [0, 1, 2, 3, 4, 5].map(endpoints),
        ["v1 v2", "v1 v1-1 v2", "v1-1 v2", "v1-1 v2 v2-1", "v1-1 v2-1", "v1-1 v1-2 v2-1"]
    );
    mesh.roll(3, 0).unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), first);
    let addresses: BTreeSet<_> =
        (0..40).flat_map(|turn| mesh.rolled(3, turn)).map(|pod| (pod.name, pod.ip)).collect();
    let ips: BTreeSet<_> = addresses.iter().map(|(_, ip)| ip).collect();
    assert_eq!((addresses.len(), ips.len()), (22, 22), "a pod of its own address each");
}

#[test]
fn a_scope_is_the_namespace_and_two_services_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { beside: Beside::Scopes, ..shape(Endpoints::Slices) };
    let mesh = Mesh::write(&folder.path().join("mesh"), &folder.path().join("staging"), shape).unwrap();
    let text = std::fs::read_to_string(mesh.folder().join("routing/team-6/namespace.yaml")).unwrap();
    let hosts =
        "[./*, team-0/service-00000.team-0.svc.cluster.local, team-0/service-00007.team-0.svc.cluster.local]";
    assert!(text.contains(hosts), "{text}");
    let pod = mesh.pods().find(|pod| pod.namespace == "team-6").unwrap();
    let seen: Vec<usize> = (0..28).filter(|service| mesh.sees(&pod, *service)).collect();
    assert_eq!(seen, [0, 6, 7, 13, 20, 27]);
    assert!(mesh.sees(&pod, 600 - 600 % 7 - 1), "the last of its own");
}

#[test]
fn no_two_pods_share_an_address() {
    let (_folder, mesh) = written(Endpoints::Slices);
    let addresses: BTreeSet<_> = mesh.pods().take(30_000).map(|pod| pod.ip).collect();
    assert_eq!(addresses.len(), 30_000);
    assert!(addresses.iter().all(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok()));
}
