//! Objects of one name, followed for who writes them: Meltemi's own Secrets and ConfigMaps, which are no objects of the mesh.
//!
//! Knows: what a role may allow by name. Must not know: what is in them.   Start at [`Named`].
//! Invariant: of a Secret no more is taken here than that it is another one now.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::client::Cluster;
use super::follow::Name;
use super::kinds::{Need, Part, Watched};
use super::metrics::Metrics;
use super::slim::{Data, MetadataOnly};
use super::watch::{Followed, Heard, Target, follow, named};

/// How many tellings may wait to be taken.
const WAITING: usize = 16;

const SECRETS: Watched = Watched {
    kind: None,
    group: "",
    versions: &["v1"],
    plural: "secrets",
    part: Part::Metadata,
    need: Need::Helpful,
};

const CONFIG_MAPS: Watched = Watched { plural: "configmaps", part: Part::Data, ..SECRETS };

/// What became of the objects of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told<T> {
    /// The one of this namespace is this now.
    Is(String, T),
    /// The one of this namespace is gone.
    Gone(String),
    /// All that there are were told once.
    Whole,
    /// What stands in the way of hearing more, in words; none: nothing does any more.
    Trouble(Option<String>),
}

/// A ConfigMap, as far as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// `metadata.labels`.
    pub labels: BTreeMap<String, String>,
    /// `data`.
    pub data: BTreeMap<String, String>,
}

/// The objects of a name, followed until this is dropped.
#[derive(Debug)]
pub struct Named<T> {
    heard: mpsc::Receiver<Heard<T>>,
    ready: std::collections::VecDeque<Told<T>>,
    _follower: JoinSet<()>,
}

impl Named<String> {
    /// Follows a Secret: what is told is its `resourceVersion`.
    ///
    /// Must be called within a Tokio runtime that has its timers.
    pub fn secret(cluster: &Cluster, namespace: &str, name: &str, metrics: &Metrics) -> Self {
        let followed = Followed { watched: &SECRETS, namespace: Some(namespace.into()) };
        let read = |_: &'static Watched, _: &'static str, _: &Name, value: Value| {
            value["metadata"]["resourceVersion"].as_str().map(str::to_owned)
        };
        let target = Target { followed, fields: named(name), read, each_version: true };
        Self::start(|heard| {
            follow::<MetadataOnly, String>(target, cluster.client(), heard, None, metrics.clone())
        })
    }
}

impl Named<ConfigMap> {
    /// Follows the ConfigMaps of that name in every namespace.
    ///
    /// Must be called within a Tokio runtime that has its timers.
    pub fn config_maps(cluster: &Cluster, name: &str, metrics: &Metrics) -> Self {
        let read =
            |_: &'static Watched, _: &'static str, _: &Name, value: Value| Some(ConfigMap::read(&value));
        let target =
            Target { followed: (&CONFIG_MAPS).into(), fields: named(name), read, each_version: false };
        Self::start(|heard| follow::<Data, ConfigMap>(target, cluster.client(), heard, None, metrics.clone()))
    }
}

impl<T: Send + 'static> Named<T> {
    fn start<F: Future<Output = ()> + Send + 'static>(
        follower: impl FnOnce(mpsc::Sender<Heard<T>>) -> F,
    ) -> Self {
        let (sender, heard) = mpsc::channel(WAITING);
        let mut followers = JoinSet::new();
        followers.spawn(follower(sender));
        Self { heard, ready: std::collections::VecDeque::new(), _follower: followers }
    }

    /// The next thing that is told; first all that there is. None never comes but when the follower is gone.
    ///
    /// Cancel safe: what was heard is kept for the next call.
    pub async fn next(&mut self) -> Option<Told<T>> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            match self.heard.recv().await? {
                Heard::Changes(_, changes) => {
                    self.ready.extend(changes.into_iter().map(|(name, now)| {
                        let namespace = name.namespace.to_string();
                        match now {
                            Some(now) => Told::Is(namespace, now),
                            None => Told::Gone(namespace),
                        }
                    }));
                }
                Heard::Listed(_) => self.ready.push_back(Told::Whole),
                Heard::Trouble(_, trouble) => {
                    self.ready.push_back(Told::Trouble(trouble.map(|trouble| trouble.message)));
                }
            }
        }
    }
}

impl ConfigMap {
    fn read(value: &Value) -> Self {
        let texts = |value: &Value| {
            let fields = value.as_object().into_iter().flatten();
            fields.filter_map(|(name, text)| Some((name.clone(), text.as_str()?.to_owned()))).collect()
        };
        Self { labels: texts(&value["metadata"]["labels"]), data: texts(&value["data"]) }
    }
}

#[cfg(test)]
mod tests {
    use super::ConfigMap;
    use serde_json::json;

    #[test]
    fn of_a_config_map_its_labels_and_texts_are_kept() {
        let value = json!({"metadata": {"labels": {"a": "b"}}, "data": {"c": "d", "e": 1}});
        let found = ConfigMap::read(&value);
        assert_eq!(found.labels.get("a").map(String::as_str), Some("b"));
        assert_eq!(found.data.into_iter().collect::<Vec<_>>(), [("c".to_owned(), "d".to_owned())]);
        assert_eq!(ConfigMap::read(&json!(null)), ConfigMap::default());
    }
}
