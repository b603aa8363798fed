//! When a batch is complete, and what is said while it is not.

use std::time::SystemTime;

use serde_json::{Value, json};

use super::Gather;
use crate::batch::Batch;
use crate::kube::follow::Name;
use crate::kube::kinds::{SECRETS, WATCHED, Watched};
use crate::kube::read::{self, Read};
use crate::kube::trouble::Trouble;
use crate::kube::watch::{Followed, Heard};

fn kind(plural: &str) -> &'static Watched {
    WATCHED.iter().chain([&SECRETS]).find(|watched| watched.plural == plural).unwrap()
}

fn name(name: &str) -> Name {
    Name { namespace: "shop".into(), name: name.into() }
}

fn is_now(plural: &str, object: &str, mut value: Value) -> Heard<Read> {
    value["metadata"] = json!({"name": object, "namespace": "shop", "resourceVersion": "7", "generation": 3});
    let watched = kind(plural);
    let read = read::read(watched, watched.versions[0], &name(object), value);
    Heard::Changes(watched.into(), vec![(name(object), read)])
}

fn is_gone(plural: &str, object: &str) -> Heard<Read> {
    Heard::Changes(kind(plural).into(), vec![(name(object), None)])
}

fn trouble(plural: &str, code: &'static str) -> Heard<Read> {
    let trouble = Trouble { code, message: "it is away".into(), hint: "look".into() };
    Heard::Trouble(kind(plural).into(), Some(trouble))
}

fn batch(gather: &mut Gather) -> Option<Batch> {
    gather.batch(SystemTime::UNIX_EPOCH)
}

fn gather() -> Gather {
    let all: Vec<Followed> = WATCHED.iter().map(Followed::from).collect();
    Gather::new(&all)
}

fn synced() -> Gather {
    let mut gather = gather();
    for watched in WATCHED {
        gather.on(Heard::Listed(watched.into()));
    }
    assert!(batch(&mut gather).is_some());
    gather
}

fn codes(batch: &Batch) -> Vec<&str> {
    batch.findings.iter().map(|finding| finding.code).collect()
}

#[test]
fn there_is_no_batch_before_every_first_list_has_arrived() {
    let mut gather = gather();
    gather.on(is_now("services", "a", json!({"spec": {"ports": [{"port": 80}]}})));
    for watched in WATCHED.iter().filter(|watched| watched.plural != "pods") {
        gather.on(Heard::Listed(watched.into()));
        assert!(batch(&mut gather).is_none());
    }
    assert_eq!(gather.waits_for().collect::<Vec<_>>(), ["pods"]);
    gather.on(Heard::Listed(kind("pods").into()));
    assert_eq!(batch(&mut gather).unwrap().events.len(), 1);
    assert!(batch(&mut gather).is_none());
}

#[test]
fn a_kind_that_traffic_does_not_follow_is_not_waited_for_when_it_may_not_be_read() {
    let mut gather = gather();
    for watched in WATCHED.iter().filter(|watched| !["nodes", "services"].contains(&watched.plural)) {
        gather.on(Heard::Listed(watched.into()));
    }
    gather.on(trouble("nodes", "api-unreachable"));
    gather.on(trouble("services", "api-forbidden"));
    assert_eq!(gather.waits_for().count(), 2, "a server that is away comes back");
    gather.on(trouble("nodes", "api-forbidden"));
    assert!(batch(&mut gather).is_none(), "services are waited for whatever the trouble is");
    gather.on(Heard::Listed(kind("services").into()));
    gather.on(Heard::Trouble(kind("services").into(), None));
    assert_eq!(codes(&batch(&mut gather).unwrap()), ["api-forbidden"]);
}

#[test]
fn the_same_trouble_with_many_kinds_is_one_finding() {
    let mut gather = synced();
    gather.on(trouble("pods", "api-stale"));
    gather.on(trouble("services", "api-stale"));
    let findings = batch(&mut gather).unwrap().findings;
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].message, "it is away (pods, services)");
    gather.on(Heard::Trouble(kind("pods").into(), None));
    gather.on(Heard::Trouble(kind("services").into(), None));
    assert!(batch(&mut gather).unwrap().findings.is_empty());
}

#[test]
fn a_trouble_of_the_server_itself_is_told_once_whoever_meets_it_and_how() {
    let mut gather = synced();
    gather.on(trouble("pods", "api-unreachable"));
    let first = batch(&mut gather).unwrap().findings;
    assert_eq!(first[0].message, "it is away");
    let Heard::Trouble(services, Some(mut other)) = trouble("services", "api-unreachable") else { panic!() };
    other.message = "it refuses".into();
    gather.on(Heard::Trouble(services, Some(other)));
    assert_eq!(batch(&mut gather).unwrap().findings, first);
}

#[test]
fn an_object_that_cannot_be_read_spares_its_neighbours_and_its_deletion_counts() {
    let mut gather = synced();
    gather.on(is_now("virtualservices", "bad", json!({"spec": {"hosts": 7}})));
    gather.on(is_now(
        "virtualservices",
        "good",
        json!({"spec": {"hosts": ["a"], "http": [{"route": [{"destination": {"host": "a"}}]}]}}),
    ));
    let both = batch(&mut gather).unwrap();
    assert_eq!((both.status.objects, both.status.rejected), (1, 1));
    assert_eq!(codes(&both), ["bad-value"]);
    assert_eq!(format!("{:?}", both.findings[0].key), "Some(VirtualService shop/bad)");
    gather.on(is_gone("virtualservices", "bad"));
    let gone = batch(&mut gather).unwrap();
    assert!(matches!(&gone.events[..], [meltemi_model::Event::Delete(_)]));
    assert_eq!(gone.status.rejected, 0);
    assert!(gone.findings.is_empty());
}

#[test]
fn the_author_of_an_object_that_has_no_effect_yet_is_told() {
    let mut gather = synced();
    gather.on(is_now("authorizationpolicies", "deny-all", json!({"spec": {}})));
    let told = batch(&mut gather).unwrap();
    assert!(told.events.is_empty());
    assert_eq!(codes(&told), ["not-supported-yet"]);
    assert_eq!(told.findings[0].key.as_ref().unwrap().name.as_str(), "deny-all");
    assert_eq!(told.written[0].1.as_ref().unwrap().generation, 3);
}

/// A Secret as an API server writes it; `good` has a certificate with its key.
fn secret(kind: &str, data: Value) -> Heard<Read> {
    is_now("secrets", "edge", json!({"type": kind, "data": data}))
}

fn good() -> Value {
    // `-----BEGIN CERTIFICATE-----` and `-----BEGIN PRIVATE KEY-----`, as Base64.
    json!({"tls.crt": "LS0tLS1CRUdJTiBDRVJUSUZJQ0FURS0tLS0tCg==", "tls.key": "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS0tLS0tCg=="})
}

#[test]
fn what_was_a_certificate_stays_one_when_its_secret_is_spoilt() {
    for spoilt in [
        secret("kubernetes.io/tls", json!({"tls.crt": "bm8=", "tls.key": "bm8="})),
        secret("Opaque", json!({})),
    ] {
        let mut gather = synced();
        gather.on(secret("kubernetes.io/tls", good()));
        assert!(matches!(&batch(&mut gather).unwrap().events[..], [meltemi_model::Event::Upsert(_)]));
        gather.on(spoilt);
        let then = batch(&mut gather).unwrap();
        assert!(matches!(&then.events[..], [meltemi_model::Event::Reject { .. }]), "{:?}", then.events);
        gather.on(is_gone("secrets", "edge"));
        assert!(matches!(&batch(&mut gather).unwrap().events[..], [meltemi_model::Event::Delete(_)]));
    }
}

#[test]
fn a_secret_of_some_application_is_nobodys_business_whatever_it_calls_its_values() {
    let mut gather = synced();
    gather.on(secret("Opaque", json!({"key": "bm8=", "cert": "bm8="})));
    gather.on(secret("Opaque", json!({"password": "bm8="})));
    assert!(batch(&mut gather).is_none());
    // Who writes the type of certificates means one.
    gather.on(secret("kubernetes.io/tls", json!({"tls.crt": "", "tls.key": ""})));
    assert_eq!(codes(&batch(&mut gather).unwrap()), ["bad-value"]);
}

#[test]
fn each_namespace_whose_secrets_are_followed_is_waited_for_unless_they_may_not_be_read() {
    let followed =
        ["a", "b"].map(|namespace| Followed { watched: &SECRETS, namespace: Some(namespace.into()) });
    let mut gather = Gather::new(&followed);
    let [a, b] = followed;
    gather.on(Heard::Listed(a.clone()));
    assert!(batch(&mut gather).is_none());
    let trouble = Trouble { code: "api-forbidden", message: "not there".into(), hint: "look".into() };
    gather.on(Heard::Trouble(b.clone(), Some(trouble)));
    assert_eq!(codes(&batch(&mut gather).unwrap()), ["api-forbidden"]);
    gather.on(Heard::Trouble(a, None));
    assert!(batch(&mut gather).is_none(), "the trouble is the other's");
    gather.on(Heard::Trouble(b, None));
    assert!(batch(&mut gather).unwrap().findings.is_empty());
}
