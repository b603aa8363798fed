//! Lives at their bounds, and what is random.

use std::collections::BTreeSet;

use tempfile::TempDir;
use x509_parser::prelude::FromDer;

use super::*;
use crate::bundle;
use crate::tests::{KEYS, authority, hours, now, request, reviews};
use crate::{Authority, Material};

fn csr() -> Csr {
    Csr::from_pem(&request(TempDir::new().unwrap().path(), KEYS[0].1)).unwrap()
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn who_asks_for_no_life_gets_a_day_and_ninety_days_is_the_most() {
    let lives = Lifetimes::default();
    assert_eq!(lives.of(0), Ok(seconds(86_400)));
    assert_eq!(lives.of(-1), Ok(seconds(86_400)));
    assert_eq!(lives.of(i64::MIN), Ok(seconds(86_400)));
    assert_eq!(lives.of(1), Ok(seconds(1)));
    assert_eq!(lives.of(7_776_000), Ok(seconds(7_776_000)));
    assert!(lives.of(7_776_001).is_err());
    assert!(lives.of(i64::MAX).is_err());
}

#[test]
fn a_certificate_begins_two_minutes_ago_and_ends_when_it_was_asked_to() {
    let now = now();
    let issued = issue(&authority(), &csr(), &reviews(), hours(1), now).unwrap();
    let (from, until) = bundle::with(&issued.certificate, |read| Ok(bundle::validity(read))).unwrap();
    assert_eq!((from.unix(), until.unix()), (now.unix() - 120, now.unix() + 3600));
    assert_eq!(issued.not_after, until);
}

#[test]
fn a_certificate_never_outlives_what_signed_it() {
    let now = now();
    let root = Material::generate("cluster.local", hours(2), now).unwrap();
    let authority = Authority::load(&root, now).unwrap();
    let issued = issue(&authority, &csr(), &reviews(), hours(3), now).unwrap();
    assert_eq!(issued.not_after, now.after(hours(2)));
    assert_eq!(
        issue(&authority, &csr(), &reviews(), hours(1), now.after(hours(2))).map(|issued| issued.not_after),
        Err(IssueError::SignerExpired(now.after(hours(2))))
    );
}

#[test]
fn serial_numbers_are_random_positive_and_of_at_most_twenty_bytes() {
    let (authority, csr) = (authority(), csr());
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        let issued = issue(&authority, &csr, &reviews(), hours(1), now()).unwrap();
        let (_, read) = x509_parser::certificate::X509Certificate::from_der(&issued.certificate).unwrap();
        assert!(read.raw_serial().len() <= 17 && read.raw_serial()[0] < 0x80, "{:x?}", read.raw_serial());
        assert!(seen.insert(issued.serial));
    }
}

#[test]
fn a_clock_beyond_the_year_9999_is_an_error() {
    let authority = authority();
    assert!(issue(&authority, &csr(), &reviews(), hours(1), Time::from_unix(u64::MAX)).is_err());
    assert!(Material::generate("cluster.local", hours(1), Time::from_unix(u64::MAX)).is_err());
}
