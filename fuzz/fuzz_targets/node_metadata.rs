//! The node of a proxy's first request: an encoded `Node`, as a stranger may write it.
//!
//! Must hold: no panic; an error says what to do in one line; whoever is let in is served what decodes, and leaves nothing behind.
#![no_main]

mod served;

use std::cell::RefCell;
use std::sync::Arc;

use libfuzzer_sys::{Corpus, fuzz_target};
use meltemi_model::Event;
use meltemi_model::proxy::Proxy;
use meltemi_proto::envoy::config::core::v3::Node;
use meltemi_views::{Engine, Options};
use prost::Message;

/// What there is to be served.
const MESH: &str = include_str!("../../crates/api/tests/strangers_texts/seed.yaml");

thread_local! {
    // Kept between runs, which is sound since each run checks that it leaves it as it was.
    static ENGINE: RefCell<Engine> = RefCell::new(engine());
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Ok(node) = Node::decode(data) else { return Corpus::Reject };
    for delta in [false, true] {
        let proxy = match Proxy::parse(&node, delta) {
            Ok(proxy) => Arc::new(proxy),
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        assert!(!proxy.addresses.is_empty(), "whoever is served has an address");
        assert!(proxy.addresses.iter().any(|address| proxy.family().takes(*address)));
        ENGINE.with_borrow_mut(|engine| {
            let before = engine.layer_count();
            let id = engine.connect(proxy);
            served::served(&engine.view(id));
            engine.disconnect(id);
            assert_eq!(engine.layer_count(), before, "a layer outlives its only proxy");
        });
    }
    Corpus::Keep
});

fn engine() -> Engine {
    let objects = match meltemi_api::parse_all(MESH) {
        Ok(objects) => objects,
        Err(findings) => panic!("the target's own mesh: {findings:?}"),
    };
    let mut engine = Engine::new(Options::default());
    engine.apply(objects.into_iter().map(|object| Event::Upsert(Arc::new(object))));
    engine
}
