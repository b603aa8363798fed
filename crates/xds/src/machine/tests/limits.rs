//! Bounds on what a stranger may do, at the bound.

use meltemi_catalog::Form;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::google::rpc;
use prost::Message;

use super::bench::*;
use crate::Limits;
use crate::machine::{Close, CloseCode, Next};
use crate::request::{HEALTH_TYPE, Request};

fn small() -> Limits {
    Limits {
        names: 3,
        name_bytes: 70,
        node_bytes: 100,
        error_bytes: 5,
        types: 4,
        response_bytes: 1000,
        admit_bytes: 10_000,
        ..Limits::default()
    }
}

fn request(names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: EDS.as_str().into(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn code(result: Result<(), Close>) -> Option<CloseCode> {
    result.err().map(|close| close.code)
}

#[test]
fn names_in_a_request_and_in_a_subscription_are_bounded() {
    let mut b = Bench::limited(Form::Delta, small());
    assert_eq!(code(b.receive_delta(request(&["a", "b", "c", "d"]))), Some(CloseCode::ResourceExhausted));
    let mut b = Bench::limited(Form::Delta, small());
    assert_eq!(code(b.receive_delta(request(&["a", "b", "c"]))), None);
    assert_eq!(code(b.receive_delta(request(&["a"]))), None, "the same name is no more");
    assert_eq!(code(b.receive_delta(request(&["d"]))), Some(CloseCode::ResourceExhausted));
}

#[test]
fn a_name_has_a_length() {
    let mut b = Bench::limited(Form::Delta, small());
    assert_eq!(code(b.receive_delta(request(&[&"x".repeat(70)]))), None);
    assert_eq!(code(b.receive_delta(request(&[&"x".repeat(71)]))), Some(CloseCode::ResourceExhausted));
}

#[test]
fn the_versions_of_a_returning_client_are_bounded_as_names_are() {
    let limits = small();
    let mut message = request(&[]);
    message.initial_resource_versions = (0..4).map(|n| (format!("n{n}"), "v".to_owned())).collect();
    assert!(Request::delta(message.clone(), &limits).is_err());
    message.initial_resource_versions.pop_first();
    assert!(Request::delta(message, &limits).is_ok());
}

#[test]
fn a_node_has_a_size_and_an_id() {
    let limits = small();
    let with = |node: Option<Node>| DeltaDiscoveryRequest { node, ..request(&[]) };
    let large = Node { id: "n".into(), cluster: "x".repeat(100), ..Default::default() };
    let close = Request::delta(with(Some(large)), &limits).expect_err("too large");
    assert_eq!(close.code, CloseCode::ResourceExhausted);

    for node in [None, Some(Node::default())] {
        let mut machine = crate::Machine::new(Form::Delta, limits.clone(), 0);
        let request = Request::delta(with(node), &limits).expect("in bounds");
        let close = machine
            .receive(request, &meltemi_catalog::View::default(), std::time::Instant::now())
            .expect_err("nobody");
        assert_eq!(
            close,
            Close { code: CloseCode::InvalidArgument, message: "missing node information".into() }
        );
    }
}

#[test]
fn a_request_names_its_type() {
    let message = DiscoveryRequest::default();
    assert_eq!(Request::sotw(message, &small()).expect_err("no type").code, CloseCode::InvalidArgument);
}

#[test]
fn the_text_of_a_refusal_is_cut_between_letters() {
    let limits = small();
    let mut message = request(&[]);
    message.error_detail =
        Some(rpc::Status { code: 3, message: "Ärger über".into(), ..Default::default() });
    let taken = Request::delta(message.clone(), &limits).expect("in bounds");
    assert_eq!(taken.error.expect("refused").message, "Ärge");
    message.error_detail = Some(rpc::Status { code: 3, message: "12345".into(), ..Default::default() });
    let taken = Request::delta(message, &limits).expect("in bounds");
    assert_eq!(taken.error.expect("refused").message, "12345");
}

#[test]
fn types_on_one_stream_are_bounded() {
    let mut b = Bench::limited(Form::Delta, small());
    let unknown = |n: usize| DeltaDiscoveryRequest {
        type_url: format!("type.googleapis.com/some.Type{n}"),
        ..Default::default()
    };
    for n in 0..4 {
        assert_eq!(code(b.receive_delta(unknown(n))), None);
    }
    assert_eq!(code(b.receive_delta(unknown(0))), None, "known by now");
    assert_eq!(code(b.receive_delta(unknown(4))), Some(CloseCode::ResourceExhausted));
}

#[test]
fn an_unknown_type_gets_one_empty_answer() {
    let mut b = Bench::delta();
    let mut message =
        DeltaDiscoveryRequest { type_url: "type.googleapis.com/some.Type".into(), ..Default::default() };
    b.receive_delta(message.clone()).expect("no error");
    let said = b.said().expect("an answer");
    assert_eq!(said.type_url, "type.googleapis.com/some.Type");
    assert_eq!((said.put.len(), said.removed.len()), (0, 0));
    message.response_nonce = said.nonce;
    b.receive_delta(message).expect("no error");
    b.silent();
}

#[test]
fn a_health_report_is_never_answered_and_is_no_first_request() {
    for form in [Form::Delta, Form::Sotw] {
        let mut b = Bench::new(form);
        let limits = Limits::default();
        let report =
            Request::sotw(DiscoveryRequest { type_url: HEALTH_TYPE.into(), ..Default::default() }, &limits)
                .expect("in order");
        b.machine.receive(report, &b.view(), b.now).expect("without a node");
        b.silent();
    }
}

#[test]
fn a_response_beyond_its_size_is_split_and_groups_stay_whole() {
    let mut b = Bench::limited(Form::Delta, Limits { response_bytes: 1_600, ..Limits::default() });
    let body = |tag: &str| format!("{tag} {}", "x".repeat(200));
    b.put(&[(RDS, "80", "80"), (RDS, "90", "90")]);
    b.subscribe(RDS, &["80", "90"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    // About 370 bytes each with their names: four fit.
    b.put(&[
        (VHDS, "80/a", &body("1")),
        (VHDS, "80/b", &body("1")),
        (VHDS, "80/c", &body("1")),
        (VHDS, "90/a", &body("1")),
        (VHDS, "90/b", &body("1")),
    ]);
    let said = b.expect(VHDS);
    assert_eq!(said.names(), ["80/a", "80/b", "80/c"], "90 would be torn");
    b.ack(&said);
    assert_eq!(b.expect(VHDS).names(), ["90/a", "90/b"]);
}

#[test]
fn a_resource_larger_than_a_response_should_be_goes_alone() {
    let mut b = Bench::limited(Form::Delta, small());
    b.put(&[(CDS, "a", &"x".repeat(2_000)), (CDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    let said = b.expect(CDS);
    assert_eq!(said.names(), ["a"]);
    b.ack(&said);
    assert_eq!(b.expect(CDS).names(), ["b"]);
}

#[test]
fn large_first_answers_wait_for_a_permit_and_later_ones_do_not() {
    let mut b = Bench::limited(Form::Delta, Limits { admit_bytes: 1_000, ..Limits::default() });
    b.put(&[(CDS, "a", &"x".repeat(2_000))]);
    b.subscribe(CDS, &[]);
    let Next::Admit { bytes, .. } = b.next().expect("open") else { panic!("large") };
    assert!((2_000..2_400).contains(&bytes), "{bytes}");
    let Next::Admit { .. } = b.next().expect("open") else { panic!("still not admitted") };
    b.machine.admit();
    let Next::Send(response) = b.next().expect("open") else { panic!("admitted") };
    assert!(response.first);
    let said =
        Said { type_url: CDS.as_str().into(), nonce: response.nonce.clone(), put: vec![], removed: vec![] };
    b.ack(&said);
    b.put(&[(CDS, "a", &"y".repeat(2_000))]);
    let Next::Send(response) = b.next().expect("open") else { panic!("a change does not queue") };
    assert!(!response.first);
}

#[test]
fn a_settled_stream_of_a_large_mesh_is_some_kilobytes() {
    let mut b = Bench::delta();
    let names: Vec<String> = (0..3_000).map(|n| format!("outbound|80||service-{n}.default")).collect();
    let put: Vec<_> = names
        .iter()
        .flat_map(|name| [(CDS, name.as_str(), name.as_str()), (EDS, name.as_str(), name.as_str())])
        .chain([(LDS, "l", "l"), (RDS, "80", "80"), (VHDS, "80/a", "a")])
        .collect();
    b.put(&put);
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    b.subscribe(CDS, &[]);
    b.subscribe(EDS, &all);
    b.subscribe(LDS, &[]);
    b.subscribe(RDS, &["80"]);
    b.subscribe(VHDS, &[]);
    b.settle();
    let watches = [CDS, EDS, LDS, RDS, VHDS].map(|type_url| b.machine.watch(type_url).expect("asked"));
    for watch in watches {
        let names = watch.subscription.kept()
            + watch.due.len()
            + watch.flights.len()
            + watch.aside.len()
            + watch.known.len()
            + watch.have.len();
        assert_eq!(names, usize::from(watch.type_url == RDS), "{}", watch.type_url);
    }
    let bytes = size_of::<crate::Machine>() + watches.len() * size_of::<crate::watch::Watch>();
    assert!(bytes < 4_000, "{bytes}");
}

#[test]
fn what_is_no_request_ends_the_stream() {
    for form in [Form::Delta, Form::Sotw] {
        let close = Request::read(form, &[0xff, 0xff], &small()).expect_err("no Protobuf");
        assert_eq!(close.code, CloseCode::InvalidArgument);
    }
}

#[test]
fn lists_off_the_wire_are_bounded() {
    let with = |names: usize, held: usize| DeltaDiscoveryRequest {
        type_url: "type".into(),
        resource_names_subscribe: (0..names).map(|name| name.to_string()).collect(),
        initial_resource_versions: (0..held).map(|name| (name.to_string(), "v".to_owned())).collect(),
        ..Default::default()
    };
    let read = |message: DeltaDiscoveryRequest| {
        Request::read(Form::Delta, &message.encode_to_vec(), &small()).map_err(|close| close.code)
    };
    assert!(read(with(3, 3)).is_ok());
    assert_eq!(read(with(4, 0)), Err(CloseCode::ResourceExhausted));
    assert_eq!(read(with(0, 4)), Err(CloseCode::ResourceExhausted));
    let long = DeltaDiscoveryRequest { resource_names_subscribe: vec!["n".repeat(71)], ..with(0, 0) };
    assert_eq!(read(long), Err(CloseCode::ResourceExhausted));
}
