//! Which custom kinds there are: what tells a kind that is missing from one that does not answer.

use std::collections::BTreeSet;

use tokio::sync::{mpsc, watch};

use super::watch::Heard;

/// The definitions of custom kinds that the API server has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) enum Definitions {
    /// Not listed yet.
    #[default]
    Unknown,
    /// They cannot be listed.
    Hidden,
    /// These, by name: `virtualservices.networking.istio.io`.
    Known(BTreeSet<String>),
}

/// Keeps them up to date until nobody tells, or nobody asks.
pub(super) async fn keep(mut heard: mpsc::Receiver<Heard<()>>, definitions: watch::Sender<Definitions>) {
    let mut known = BTreeSet::new();
    let mut is_listed = false;
    loop {
        let heard = tokio::select! {
            heard = heard.recv() => heard,
            () = definitions.closed() => None,
        };
        match heard {
            Some(Heard::Changes(_, changes)) => {
                for (name, now) in changes {
                    match now {
                        Some(()) => known.insert(name.name.to_string()),
                        None => known.remove(&*name.name),
                    };
                }
            }
            Some(Heard::Listed(_)) => is_listed = true,
            // What was known stays known.
            Some(Heard::Trouble(_, Some(_))) if !is_listed => {
                definitions.send_replace(Definitions::Hidden);
                continue;
            }
            Some(Heard::Trouble(..)) => continue,
            None => return,
        }
        if is_listed {
            definitions.send_if_modified(|present| {
                let next = Definitions::Known(known.clone());
                let differs = *present != next;
                *present = next;
                differs
            });
        }
    }
}
