//! The mesh as files.

use std::collections::BTreeSet;

use super::*;

fn shape(endpoints: Endpoints) -> Shape {
    Shape { services: 600, namespaces: 7, endpoints }
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
fn no_two_pods_share_an_address() {
    let (_folder, mesh) = written(Endpoints::Slices);
    let addresses: BTreeSet<_> = mesh.pods().take(30_000).map(|pod| pod.ip).collect();
    assert_eq!(addresses.len(), 30_000);
    assert!(addresses.iter().all(|ip| ip.parse::<std::net::Ipv4Addr>().is_ok()));
}
