//! A file's bytes to what each of its documents says. Must not know: other files, who wins.
//!
//! Invariant: a document that stands where it stood, with the text it had, is not read again.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use meltemi_api::{Chunk, File, Finding, Object, Places};
use meltemi_names::{ObjectKey, Version};

use super::findings;

/// What a document says of an object.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    pub(super) key: ObjectKey,
    /// None if it is refused.
    pub(super) object: Option<Arc<Object>>,
    pub(super) findings: Vec<Finding>,
    pub(super) places: Places,
}

/// One document: several claims if it is a list.
#[derive(Debug)]
pub(super) struct Document {
    /// Its first line in the file; findings and places name lines.
    line: u32,
    version: Version,
    pub(super) claims: Vec<Claim>,
    /// Of what has no key.
    pub(super) findings: Vec<Finding>,
    pub(super) skipped: BTreeMap<String, usize>,
    is_incomplete: bool,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub(in crate::file) struct Content {
    pub(super) version: Version,
    pub(super) documents: Vec<Arc<Document>>,
    /// Of the file as a whole.
    findings: Vec<Finding>,
    /// Objects that the file held, that are not in it now, and that may be its part that cannot be read.
    pub(super) kept: BTreeSet<ObjectKey>,
}

/// Where in a file a claim stands: which document, and which of its claims.
pub(super) type Position = (usize, usize);

impl Content {
    /// Reads a file's bytes; `before` is what it held.
    pub(super) fn read(
        bytes: &[u8],
        version: Version,
        shown: &str,
        namespace: &str,
        before: Option<&Content>,
    ) -> Self {
        let mut content =
            Self { version, documents: Vec::new(), findings: Vec::new(), kept: BTreeSet::new() };
        match std::str::from_utf8(bytes) {
            Ok(text) => content.documents = documents(text, shown, namespace, before),
            Err(error) => content.findings.push(findings::not_utf8(bytes, error, shown)),
        }
        content
    }

    /// Whether not all of it could be read far enough to know its objects by name.
    pub(super) fn is_incomplete(&self) -> bool {
        !self.findings.is_empty() || self.documents.iter().any(|document| document.is_incomplete)
    }

    /// What it says, with where it says so.
    pub(super) fn claims(&self) -> impl Iterator<Item = (Position, &Claim)> {
        self.documents.iter().enumerate().flat_map(|(outer, document)| {
            document.claims.iter().enumerate().map(move |(inner, claim)| ((outer, inner), claim))
        })
    }

    /// What it says there.
    pub(super) fn claim(&self, (outer, inner): Position) -> Option<&Claim> {
        self.documents.get(outer)?.claims.get(inner)
    }

    /// The findings that belong to no object.
    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        let of_documents = self.documents.iter().flat_map(|document| &document.findings);
        self.findings.iter().chain(of_documents)
    }

    /// How many objects of which kinds are none of the mesh's.
    pub(super) fn skipped(&self) -> impl Iterator<Item = (&String, &usize)> {
        self.documents.iter().flat_map(|document| &document.skipped)
    }

    /// Whether nothing of it is the mesh's.
    pub(super) fn is_foreign(&self) -> bool {
        let is_foreign = |document: &Arc<Document>| {
            document.claims.is_empty() && document.findings.is_empty() && !document.is_incomplete
        };
        self.kept.is_empty() && self.findings.is_empty() && self.documents.iter().all(is_foreign)
    }

    /// Whether bytes are nothing of the mesh's either, and as many objects of the same other kinds.
    pub(in crate::file) fn is_as_foreign_as(&self, bytes: &[u8]) -> bool {
        let Ok(text) = std::str::from_utf8(bytes) else { return false };
        let (mut before, mut now): (BTreeMap<&str, usize>, BTreeMap<&str, usize>) = Default::default();
        for (kind, count) in self.skipped() {
            *before.entry(kind).or_default() += count;
        }
        for chunk in meltemi_api::chunks(text) {
            let Some(kind) = meltemi_api::skipped_kind(&chunk) else { return false };
            *now.entry(kind).or_default() += 1;
        }
        now == before
    }

    /// Which documents differ, where only what some documents say of the same objects does: the same claims stand at the same
    /// positions, and nothing else is said.
    pub(super) fn differing<'a>(&'a self, before: &Content) -> Option<Vec<&'a Document>> {
        let is_plain = |content: &Content| {
            content.kept.is_empty() && content.findings.is_empty() && !content.is_incomplete()
        };
        if self.documents.len() != before.documents.len() || !is_plain(self) || !is_plain(before) {
            return None;
        }
        let pairs = self.documents.iter().zip(&before.documents);
        let mut differing = Vec::new();
        for (now, before) in pairs.filter(|(now, before)| !Arc::ptr_eq(now, before)) {
            let keys = |document: &'a Document| document.claims.iter().map(|claim| &claim.key);
            let is_same = now.claims.len() == before.claims.len()
                && keys(now).zip(&before.claims).all(|(key, before)| *key == before.key)
                && now.findings == before.findings
                && now.skipped == before.skipped;
            if !is_same {
                return None;
            }
            differing.push(&**now);
        }
        Some(differing)
    }
}

/// The documents of a text: those that are there already, and the others read.
fn documents(text: &str, shown: &str, namespace: &str, before: Option<&Content>) -> Vec<Arc<Document>> {
    let known: HashMap<(u32, Version), &Arc<Document>> = before
        .into_iter()
        .flat_map(|content| &content.documents)
        .map(|document| ((document.line, document.version), document))
        .collect();
    let chunks: Vec<(Version, Chunk<'_>)> =
        meltemi_api::chunks(text).map(|chunk| (Version::of(chunk.text.as_bytes()), chunk)).collect();
    let there = |(version, chunk): &(Version, Chunk<'_>)| known.get(&(chunk.line, *version)).copied();
    let unread = chunks.iter().filter(|chunk| there(chunk).is_none()).map(|(_, chunk)| *chunk).collect();
    let mut read = meltemi_api::parse_chunks(unread, shown, namespace).into_iter();
    let document = |chunk: &(Version, Chunk<'_>)| match there(chunk) {
        Some(document) => Arc::clone(document),
        None => Arc::new(Document::of(chunk.1.line, chunk.0, read.next().unwrap_or_default())),
    };
    chunks.iter().map(document).collect()
}

impl Document {
    fn of(line: u32, version: Version, file: File) -> Self {
        let mut document = Self {
            line,
            version,
            claims: Vec::new(),
            findings: Vec::new(),
            skipped: file.skipped,
            is_incomplete: file.incomplete,
        };
        for parsed in file.documents {
            match parsed.key {
                Some(key) => document.claims.push(Claim {
                    key,
                    object: parsed.object.map(Arc::new),
                    findings: parsed.findings,
                    places: parsed.places,
                }),
                None => document.findings.extend(parsed.findings),
            }
        }
        document
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Content, Version};

    fn service(name: &str) -> String {
        format!(
            "---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{ports: [{{port: 80}}]}}\n"
        )
    }

    fn read(texts: &[String], before: Option<&Content>) -> Content {
        let text = texts.concat();
        Content::read(text.as_bytes(), Version::of(text.as_bytes()), "f", "default", before)
    }

    #[test]
    fn only_a_document_that_changed_or_moved_is_read() {
        let first = read(&[service("a"), service("b"), service("c")], None);
        let kept = |texts: &[String]| -> Vec<bool> {
            let now = read(texts, Some(&first));
            let all = first.documents.iter();
            now.documents.iter().map(|one| all.clone().any(|before| Arc::ptr_eq(one, before))).collect()
        };
        assert_eq!(kept(&[service("a"), service("x"), service("c")]), [true, false, true]);
        assert_eq!(kept(&[service("a"), service("b")]), [true, true]);
        assert_eq!(kept(&[service("b"), service("c")]), [false, false], "findings name lines");
        assert_eq!(kept(&["# new\n".to_owned(), service("a"), service("b")]), [false, false]);
    }

    #[test]
    fn a_change_of_what_is_said_of_the_same_objects_is_told_apart() {
        let first = read(&[service("a"), service("b")], None);
        let differing = |texts: &[String]| {
            let now = read(texts, Some(&first));
            now.differing(&first).map(|documents| documents.len())
        };
        assert_eq!(differing(&[service("a"), service("b").replace("80", "81")]), Some(1));
        assert_eq!(differing(&[service("a"), service("b")]), Some(0));
        for other in
            [service("c"), service("b").replace("Service", "Deployment"), "---\nkind: [\n".to_owned()]
        {
            assert_eq!(differing(&[service("a"), other]), None);
        }
        assert_eq!(differing(&[service("a")]), None);
    }
}
