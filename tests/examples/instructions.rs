//! What the hot paths cost, in instructions and allocations: each runs alone under callgrind, which counts what [`counted`] and its like do.
//!
//! Knows: the engine and a stream's machine as `serve` uses them. Must not know: how they work.
//! Run by `cargo xtask instructions`, which compares with benches/instructions.json; an argument names the path.

#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement fails by panicking"
)]

use std::hint::black_box;
use std::time::Instant;

use meltemi_catalog::View;
use meltemi_model::Event;
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use meltemi_tests::mesh::{engine, large, route, service, sidecar, upserts};
use meltemi_views::{Engine, Options, ProxyId};
use meltemi_xds::{Form, Limits, Machine, Next, Request};
use prost::Message;

/// Services of the mesh: enough that a walk over all of them shows.
const SERVICES: usize = 60;

/// Streams that one step goes to.
const STREAMS: usize = 20;

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("a weight") => apply(&route(17, 20), &route(17, 50)),
        Some("an endpoint") => apply(&without_an_endpoint(17), &service(17)),
        Some("a change that nobody reads") => apply(&with_a_label(17, "1"), &with_a_label(17, "2")),
        Some("a step to a stream") => step(),
        Some("a first answer") => first(),
        Some("a first answer in a crowd") => crowd(),
        Some("a reconnect") => reconnect(),
        Some("reading a VirtualService") => reading(),
        other => panic!("no path is called {other:?}"),
    }
}

/// The second of two changes: the first grows tables that stay.
fn apply(warm: &str, change: &str) {
    let (mut engine, _) = mesh();
    engine.apply(upserts(warm));
    counted_apply(&mut engine, upserts(change));
}

#[inline(never)]
fn counted_apply(engine: &mut Engine, change: Vec<Event>) {
    black_box(engine.apply(change));
}

fn without_an_endpoint(index: usize) -> String {
    service(index).replace(&format!("labels: {{app: s{index}, version: v2}}"), "labels: {app: other}")
}

/// A label of a pod that no rule reads.
fn with_a_label(index: usize, value: &str) -> String {
    let label = format!("labels: {{app: s{index}, version: v2}}");
    service(index).replace(&label, &format!("labels: {{app: s{index}, version: v2, build: b{value}}}"))
}

/// One weight to many settled streams: composing the answer, and taking its acknowledgement.
fn step() {
    let (mut engine, proxy) = mesh();
    let view = engine.view(proxy);
    let mut streams: Vec<Machine> = (0..STREAMS as u64).map(|salt| settled(salt, &view)).collect();
    for weight in [20, 50] {
        engine.apply(upserts(&route(17, weight)));
        let view = engine.view(proxy);
        if weight == 20 {
            streams.iter_mut().for_each(|machine| one_step(machine, &view));
        } else {
            counted_step(&mut streams, &view);
        }
    }
}

#[inline(never)]
fn counted_step(streams: &mut [Machine], view: &View) {
    // No closure: callgrind would take it for another function that is counted, and stop there.
    for machine in streams {
        one_step(machine, view);
    }
}

fn one_step(machine: &mut Machine, view: &View) {
    let now = Instant::now();
    let Ok(Next::Send(response)) = machine.next(view, now) else { panic!("a change is sent") };
    let acknowledgement = DeltaDiscoveryRequest {
        type_url: TypeUrl::VirtualHost.as_str().to_owned(),
        response_nonce: response.nonce.clone(),
        ..DeltaDiscoveryRequest::default()
    };
    machine.receive(Request::delta(acknowledgement, &Limits::default()).unwrap(), view, now).unwrap();
    assert!(matches!(machine.next(view, now), Ok(Next::Idle { .. })));
}

/// A stream from its first request until it has everything.
fn first() {
    let (engine, proxy) = mesh();
    counted_first(&engine.view(proxy));
}

#[inline(never)]
fn counted_first(view: &View) {
    black_box(settled(1, view));
}

/// The same while another stream of the same layers sends what it got: the bytes exist.
fn crowd() {
    let (engine, proxy) = mesh();
    let view = engine.view(proxy);
    let layers = view.layers().iter();
    let _sent: Vec<_> =
        layers.flat_map(|layer| TypeUrl::ALL.map(|kind| layer.run(kind, Form::Delta))).collect();
    counted_first(&view);
}

/// A stream of a client that holds everything already, its requests read off the wire.
fn reconnect() {
    let (engine, proxy) = mesh();
    let view = engine.view(proxy);
    let requests: Vec<Vec<u8>> =
        [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route, TypeUrl::VirtualHost]
            .into_iter()
            .map(|kind| {
                let held: Vec<(String, String)> = view
                    .all(kind)
                    .map(|live| {
                        (live.resource.name().as_str().to_owned(), live.resource.version().to_string())
                    })
                    .collect();
                let named = matches!(kind, TypeUrl::Endpoint | TypeUrl::Route);
                let message = DeltaDiscoveryRequest {
                    node: Some(node()),
                    type_url: kind.as_str().to_owned(),
                    resource_names_subscribe: if named {
                        held.iter().map(|(name, _)| name.clone()).collect()
                    } else {
                        Vec::new()
                    },
                    initial_resource_versions: held.into_iter().collect(),
                    ..DeltaDiscoveryRequest::default()
                };
                message.encode_to_vec()
            })
            .collect();
    counted_reconnect(requests, &view);
}

#[inline(never)]
fn counted_reconnect(requests: Vec<Vec<u8>>, view: &View) {
    let now = Instant::now();
    let mut machine = Machine::new(Form::Delta, Limits::default(), 1);
    for request in requests {
        let request = Request::read(Form::Delta, &request, &Limits::default()).unwrap();
        machine.receive(request, view, now).unwrap();
    }
    let mut sent = 0;
    while let Ok(Next::Send(response)) = machine.next(view, now) {
        sent += response.resources;
    }
    assert_eq!(sent, 0, "what it holds is not sent again");
}

fn reading() {
    counted_reading(&route(17, 50));
}

#[inline(never)]
fn counted_reading(text: &str) {
    black_box(upserts(text));
}

fn mesh() -> (Engine, ProxyId) {
    let mut engine = engine(Options::default(), &large(SERVICES));
    let proxy = engine.connect(sidecar("client.shop", &[("app", "client")]));
    (engine, proxy)
}

fn node() -> Node {
    Node { id: "sidecar~10.9.9.9~client.shop~shop.svc.cluster.local".to_owned(), ..Node::default() }
}

/// A machine whose client has asked for everything as Envoy does, and has acknowledged it.
fn settled(salt: u64, view: &View) -> Machine {
    let now = Instant::now();
    let limits = Limits::default();
    let mut machine = Machine::new(Form::Delta, limits.clone(), salt);
    let names = |kind| -> Vec<String> {
        view.all(kind).map(|live| live.resource.name().as_str().to_owned()).collect()
    };
    let subscriptions = [
        (TypeUrl::Cluster, Vec::new()),
        (TypeUrl::Endpoint, names(TypeUrl::Endpoint)),
        (TypeUrl::Listener, Vec::new()),
        (TypeUrl::Route, names(TypeUrl::Route)),
        (TypeUrl::VirtualHost, Vec::new()),
    ];
    for (kind, names) in subscriptions {
        let message = DeltaDiscoveryRequest {
            node: Some(node()),
            type_url: kind.as_str().to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        };
        machine.receive(Request::delta(message, &limits).unwrap(), view, now).unwrap();
        loop {
            match machine.next(view, now).unwrap() {
                Next::Send(response) => {
                    let nonce = nonce(&response);
                    let message = DeltaDiscoveryRequest {
                        type_url: response.type_url.unwrap().as_str().to_owned(),
                        response_nonce: nonce,
                        ..DeltaDiscoveryRequest::default()
                    };
                    machine.receive(Request::delta(message, &limits).unwrap(), view, now).unwrap();
                }
                Next::Admit { .. } => machine.admit(),
                Next::Idle { .. } => break,
            }
        }
    }
    machine
}

/// As a client reads it; of a large answer the nonce is taken as it was made.
fn nonce(response: &meltemi_xds::Response) -> String {
    if response.resources > 1 {
        return response.nonce.clone();
    }
    let bytes: Vec<u8> = response.segments().iter().flat_map(|segment| segment.to_vec()).collect();
    DeltaDiscoveryResponse::decode(bytes.as_slice()).expect("what is sent decodes").nonce
}
