//! Records, batch by batch, with a real engine.

use std::collections::BTreeSet;
use std::sync::Arc;

use meltemi_catalog::{Generation, View};
use meltemi_model::Event;
use meltemi_model::proxy::Proxy;
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::{Applied, Engine, Options, ProxyId};

use super::{Record, Records, Touched};

const SERVICE: &str = "{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop}, \
     spec: {selector: {app: reviews}, ports: [{name: http, port: 80}]}}\n---\n";

fn route(host: &str, generation: i64) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: VirtualService, \
         metadata: {{name: reviews, namespace: shop, generation: {generation}}}, \
         spec: {{hosts: [{host}], http: [{{timeout: {generation}s, route: [{{destination: {{host: reviews}}}}]}}]}}}}\n---\n"
    )
}

fn workload(name: &str, address: &str) -> String {
    format!(
        "{{apiVersion: networking.istio.io/v1, kind: WorkloadEntry, metadata: {{name: {name}, namespace: shop}}, \
         spec: {{address: {address}, labels: {{app: reviews}}}}}}\n---\n"
    )
}

fn key(kind: Kind, name: &str) -> ObjectKey {
    ObjectKey::new(kind, "shop", name)
}

struct Bench {
    engine: Engine,
    records: Records,
    proxy: ProxyId,
}

impl Bench {
    fn new(yaml: &str) -> Self {
        let mut engine = Engine::new(Options::default());
        let node = Node {
            id: "sidecar~10.0.0.1~client.shop~shop.svc.cluster.local".to_owned(),
            user_agent_name: "envoy".to_owned(),
            ..Node::default()
        };
        let proxy = engine.connect(Arc::new(Proxy::parse(&node, true).unwrap()));
        let mut bench = Self { engine, records: Records::default(), proxy };
        bench.save(yaml);
        bench
    }

    fn read(&mut self, yaml: &str) -> Vec<Event> {
        let objects = meltemi_api::parse_all(yaml).unwrap();
        let events: Vec<Event> = objects.into_iter().map(|object| Event::Upsert(Arc::new(object))).collect();
        self.records.read(&events);
        events
    }

    fn publish(&mut self, events: Vec<Event>) -> (Applied, BTreeSet<ObjectKey>) {
        let applied = self.engine.apply(events);
        let engine = &self.engine;
        let about = self.records.published(&applied, |_| false, || engine.layer_ids().collect());
        (applied, about)
    }

    fn save(&mut self, yaml: &str) -> Applied {
        let events = self.read(yaml);
        self.publish(events).0
    }

    fn tell(&mut self, event: Event) -> Applied {
        let events = vec![event];
        self.records.read(&events);
        self.publish(events).0
    }

    fn record(&self, kind: Kind, name: &str) -> &Record {
        self.records.find(&key(kind, name)).unwrap()
    }

    fn view(&self) -> View {
        self.engine.view(self.proxy)
    }

    /// What the object's changes touched, by type.
    fn touched(&self, kind: Kind, name: &str) -> Vec<(TypeUrl, String)> {
        let all = self.record(kind, name).touched.values();
        all.flat_map(|touched| match touched {
            Touched::Named(names) => {
                names.iter().map(|(type_url, name)| (*type_url, name.to_string())).collect::<Vec<_>>()
            }
            Touched::All => panic!("few enough to be named"),
        })
        .collect()
    }
}

#[test]
fn an_object_waits_from_when_it_is_read_until_it_is_published() {
    let mut bench = Bench::new(SERVICE);
    let events = bench.read(&route("reviews", 1));
    let record = bench.record(Kind::VirtualService, "reviews");
    assert_eq!((record.waits, record.published), (true, Generation(0)));
    let (applied, about) = bench.publish(events);
    let record = bench.record(Kind::VirtualService, "reviews");
    assert_eq!((record.waits, record.published), (false, applied.generation));
    assert_eq!(about, [key(Kind::VirtualService, "reviews")].into());
    assert_ne!(bench.record(Kind::Service, "reviews").published, applied.generation, "it did not change");
}

#[test]
fn a_refused_state_leaves_the_last_good_one_as_it_was() {
    let mut bench = Bench::new(&[SERVICE, &route("reviews", 1)].concat());
    let before = bench.record(Kind::VirtualService, "reviews").published;
    bench.tell(Event::Reject { key: key(Kind::VirtualService, "reviews"), reason: "no".into() });
    let record = bench.record(Kind::VirtualService, "reviews");
    assert_eq!((record.refused.as_deref(), record.waits, record.published), (Some("no"), false, before));
    assert_eq!(record.latest.as_ref().unwrap().meta.generation, Some(1));
    // The same text again: nothing is published, and it is not refused any more.
    bench.save(&route("reviews", 1));
    let record = bench.record(Kind::VirtualService, "reviews");
    assert_eq!((record.refused.as_deref(), record.published), (None, before));
}

#[test]
fn what_an_object_has_left_is_remembered_over_its_later_changes_until_all_have_settled() {
    let mut bench = Bench::new(SERVICE);
    bench.save(&route("reviews", 1));
    assert!(bench.touched(Kind::VirtualService, "reviews").is_empty(), "an index tells what it has");
    bench.save(&route("elsewhere", 2));
    let left = (TypeUrl::VirtualHost, "80/reviews.shop.svc.cluster.local".to_owned());
    assert!(bench.touched(Kind::VirtualService, "reviews").contains(&left));
    bench.save(&route("elsewhere", 3));
    assert!(bench.touched(Kind::VirtualService, "reviews").contains(&left));
    let published = bench.record(Kind::VirtualService, "reviews").published;
    bench.records.settled(&key(Kind::VirtualService, "reviews"), Generation(published.0 - 1));
    assert!(!bench.touched(Kind::VirtualService, "reviews").is_empty(), "it was published again meanwhile");
    bench.records.settled(&key(Kind::VirtualService, "reviews"), published);
    assert!(bench.touched(Kind::VirtualService, "reviews").is_empty());
}

#[test]
fn what_says_of_no_object_that_it_is_made_from_it_counts_for_all_that_changed_with_it() {
    let mut bench = Bench::new("");
    bench.save(SERVICE);
    // A service's listener, and the head of its route configuration, are of all services of the port.
    let kinds: BTreeSet<TypeUrl> =
        bench.touched(Kind::Service, "reviews").into_iter().map(|(type_url, _)| type_url).collect();
    assert!(kinds.contains(&TypeUrl::Listener) && !kinds.contains(&TypeUrl::Cluster), "{kinds:?}");
    bench.save(&workload("one", "10.0.0.7"));
    let assignment = (TypeUrl::Endpoint, "outbound|80||reviews.shop.svc.cluster.local".to_owned());
    assert_eq!(bench.touched(Kind::WorkloadEntry, "one"), [assignment]);
    assert!(bench.record(Kind::WorkloadEntry, "one").youngest >= bench.view().layers()[0].id());
}

#[test]
fn objects_of_one_batch_share_what_is_remembered_of_it() {
    let mut bench = Bench::new(SERVICE);
    bench.save(&[workload("one", "10.0.0.7"), workload("two", "10.0.0.8")].concat());
    let [one, two] = ["one", "two"].map(|name| &bench.record(Kind::WorkloadEntry, name).touched);
    assert!(!one.is_empty() && Arc::ptr_eq(one, two));
}

#[test]
fn deleted_objects_are_remembered_up_to_a_bound() {
    let mut bench = Bench::new("");
    for index in 0..1_100 {
        bench.save(&workload(&format!("w{index}"), "10.0.0.7"));
        bench.tell(Event::Delete(key(Kind::WorkloadEntry, &format!("w{index}"))));
    }
    assert!(bench.records.find(&key(Kind::WorkloadEntry, "w0")).is_none());
    assert!(bench.record(Kind::WorkloadEntry, "w1099").deleted);
    assert_eq!(bench.records.keys().count(), 1_000);
    assert_eq!(bench.records.of_kind(Kind::WorkloadEntry).count(), 0, "none of them is there");
    bench.save(&workload("w1099", "10.0.0.7"));
    assert!(!bench.record(Kind::WorkloadEntry, "w1099").deleted);
}

#[test]
fn endpoints_that_a_rule_changes_count_for_the_rule() {
    let rule = |version: &str| {
        format!(
            "{{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {{name: reviews, namespace: shop}}, \
             spec: {{host: reviews, subsets: [{{name: new, labels: {{version: {version}}}}}]}}}}\n---\n"
        )
    };
    let workload = workload("one", "10.0.0.7").replace("app: reviews", "app: reviews, version: v1");
    let mut bench = Bench::new(&[SERVICE, &workload, &rule("v1")].concat());
    let rule_key = key(Kind::DestinationRule, "reviews");
    let published = bench.record(Kind::DestinationRule, "reviews").published;
    bench.records.settled(&rule_key, published);
    bench.save(&rule("v2"));
    let assignment = (TypeUrl::Endpoint, "outbound|80|new|reviews.shop.svc.cluster.local".to_owned());
    let touched = bench.touched(Kind::DestinationRule, "reviews");
    assert!(touched.contains(&assignment), "{touched:?}");
}
