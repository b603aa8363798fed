//! What is asked, what is taken, and when.

use std::time::{Duration, SystemTime};

use meltemi_ca::{Authority, Csr, Material, ROOT_LIFE};
use meltemi_names::SpiffeId;
use proptest::prelude::*;

use super::renew::{FIRST_DELAY, Grace, LONGEST_DELAY, LOOK_AGAIN, Renewal, Step};
use super::*;

fn reviews() -> SpiffeId {
    SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/reviews").unwrap()
}

fn now() -> Time {
    Time::from(SystemTime::now())
}

fn authority() -> Authority {
    let now = meltemi_ca::Time::from(SystemTime::now());
    Authority::load(&Material::generate("cluster.local", ROOT_LIFE, now).unwrap(), now).unwrap()
}

/// What a service answers to that request, for that name.
fn answer(authority: &Authority, csr: &str, id: &SpiffeId) -> Vec<String> {
    let csr = Csr::from_pem(csr).unwrap();
    let now = meltemi_ca::Time::from(SystemTime::now());
    let issued = meltemi_ca::issue(authority, &csr, id, Duration::from_secs(3600), now).unwrap();
    authority.answer(&issued.certificate)
}

#[test]
fn a_right_answer_is_taken_with_its_end_its_chain_and_its_roots() {
    let authority = authority();
    let Request { key, csr } = Request::generate(&reviews()).unwrap();
    let elements = answer(&authority, &csr, &reviews());
    let credential = accept(&elements, key, &reviews(), now()).unwrap();
    assert_eq!(credential.chain, elements[0], "without the roots");
    assert_eq!(&*credential.roots, elements[1]);
    let life = now().until(credential.not_after);
    assert!(life <= Duration::from_secs(3600) && life > Duration::from_secs(3000), "{life:?}");
    assert!(credential.key().reveal().starts_with("-----BEGIN PRIVATE KEY-----"));
    assert!(!format!("{credential:?}").contains("PRIVATE KEY"));
}

#[test]
fn a_request_asks_for_its_own_name() {
    let Request { csr, .. } = Request::generate(&reviews()).unwrap();
    let der = pem::parse(csr).unwrap();
    let text = String::from_utf8_lossy(der.contents()).into_owned();
    assert!(text.contains("spiffe://cluster.local/ns/shop/sa/reviews"), "{text}");
}

#[test]
fn a_wrong_answer_is_refused_and_says_why() {
    let authority = authority();
    let take = |change: &dyn Fn(&mut Vec<String>)| {
        let Request { key, csr } = Request::generate(&reviews()).unwrap();
        let mut elements = answer(&authority, &csr, &reviews());
        change(&mut elements);
        accept(&elements, key, &reviews(), now()).map(|credential| credential.serial)
    };
    take(&|_| {}).unwrap();
    assert_eq!(take(&Vec::clear), Err(Wrong::Elements(0)));
    assert_eq!(take(&|elements| elements.truncate(1)), Err(Wrong::Elements(1)));
    assert_eq!(take(&|elements| elements[0] = "hello".to_owned()), Err(Wrong::Pem(1)));
    assert_eq!(take(&|elements| elements[1] = String::new()), Err(Wrong::Pem(2)));
    assert_eq!(take(&|elements| elements[1] = elements[1].repeat(64)), Err(Wrong::TooMany));
    let other_root = self::authority().bundle().pem();
    assert!(matches!(take(&|elements| elements[1].clone_from(&other_root)), Err(Wrong::Untrusted(_))));
    let other_key = Request::generate(&reviews()).unwrap();
    let of_other_key = answer(&authority, &other_key.csr, &reviews());
    assert_eq!(take(&|elements| elements.clone_from(&of_other_key)), Err(Wrong::Key));
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let authority = authority();
    let Request { key, csr } = Request::generate(&reviews()).unwrap();
    let vault = SpiffeId::parse("spiffe://cluster.local/ns/bank/sa/vault").unwrap();
    let error = accept(&answer(&authority, &csr, &vault), key, &reviews(), now()).unwrap_err();
    assert_eq!(error, Wrong::Name { found: vault.to_string(), wanted: reviews() });
}

#[test]
fn an_expired_certificate_is_refused() {
    let authority = authority();
    let Request { key, csr } = Request::generate(&reviews()).unwrap();
    let elements = answer(&authority, &csr, &reviews());
    let later = now().after(Duration::from_secs(2 * 3600));
    assert!(matches!(accept(&elements, key, &reviews(), later), Err(Wrong::Untrusted(_))));
}

fn at(seconds: u64) -> Time {
    Time::since_1970(Duration::from_secs(1_000_000 + seconds))
}

#[test]
fn half_of_the_life_is_when_it_is_renewed_give_or_take_a_hundredth() {
    let grace = Grace::default();
    let day = 24 * 3600;
    let at_chance = |chance| at(0).until(grace.renew_at(at(0), at(day), chance)).as_secs();
    assert_eq!(at_chance(0.5), day / 2);
    assert_eq!((at_chance(1.0), at_chance(0.0)), (day * 49 / 100, day * 51 / 100));
}

#[test]
fn it_asks_at_once_and_then_when_the_time_has_come() {
    let mut renewal = Renewal::new(Grace::default(), 1);
    assert_eq!(renewal.step(at(0)), Step::Ask { present: false });
    renewal.came(at(0), at(100), 0.5);
    assert_eq!(renewal.step(at(0)), Step::Wait(Duration::from_secs(50)));
    assert_eq!(renewal.step(at(50)), Step::Ask { present: true });
    // Nobody slept for years because of a long life: the clock may be set meanwhile.
    renewal.came(at(50), at(1_000_000_000), 0.5);
    assert_eq!(renewal.step(at(50)), Step::Wait(LOOK_AGAIN));
}

#[test]
fn an_expired_certificate_is_not_presented_and_a_refused_one_not_every_time() {
    let mut renewal = Renewal::new(Grace::default(), 1);
    renewal.came(at(0), at(100), 0.5);
    renewal.failed(at(50));
    assert_eq!(renewal.step(at(60)), Step::Ask { present: false }, "the token alone may do");
    renewal.failed(at(60));
    assert_eq!(renewal.step(at(70)), Step::Ask { present: true });
    assert_eq!(renewal.step(at(100)), Step::Ask { present: false });
}

#[test]
fn a_clock_that_is_set_back_does_not_make_it_wait_for_years() {
    let mut renewal = Renewal::new(Grace::default(), 1);
    renewal.failed(at(1_000_000));
    assert_eq!(renewal.step(at(0)), Step::Ask { present: false });
}

proptest! {
    /// Whatever happens in whatever order, it never stops asking, and waits within its bounds.
    #[test]
    fn it_never_gives_up(seed in any::<u64>(), events in prop::collection::vec((any::<bool>(), 0u64..100_000, 0.0..1.0f64), 1..200)) {
        let mut renewal = Renewal::new(Grace::default(), seed);
        let mut time = at(0);
        for (came, life, chance) in events {
            // Waits until it asks.
            for _ in 0..2000 {
                match renewal.step(time) {
                    Step::Ask { .. } => break,
                    Step::Wait(wait) => {
                        prop_assert!(wait > Duration::ZERO && wait <= LOOK_AGAIN);
                        time = time.after(wait);
                    }
                }
            }
            let asks = matches!(renewal.step(time), Step::Ask { .. });
            prop_assert!(asks);
            if came {
                renewal.came(time, time.after(Duration::from_secs(life)), chance);
                // Not again in the same moment.
                let waits = matches!(renewal.step(time), Step::Wait(_));
                prop_assert!(waits);
            } else {
                let delay = renewal.failed(time);
                prop_assert!(delay >= FIRST_DELAY && delay <= 2 * LONGEST_DELAY, "{delay:?}");
            }
        }
    }

    #[test]
    fn any_answer_is_taken_or_refused(elements in prop::collection::vec(".*", 0..4)) {
        let Request { key, .. } = Request::generate(&reviews()).unwrap();
        prop_assert!(accept(&elements, key, &reviews(), at(0)).is_err());
    }
}
