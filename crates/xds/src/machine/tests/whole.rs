//! First answers that are all there is, and clients that come back with all of it or nearly.

use std::sync::Arc;
use std::time::Duration;

use meltemi_catalog::View;
use meltemi_names::TypeUrl;

use super::bench::*;
use crate::machine::Next;

/// Clusters `c000` and on, and an assignment of the same name for each.
fn many(count: usize) -> Bench {
    let mut b = Bench::delta();
    let names: Vec<String> = (0..count).map(|n| format!("c{n:03}")).collect();
    let needs: Vec<[(TypeUrl, &str); 1]> = names.iter().map(|name| [(EDS, name.as_str())]).collect();
    let put: Vec<Put<'_>> = names
        .iter()
        .zip(&needs)
        .flat_map(|(name, needs)| [(CDS, name.as_str(), "1", &needs[..]), (EDS, name.as_str(), "1", &[])])
        .collect();
    b.change(&put, &[]);
    b
}

fn names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("c{n:03}")).collect()
}

fn held(count: usize) -> Vec<(String, &'static str)> {
    names(count).into_iter().map(|name| (name, "1")).collect()
}

fn borrowed<'a>(held: &'a [(String, &'a str)]) -> Vec<(&'a str, &'a str)> {
    held.iter().map(|(name, body)| (name.as_str(), *body)).collect()
}

/// Asks for clusters, then for the assignments of all.
fn ask_all(b: &mut Bench, count: usize, held: &[(&str, &str)]) {
    let names = names(count);
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    b.returns(CDS, &[], held);
    b.returns(EDS, &names, held);
}

#[test]
fn a_change_while_all_of_it_is_on_its_way_comes_after_the_answer() {
    let mut b = many(40);
    b.subscribe(CDS, &[]);
    let all = b.expect(CDS);
    assert_eq!(all.names(), names(40));
    b.change(&[(CDS, "c007", "2", &[])], &[(CDS, "c008")]);
    b.silent();
    b.ack(&all);
    let change = b.expect(CDS);
    assert_eq!((change.names(), &change.removed[..]), (vec!["c007"], &["c008".to_owned()][..]));
}

#[test]
fn streams_of_one_layer_send_the_same_bytes_in_memory() {
    let b = many(40);
    let view = b.view();
    let segments = [1, 2].map(|salt| {
        let mut machine = crate::Machine::new(b.form, crate::Limits::default(), salt);
        let request = meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest {
            type_url: CDS.as_str().into(),
            node: Some(meltemi_proto::envoy::config::core::v3::Node { id: "n".into(), ..Default::default() }),
            ..Default::default()
        };
        let request = crate::Request::delta(request, &crate::Limits::default()).expect("in bounds");
        machine.receive(request, &view, b.now).expect("in order");
        let Next::Send(response) = machine.next(&view, b.now).expect("open") else { panic!("an answer") };
        response
    });
    let [one, other] = segments.each_ref().map(|response| response.segments());
    assert_eq!(one.len(), 2, "a head of its own, and one chunk of all");
    assert_eq!(one[1].as_ptr(), other[1].as_ptr());
}

#[test]
fn an_answer_that_nobody_acknowledges_keeps_no_old_layer() {
    let mut b = many(40);
    b.subscribe(CDS, &[]);
    let layer = Arc::new(b.layer.clone());
    let view = View::new([Arc::clone(&layer)]);
    let Next::Send(response) = b.machine.next(&view, b.now).expect("open") else { panic!("an answer") };
    let said = b.decode(&response);
    drop((view, response));
    assert_eq!(Arc::strong_count(&layer), 2, "while it is waited for, the list is the layer");
    b.pass(Duration::from_secs(6));
    b.silent();
    assert_eq!(Arc::strong_count(&layer), 1);
    // The answer still counts when it comes.
    assert!(!b.machine.has_settled(CDS, &"c001".into()));
    b.ack(&said);
    assert!(b.machine.has_settled(CDS, &"c001".into()));
}

#[test]
fn who_comes_back_with_everything_is_sent_nothing_again() {
    let mut b = many(100);
    let held = held(100);
    ask_all(&mut b, 100, &borrowed(&held));
    assert_eq!(b.settle().iter().map(|said| said.put.len() + said.removed.len()).sum::<usize>(), 0);
    b.change(&[(EDS, "c050", "2", &[])], &[]);
    assert_eq!(b.expect(EDS).names(), ["c050"], "and is subscribed to all of it");
}

#[test]
fn who_comes_back_is_sent_what_differs_and_told_what_is_gone() {
    let mut b = many(100);
    let mut held = held(100);
    held[13].1 = "older";
    held[77].1 = "not even ours";
    held.remove(40);
    held.push(("gone".to_owned(), "1"));
    ask_all(&mut b, 100, &borrowed(&held));
    let mut all = b.settle();
    // Its routes may still use a cluster that is gone: that is told when they are asked for, or do not come.
    b.pass(Duration::from_secs(6));
    all.extend(b.settle());
    let of = |kind: TypeUrl| {
        let said = all.iter().filter(|said| said.is(kind));
        let mut put: Vec<&str> = said.clone().flat_map(|said| said.names()).collect();
        put.sort_unstable();
        let removed: Vec<&str> = said.flat_map(|said| said.removed.iter().map(String::as_str)).collect();
        (put, removed)
    };
    let differing = vec!["c013", "c040", "c077"];
    assert_eq!(of(CDS), (differing.clone(), vec!["gone"]));
    // A cluster that is sent warms until its assignment is; of the one that is gone Envoy drops the assignment itself.
    assert_eq!(of(EDS), (differing, vec![]));
}

#[test]
fn versions_of_another_control_plane_mean_nothing() {
    let mut b = many(40);
    let held: Vec<(String, String)> =
        names(40).into_iter().map(|name| (name, "2026-01-01/7".to_owned())).collect();
    b.receive_delta(meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest {
        type_url: CDS.as_str().into(),
        initial_resource_versions: held.into_iter().collect(),
        ..Default::default()
    })
    .expect("in order");
    assert_eq!(b.expect(CDS).names(), names(40));
}

#[test]
fn an_assignment_that_goes_before_the_first_answer_is_answered_all_the_same() {
    let mut b = many(40);
    // Cut while clusters warmed: it asks for assignments first, and for clusters when it has them all.
    let names = names(40);
    b.subscribe(EDS, &names.iter().map(String::as_str).collect::<Vec<_>>());
    b.change(&[], &[(EDS, "c007"), (CDS, "c007")]);
    let mut answered: Vec<String> = b.settle().iter().flat_map(Said::names).map(str::to_owned).collect();
    answered.sort_unstable();
    assert_eq!(answered, names);
}

#[test]
fn an_assignment_that_other_layers_do_not_have_is_answered_all_the_same() {
    let mut b = many(40);
    let names = names(40);
    b.subscribe(EDS, &names.iter().map(String::as_str).collect::<Vec<_>>());
    let left = b.view();
    let mut edit = meltemi_catalog::Layer::empty().edit(meltemi_catalog::Generation(9));
    for live in left.all(EDS).filter(|live| live.resource.name().as_str() != "c007") {
        edit.put(Arc::clone(&live.resource));
    }
    b.layer = edit.finish().expect("a layer");
    let view = b.view().coming_from(left);
    let mut answered = Vec::new();
    while let Next::Send(response) = b.machine.next(&view, b.now).expect("open") {
        answered.extend(b.decode(&response).names().into_iter().map(str::to_owned));
    }
    answered.sort_unstable();
    assert_eq!(answered, names);
}
