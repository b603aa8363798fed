//! The service as a client sees it.

use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::Secret as Wire;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::google::rpc::Status;
use proptest::prelude::*;
use prost::Message as _;

use super::*;

mod server;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn sotw(wanted: &[&str], nonce: &str) -> Request {
    let message = DiscoveryRequest {
        resource_names: names(wanted),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    };
    Request::sotw(message).unwrap()
}

fn delta(added: &[&str], removed: &[&str], nonce: &str) -> Request {
    let message = DeltaDiscoveryRequest {
        resource_names_subscribe: names(added),
        resource_names_unsubscribe: names(removed),
        response_nonce: nonce.to_owned(),
        ..Default::default()
    };
    Request::delta(message).unwrap()
}

/// A pair and roots.
fn secrets() -> Secrets {
    let mut secrets = Secrets::default();
    assert!(secrets.put_pair(Name::Default, "chain", "key"));
    assert!(secrets.put_roots(Name::RootCa, "roots", None));
    secrets
}

/// What a response holds: names, and the nonce.
fn held(response: Option<Response>) -> Option<(Vec<String>, Vec<String>, String)> {
    match response? {
        Response::Sotw(message) => {
            let name = |any: &meltemi_proto::google::protobuf::Any| Wire::decode(&*any.value).unwrap().name;
            Some((message.resources.iter().map(name).collect(), Vec::new(), message.nonce))
        }
        Response::Delta(message) => {
            let resources = message.resources.into_iter().map(|resource| resource.name).collect();
            Some((resources, message.removed_resources, message.nonce))
        }
    }
}

fn sent(names: &[&str], nonce: &str) -> Option<(Vec<String>, Vec<String>, String)> {
    Some((self::names(names), Vec::new(), nonce.to_owned()))
}

#[test]
fn a_secret_is_waited_for_and_then_sent_once_and_again_when_it_changes() {
    for form in [Form::Sotw, Form::Delta] {
        let mut machine = Machine::new(form);
        let ask = |wanted: &[&str], nonce: &str| match form {
            Form::Sotw => sotw(wanted, nonce),
            Form::Delta => delta(if nonce.is_empty() { wanted } else { &[] }, &[], nonce),
        };
        assert_eq!(machine.request(ask(&["default"], "")), Ok(vec![]));
        assert_eq!(held(machine.next(&Secrets::default())), None, "{form:?}");
        let mut secrets = secrets();
        assert_eq!(held(machine.next(&secrets)), sent(&["default"], "1"));
        assert_eq!(held(machine.next(&secrets)), None);
        assert_eq!(machine.request(ask(&["default"], "1")), Ok(vec![Event::Ack]));
        assert_eq!(held(machine.next(&secrets)), None, "an ACK asks for nothing");
        assert!(!secrets.put_pair(Name::Default, "chain", "key"), "the same bytes are no change");
        assert!(secrets.put_roots(Name::RootCa, "roots", Some("lists")));
        assert_eq!(held(machine.next(&secrets)), None, "another's change");
        assert!(secrets.put_pair(Name::Default, "chain 2", "key 2"));
        assert_eq!(held(machine.next(&secrets)), sent(&["default"], "2"));
    }
}

#[test]
fn a_refusal_is_told_once_and_nothing_is_sent_because_of_it() {
    let mut machine = Machine::new(Form::Sotw);
    machine.request(sotw(&["default"], "")).unwrap();
    machine.next(&secrets()).unwrap();
    let refusal = DiscoveryRequest {
        resource_names: names(&["default"]),
        response_nonce: "1".to_owned(),
        error_detail: Some(Status { message: "no such curve".to_owned(), ..Default::default() }),
        ..Default::default()
    };
    let refusal = Request::sotw(refusal).unwrap();
    assert_eq!(machine.request(refusal.clone()), Ok(vec![Event::Nack("no such curve".to_owned())]));
    assert_eq!(machine.request(refusal), Ok(vec![]));
    assert_eq!(held(machine.next(&secrets())), None);
}

#[test]
fn state_of_the_world_says_all_names_again_when_one_comes() {
    let mut machine = Machine::new(Form::Sotw);
    machine.request(sotw(&["default"], "")).unwrap();
    assert_eq!(held(machine.next(&secrets())), sent(&["default"], "1"));
    machine.request(sotw(&["default", "ROOTCA"], "1")).unwrap();
    assert_eq!(held(machine.next(&secrets())), sent(&["ROOTCA", "default"], "2"));
    machine.request(sotw(&["ROOTCA"], "1")).unwrap();
    machine.request(sotw(&["ROOTCA"], "2")).unwrap();
    assert_eq!(held(machine.next(&secrets())), None, "fewer names need no answer");
    machine.request(sotw(&["ROOTCA"], "")).unwrap();
    assert_eq!(held(machine.next(&secrets())), sent(&["ROOTCA"], "3"), "who starts anew gets it anew");
}

#[test]
fn delta_sends_what_comes_on_top_and_forgets_what_is_dropped() {
    let mut machine = Machine::new(Form::Delta);
    machine.request(delta(&["default"], &[], "")).unwrap();
    assert_eq!(held(machine.next(&secrets())), sent(&["default"], "1"));
    machine.request(delta(&["ROOTCA"], &["default"], "1")).unwrap();
    assert_eq!(held(machine.next(&secrets())), sent(&["ROOTCA"], "2"));
    let mut later = secrets();
    later.put_pair(Name::Default, "other", "key");
    assert_eq!(held(machine.next(&later)), None);
}

#[test]
fn a_name_that_nobody_serves_is_told_and_keeps_nothing_from_the_others() {
    let unknown = Event::Unknown(names(&["kubernetes://cert"]));
    let mut machine = Machine::new(Form::Sotw);
    assert_eq!(machine.request(sotw(&["kubernetes://cert", "default"], "")), Ok(vec![unknown.clone()]));
    assert_eq!(held(machine.next(&secrets())), sent(&["default"], "1"));
    let mut machine = Machine::new(Form::Delta);
    assert_eq!(machine.request(delta(&["kubernetes://cert", "default"], &[], "")), Ok(vec![unknown]));
    let (there, gone, _) = held(machine.next(&secrets())).unwrap();
    assert_eq!((there, gone), (names(&["default"]), names(&["kubernetes://cert"])));
    assert_eq!(held(machine.next(&secrets())), None, "said once");
}

#[test]
fn bounds_hold_where_they_are() {
    let many = |count: usize| DeltaDiscoveryRequest {
        resource_names_subscribe: (0..count).map(|at| at.to_string()).collect(),
        ..Default::default()
    };
    assert!(matches!(Request::delta(many(MAX_NAMES + 1)), Err(Close::Exhausted(_))));
    let mut machine = Machine::new(Form::Delta);
    machine.request(Request::delta(many(MAX_NAMES)).unwrap()).unwrap();
    assert!(matches!(machine.request(delta(&["one more"], &[], "")), Err(Close::Exhausted(_))));
    let named =
        |length: usize| DiscoveryRequest { resource_names: vec!["a".repeat(length)], ..Default::default() };
    assert!(Request::sotw(named(MAX_NAME_BYTES)).is_ok());
    assert!(matches!(Request::sotw(named(MAX_NAME_BYTES + 1)), Err(Close::Invalid(_))));
    let other = DiscoveryRequest { type_url: "type.googleapis.com/other".to_owned(), ..Default::default() };
    assert!(matches!(Request::sotw(other), Err(Close::Invalid(_))));
}

#[test]
fn names_are_istio_s() {
    let cert = Name::FileCert { chain: "/a/cert.pem".to_owned(), key: "/a/key.pem".to_owned() };
    for (text, name) in [
        ("default", Name::Default),
        ("ROOTCA", Name::RootCa),
        ("file-root:/a/root.pem", Name::FileRoot("/a/root.pem".to_owned())),
        ("file-root:system", Name::SystemRoots),
        ("file-cert:/a/cert.pem~/a/key.pem", cert),
    ] {
        assert_eq!(Name::parse(text).as_ref(), Some(&name));
        assert_eq!(name.to_string(), text);
    }
    for text in
        ["", "Default", "file-cert:/a", "file-cert:~", "file-root:", "file-cert:/a~/b~/c", "kubernetes://a"]
    {
        assert_eq!(Name::parse(text), None, "{text}");
    }
}

#[test]
fn no_secret_is_printed() {
    let mut secrets = Secrets::default();
    secrets.put_pair(Name::Default, "chain", "the key itself");
    let printed = format!("{secrets:?}");
    assert!(printed.contains("<redacted>") && !printed.contains("the key itself"), "{printed}");
    let bytes = format!("{:?}", secrets.served(&Name::Default).unwrap());
    assert!(!bytes.contains("116, 104, 101"), "{bytes}");
}

fn any_request() -> impl Strategy<Value = (Vec<String>, Vec<String>, String)> {
    let name =
        prop::sample::select(vec!["default", "ROOTCA", "file-root:/r", "file-cert:/c~/k", "nobody", ""]);
    let list = || prop::collection::vec(name.clone().prop_map(str::to_owned), 0..4);
    (list(), list(), "[0-4]?")
}

proptest! {
    /// Whatever is asked in whatever order: what is held in the end is what is asked for and there, in both spellings.
    #[test]
    fn a_client_that_listens_holds_what_it_asked_for(requests in prop::collection::vec((any_request(), any::<bool>()), 1..40)) {
        let mut machine = Machine::new(Form::Delta);
        let mut secrets = secrets();
        let mut wanted = std::collections::BTreeSet::new();
        let mut holds = std::collections::BTreeMap::new();
        for ((added, removed, nonce), changes) in requests {
            let request = DeltaDiscoveryRequest {
                resource_names_subscribe: added.clone(),
                resource_names_unsubscribe: removed.clone(),
                response_nonce: nonce,
                ..Default::default()
            };
            machine.request(Request::delta(request).unwrap()).unwrap();
            for name in removed {
                wanted.remove(&name);
                holds.remove(&name);
            }
            wanted.extend(added);
            if changes {
                let chain = format!("{} more", wanted.len());
                secrets.put_pair(Name::Default, &chain, "key");
            }
            if let Some(Response::Delta(message)) = machine.next(&secrets) {
                for resource in message.resources {
                    holds.insert(resource.name, resource.resource.unwrap().value);
                }
            }
            for name in &wanted {
                let there = Name::parse(name).and_then(|name| secrets.served(&name).cloned());
                prop_assert_eq!(holds.get(name), there.as_ref().map(|served| served.bytes.reveal()));
            }
        }
    }
}
