//! Holds, step by step, on resources made by hand.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_catalog::{Generation, Layer, Need, Resource};
use meltemi_names::TypeUrl::{Cluster, Endpoint, Listener, VirtualHost};
use meltemi_names::{TypeUrl, Version};

use super::Holds;
use crate::group::Targets;

struct Bench {
    holds: Holds,
    layer: Layer,
}

impl Bench {
    fn new(enabled: bool) -> Self {
        Self { holds: Holds::new(enabled), layer: Layer::empty() }
    }

    fn step(&mut self, targets: Targets) {
        let mut edit = self.layer.edit(Generation(self.layer.generation().0 + 1));
        self.holds.admit(targets, &[], &mut edit);
        if let Some(layer) = edit.finish() {
            self.layer = layer;
        }
    }

    fn names(&self, type_url: TypeUrl) -> BTreeSet<String> {
        self.layer.all(type_url).map(|live| live.resource.name().to_string()).collect()
    }

    /// The bytes of a virtual host in force.
    fn route(&self, name: &str) -> String {
        let live = self.layer.find(VirtualHost, name).unwrap();
        String::from_utf8(live.resource.body().to_vec()).unwrap()
    }

    fn held(&self) -> Vec<String> {
        self.holds.held().iter().map(|held| held.name.to_string()).collect()
    }
}

fn resource(type_url: TypeUrl, name: &str, body: &str, needs: &[(TypeUrl, &str)]) -> Arc<Resource> {
    let needs =
        needs.iter().map(|(type_url, name)| Need { type_url: *type_url, name: (*name).into() }).collect();
    let version = Version::of(body.as_bytes());
    Arc::new(Resource::new(type_url, name.into(), version, body.as_bytes().to_vec().into()).needing(needs))
}

fn cluster(name: &str) -> [Arc<Resource>; 2] {
    [resource(Cluster, name, name, &[(Endpoint, name)]), resource(Endpoint, name, "10.0.0.1", &[])]
}

fn route(body: &str, clusters: &[&str]) -> Arc<Resource> {
    let needs: Vec<_> = clusters.iter().map(|name| (Cluster, *name)).collect();
    resource(VirtualHost, "80/a", body, &needs)
}

fn put(resources: impl IntoIterator<Item = Arc<Resource>>) -> Targets {
    resources
        .into_iter()
        .map(|resource| ((resource.type_url(), resource.name().clone()), Some(resource)))
        .collect()
}

fn gone(names: &[(TypeUrl, &str)]) -> Targets {
    names.iter().map(|(type_url, name)| ((*type_url, (*name).into()), None)).collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn a_route_to_a_missing_cluster_keeps_its_last_good_until_the_cluster_exists() {
    let mut bench = Bench::new(true);
    bench.step(put(cluster("v1").into_iter().chain([route("to v1", &["v1"])])));
    bench.step(put([route("to v2", &["v2"])]));
    assert_eq!(bench.route("80/a"), "to v1");
    assert_eq!(bench.held(), ["80/a"]);
    bench.step(put(cluster("v2")));
    assert_eq!(bench.route("80/a"), "to v2");
    assert!(bench.held().is_empty());
}

#[test]
fn a_listener_to_a_missing_cluster_keeps_its_last_good_and_that_ones_cluster() {
    let listener =
        |body: &str, cluster: &str| resource(Listener, "10.0.0.1_3306", body, &[(Cluster, cluster)]);
    let mut bench = Bench::new(true);
    bench.step(put(cluster("v1").into_iter().chain([listener("to v1", "v1")])));
    let mut batch = gone(&[(Cluster, "v1"), (Endpoint, "v1")]);
    batch.extend(put([listener("to v2", "v2")]));
    bench.step(batch);
    let live = |bench: &Bench| bench.layer.find(Listener, "10.0.0.1_3306").unwrap().resource.body().to_vec();
    assert_eq!(live(&bench), b"to v1");
    assert_eq!(bench.names(Cluster), set(&["v1"]));
    bench.step(put(cluster("v2")));
    assert_eq!(live(&bench), b"to v2");
    assert_eq!(bench.names(Cluster), set(&["v2"]));
}

#[test]
fn without_a_last_good_the_route_goes_out_as_it_is() {
    let mut bench = Bench::new(true);
    bench.step(put([route("to v2", &["v2"])]));
    assert_eq!(bench.route("80/a"), "to v2");
    bench.step(put([route("to v3", &["v3"])]));
    assert_eq!(bench.route("80/a"), "to v3", "what was broken before is no last good");
}

#[test]
fn a_cluster_outlives_the_last_route_that_names_it() {
    let mut bench = Bench::new(true);
    bench.step(put(cluster("v1").into_iter().chain(cluster("v2")).chain([route("to v2", &["v2"])])));
    bench.step(gone(&[(Cluster, "v2"), (Endpoint, "v2")]));
    assert_eq!(bench.names(Cluster), set(&["v1", "v2"]));
    assert_eq!(bench.names(Endpoint), set(&["v1", "v2"]));
    bench.step(put([route("to v1", &["v1"])]));
    assert_eq!(bench.names(Cluster), set(&["v1"]));
    assert_eq!(bench.names(Endpoint), set(&["v1"]));
}

#[test]
fn a_route_and_its_cluster_that_go_in_one_batch_go_at_once() {
    let mut bench = Bench::new(true);
    bench.step(put(cluster("v1").into_iter().chain(cluster("v2")).chain([route("to v2", &["v2"])])));
    let mut batch = gone(&[(Cluster, "v2"), (Endpoint, "v2")]);
    batch.extend(put([route("to v1", &["v1"])]));
    bench.step(batch);
    assert_eq!(bench.route("80/a"), "to v1");
    assert_eq!(bench.names(Cluster), set(&["v1"]));
    bench.step(gone(&[(VirtualHost, "80/a")]));
    assert!(bench.names(VirtualHost).is_empty());
}

#[test]
fn a_lingering_cluster_is_no_reason_to_let_a_new_reference_in() {
    let mut bench = Bench::new(true);
    bench.step(put(cluster("v1").into_iter().chain(cluster("v2")).chain([route("to v2", &["v2"])])));
    bench.step(gone(&[(Cluster, "v2"), (Endpoint, "v2")]));
    bench.step(put([route("10 % to v2", &["v1", "v2"])]));
    assert_eq!(bench.route("80/a"), "to v2");
    bench.step(put(cluster("v2")));
    assert_eq!(bench.route("80/a"), "10 % to v2");
}

#[test]
fn holds_off_is_istios_way() {
    let mut bench = Bench::new(false);
    bench.step(put(cluster("v1").into_iter().chain([route("to v1", &["v1"])])));
    bench.step(gone(&[(Cluster, "v1"), (Endpoint, "v1")]));
    assert!(bench.names(Cluster).is_empty());
    bench.step(put([route("to v2", &["v2"])]));
    assert_eq!(bench.route("80/a"), "to v2");
}
