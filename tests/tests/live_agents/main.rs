//! Identity with real parts and without Kubernetes: `meltemi serve` with a state folder, pods with `meltemi agent` and its Envoy, TLS that is
//! judged by OpenSSL and webpki.
//!
//! Needs root. Without it, each test here is reported as ignored, says NOT RUN, and is not counted as passed. One test after the other, in
//! two worlds: `calm`, whose certificates live for a day, and `brief`, whose certificates live for seconds.
//! Start at [`world::World`]. A test leaves its world as it found it; after one that failed the next gets a new one.

mod brief;
mod foreign;
mod policy;
mod wire;
mod world;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use libtest_mimic::{Arguments, Trial};
use meltemi_testkit::netns::available;
use meltemi_tests::not_run;
use tokio::runtime::{Builder, Runtime};

use world::{Life, World};

/// After so long a test is given up.
const LIMIT: Duration = Duration::from_secs(300);

type Test = for<'a> fn(&'a mut World) -> std::pin::Pin<Box<dyn Future<Output = Result<()>> + 'a>>;

fn main() -> Result<()> {
    let missing = available().err().map(|missing| format!("{missing:#}"));
    let tests: [(&str, Life, Test); 10] = [
        ("sidecars_talk_by_mutual_tls_with_their_own_names", Life::Calm, |world| Box::pin(wire::seen(world))),
        ("a_servers_certificate_satisfies_openssl_and_webpki", Life::Calm, |world| {
            Box::pin(wire::judged(world))
        }),
        ("a_subset_is_asked_for_by_its_server_name", Life::Calm, |world| Box::pin(wire::server_name(world))),
        ("plaintext_is_taken_as_the_policy_says", Life::Calm, |world| Box::pin(policy::plaintext(world))),
        ("a_migration_to_strict_and_back_loses_no_request", Life::Calm, |world| {
            Box::pin(policy::migration(world))
        }),
        ("a_certificate_that_is_not_of_this_mesh_is_refused", Life::Calm, |world| {
            Box::pin(foreign::refused(world))
        }),
        ("a_revoked_certificate_is_refused", Life::Calm, |world| Box::pin(foreign::revoked(world))),
        ("certificates_of_seconds_are_renewed_under_load", Life::Brief, |world| {
            Box::pin(brief::renewed(world))
        }),
        ("half_a_life_without_a_control_plane_loses_no_request", Life::Brief, |world| {
            Box::pin(brief::outage(world))
        }),
        ("the_root_is_changed_under_load", Life::Brief, |world| Box::pin(brief::rotated(world))),
    ];
    let shared = Arc::new(Shared::new()?);
    let trials = tests.map(|(name, life, test)| {
        let shared = Arc::clone(&shared);
        Trial::test(name, move || shared.run(life, test).map_err(|error| format!("{error:#}").into()))
            .with_ignored_flag(missing.is_some())
    });
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    let conclusion = not_run::run(&arguments, trials.into(), missing.as_deref());
    shared.end();
    conclusion.exit();
}

/// The world that tests share, and the runtime in which its apps answer.
struct Shared {
    runtime: Runtime,
    world: Mutex<Option<World>>,
}

impl Shared {
    fn new() -> Result<Self> {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { runtime, world: Mutex::default() })
    }

    fn run(&self, life: Life, test: Test) -> Result<()> {
        let mut kept = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        let _entered = self.runtime.enter();
        let mut world = match kept.take().filter(|world| world.life() == life) {
            Some(world) => world,
            None => self.runtime.block_on(World::start(life))?,
        };
        let outcome = self.runtime.block_on(async { tokio::time::timeout(LIMIT, test(&mut world)).await });
        match outcome.map_err(anyhow::Error::from).and_then(|outcome| outcome) {
            Ok(()) => {
                *kept = Some(world);
                Ok(())
            }
            Err(error) => Err(error.context(world.logs())),
        }
    }

    fn end(&self) {
        let _entered = self.runtime.enter();
        drop(self.world.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
