//! A folder and a cluster as one source: pure.
//!
//! Invariant: of an object that both have the folder's counts, and its author is told; when it goes, the cluster's counts again.

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_api::Finding;
use meltemi_model::Event;
use meltemi_names::ObjectKey;

use crate::batch::Batch;

/// Who says something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Folder,
    Cluster,
}

/// What both sides have.
#[derive(Debug, Default)]
pub(crate) struct Join {
    folder: Part,
    cluster: Part,
}

#[derive(Debug, Default)]
struct Part {
    /// The last word on each object that is not gone. Objects by pointer.
    words: BTreeMap<ObjectKey, Event>,
    /// The last batch, without its events.
    batch: Option<Batch>,
}

impl Join {
    /// Takes a side's batch. None before both have told everything once.
    pub(crate) fn on(&mut self, side: Side, mut batch: Batch) -> Option<Batch> {
        let was_complete = self.is_complete();
        let events = std::mem::take(&mut batch.events);
        let written = std::mem::take(&mut batch.written);
        let (part, other) = match side {
            Side::Folder => (&mut self.folder, &self.cluster),
            Side::Cluster => (&mut self.cluster, &self.folder),
        };
        let mut passed = Vec::new();
        for event in events {
            let Some(key) = key(&event) else {
                passed.push(event);
                continue;
            };
            let is_deleted = matches!(event, Event::Delete(_));
            if is_deleted {
                part.words.remove(&key);
            } else {
                part.words.insert(key.clone(), event.clone());
            }
            passed.extend(match (side, is_deleted, other.words.get(&key)) {
                (Side::Cluster, _, Some(_)) => None,
                (Side::Folder, true, Some(word)) => Some(word.clone()),
                _ => Some(event),
            });
        }
        part.batch = Some(batch);
        if !self.is_complete() {
            return None;
        }
        let events = if was_complete { passed } else { self.everything(passed) };
        Some(Batch { events, written, ..self.both()? })
    }

    fn is_complete(&self) -> bool {
        self.folder.batch.is_some() && self.cluster.batch.is_some()
    }

    /// At the first time: what the other side said before is told, too.
    fn everything(&self, passed: Vec<Event>) -> Vec<Event> {
        let settings = passed.into_iter().filter(|event| key(event).is_none());
        let hidden = |key: &ObjectKey| self.folder.words.contains_key(key);
        let cluster =
            self.cluster.words.iter().filter(|(key, _)| !hidden(key)).map(|(_, event)| event.clone());
        settings.chain(self.folder.words.values().cloned()).chain(cluster).collect()
    }

    fn both(&self) -> Option<Batch> {
        let (folder, cluster) = (self.folder.batch.as_ref()?, self.cluster.batch.as_ref()?);
        let hidden = self.cluster.words.keys().filter(|key| self.folder.words.contains_key(key)).map(|key| {
            let finding = Finding::info("both-sources", "the folder and the cluster both have this object")
                .about(key)
                .in_force("the folder's")
                .hint("delete it from the folder for the cluster's to count");
            folder.places.locate(finding)
        });
        let mut findings: Vec<Finding> =
            folder.findings.iter().chain(&*cluster.findings).cloned().chain(hidden).collect();
        findings.sort();
        let mut status = folder.status.clone();
        status.objects += cluster.status.objects;
        status.rejected += cluster.status.rejected;
        status.at = status.at.max(cluster.status.at);
        Some(Batch {
            events: Vec::new(),
            findings: Arc::from(findings),
            places: folder.places.clone(),
            written: Vec::new(),
            status,
        })
    }
}

/// The object that an event is about; none for the settings.
fn key(event: &Event) -> Option<ObjectKey> {
    match event {
        Event::Upsert(object) => Some(object.meta.key.clone()),
        Event::Reject { key, .. } | Event::Delete(key) => Some(key.clone()),
        Event::Defaults(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use meltemi_api::parse_all;
    use meltemi_model::Event;

    use super::{Join, Side};
    use crate::batch::{Batch, PlaceIndex, Status};

    fn batch(events: Vec<Event>) -> Batch {
        Batch {
            events,
            findings: Arc::from([]),
            places: PlaceIndex::default(),
            written: Vec::new(),
            status: Status::default(),
        }
    }

    fn namespace(name: &str, label: &str) -> Event {
        let text = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {{from: {label}}}}}\n"
        );
        Event::Upsert(Arc::new(parse_all(&text).unwrap().remove(0)))
    }

    fn gone(name: &str) -> Event {
        let Event::Upsert(object) = namespace(name, "x") else { panic!() };
        Event::Delete(object.meta.key.clone())
    }

    /// `name=label` of what is told, `-name` for deletions.
    fn told(batch: Option<Batch>) -> Vec<String> {
        let shown = |event: &Event| match event {
            Event::Upsert(object) => {
                format!("{}={}", object.meta.key.name, object.meta.labels.value("from").unwrap())
            }
            Event::Delete(key) => format!("-{}", key.name),
            other => format!("{other:?}"),
        };
        batch.unwrap().events.iter().map(shown).collect()
    }

    #[test]
    fn nothing_is_told_before_both_have_told_everything() {
        let mut join = Join::default();
        assert!(join.on(Side::Folder, batch(vec![namespace("a", "folder")])).is_none());
        let first = join.on(Side::Cluster, batch(vec![namespace("a", "cluster"), namespace("b", "cluster")]));
        let findings = first.as_ref().unwrap().findings.clone();
        assert_eq!(told(first), ["a=folder", "b=cluster"]);
        assert_eq!(findings.iter().map(|finding| finding.code).collect::<Vec<_>>(), ["both-sources"]);
    }

    #[test]
    fn the_folders_object_counts_as_long_as_it_is_there() {
        let mut join = Join::default();
        join.on(Side::Cluster, batch(vec![namespace("a", "one")]));
        join.on(Side::Folder, batch(vec![]));
        assert_eq!(told(join.on(Side::Folder, batch(vec![namespace("a", "folder")]))), ["a=folder"]);
        assert!(told(join.on(Side::Cluster, batch(vec![namespace("a", "two")]))).is_empty());
        assert_eq!(told(join.on(Side::Folder, batch(vec![gone("a")]))), ["a=two"]);
        assert_eq!(told(join.on(Side::Cluster, batch(vec![gone("a")]))), ["-a"]);
        join.on(Side::Folder, batch(vec![namespace("a", "folder")]));
        assert!(told(join.on(Side::Cluster, batch(vec![gone("a")]))).is_empty());
        assert_eq!(told(join.on(Side::Folder, batch(vec![gone("a")]))), ["-a"]);
    }
}
