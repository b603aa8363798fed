//! What a client is subscribed to, request by request.

use std::sync::Arc;

use meltemi_catalog::{Body, Generation, Layer, Resource, View};
use meltemi_names::{TypeUrl, Version};

use super::{COMPACT_FROM, Subscription};

const EDS: TypeUrl = TypeUrl::Endpoint;

fn view(names: impl IntoIterator<Item = String>) -> View {
    let layer = Layer::empty();
    let mut edit = layer.edit(Generation(1));
    for name in names {
        edit.put(Arc::new(Resource::new(EDS, name.into(), Version::of(b""), Body::new())));
    }
    View::new(edit.finish().map(Arc::new))
}

fn all(count: usize) -> View {
    view((0..count).map(|n| format!("e{n}")))
}

fn subscribed(view: &View, names: impl IntoIterator<Item = String>) -> Subscription {
    let mut subscription = Subscription::default();
    for name in names {
        subscription.add(EDS, &name, view);
    }
    subscription.compact(EDS, view);
    subscription
}

#[test]
fn all_names_of_a_view_cost_nothing() {
    let view = all(COMPACT_FROM);
    let subscription = subscribed(&view, (0..COMPACT_FROM).map(|n| format!("e{n}")));
    assert!(subscription.is_all());
    assert_eq!((subscription.kept(), subscription.count(EDS, &view)), (0, COMPACT_FROM));
    assert!(subscription.covers("e0"));
}

#[test]
fn all_but_one_are_kept_by_name() {
    let view = all(COMPACT_FROM);
    let subscription = subscribed(&view, (1..COMPACT_FROM).map(|n| format!("e{n}")));
    assert!(!subscription.is_all());
    assert!(!subscription.covers("e0"));
}

#[test]
fn a_name_dropped_from_all_is_not_covered_and_may_come_back() {
    let view = all(COMPACT_FROM);
    let mut subscription = subscribed(&view, (0..COMPACT_FROM).map(|n| format!("e{n}")));
    assert!(subscription.drop_name(EDS, "e3", &view));
    assert!(!subscription.drop_name(EDS, "e3", &view), "only once");
    assert!(!subscription.covers("e3") && subscription.covers("e4"));
    assert_eq!(subscription.count(EDS, &view), COMPACT_FROM - 1);
    subscription.add(EDS, "e3", &view);
    assert!(subscription.covers("e3"));
    assert_eq!(subscription.kept(), 0);
}

#[test]
fn a_name_that_vanishes_from_the_view_is_still_asked_for() {
    let before = all(COMPACT_FROM);
    let mut subscription = subscribed(&before, (0..COMPACT_FROM).map(|n| format!("e{n}")));
    subscription.vanished(&"e3".into());
    let after = view((0..COMPACT_FROM).filter(|n| *n != 3).map(|n| format!("e{n}")));
    assert_eq!(subscription.count(EDS, &after), COMPACT_FROM);
    assert!(subscription.drop_name(EDS, "e3", &after), "and can be dropped");
    assert_eq!(subscription.count(EDS, &after), COMPACT_FROM - 1);
}

#[test]
fn a_kept_name_is_the_views_own_copy() {
    let view = all(2);
    let mut subscription = Subscription::default();
    let name = subscription.add(EDS, "e1", &view);
    let own = view.find(EDS, "e1").expect("there").resource.name().clone();
    assert_eq!(name.as_str().as_ptr(), own.as_str().as_ptr());
}
