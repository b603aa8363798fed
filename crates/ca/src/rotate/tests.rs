//! A change of signers, step by step, with crashes, losers of a race, and replicas that lag.

use std::collections::BTreeSet;

use super::*;

const HOUR: Duration = Duration::from_secs(3600);
const START: Time = Time::from_unix(1_800_000_000);

fn id(name: &str) -> SignerId {
    SignerId::of(name.as_bytes())
}

fn world(reports: &[(&str, Option<Report>)]) -> World {
    reports.iter().map(|(name, report)| ((*name).to_owned(), *report)).collect()
}

fn knows(state: &Rotation, behind: Option<u64>) -> Option<Report> {
    Some(Report { epoch: state.epoch(), behind })
}

fn kept(step: Step) -> Rotation {
    match step {
        Step::Keep(next) => next,
        Step::Wait(waiting) => panic!("waits: {waiting:?}"),
    }
}

/// As a replica that starts after a crash finds it.
fn crashed(state: &Rotation) -> Rotation {
    serde_json::from_str(&serde_json::to_string(state).unwrap()).unwrap()
}

/// The old one has signed until `START` + 24 h (and what is reserved ahead), and a change has begun.
fn begun() -> Rotation {
    let steady = Rotation::steady(id("old"));
    let signed = steady.reserve(&id("old"), START.after(24 * HOUR), AHEAD).unwrap().unwrap();
    signed.begin(id("new")).unwrap()
}

#[test]
fn the_whole_way_with_a_crash_after_each_step() {
    let state = crashed(&begun());
    assert_eq!((state.signer(), state.trusted()), (&id("old"), vec![&id("old"), &id("new")]));

    let lagging = Some(Report { epoch: state.epoch() - 1, behind: Some(0) });
    for late in [lagging, None] {
        let step = state.advance(START, &world(&[("a", knows(&state, Some(0))), ("b", late)]));
        assert_eq!(step, Step::Wait(Waiting::Replicas(vec!["b".to_owned()])));
    }
    let state = crashed(&kept(
        state.advance(START, &world(&[("a", knows(&state, None)), ("b", knows(&state, None))])),
    ));
    let until = START.after(25 * HOUR);
    assert_eq!(state.phase(), &Phase::Renewing { old: id("old"), new: id("new"), until });
    assert_eq!(state.signer(), &id("old"));

    let both = |behind| world(&[("a", knows(&state, Some(0))), ("b", knows(&state, behind))]);
    let waits = |behind| Step::Wait(Waiting::Workloads { behind, until });
    assert_eq!(state.advance(START, &both(Some(3))), waits(Some(3)));
    assert_eq!(state.advance(START, &both(None)), waits(None), "who does not know does not consent");
    assert_eq!(state.advance(until.after(CLOCK_SKEW), &both(None)), waits(None));
    let by_time = kept(state.advance(until.after(CLOCK_SKEW + Duration::from_secs(1)), &both(None)));
    let state = crashed(&kept(state.advance(START, &both(Some(0)))));
    assert_eq!(state, by_time);
    assert_eq!((state.signer(), state.trusted()), (&id("new"), vec![&id("new"), &id("old")]));

    let nobody = World::new();
    assert_eq!(state.advance(until.after(CLOCK_SKEW), &nobody), Step::Wait(Waiting::Expiry(until)));
    let state = crashed(&kept(state.advance(until.after(CLOCK_SKEW + Duration::from_secs(1)), &nobody)));
    assert_eq!(state.phase(), &Phase::Steady { signer: id("new") });
    assert_eq!((state.trusted(), state.signed_until(&id("old"))), (vec![&id("new")], None));
    assert_eq!(state.advance(START, &nobody), Step::Wait(Waiting::Nothing));
}

#[test]
fn without_a_replica_nobody_has_consented() {
    let state = begun();
    assert_eq!(state.advance(START, &World::new()), Step::Wait(Waiting::Replicas(Vec::new())));
    let state = kept(state.advance(START, &world(&[("a", knows(&state, None))])));
    assert_eq!(
        state.advance(START.after(99 * HOUR), &World::new()),
        Step::Wait(Waiting::Replicas(Vec::new()))
    );
}

#[test]
fn one_change_at_a_time_and_to_another_signer() {
    let steady = Rotation::steady(id("old"));
    assert_eq!(steady.begin(id("old")), Err(RotateError::Same(id("old"))));
    assert_eq!(begun().begin(id("third")), Err(RotateError::UnderWay { old: id("old"), new: id("new") }));
}

#[test]
fn an_end_is_kept_before_it_is_signed_and_serves_for_an_hour() {
    let state = Rotation::steady(id("old"));
    let end = START.after(24 * HOUR);
    let next = state.reserve(&id("old"), end, AHEAD).unwrap().unwrap();
    assert_eq!(next.signed_until(&id("old")), Some(end.after(HOUR)));
    assert_eq!(next.reserve(&id("old"), end.after(HOUR), AHEAD), Ok(None));
    assert!(next.reserve(&id("old"), end.after(HOUR + Duration::from_secs(1)), AHEAD).unwrap().is_some());
    assert_eq!(next.reserve(&id("old"), START, AHEAD), Ok(None), "an earlier end changes nothing");
    assert_eq!(next.epoch(), state.epoch(), "replicas need not hear of it");
    assert_ne!(next.revision(), state.revision(), "but two that reserve at once must not both win");
    assert_eq!(
        next.reserve(&id("new"), START, AHEAD),
        Err(RotateError::DoesNotSign { asked: id("new"), signs: id("old") })
    );
}

#[test]
fn who_insists_is_told_who_would_break() {
    let state = begun();
    let (next, would) = state.force(START, &world(&[("a", None)]));
    assert_eq!(would, Waiting::Replicas(vec!["a".to_owned()]));
    let (next, would) = next.force(START, &world(&[("a", knows(&next, Some(7)))]));
    assert_eq!(would, Waiting::Workloads { behind: Some(7), until: START.after(25 * HOUR) });
    let (next, would) = next.force(START, &World::new());
    assert_eq!(would, Waiting::Expiry(START.after(25 * HOUR)));
    assert_eq!(
        next,
        Rotation { revision: next.revision(), epoch: next.epoch(), ..Rotation::steady(id("new")) }
    );
}

/// A certificate that somebody holds: who signed it, when it ends, and which roots came with it.
struct Held {
    by: SignerId,
    until: Time,
    trusts: BTreeSet<SignerId>,
}

/// A replica: the state that it answers by.
struct Replica {
    name: &'static str,
    state: Rotation,
}

/// Two replicas, workloads that renew at one or the other at half life, and the state that they share.
struct Mesh {
    kept: Rotation,
    replicas: Vec<Replica>,
    held: Vec<Held>,
    now: Time,
}

impl Mesh {
    /// Compare-and-set; whoever loses reads again.
    fn keep(&mut self, who: usize, next: Rotation) -> bool {
        let won = self.replicas[who].state.revision() == self.kept.revision();
        if won {
            self.kept = crashed(&next);
        }
        self.replicas[who].state = self.kept.clone();
        won
    }

    /// A workload asks the replica for a day; it may need more than one try.
    fn issue(&mut self, who: usize) -> Option<Held> {
        let until = self.now.after(24 * HOUR);
        for _ in 0..3 {
            let state = self.replicas[who].state.clone();
            let signer = state.signer().clone();
            match state.reserve(&signer, until, AHEAD).unwrap() {
                Some(next) => {
                    self.keep(who, next);
                }
                None => {
                    let trusts = state.trusted().into_iter().cloned().collect();
                    return Some(Held { by: signer, until, trusts });
                }
            }
        }
        None
    }

    fn reports(&self) -> World {
        let report = |replica: &Replica| Some(Report { epoch: replica.state.epoch(), behind: None });
        self.replicas.iter().map(|replica| (replica.name.to_owned(), report(replica))).collect()
    }

    fn check(&self) {
        for held in self.held.iter().filter(|held| self.now < held.until) {
            for peer in self.held.iter().filter(|peer| self.now < peer.until) {
                assert!(
                    peer.trusts.contains(&held.by),
                    "{}: {:?} is not trusted by {:?}",
                    self.now,
                    held.by,
                    peer.trusts
                );
            }
        }
    }
}

#[test]
fn two_replicas_with_crashes_and_lag_never_part_two_workloads() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut draw = |below: u32| random.u32(..below);
        let first = Rotation::steady(id("old"));
        let replica = |name| Replica { name, state: first.clone() };
        let mut mesh = Mesh {
            kept: first.clone(),
            replicas: vec![replica("a"), replica("b")],
            held: Vec::new(),
            now: START,
        };
        // Of all ages: what is wrong shows only between one that asks now and one that asked long ago.
        for _ in 0..8 {
            let held = mesh.issue(draw(2) as usize).expect("is answered");
            mesh.held.push(held);
            mesh.now = mesh.now.after(HOUR);
        }
        let mut hour = 0;
        while *mesh.kept.phase() != (Phase::Steady { signer: id("new") }) {
            assert!(hour < 200, "seed {seed}: the change never ends: {:?}", mesh.kept);
            let who = draw(2) as usize;
            match draw(4) {
                // A crash, or news: the replica reads what is kept.
                0 | 1 => mesh.replicas[who].state = crashed(&mesh.kept),
                // It acts by what it believes, which may be old.
                _ => {
                    let state = mesh.replicas[who].state.clone();
                    let next = match state.phase().clone() {
                        Phase::Steady { signer } if signer == id("old") => {
                            Some(state.begin(id("new")).unwrap())
                        }
                        _ => match state.advance(mesh.now, &mesh.reports()) {
                            Step::Keep(next) => Some(next),
                            Step::Wait(_) => None,
                        },
                    };
                    if let Some(next) = next {
                        mesh.keep(who, next);
                    }
                }
            }
            // Whoever is past half its life asks again, and now and then one starts anew, at either replica.
            let anew = draw(24) as usize;
            for index in 0..mesh.held.len() {
                if (index == anew || mesh.held[index].until < mesh.now.after(12 * HOUR))
                    && let Some(held) = mesh.issue(draw(2) as usize)
                {
                    mesh.held[index] = held;
                }
            }
            mesh.check();
            hour += 1;
            mesh.now = mesh.now.after(HOUR);
        }
        assert!(hour >= 24, "seed {seed}: both waits take the life of a certificate");
    }
}
