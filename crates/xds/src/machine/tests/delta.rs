//! Delta: who gets what, when it asks, asks again, or comes back.

use super::bench::*;

#[test]
fn an_empty_first_list_means_everything() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    assert_eq!(b.expect(CDS).put, [("a".into(), "a1".into()), ("b".into(), "b1".into())]);
    b.silent();
}

#[test]
fn a_star_means_everything_of_any_type() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "a", "a1"), (EDS, "b", "b1")]);
    b.subscribe(EDS, &["*"]);
    assert_eq!(b.expect(EDS).names(), ["a", "b"]);
}

#[test]
fn a_star_beside_names_answers_missing_names_too() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &["*", "gone", "a"]);
    let said = b.expect(CDS);
    assert_eq!((said.names(), said.removed.clone()), (vec!["a"], vec!["gone".to_owned()]));
}

#[test]
fn named_subscriptions_get_their_names_only_now_and_later() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &["b"]);
    let said = b.expect(CDS);
    assert_eq!(said.names(), ["b"]);
    b.ack(&said);
    b.put(&[(CDS, "a", "a2"), (CDS, "c", "c1")]);
    b.silent();
    b.put(&[(CDS, "b", "b2")]);
    assert_eq!(b.expect(CDS).bodies(), ["b2"]);
}

#[test]
fn a_first_request_is_answered_even_with_nothing() {
    for type_url in [CDS, EDS, LDS, RDS, VHDS] {
        let mut b = Bench::delta();
        b.subscribe(type_url, &[]);
        let said = b.expect(type_url);
        assert_eq!((said.put.len(), said.removed.len()), (0, 0));
        b.silent();
    }
}

#[test]
fn a_cluster_that_does_not_exist_is_told_as_removed_once() {
    let mut b = Bench::delta();
    b.subscribe(CDS, &["gone"]);
    let said = b.expect(CDS);
    assert_eq!(said.removed, ["gone"]);
    b.ack(&said);
    b.silent();
    b.put(&[(CDS, "gone", "here after all")]);
    assert_eq!(b.expect(CDS).bodies(), ["here after all"]);
}

#[test]
fn an_assignment_or_route_that_does_not_exist_is_answered_with_an_empty_one() {
    let mut b = Bench::delta();
    b.subscribe(EDS, &["e"]);
    b.subscribe(RDS, &["r"]);
    let said = b.expect(EDS);
    // Field 1, one byte: the name and nothing else.
    assert_eq!(said.put, [("e".to_owned(), "\n\u{1}e".to_owned())]);
    let said = b.expect(RDS);
    // The name, then field 7 (validate_clusters), a message without content.
    assert_eq!(said.put, [("r".to_owned(), "\n\u{1}r:\0".to_owned())]);
}

#[test]
fn subscribing_again_sends_again() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1")]);
    b.subscribe(EDS, &["e"]);
    let said = b.expect(EDS);
    b.ack(&said);
    b.silent();
    b.subscribe(EDS, &["e"]);
    assert_eq!(b.expect(EDS).bodies(), ["e1"]);
}

#[test]
fn only_new_names_are_answered() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1"), (EDS, "f", "f1")]);
    b.subscribe(EDS, &["e"]);
    let said = b.expect(EDS);
    b.ack(&said);
    b.subscribe(EDS, &["f"]);
    assert_eq!(b.expect(EDS).names(), ["f"]);
}

#[test]
fn unsubscribing_is_not_answered_and_ends_updates() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1"), (EDS, "f", "f1")]);
    b.subscribe(EDS, &["e", "f"]);
    let said = b.expect(EDS);
    b.ack(&said);
    b.unsubscribe(EDS, &["e"]);
    b.silent();
    b.put(&[(EDS, "e", "e2"), (EDS, "f", "f2")]);
    assert_eq!(b.expect(EDS).names(), ["f"]);
}

#[test]
fn a_name_dropped_under_a_star_is_told_as_it_stands() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &["*", "a"]);
    let said = b.expect(CDS);
    b.ack(&said);
    b.unsubscribe(CDS, &["a"]);
    assert_eq!(b.expect(CDS).names(), ["a"]);
}

#[test]
fn dropping_the_star_leaves_the_names() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &["*", "a"]);
    let said = b.expect(CDS);
    b.ack(&said);
    b.unsubscribe(CDS, &["*"]);
    b.silent();
    b.put(&[(CDS, "a", "a2"), (CDS, "b", "b2")]);
    assert_eq!(b.expect(CDS).names(), ["a"]);
}

#[test]
fn a_star_asked_for_later_brings_the_rest() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &["a"]);
    let said = b.expect(CDS);
    b.ack(&said);
    b.subscribe(CDS, &["*"]);
    assert!(b.expect(CDS).names().contains(&"b"));
}

#[test]
fn a_slow_reader_skips_what_it_missed() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    let said = b.expect(CDS);
    b.ack(&said);
    for n in 2..50 {
        b.put(&[(CDS, "a", &format!("a{n}"))]);
    }
    b.put(&[(CDS, "short-lived", "x")]);
    b.change(&[], &[(CDS, "short-lived")]);
    let said = b.expect(CDS);
    assert_eq!(said.put, [("a".into(), "a49".into())]);
    b.ack(&said);
    b.silent();
}

#[test]
fn what_a_returning_client_holds_is_not_sent_again() {
    let mut b = Bench::delta();
    b.put(&[(LDS, "same", "s1"), (LDS, "changed", "c2"), (LDS, "new", "n1")]);
    b.returns(LDS, &[], &[("same", "s1"), ("changed", "c1"), ("gone", "g1")]);
    let said = b.expect(LDS);
    assert_eq!((said.names(), said.removed.clone()), (vec!["changed", "new"], vec!["gone".to_owned()]));
}

#[test]
fn a_returning_client_that_lacks_nothing_gets_an_empty_answer() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (EDS, "e", "e1")]);
    b.returns(CDS, &[], &[("a", "a1")]);
    b.returns(EDS, &["e"], &[("e", "e1")]);
    assert_eq!(b.expect(CDS).names(), Vec::<&str>::new());
    assert_eq!(b.expect(EDS).names(), Vec::<&str>::new());
    b.silent();
}

#[test]
fn assignments_asked_for_before_clusters_are_all_sent_whatever_their_version() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (EDS, "e", "e1")]);
    b.returns(EDS, &["e"], &[("e", "e1")]);
    assert_eq!(b.expect(EDS).bodies(), ["e1"]);
}

#[test]
fn assignments_of_clusters_that_were_sent_before_eds_was_asked_are_sent_whatever_their_version() {
    let mut b = Bench::delta();
    b.change(
        &[
            (CDS, "a", "a2", &[(EDS, "e")]),
            (CDS, "b", "b1", &[(EDS, "f")]),
            (EDS, "e", "e1", &[]),
            (EDS, "f", "f1", &[]),
        ],
        &[],
    );
    b.returns(CDS, &[], &[("a", "a1"), ("b", "b1")]);
    assert_eq!(b.expect(CDS).names(), ["a"]);
    b.returns(EDS, &["e", "f"], &[("e", "e1"), ("f", "f1")]);
    // Cluster a warms until e comes again; b does not warm.
    assert_eq!(b.expect(EDS).names(), ["e"]);
}

#[test]
fn many_names_that_are_all_of_the_view_are_kept_as_all() {
    let mut b = Bench::delta();
    let names: Vec<String> = (0..500).map(|n| format!("e{n:03}")).collect();
    let put: Vec<(meltemi_names::TypeUrl, &str, &str)> =
        names.iter().map(|name| (EDS, name.as_str(), name.as_str())).collect();
    b.put(&put);
    let mut asked: Vec<&str> = names.iter().map(String::as_str).collect();
    asked.push("missing");
    b.subscribe(EDS, &asked);
    let said = b.expect(EDS);
    assert_eq!(said.put.len(), 501);
    b.ack(&said);
    let watch = b.machine.watch(EDS).expect("asked");
    assert_eq!(watch.subscription.kept(), 1, "only the missing one by name");
    assert!(watch.due.is_empty() && watch.flights.is_empty(), "a settled stream keeps no names");

    b.unsubscribe(EDS, &["e007"]);
    b.put(&[(EDS, "e007", "new"), (EDS, "e008", "new"), (EDS, "missing", "found")]);
    let said = b.expect(EDS);
    assert_eq!(said.names(), ["e008", "missing"]);
    b.ack(&said);
    b.subscribe(EDS, &["e007"]);
    assert_eq!(b.expect(EDS).names(), ["e007"]);
}

#[test]
fn a_subscription_change_stands_even_with_a_stale_nonce() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1"), (EDS, "f", "f1")]);
    b.subscribe(EDS, &["e"]);
    b.expect(EDS);
    b.receive_delta(meltemi_proto::envoy::service::discovery::v3::DeltaDiscoveryRequest {
        type_url: EDS.as_str().into(),
        response_nonce: "of-another-stream".into(),
        resource_names_subscribe: vec!["f".into()],
        ..Default::default()
    })
    .expect("in order");
    assert_eq!(b.expect(EDS).names(), ["f"]);
    assert_eq!(b.machine.take_tally().get(EDS).stale, 1);
}

#[test]
fn a_view_of_other_layers_closes_a_delta_stream_that_comes_back_with_its_versions() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    let said = b.expect(CDS);
    b.ack(&said);
    b.layer = meltemi_catalog::Layer::empty();
    b.put(&[(CDS, "b", "b1")]);
    let close = b.next().expect_err("only the client knows what it holds");
    assert_eq!(close.code, crate::machine::CloseCode::Unavailable);
    assert!(close.message.contains("reconnect"), "{close}");
    b.reconnect();
    b.returns(CDS, &[], &[("a", "a1")]);
    let said = b.expect(CDS);
    assert_eq!(said.names(), ["b"]);
    b.ack(&said);
    // Its routes, which it may ask for yet, may use a.
    b.pass(std::time::Duration::from_secs(5));
    assert_eq!(b.expect(CDS).removed, ["a"]);
}

#[test]
fn a_named_delta_stream_survives_the_move_to_another_view() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "a", "a1")]);
    b.subscribe(EDS, &["a"]);
    let said = b.expect(EDS);
    b.ack(&said);
    b.layer = meltemi_catalog::Layer::empty();
    b.put(&[(EDS, "a", "a2")]);
    assert_eq!(b.expect(EDS).bodies(), ["a2"]);
}

#[test]
fn a_stream_behind_the_oldest_tombstone_is_closed() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    b.expect(CDS);
    b.change(&[], &[(CDS, "a")]);
    let mut edit = b.layer.edit(meltemi_catalog::Generation(9));
    edit.put(std::sync::Arc::new(made(CDS, "c", "c1", &[])));
    edit.bury(0);
    b.layer = edit.finish().expect("a change");
    assert!(b.next().is_err());
}

#[test]
fn a_client_moved_to_another_view_is_told_what_differs_if_the_view_says_where_it_was() {
    let mut b = Bench::delta();
    b.put(&[(LDS, "same", "s1"), (LDS, "gone", "g1"), (LDS, "other", "o1"), (LDS, "late", "l1")]);
    b.subscribe(LDS, &[]);
    let said = b.expect(LDS);
    b.ack(&said);
    // It has not been sent this when it is moved.
    b.change(&[(LDS, "late", "l2", &[])], &[(LDS, "other")]);
    let left = b.view();
    b.layer = meltemi_catalog::Layer::empty();
    b.put(&[(LDS, "new", "n1")]);
    b.put(&[(LDS, "same", "s1"), (LDS, "late", "l2")]);
    let view = b.view().coming_from(left);
    let now = b.now;
    let crate::Next::Send(response) = b.machine.next(&view, now).expect("not closed") else {
        panic!("something differs")
    };
    let said = b.decode(&response);
    assert_eq!(
        (said.names(), said.removed.clone()),
        (vec!["late", "new"], vec!["gone".to_owned(), "other".to_owned()])
    );
    b.ack(&said);
    b.silent();
    b.put(&[(LDS, "same", "s2")]);
    assert_eq!(b.expect(LDS).names(), ["same"]);
}

#[test]
fn a_returning_client_whose_listener_drains_keeps_its_routes() {
    let mut b = Bench::delta();
    b.put(&[(LDS, "other", "o1")]);
    b.returns(LDS, &[], &[("other", "o1")]);
    b.returns(RDS, &["80"], &[("80", "gone from the view")]);
    b.expect(LDS);
    assert_eq!(b.expect(RDS).names(), Vec::<&str>::new(), "answered, but not emptied");
}

#[test]
fn a_returning_client_whose_cluster_lost_its_assignment_is_told_that_it_is_empty() {
    let mut b = Bench::delta();
    b.change(&[(CDS, "a", "a1", &[(EDS, "e")])], &[]);
    b.returns(CDS, &[], &[("a", "a1")]);
    b.returns(EDS, &["e"], &[("e", "gone from the view")]);
    b.expect(CDS);
    assert_eq!(b.expect(EDS).bodies(), ["\n\u{1}e"]);
}
