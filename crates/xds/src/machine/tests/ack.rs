//! What is unanswered, and for how long that holds the rest.

use std::time::Duration;

use super::bench::*;

#[test]
fn a_type_has_one_unanswered_response_and_the_next_one_carries_all_since() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    let first = b.expect(CDS);
    b.put(&[(CDS, "b", "b1")]);
    b.put(&[(CDS, "c", "c1")]);
    b.silent();
    b.ack(&first);
    assert_eq!(b.expect(CDS).names(), ["b", "c"]);
}

#[test]
fn assignments_go_without_waiting_for_an_answer() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1")]);
    b.subscribe(EDS, &["e"]);
    b.expect(EDS);
    for n in 2..5 {
        b.put(&[(EDS, "e", &format!("e{n}"))]);
        assert_eq!(b.expect(EDS).bodies(), [format!("e{n}")]);
    }
}

#[test]
fn unanswered_assignments_have_a_bound_and_then_merge() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1")]);
    b.subscribe(EDS, &["e"]);
    let first = b.expect(EDS);
    let bound = crate::Limits::default().endpoint_flights;
    for n in 1..bound {
        b.put(&[(EDS, "e", &format!("later {n}"))]);
        b.expect(EDS);
    }
    b.put(&[(EDS, "e", "one more")]);
    b.silent();
    b.put(&[(EDS, "e", "the last")]);
    b.silent();
    b.ack(&first);
    assert_eq!(b.expect(EDS).bodies(), ["the last"]);
}

#[test]
fn an_answer_also_answers_what_was_sent_before_it() {
    let mut b = Bench::delta();
    b.put(&[(EDS, "e", "e1")]);
    b.subscribe(EDS, &["e"]);
    b.expect(EDS);
    b.put(&[(EDS, "e", "e2")]);
    let second = b.expect(EDS);
    b.ack(&second);
    b.silent();
    assert_eq!(b.machine.watermark().0, 2);
}

#[test]
fn silence_holds_a_type_for_the_limit_only() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    let first = b.expect(CDS);
    b.put(&[(CDS, "a", "a2")]);
    b.pass(Duration::from_millis(4_999));
    b.silent();
    b.pass(Duration::from_millis(1));
    assert_eq!(b.expect(CDS).bodies(), ["a2"]);
    assert_eq!(b.machine.take_tally().get(CDS).waits_ended, 1);
    // The late answer is still an answer.
    b.ack(&first);
    assert_eq!(b.machine.take_tally().get(CDS).acks, 1);
}

#[test]
fn the_machine_says_when_it_must_be_asked_again() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    b.expect(CDS);
    let crate::Next::Idle { until } = b.next().expect("open") else { panic!("nothing to send") };
    assert_eq!(until, None, "nobody waits for that answer");
    b.put(&[(CDS, "a", "a2")]);
    let crate::Next::Idle { until } = b.next().expect("open") else { panic!("nothing to send") };
    assert_eq!(until, Some(b.now + Duration::from_secs(5)));
}

#[test]
fn a_stale_nonce_is_ignored_and_counted() {
    let mut b = Bench::delta();
    b.put(&[(CDS, "a", "a1")]);
    b.subscribe(CDS, &[]);
    let mut said = b.expect(CDS);
    b.put(&[(CDS, "a", "a2")]);
    said.nonce = "be-999".into();
    b.ack(&said);
    said.nonce = "not even ours".into();
    b.nack(&said);
    b.silent();
    assert_eq!(b.machine.take_tally().get(CDS).stale, 2);
    assert_eq!(b.machine.take_refusals(), []);
}

#[test]
fn a_name_that_changes_while_its_last_version_is_unanswered_is_sent_after_the_answer() {
    let mut b = Bench::delta();
    b.put(&[(LDS, "l", "l1")]);
    b.subscribe(LDS, &[]);
    let said = b.expect(LDS);
    b.put(&[(LDS, "l", "l2")]);
    b.ack(&said);
    let said = b.expect(LDS);
    assert_eq!(said.bodies(), ["l2"]);
    b.ack(&said);
    b.silent();
}
