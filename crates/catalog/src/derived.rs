//! What is made of the resources of one type when it is first asked for: sums to compare lists by, and bytes in a row.
//!
//! Knows: marks, heads and bodies of resources. Must not know: who asks, and why.
//! Invariant: a function of the collection alone; the successor of a collection that did not change keeps it, any other begins anew.

use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use bytes::{Bytes, BytesMut};
use xxhash_rust::xxh3::xxh3_64;

use crate::form::Form;
use crate::resource::Resource;

/// The sums of a list of names and versions. Two lists with equal sums are the same list (but for one chance in 2^64), and where they
/// differ, they differ in what the [differing](Summary::differing) parts hold: a client that comes back with 3,000 resources, of which
/// one has changed since, is compared in one part of 64.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    count: usize,
    bytes: usize,
    names: u64,
    marks: [u64; Summary::PARTS],
}

/// Parts of a [`Summary`], as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts(u64);

impl Summary {
    const PARTS: usize = u64::BITS as usize;
    pub(crate) const EMPTY: Self = Self { count: 0, bytes: 0, names: 0, marks: [0; Self::PARTS] };

    pub(crate) fn of<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>) -> Self {
        let mut summary = Self::EMPTY;
        for resource in resources {
            summary.add_name(resource.name().as_str());
            summary.add_mark(resource.mark());
            summary.bytes += resource.wire_len();
        }
        summary
    }

    /// Counts a name.
    pub fn add_name(&mut self, name: &str) {
        self.count += 1;
        self.names = self.names.wrapping_add(xxh3_64(name.as_bytes()));
    }

    /// Adds what [`Version::mark`](meltemi_names::Version::mark) says of a name and its version.
    pub fn add_mark(&mut self, mark: u64) {
        let part = &mut self.marks[part(mark)];
        *part = part.wrapping_add(mark);
    }

    pub(crate) fn join(&mut self, other: &Self) {
        self.count += other.count;
        self.bytes += other.bytes;
        self.names = self.names.wrapping_add(other.names);
        for (mine, other) in self.marks.iter_mut().zip(&other.marks) {
            *mine = mine.wrapping_add(*other);
        }
    }

    /// About how many bytes a response with all of them has.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether these are the same names. Neither list may have one twice.
    pub fn has_names_of(&self, other: &Self) -> bool {
        self.count == other.count && self.names == other.names
    }

    /// The parts in which a name has another version, or is in one list only.
    pub fn differing(&self, other: &Self) -> Parts {
        let differ =
            self.marks.iter().zip(&other.marks).enumerate().filter(|(_, (mine, other))| mine != other);
        Parts(differ.fold(0, |parts, (part, _)| parts | 1 << part))
    }
}

impl Parts {
    /// Every part.
    pub const ALL: Self = Self(u64::MAX);

    /// No part: the lists are the same.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether a name and version with this [mark](meltemi_names::Version::mark) is in one of them.
    pub fn contain(self, mark: u64) -> bool {
        self.0 & 1 << part(mark) != 0
    }
}

impl Default for Summary {
    fn default() -> Self {
        Self::EMPTY
    }
}

fn part(mark: u64) -> usize {
    (mark >> 58) as usize
}

/// All resources of one type as they follow each other in a response, in chunks that all streams share that send it now.
#[derive(Debug)]
pub struct Run {
    chunks: Vec<Bytes>,
    len: usize,
}

/// Four HTTP/2 frames of the size that every client takes.
const CHUNK: usize = 64 << 10;

impl Run {
    fn of<'a>(resources: impl Iterator<Item = &'a Arc<Resource>>, form: Form) -> Self {
        let mut run = Self { chunks: Vec::new(), len: 0 };
        let mut chunk = BytesMut::with_capacity(CHUNK);
        for resource in resources {
            let segments = std::iter::once(resource.head(form)).chain(resource.body().segments());
            for segment in segments {
                let mut rest: &[u8] = segment;
                while !rest.is_empty() {
                    let (now, later) = rest.split_at(rest.len().min(CHUNK - chunk.len()));
                    chunk.extend_from_slice(now);
                    rest = later;
                    if chunk.len() == CHUNK {
                        run.push(std::mem::replace(&mut chunk, BytesMut::with_capacity(CHUNK)).freeze());
                    }
                }
            }
        }
        if !chunk.is_empty() {
            run.push(Bytes::copy_from_slice(&chunk));
        }
        run
    }

    fn push(&mut self, chunk: Bytes) {
        self.len += chunk.len();
        self.chunks.push(chunk);
    }

    /// The bytes, in order.
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// How many bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// No bytes at all: there is no resource.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
}

/// What was made so far.
#[derive(Debug, Default)]
pub(crate) struct Derived {
    summary: OnceLock<Arc<Summary>>,
    /// Kept alive by who sends it, so that nothing of it is left when a crowd has got its first answers.
    runs: [Mutex<Weak<Run>>; Form::ALL.len()],
}

impl Clone for Derived {
    fn clone(&self) -> Self {
        let run = |form: Form| Mutex::new(self.kept(form).clone());
        Self { summary: self.summary.clone(), runs: Form::ALL.map(run) }
    }
}

impl Derived {
    pub(crate) fn summary<'a>(&self, resources: impl Iterator<Item = &'a Arc<Resource>>) -> &Summary {
        self.summary.get_or_init(|| Arc::new(Summary::of(resources)))
    }

    pub(crate) fn run<'a>(&self, form: Form, resources: impl Iterator<Item = &'a Arc<Resource>>) -> Arc<Run> {
        let mut kept = self.kept(form);
        kept.upgrade().unwrap_or_else(|| {
            let run = Arc::new(Run::of(resources, form));
            *kept = Arc::downgrade(&run);
            run
        })
    }

    fn kept(&self, form: Form) -> std::sync::MutexGuard<'_, Weak<Run>> {
        // A pointer is whole whatever happened.
        self.runs[form as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meltemi_names::{TypeUrl, Version};

    use super::{Arc, Form, Parts, Resource, Run, Summary};
    use crate::body::Body;

    fn resource(name: &str, body: &[u8]) -> Arc<Resource> {
        let version = Version::of(body);
        Arc::new(Resource::new(TypeUrl::Cluster, name.into(), version, Body::from(body.to_vec())))
    }

    fn told(list: &[(&str, &[u8])]) -> Summary {
        let mut summary = Summary::EMPTY;
        for (name, body) in list {
            summary.add_name(name);
            summary.add_mark(Version::of(body).mark(name));
        }
        summary
    }

    #[test]
    fn a_list_in_another_order_is_the_same_and_another_version_is_found() {
        let view = Summary::of([resource("a", b"1"), resource("b", b"2")].iter());
        let same = told(&[("b", b"2"), ("a", b"1")]);
        assert!(view.has_names_of(&same) && view.differing(&same).is_empty());
        let other = told(&[("b", b"2"), ("a", b"3")]);
        assert!(view.has_names_of(&other));
        let parts = view.differing(&other);
        assert!(!parts.is_empty() && parts != Parts::ALL);
        for body in [b"1", b"3"] {
            assert!(parts.contain(Version::of(body).mark("a")), "where it was and where it is");
        }
    }

    #[test]
    fn a_version_under_another_name_is_another_entry() {
        let view = Summary::of([resource("a", b"1"), resource("b", b"2")].iter());
        let swapped = told(&[("a", b"2"), ("b", b"1")]);
        assert!(view.has_names_of(&swapped) && !view.differing(&swapped).is_empty());
        assert!(!view.has_names_of(&told(&[("a", b"1")])));
        assert!(!view.has_names_of(&told(&[("a", b"1"), ("c", b"2")])));
    }

    #[test]
    fn a_run_is_head_and_body_of_each_in_order() {
        let resources = [resource("a", &[1; 70_000]), resource("b", b"2")];
        for form in Form::ALL {
            let run = Run::of(resources.iter(), form);
            let bytes: Vec<u8> = run.chunks().iter().flatten().copied().collect();
            let whole: Vec<u8> = resources
                .iter()
                .flat_map(|resource| [resource.head(form).clone(), Bytes::from(resource.body().to_vec())])
                .flatten()
                .collect();
            assert_eq!((bytes.len(), bytes == whole), (run.len(), true));
        }
    }
}
