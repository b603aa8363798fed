//! `meltemi wait`: returns when every proxy that needs an object has it, or names those that do not.
//!
//! The control plane waits; it is asked anew each second, so that progress can be told.

mod told;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::CommandFactory;
use clap::error::ErrorKind;
use meltemi_model::Event;
use meltemi_names::{Kind, ObjectKey};
use meltemi_serve::client;
use meltemi_serve::propagation::{Ask, InForce, Scope, Want, content_of, error_of, parse_kind, path};
use tokio::time::Instant;

use crate::args::{Arguments, WaitArgs, WaitFor, WaitScope};
use crate::process;
use told::Progress;

/// For how long the control plane is asked to wait at a time.
const TURN: Duration = Duration::from_secs(1);

/// How long an answer may take beyond what it waits: the control plane may be asking replicas that do not answer.
const GRACE: Duration = Duration::from_secs(10);

/// Between two questions if the answer came at once.
const PAUSE: Duration = Duration::from_millis(250);

/// An object as it is named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KindName {
    kind: Kind,
    name: String,
}

impl KindName {
    /// Reads `KIND/NAME`; the kind may have its group, as kubectl writes it.
    ///
    /// # Errors
    /// With what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no KIND/NAME, as in virtualservice/reviews");
        let (kind, name) = text.split_once('/').ok_or_else(wrong)?;
        if name.is_empty() || name.contains('/') {
            return Err(wrong());
        }
        let kind = kind.split_once('.').map_or(kind, |(kind, _)| kind);
        Ok(Self { kind: parse_kind(kind)?, name: name.to_owned() })
    }
}

pub(crate) fn run(args: &WaitArgs) -> anyhow::Result<ExitCode> {
    if args.r#for == WaitFor::Deleted && args.generation.is_some() {
        let error = "--generation is for --for in-force: what is deleted has no generation";
        Arguments::command().error(ErrorKind::ArgumentConflict, error).exit();
    }
    let asks = asks(args)?;
    let runtime = process::one_thread()?;
    let answers = runtime.block_on(all(args, &asks))?;
    told::end(&answers, args.output)?;
    Ok(ExitCode::from(u8::from(answers.iter().any(|answer| !answer.met))))
}

/// One question for each object.
fn asks(args: &WaitArgs) -> anyhow::Result<Vec<Ask>> {
    let scope = match args.scope {
        WaitScope::Mesh => Scope::Mesh,
        WaitScope::Replica => Scope::Replica,
    };
    let want = match (args.r#for, args.generation) {
        (WaitFor::Deleted, _) => Want::Deleted,
        (WaitFor::InForce, Some(generation)) => Want::Generation(generation),
        (WaitFor::InForce, None) => Want::Latest,
    };
    let ask = |object, want| Ask { object, want, timeout: None, scope };
    let mut asks: Vec<Ask> = args
        .objects
        .iter()
        .map(|object| {
            let key = ObjectKey::new(object.kind, args.namespace.as_str(), object.name.as_str());
            ask(key, want.clone())
        })
        .collect();
    if args.file.is_empty() {
        return Ok(asks);
    }
    for event in meltemi_sources::file::load(&args.file, &args.namespace, None)?.events {
        match (event, args.r#for) {
            (Event::Upsert(object), WaitFor::Deleted) => {
                asks.push(ask(object.meta.key.clone(), Want::Deleted));
            }
            (Event::Upsert(object), WaitFor::InForce) => {
                asks.push(ask(object.meta.key.clone(), Want::Content(content_of(&object))));
            }
            (Event::Reject { key, reason }, _) => bail!("{key} cannot be used: {reason}"),
            (Event::Delete(_) | Event::Defaults(_), _) => {}
        }
    }
    if asks.is_empty() {
        bail!("there is no object of a kind that Meltemi reads in what --file names");
    }
    Ok(asks)
}

/// Waits for one after the other; they come into force all at the same time, so that the last one ends it.
async fn all(args: &WaitArgs, asks: &[Ask]) -> anyhow::Result<Vec<InForce>> {
    let deadline = Instant::now() + args.timeout;
    let mut progress = Progress::new();
    let mut answers = Vec::new();
    for ask in asks {
        answers.push(one(args, ask, deadline, &mut progress).await?);
    }
    progress.end();
    Ok(answers)
}

async fn one(
    args: &WaitArgs,
    ask: &Ask,
    deadline: Instant,
    progress: &mut Progress,
) -> anyhow::Result<InForce> {
    loop {
        let started = Instant::now();
        let left = deadline.saturating_duration_since(started).min(TURN);
        let answer = answer(args, &Ask { timeout: (!left.is_zero()).then_some(left), ..ask.clone() }).await?;
        let is_late = Instant::now() >= deadline;
        match answer {
            Some(answer) if answer.met || is_late => return Ok(answer),
            Some(answer) => progress.tell(&answer),
            None if is_late => bail!("the control plane has too many who wait, and the time is up"),
            None => {}
        }
        if started.elapsed() < PAUSE {
            tokio::time::sleep_until(deadline.min(started + PAUSE)).await;
        }
    }
}

/// An answer; none if the control plane is too busy for one.
async fn answer(args: &WaitArgs, ask: &Ask) -> anyhow::Result<Option<InForce>> {
    let limit = ask.timeout.unwrap_or_default() + GRACE;
    let (status, body) =
        client::get(&args.server.to_string(), &path(ask), limit).await.with_context(|| {
            format!("cannot ask {}; is `meltemi serve` running with that --monitoring-address?", args.server)
        })?;
    match status.as_u16() {
        200 => Ok(Some(serde_json::from_slice(&body).context("the answer is not understood")?)),
        429 => Ok(None),
        404 => bail!(
            "{} is a control plane that does not know what is in force; is it an older one?",
            args.server
        ),
        _ => bail!("{} answered {status}: {}", args.server, error_of(&body)),
    }
}

#[cfg(test)]
mod tests {
    use super::KindName;
    use meltemi_names::Kind;

    #[test]
    fn an_object_is_named_as_for_kubectl() {
        for text in ["virtualservice/reviews", "vs/reviews", "virtualservices.networking.istio.io/reviews"] {
            let read = KindName { kind: Kind::VirtualService, name: "reviews".to_owned() };
            assert_eq!(KindName::parse(text), Ok(read), "{text}");
        }
        for text in ["reviews", "vs/", "vs/shop/reviews", "thing/reviews", "/reviews"] {
            assert!(KindName::parse(text).is_err(), "{text}");
        }
    }
}
