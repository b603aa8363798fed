//! What people can ask of a stream.

use meltemi_catalog::Generation;

use super::bench::*;

#[test]
fn the_watermark_is_the_last_generation_that_is_all_acknowledged() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (LDS, "l", "l1")]);
    b.subscribe(CDS, &[]);
    let clusters = b.expect(CDS);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(0));
    b.subscribe(LDS, &[]);
    b.ack(&clusters);
    let listeners = b.expect(LDS);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(0), "listeners are not accepted yet");
    b.ack(&listeners);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(1));
}

#[test]
fn the_watermark_advances_unsent_where_nothing_changed() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.put(&[(EDS, "nobody asked", "x")]);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(2));
}

#[test]
fn the_watermark_stays_below_a_refused_change() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.put(&[(CDS, "a", "bad")]);
    let said = b.expect(CDS);
    b.nack(&said);
    b.put(&[(CDS, "b", "b1")]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(1));
    b.put(&[(CDS, "a", "good")]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(4));
}

#[test]
fn the_watermark_waits_for_an_answer_however_long() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.put(&[(CDS, "a", "a2")]);
    let said = b.expect(CDS);
    b.pass(std::time::Duration::from_secs(100));
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(1));
    b.ack(&said);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(2));
}

#[test]
fn a_status_tells_each_type_as_it_stands() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (EDS, "e", "e1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.subscribe(EDS, &["e", "f"]);
    let said = b.expect(EDS);
    let status = b.machine.status(&b.view());
    assert_eq!(status.node_id, "sidecar~10.0.0.1~a.b~b.svc.cluster.local");
    assert_eq!(status.served, Generation(1));
    assert_eq!(status.types.len(), 2);
    assert!(status.types[0].in_sync() && status.types[0].wildcard);
    assert_eq!(status.types[0].subscribed, 1);
    assert_eq!(status.types[0].acked, Some(Generation(1)));
    assert_eq!((status.types[1].subscribed, status.types[1].unanswered), (2, 1));
    assert_eq!(status.types[1].sent_nonce, Some(said.nonce));
    assert_eq!(status.types[1].acked_nonce, None);
}

#[test]
fn a_tally_counts_what_went_out_once() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1"), (CDS, "b", "b1")]);
    b.subscribe(CDS, &[]);
    b.settle();
    b.change(&[], &[(CDS, "a")]);
    b.settle();
    let counts = b.machine.take_tally().get(CDS);
    assert_eq!((counts.requests, counts.responses, counts.acks, counts.nacks), (3, 2, 2, 0));
    assert_eq!((counts.resources, counts.removed), (2, 1));
    assert!(counts.bytes > 100);
    assert_eq!(b.machine.take_tally().get(CDS).responses, 0);
}

#[test]
fn a_new_listener_is_in_force_when_its_routes_and_virtual_hosts_are() {
    let mut b = Bench::delta();
    b.change(&[(LDS, "l", "l1", &[(RDS, "80")]), (RDS, "80", "80", &[]), (VHDS, "80/a", "a1", &[])], &[]);
    b.subscribe(LDS, &[]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(0), "it will ask for its routes");
    b.subscribe(RDS, &["80"]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(0), "it will ask for virtual hosts");
    b.subscribe(VHDS, &[]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(1));

    b.change(&[(LDS, "m", "m1", &[(RDS, "90")]), (RDS, "90", "90", &[]), (VHDS, "90/a", "a1", &[])], &[]);
    b.settle();
    assert_eq!(b.machine.watermark(), Generation(1));
    b.subscribe(RDS, &["90"]);
    let routes = b.expect(RDS);
    b.ack(&routes);
    let hosts = b.expect(VHDS);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(1));
    b.ack(&hosts);
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(2));
}

#[test]
fn a_client_that_never_asks_for_the_routes_of_a_listener_does_not_hold_the_watermark() {
    let mut b = Bench::delta();
    b.change(&[(LDS, "l", "l1", &[(RDS, "80")])], &[]);
    b.subscribe(LDS, &[]);
    b.settle();
    let crate::Next::Idle { until: Some(until) } = b.next().expect("open") else {
        panic!("a time to look again")
    };
    b.now = until;
    b.silent();
    assert_eq!(b.machine.watermark(), Generation(1));
}
