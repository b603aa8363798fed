//! The contents of files to changes of objects, findings and places: pure.
//!
//! Knows: which file gives which object, who wins, what was last good. Must not know: the disk, the clock.
//! Invariants: only what changed is parsed, and only the objects of changed files are compared; what was told is what
//! [`meltemi_model::Store`] has in force; but for what a part that cannot be read leaves in force, the state is a function of the contents.

mod content;
mod findings;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::SystemTime;

use meltemi_api::{Finding, MeshConfig, Object, Severity, parallel};
use meltemi_model::Event;
use meltemi_names::{Namespace, ObjectKey, Version};

use super::scan::FileId;
use crate::batch::{Batch, PlaceIndex, Status, reason};
use content::{Content, Position};

/// What was read of a file.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) id: FileId,
    /// What findings call it.
    pub(super) shown: String,
    pub(super) bytes: Vec<u8>,
}

/// What was told of an object.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    in_force: Option<Arc<Object>>,
    refused: Option<Arc<str>>,
}

/// The contents of all files.
#[derive(Clone, Debug)]
pub(super) struct Merge {
    namespace: Namespace,
    /// Found by their hash: paths that begin alike are slow to order.
    files: HashMap<FileId, Content>,
    /// Who says something of an object, in order of precedence; never empty.
    claims: BTreeMap<ObjectKey, BTreeSet<(FileId, Position)>>,
    /// Which files may still hold an object in a part that cannot be read; never empty.
    keepers: BTreeMap<ObjectKey, BTreeSet<FileId>>,
    told: BTreeMap<ObjectKey, Told>,
    /// The files that have findings of their own.
    speaking: BTreeSet<FileId>,
    /// Kept up, so that a change costs what it touches and not a count of everything.
    status: Status,
    places: PlaceIndex,
    findings: BTreeMap<ObjectKey, Vec<Finding>>,
    settings: Settings,
    /// Objects whose claims changed since the last batch.
    stirred: BTreeSet<ObjectKey>,
    /// An object stands elsewhere than at the last batch.
    moved: bool,
    /// What is found may differ from what was found at the last batch.
    spoke: bool,
    /// The findings that were given with the last batch.
    others: Vec<Finding>,
    last: Arc<[Finding]>,
}

/// The file of `--mesh-config`.
#[derive(Clone, Debug, Default)]
struct Settings {
    version: Option<Version>,
    in_force: Option<Arc<MeshConfig>>,
    is_told: bool,
    findings: Vec<Finding>,
}

impl Merge {
    /// No files. Objects without a namespace are of `namespace`.
    pub(super) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            files: HashMap::new(),
            claims: BTreeMap::new(),
            keepers: BTreeMap::new(),
            told: BTreeMap::new(),
            speaking: BTreeSet::new(),
            status: Status::default(),
            places: PlaceIndex::default(),
            findings: BTreeMap::new(),
            settings: Settings::default(),
            stirred: BTreeSet::new(),
            moved: false,
            spoke: false,
            others: Vec::new(),
            last: Arc::from([]),
        }
    }

    /// The files hold this now.
    pub(super) fn put(&mut self, texts: Vec<Text>) {
        let namespace = self.namespace.clone();
        let read = parallel::map(
            texts,
            |text| text.bytes.len(),
            |Text { id, shown, bytes }| {
                let version = Version::of(&bytes);
                let before = self.files.get(&id);
                let is_known = before.is_some_and(|content| content.version == version);
                (!is_known).then(|| {
                    let content = Content::read(&bytes, version, &shown, namespace.as_str(), before);
                    (id, content)
                })
            },
        );
        for (id, content) in read.into_iter().flatten() {
            self.take(&id, content);
        }
    }

    fn take(&mut self, id: &FileId, mut content: Content) {
        // Mostly one document of a file says something else of the same object.
        if let Some(before) = self.files.get_mut(id)
            && let Some(differing) = content.differing(before)
        {
            let keys = differing.iter().flat_map(|document| &document.claims).map(|claim| &claim.key);
            self.stirred.extend(keys.cloned());
            *before = content;
            return;
        }
        let before = self.withdraw(id);
        if let Some(before) = before.filter(|_| content.is_incomplete()) {
            let has: BTreeSet<&ObjectKey> = content.claims().map(|(_, claim)| &claim.key).collect();
            let had = before.claims().map(|(_, claim)| &claim.key).chain(&before.kept);
            content.kept = had.filter(|key| !has.contains(key)).cloned().collect();
        }
        for (position, claim) in content.claims() {
            self.claims.entry(claim.key.clone()).or_default().insert((id.clone(), position));
            self.stirred.insert(claim.key.clone());
        }
        for key in &content.kept {
            self.keepers.entry(key.clone()).or_default().insert(id.clone());
            self.stirred.insert(key.clone());
        }
        if content.findings().next().is_some() {
            self.speaking.insert(id.clone());
        }
        self.spoke = true;
        self.status.documents += content.claims().count();
        for (kind, count) in content.skipped() {
            *self.status.skipped.entry(kind.clone()).or_default() += count;
        }
        self.files.insert(id.clone(), content);
    }

    /// What a file holds, if nothing of it is the mesh's.
    pub(super) fn foreign(&self, id: &FileId) -> Option<&Content> {
        self.files.get(id).filter(|content| content.is_foreign())
    }

    /// The file is gone.
    pub(super) fn remove(&mut self, id: &FileId) {
        self.withdraw(id);
    }

    fn withdraw(&mut self, id: &FileId) -> Option<Content> {
        let content = self.files.remove(id)?;
        self.speaking.remove(id);
        self.spoke = true;
        self.status.documents -= content.claims().count();
        for (kind, count) in content.skipped() {
            if let Some(all) = self.status.skipped.get_mut(kind) {
                *all -= count;
            }
        }
        self.status.skipped.retain(|_, count| *count > 0);
        for (position, claim) in content.claims() {
            if let Some(claims) = self.claims.get_mut(&claim.key) {
                claims.remove(&(id.clone(), position));
                if claims.is_empty() {
                    self.claims.remove(&claim.key);
                }
            }
            self.stirred.insert(claim.key.clone());
        }
        for key in &content.kept {
            if let Some(keepers) = self.keepers.get_mut(key) {
                keepers.remove(id);
                if keepers.is_empty() {
                    self.keepers.remove(key);
                }
            }
            self.stirred.insert(key.clone());
        }
        Some(content)
    }

    /// The file of `--mesh-config` holds this now.
    pub(super) fn put_settings(&mut self, shown: &str, bytes: &[u8]) {
        let version = Version::of(bytes);
        if self.settings.version.replace(version) == Some(version) {
            return;
        }
        let (read, found) = findings::read_settings(bytes, shown);
        self.settings.findings = found;
        self.spoke = true;
        if let Some(read) = read
            && self.settings.in_force.as_deref() != Some(&read)
        {
            self.settings.in_force = Some(Arc::new(read));
            self.settings.is_told = false;
        }
    }

    /// What changed since the last batch; none if nothing did. `others` are findings about files and folders.
    pub(super) fn batch(&mut self, others: Vec<Finding>, at: SystemTime) -> Option<Batch> {
        let mut events = Vec::new();
        if let Some(settings) = self.settings.in_force.clone().filter(|_| !self.settings.is_told) {
            self.settings.is_told = true;
            events.push(Event::Defaults(settings));
        }
        for key in std::mem::take(&mut self.stirred) {
            events.extend(self.compare(&key));
        }
        let differ = self.gather(others);
        // Files change in what is none of the mesh's, and nobody is told.
        if !std::mem::take(&mut self.moved) && events.is_empty() && !differ {
            return None;
        }
        Some(Batch { events, ..self.nothing(at) })
    }

    /// A batch without a change.
    pub(super) fn nothing(&self, at: SystemTime) -> Batch {
        let status = Status { files: self.files.len(), at: Some(at), ..self.status.clone() };
        Batch {
            events: Vec::new(),
            findings: Arc::clone(&self.last),
            places: self.places.clone(),
            written: Vec::new(),
            status,
        }
    }

    /// What is said of an object now, beside what was told: the change.
    fn compare(&mut self, key: &ObjectKey) -> Option<Event> {
        let before = self.told.get(key).cloned().unwrap_or_default();
        let mut claims = self.claims.get(key).into_iter().flatten().filter_map(|(id, position)| {
            let content = self.files.get(id)?;
            content.claim(*position)
        });
        let mut findings = Vec::new();
        let Some(winner) = claims.next() else {
            return self.unclaimed(key, before);
        };
        let reason = reason(&winner.findings);
        findings.extend(findings::of_winner(winner, before.in_force.is_some()));
        findings.extend(claims.map(|loser| findings::of_loser(winner, loser)));
        let object = winner.object.clone();
        if self.places.0.get(key) != Some(&winner.places) {
            self.places.0.insert(key.clone(), winner.places.clone());
            self.moved = true;
        }
        self.say(key, findings);
        let now = match object {
            Some(object) => Told { in_force: Some(object), refused: None },
            None => Told { in_force: before.in_force.clone(), refused: Some(reason) },
        };
        self.tell(key, &before, now)
    }

    fn unclaimed(&mut self, key: &ObjectKey, before: Told) -> Option<Event> {
        // What was refused before it was ever good has nothing that could be kept.
        if let Some(keepers) = self.keepers.get(key).filter(|_| before.in_force.is_some()) {
            let cause = keepers
                .iter()
                .filter_map(|id| self.files.get(id))
                .find_map(|content| content.findings().find(|finding| finding.severity != Severity::Info));
            let findings = vec![findings::of_kept(key, cause)];
            self.say(key, findings);
            let refused = Some("a part of its file cannot be read, which may be this object".into());
            return self.tell(key, &before.clone(), Told { refused, ..before });
        }
        self.say(key, Vec::new());
        self.moved |= self.places.0.remove(key).is_some();
        self.told.remove(key)?;
        self.count(&before, &Told::default());
        Some(Event::Delete(key.clone()))
    }

    fn tell(&mut self, key: &ObjectKey, before: &Told, now: Told) -> Option<Event> {
        if *before == now {
            return None;
        }
        let event = match (&now.refused, &now.in_force) {
            (Some(reason), _) => Event::Reject { key: key.clone(), reason: Arc::clone(reason) },
            (None, Some(object)) => Event::Upsert(Arc::clone(object)),
            (None, None) => return None,
        };
        self.count(before, &now);
        self.told.insert(key.clone(), now);
        Some(event)
    }

    fn count(&mut self, before: &Told, now: &Told) {
        let Status { objects, rejected, .. } = &mut self.status;
        *objects = *objects + usize::from(now.in_force.is_some()) - usize::from(before.in_force.is_some());
        *rejected = *rejected + usize::from(now.refused.is_some()) - usize::from(before.refused.is_some());
    }

    fn say(&mut self, key: &ObjectKey, findings: Vec<Finding>) {
        if findings.is_empty() {
            self.spoke |= self.findings.remove(key).is_some();
        } else if self.findings.get(key) != Some(&findings) {
            self.findings.insert(key.clone(), findings);
            self.spoke = true;
        }
    }

    /// Gathers the findings, if they may differ; whether they do.
    fn gather(&mut self, others: Vec<Finding>) -> bool {
        if !std::mem::take(&mut self.spoke) && self.others == others {
            return false;
        }
        self.others.clone_from(&others);
        let findings = self.all_findings(others);
        let differ = *findings != *self.last;
        // The same pointer as long as they are the same: nobody need compare them again.
        if differ {
            self.last = findings.into();
        }
        differ
    }

    fn all_findings(&self, mut all: Vec<Finding>) -> Vec<Finding> {
        all.extend(self.settings.findings.iter().cloned());
        let speaking = self.speaking.iter().filter_map(|id| self.files.get(id));
        all.extend(speaking.flat_map(|content| content.findings().cloned()));
        all.extend(self.findings.values().flatten().cloned());
        all.extend(findings::of_skipped(&self.status.skipped));
        all.sort();
        all
    }
}

#[cfg(test)]
mod tests;
