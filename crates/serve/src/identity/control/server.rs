//! The socket in the state folder: its owner asks, one question a connection.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::entitlement::Rules;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use super::{Answer, Ask, LINE_BYTES, Preview, SOCKET, Wait, status};
use crate::identity::keeper::Keeper;
use crate::wire::Failure;

/// How many may ask at the same time; all are the same user.
const ASKING: usize = 16;

/// A question is one line, and at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// Listens in `folder`, which is locked by this process: a socket that is there is a leftover of another run.
pub(in crate::identity) fn start(
    folder: &Path,
    keeper: Arc<Keeper>,
    domains: watch::Receiver<Arc<Rules>>,
    mut stopped: watch::Receiver<bool>,
    tasks: &mut JoinSet<Result<(), Failure>>,
) -> Result<(), Failure> {
    let path = folder.join(SOCKET);
    let listener = bind(&path).map_err(|source| Failure::Control { path: path.clone(), source })?;
    tasks.spawn(async move {
        tokio::select! {
            () = serve(listener, keeper, domains) => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
        leave(path).await;
        Ok(())
    });
    Ok(())
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    // Until here the mask decides; nothing is accepted before.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

async fn leave(path: PathBuf) {
    // A leftover is removed by the next run anyhow.
    let _ = tokio::task::spawn_blocking(move || std::fs::remove_file(path)).await;
}

async fn serve(listener: UnixListener, keeper: Arc<Keeper>, domains: watch::Receiver<Arc<Rules>>) {
    let places = Arc::new(Semaphore::new(ASKING));
    let mut asking = JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (keeper, domains) = (Arc::clone(&keeper), domains.clone());
                asking.spawn(async move {
                    let _place = place;
                    if let Err(error) = answer(stream, &keeper, &domains).await {
                        tracing::debug!(target: "ca", %error, "the state folder's socket: whoever asked left");
                    }
                });
            }
            Err(error) => {
                tracing::warn!(target: "ca", %error, "the state folder's socket does not answer now");
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        while asking.try_join_next().is_some() {}
    }
}

async fn answer(
    stream: UnixStream,
    keeper: &Keeper,
    domains: &watch::Receiver<Arc<Rules>>,
) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut read = BufReader::new(read.take(LINE_BYTES));
    tokio::time::timeout(PATIENCE, read.read_line(&mut line)).await??;
    let ask: Ask = match serde_json::from_str(&line) {
        Ok(ask) => ask,
        Err(error) => return refuse(&mut write, error.to_string()).await,
    };
    let mut standing = keeper.standing();
    let done = match &ask {
        Ask::Rotate => keeper.begin().await,
        Ask::Force { revision } => keeper.force(*revision).await,
        Ask::Preview => match keeper.preview().await {
            Ok((revision, waiting)) => {
                let phase = standing.borrow().as_ref().map(|standing| standing.kept.rotation.phase().name());
                let phase = phase.unwrap_or_default().to_owned();
                let preview = Preview { revision, phase, waiting: Wait::of(&waiting) };
                return say(&mut write, &Answer::Preview(preview)).await;
            }
            Err(error) => Err(error),
        },
        Ask::Status | Ask::Follow => Ok(()),
    };
    if let Err(reason) = done {
        return refuse(&mut write, reason).await;
    }
    let mut said = None;
    loop {
        let now = {
            let standing = standing.borrow_and_update();
            let domains = domains.borrow();
            standing.as_ref().map(|now| status(&now.kept, &now.waiting, domains.trust_domain()))
        };
        let Some(now) = now else {
            return refuse(&mut write, "the authority is not ready: the log says why".to_owned()).await;
        };
        let over = now.phase == "steady" || !matches!(ask, Ask::Rotate | Ask::Follow);
        let now = Answer::Status(now);
        if said.as_ref() != Some(&now) {
            say(&mut write, &now).await?;
            said = Some(now);
        }
        if over {
            return Ok(());
        }
        // Whoever asked may leave meanwhile; the next word finds that out, and there is one at each step.
        tokio::select! {
            changed = standing.changed() => if changed.is_err() { return Ok(()) },
            gone = read.fill_buf() => if gone.map_or(true, <[u8]>::is_empty) { return Ok(()) },
        }
    }
}

async fn refuse(write: &mut (impl AsyncWriteExt + Unpin), reason: String) -> io::Result<()> {
    say(write, &Answer::Refused { reason }).await
}

async fn say(write: &mut (impl AsyncWriteExt + Unpin), answer: &Answer) -> io::Result<()> {
    let mut line = serde_json::to_vec(answer)?;
    line.push(b'\n');
    write.write_all(&line).await?;
    write.flush().await
}
