//! Bounds, at the bound.

use super::*;

fn id(name: u32) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://cluster.local/ns/shop/sa/a{name}")).unwrap()
}

fn limits() -> Limits {
    Limits { burst: 3, interval: Duration::from_secs(1), remembered: 2, ..Limits::default() }
}

#[test]
fn so_many_at_once_then_one_for_each_interval() {
    let (mut rate, now) = (Rate::new(limits()), Instant::now());
    for _ in 0..3 {
        assert_eq!(rate.admit(&id(1), now), Ok(()));
    }
    assert_eq!(rate.admit(&id(1), now), Err(TooOften { after: Duration::from_secs(1) }));
    let almost = now + Duration::from_millis(999);
    assert_eq!(rate.admit(&id(1), almost), Err(TooOften { after: Duration::from_millis(1) }));
    assert_eq!(rate.admit(&id(1), now + Duration::from_secs(1)), Ok(()));
    assert!(rate.admit(&id(1), now + Duration::from_secs(1)).is_err());
    let later = now + Duration::from_secs(60);
    for _ in 0..3 {
        assert_eq!(rate.admit(&id(1), later), Ok(()));
    }
    assert!(rate.admit(&id(1), later).is_err());
}

#[test]
fn one_identity_s_storm_is_not_another_s() {
    let (mut rate, now) = (Rate::new(limits()), Instant::now());
    while rate.admit(&id(1), now).is_ok() {}
    assert_eq!(rate.admit(&id(2), now), Ok(()));
}

#[test]
fn no_more_identities_are_remembered_than_may_be_and_who_owes_least_is_forgotten() {
    let (mut rate, now) = (Rate::new(limits()), Instant::now());
    while rate.admit(&id(0), now).is_ok() {}
    for name in 1..100 {
        assert_eq!(rate.admit(&id(name), now), Ok(()));
        assert!(rate.remembered() <= 2);
        assert_eq!(rate.by_time.len(), rate.remembered());
    }
    assert!(rate.admit(&id(0), now).is_err(), "whoever storms is remembered");
}
