//! The text of a file to its objects, each with its findings and their places.
//!
//! Knows: files of many documents, JSON, `List` kinds. Must not know: the file system, other files.   Start at [`parse`].
//! Invariant: a document that cannot be read spares the others of its file, and yields its object's key when that can be read.

mod places;
mod split;
pub(crate) mod yaml;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use meltemi_names::{Kind, ObjectKey};
use serde_json::Value;

pub use places::Places;

use crate::Object;
use crate::decode::{self, Decoded, MESH_CONFIG_MAP, decode};
use crate::field::FieldPath;
use crate::finding::{Finding, Place, Severity};
use crate::mesh_config::{MeshConfig, read_mesh_config};
use crate::parallel;
pub use split::Chunk;
use yaml::{Loaded, Origin};

/// The largest text that is read, in bytes: a dump of some 20,000 objects. More is a mistake, such as a log in the folder.
pub const MAX_FILE: usize = 64 << 20;

/// What a document leaves behind that is broken before its name.
const FILE_BEFORE: &str = "the objects that this file held before, where they are not found in it now";

/// What a file holds.
#[derive(Clone, Debug, Default)]
pub struct File {
    /// Its documents (and the items of its lists) in order, without those that are skipped.
    pub documents: Vec<Parsed>,
    /// How many objects of which kinds are none of the mesh's.
    pub skipped: BTreeMap<String, usize>,
    /// A part could not be read so far that its object is not even known by name: an object that this file held before, and that is
    /// not among the documents now, may be that part and is not to be taken for deleted.
    pub incomplete: bool,
}

impl File {
    /// All findings of the file, sorted.
    pub fn findings(&self) -> Vec<Finding> {
        let mut findings: Vec<Finding> =
            self.documents.iter().flat_map(|document| document.findings.iter().cloned()).collect();
        findings.sort();
        findings
    }
}

/// One document.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The object that the document is, or would be if it were right: one that is not taken is not a deleted one. None for kinds
    /// that are not read, and when kind or name cannot be read.
    pub key: Option<ObjectKey>,
    /// The object; none when a finding is an error, and for kinds that are not read.
    pub object: Option<Object>,
    /// What was found, with places.
    pub findings: Vec<Finding>,
    /// Where its fields stand.
    pub places: Places,
}

/// What was skipped, as one finding for all files together; none when nothing was.
pub fn skipped_finding(skipped: &BTreeMap<String, usize>) -> Option<Finding> {
    let all: usize = skipped.values().sum();
    let kinds: Vec<String> = skipped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    let noun = if all == 1 { "object is" } else { "objects are" };
    (all > 0).then(|| {
        Finding::info(
            "skipped-kinds",
            format!("{all} {noun} of kinds that the mesh does not read: {}", kinds.join(", ")),
        )
    })
}

/// Reads the text of a file. `file` is what findings call it; objects without a namespace are of `namespace`.
pub fn parse(text: &str, file: &str, namespace: &str) -> File {
    let mut found = File::default();
    if text.len() > MAX_FILE {
        found.documents.push(too_large(&file.into()));
        found.incomplete = true;
        return found;
    }
    for part in parse_chunks(chunks(text).collect(), file, namespace) {
        found.documents.extend(part.documents);
        for (kind, count) in part.skipped {
            *found.skipped.entry(kind).or_default() += count;
        }
        found.incomplete |= part.incomplete;
    }
    found
}

/// The texts of the documents of a file.
pub fn chunks(text: &str) -> impl Iterator<Item = Chunk<'_>> {
    split::split(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// Reads documents of one file, each by itself, for who has read the others of the file before: as [`parse`], in the same order.
pub fn parse_chunks(chunks: Vec<Chunk<'_>>, file: &str, namespace: &str) -> Vec<File> {
    let file: Arc<str> = file.into();
    let size = |block: &Vec<Chunk<'_>>| block.iter().map(|chunk| chunk.text.len()).sum();
    let parts = parallel::map(blocks(chunks), size, |block| {
        let read = |chunk: &Chunk<'_>| {
            let mut part = File::default();
            one(chunk, &file, namespace, &mut part);
            part
        };
        block.iter().map(read).collect::<Vec<File>>()
    });
    parts.into_iter().flatten().collect()
}

/// Neighbours together, so that each block is worth a thread.
fn blocks(chunks: Vec<Chunk<'_>>) -> Vec<Vec<Chunk<'_>>> {
    let (mut blocks, mut block, mut size) = (Vec::new(), Vec::new(), 0);
    for chunk in chunks {
        size += chunk.text.len();
        block.push(chunk);
        if size >= parallel::BLOCK {
            size = 0;
            blocks.push(std::mem::take(&mut block));
        }
    }
    if !block.is_empty() {
        blocks.push(block);
    }
    blocks
}

/// The kind of a document that is none of the mesh's, when that can be told without reading it.
pub fn skipped_kind<'a>(chunk: &Chunk<'a>) -> Option<&'a str> {
    let (_, kind) = split::header(chunk.text, |version, kind| decode::is_skipped(version, kind, chunk.text))?;
    Some(kind)
}

/// Reads one document. What is none of the mesh's by its first lines is not read further, as the API server is not asked for it.
fn one(chunk: &Chunk<'_>, file: &Arc<str>, namespace: &str, found: &mut File) {
    if let Some(kind) = skipped_kind(chunk) {
        *found.skipped.entry(kind.to_owned()).or_default() += 1;
        return;
    }
    let mut loaded = yaml::load(chunk.text, Origin { line: chunk.line, indent: 0 }, file);
    // Escapes of JSON that YAML does not have (surrogate pairs): then without places.
    if loaded.iter().any(|document| !document.faults.is_empty())
        && chunk.text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(chunk.text)
    {
        loaded.truncate(1);
        if let Some(document) = loaded.first_mut() {
            document.value = value;
            document.faults.clear();
        }
    }
    for document in loaded {
        read(document, chunk.text, chunk.line, namespace, found);
    }
}

/// The objects of a text as they are written, of whatever kind: for who looks at kinds that are none of the mesh's. Only documents whose
/// text is `wanted` are read. What cannot be read is passed over: [`parse`] says so.
pub fn values(text: &str, file: &str, wanted: impl Fn(&str) -> bool) -> Vec<(Value, Places)> {
    let file: Arc<str> = file.into();
    if text.len() > MAX_FILE {
        return Vec::new();
    }
    let loaded = chunks(text).filter(|chunk| wanted(chunk.text)).flat_map(|chunk| {
        let origin = Origin { line: chunk.line, indent: 0 };
        yaml::load(chunk.text, origin, &file)
    });
    let mut all = Vec::new();
    for Loaded { value, places, faults } in loaded {
        if faults.is_empty() {
            all.extend(objects(&value, &places).into_iter().map(|(value, places)| (value.clone(), places)));
        }
    }
    all
}

/// Reads a text whose objects must all be right, as tests and examples have: the objects in order, of namespace `default` where
/// none is written.
///
/// # Errors
/// All findings, when one of them is an error.
pub fn parse_all(text: &str) -> Result<Vec<Object>, Vec<Finding>> {
    let file = parse(text, "text", "default");
    let findings = file.findings();
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        return Err(findings);
    }
    Ok(file.documents.into_iter().filter_map(|document| document.object).collect())
}

/// Reads a file that is a mesh configuration and nothing else. No configuration when a finding is an error.
pub fn parse_mesh_config(text: &str, file: &str) -> (Option<MeshConfig>, Vec<Finding>) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mesh, findings) = read_mesh_config(text, &FieldPath::root());
    let places = yaml::load(text, Origin { line: 1, indent: 0 }, &file.into());
    let mut findings: Vec<Finding> = match places.first() {
        // A syntax error has its own place.
        Some(loaded) if !loaded.faults.is_empty() => {
            loaded.faults.iter().map(|fault| placed(fault, file)).collect()
        }
        Some(loaded) => findings.into_iter().map(|finding| loaded.places.locate(finding)).collect(),
        None => findings,
    };
    findings.sort();
    (mesh, findings)
}

fn too_large(file: &Arc<str>) -> Parsed {
    let place = Place { file: file.clone(), line: 1, column: 1 };
    let message = format!("the file is larger than {} MiB", MAX_FILE >> 20);
    Parsed {
        key: None,
        object: None,
        findings: vec![Finding::error("file-too-large", message).placed(Some(place))],
        places: Places::none(file.clone()),
    }
}

fn placed(fault: &yaml::Fault, file: &str) -> Finding {
    let place = Place { file: file.into(), line: fault.line, column: fault.column };
    Finding {
        hint: fault.hint.map(str::to_owned),
        ..Finding::error(fault.code, fault.message.clone()).placed(Some(place))
    }
}

fn read(loaded: Loaded, text: &str, first_line: u32, namespace: &str, found: &mut File) {
    let Loaded { value, places, faults } = loaded;
    let is_list = value.as_object().and_then(items).is_some();
    let objects = objects(&value, &places);
    let broken = !faults.is_empty();
    // What came after the fault in a list is not known.
    found.incomplete |= broken && is_list;
    let mut faults: Vec<Finding> = faults.iter().map(|fault| placed(fault, places.file())).collect();
    let last = objects.len().saturating_sub(1);
    for (index, (value, places)) in objects.into_iter().enumerate() {
        let Decoded { key, mut object, mut findings, skipped } = decode(value, namespace);
        let places = with_mesh_config(places, key.as_ref(), value, text, first_line);
        let unnamed = key.is_none() && skipped.is_none();
        found.incomplete |= unnamed && (broken || looks_like_an_object(value));
        if let Some(kind) = skipped {
            *found.skipped.entry(kind).or_default() += 1;
        }
        if broken && (!is_list || index == last) {
            // What came before the fault may look complete, or wrong, and be neither.
            object = None;
            let in_force = if key.is_some() { decode::LAST_GOOD } else { FILE_BEFORE };
            findings = faults
                .drain(..)
                .map(|finding| Finding { key: key.clone(), ..finding.in_force(in_force) })
                .collect();
        }
        let findings: Vec<Finding> = findings.into_iter().map(|finding| places.locate(finding)).collect();
        if key.is_some() || !findings.is_empty() {
            found.documents.push(Parsed { key, object, findings, places });
        }
    }
    if !faults.is_empty() {
        found.incomplete = true;
        let findings = faults.into_iter().map(|finding| finding.in_force(FILE_BEFORE)).collect();
        found.documents.push(Parsed { key: None, object: None, findings, places });
    }
}

/// Whether a document that names no object of the mesh may have been meant to: one of the kinds that are not read yet is none.
fn looks_like_an_object(value: &Value) -> bool {
    let has = |name: &str| value.get(name).is_some();
    (has("metadata") || has("spec"))
        && !(has("apiVersion") && has("kind") && value.pointer("/metadata/name").is_some())
}

/// The objects of a document, with their places: it, or its items.
fn objects<'a>(value: &'a Value, places: &Places) -> Vec<(&'a Value, Places)> {
    match value.as_object().and_then(items) {
        // An alias in place of the list has no places of its own: the whole document's then.
        Some(items) => {
            let mut own = places.items("items");
            items.iter().map(|item| (item, own.next().unwrap_or_else(|| places.clone()))).collect()
        }
        None => vec![(value, places.clone())],
    }
}

/// The items of a `List`, of core/v1 or of a kind.
fn items(fields: &serde_json::Map<String, Value>) -> Option<&Vec<Value>> {
    let kind = fields.get("kind")?.as_str()?;
    kind.ends_with("List").then(|| fields.get("items")?.as_array()).flatten()
}

/// Adds the places within the text of a mesh configuration, if the object holds one as a literal block.
fn with_mesh_config(
    places: Places,
    key: Option<&ObjectKey>,
    value: &Value,
    text: &str,
    first_line: u32,
) -> Places {
    if !key.is_some_and(|key| key.kind == Kind::ConfigMap && key.name.as_str() == MESH_CONFIG_MAP) {
        return places;
    }
    let path = FieldPath::of(&["data", "mesh"]);
    let (Some(mesh), Some(place)) = (value.pointer("/data/mesh").and_then(Value::as_str), places.key(&path))
    else {
        return places;
    };
    let mut lines = text.lines().skip((place.line - first_line) as usize);
    if !lines.next().is_some_and(|line| line.contains(": |")) {
        return places;
    }
    let blank = lines.clone().take_while(|line| line.trim().is_empty()).count();
    let Some(line) = lines.nth(blank) else { return places };
    let indent = line.chars().take_while(|&c| c == ' ').count();
    let origin = Origin { line: place.line + 1, indent: u32::try_from(indent).unwrap_or_default() };
    match yaml::load(mesh, origin, &place.file).into_iter().next() {
        Some(inner) => places.with_inner(path, inner.places),
        None => places,
    }
}
