//! The tables of docs/compat.md, and the fields of the kinds that they are about.
//!
//! Knows: how a row is written, and the schemas of the CRDs, which have every field. Must not know: what any field does.   Start at
//! [`fields`] and [`Table::read`]; [`removals`] finds a field in an object.
//! Invariant: a field is named by its path beneath `spec`, without the marks of lists; within a traffic policy by its path there, since
//! the same policy stands in a rule, its subsets and their ports.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use meltemi_api::crd::Crd;
use serde_json::Value;

/// What a row says of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// Its effect is Istio's.
    Supported,
    /// It has one, and not quite Istio's.
    Differs,
    /// It has none, and the user is told so.
    NotYet,
    /// It has none at Istio either.
    NoEffect,
}

/// The rows about one kind.
pub struct Table {
    /// By path: what is said of the field and of all beneath it.
    rows: BTreeMap<String, Word>,
}

/// Parts of a schema that are one field here: the schema of another kind says what is in them.
const WHOLE: [&str; 2] = ["ingress.connectionPool", "inboundConnectionPool"];

/// Every field of a kind that has nothing beneath it, by path.
pub fn fields(crd: &Crd) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let definition = crd.to_value();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    leaves(schema, &mut Vec::new(), &mut found);
    found
}

/// What stands beneath a schema by name: the fields of an object, or of a list's items.
fn beneath(schema: &Value) -> Option<&serde_json::Map<String, Value>> {
    let schema = schema.get("items").unwrap_or(schema);
    let named = schema.get("properties")?.as_object()?;
    // A text that is matched exactly, by prefix or by expression is one field.
    let matched: BTreeSet<&str> = named.keys().map(String::as_str).collect();
    (matched != BTreeSet::from(["exact", "prefix", "regex"])).then_some(named)
}

fn leaves(schema: &Value, path: &mut Vec<String>, found: &mut BTreeSet<String>) {
    let written = path.join(".");
    match beneath(schema).filter(|_| !WHOLE.contains(&written.as_str())) {
        Some(named) => {
            for (name, schema) in named {
                path.push(name.clone());
                leaves(schema, path, found);
                path.pop();
            }
        }
        None => drop(found.insert(canonical(&written))),
    }
}

/// The one path of a field that stands in several places.
pub fn canonical(path: &str) -> String {
    let path = path.replace("[]", "");
    let path =
        path.strip_prefix("subsets.").filter(|rest| rest.starts_with("trafficPolicy.")).unwrap_or(&path);
    let Some(policy) = path.strip_prefix("trafficPolicy.") else { return path.to_owned() };
    match policy.strip_prefix("portLevelSettings.") {
        Some(level) if !level.starts_with("port") => level.to_owned(),
        None if policy != "portLevelSettings" => policy.to_owned(),
        _ => path.to_owned(),
    }
}

impl Table {
    /// The rows under the heading of a kind, and what is wrong with them: a row that names what is no field of the kind, names it a second
    /// time, or says nothing that is known. None if the page has no such heading.
    pub fn read(page: &str, crd: &Crd) -> Option<(Self, Vec<String>)> {
        let heading = format!("## {}", crd.kind());
        let mut lines = page.lines().skip_while(|line| *line != heading);
        lines.next()?;
        let known = fields(crd);
        let (mut rows, mut wrong) = (BTreeMap::new(), Vec::new());
        for line in lines.take_while(|line| !line.starts_with("## ")) {
            let Some((names, said)) = line.strip_prefix("| `").and_then(|row| row.split_once(" | ")) else {
                continue;
            };
            let mut say = |what: String| wrong.push(format!("{} `{names}: {what}", crd.kind()));
            let Some(word) = word(said) else {
                say("begins with none of supported, differs, not yet, no effect".to_owned());
                continue;
            };
            let mut before = String::new();
            for name in names.split('`').filter(|name| !matches!(name.trim(), "" | ",")) {
                match resolve(name, &before, &known) {
                    Some(path) => {
                        if rows.insert(path.clone(), word).is_some() {
                            say(format!("`{path}` is in another row, too"));
                        }
                        before = path;
                    }
                    None => say(format!("`{name}` is no field")),
                }
            }
        }
        Some((Self { rows }, wrong))
    }

    /// What is said of a field: by the row that is nearest to it.
    pub fn says(&self, field: &str) -> Option<Word> {
        let mut path = field;
        loop {
            if let Some(word) = self.rows.get(path) {
                return Some(*word);
            }
            path = path.rsplit_once('.')?.0;
        }
    }
}

fn word(said: &str) -> Option<Word> {
    let said = said.trim_start_matches('*');
    let words = [
        ("supported", Word::Supported),
        ("differs", Word::Differs),
        ("not yet", Word::NotYet),
        ("no effect", Word::NoEffect),
    ];
    words.into_iter().find(|(text, _)| said.starts_with(text)).map(|(_, word)| word)
}

/// A name as a row writes it: a path, or a neighbour of the field before it.
fn resolve(name: &str, before: &str, known: &BTreeSet<String>) -> Option<String> {
    let is_known = |path: &String| {
        let within = format!("{path}.");
        known.iter().any(|field| field == path || field.starts_with(&within))
    };
    let beside = before.rsplit_once('.').map(|(parent, _)| format!("{parent}.{}", name.replace("[]", "")));
    // A neighbour before a field of that name elsewhere.
    beside.into_iter().chain([canonical(name)]).find(is_known)
}

/// For each field of the kind that an object has: the pointers (of JSON) to its places there.
pub fn removals(crd: &Crd, object: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let definition = crd.to_value();
    let schema = &definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    if let Some(spec) = object.get("spec") {
        present(schema, spec, &mut Vec::new(), "/spec", &mut found);
    }
    found
}

fn present(
    schema: &Value,
    value: &Value,
    path: &mut Vec<String>,
    pointer: &str,
    found: &mut Vec<(String, String)>,
) {
    if let Value::Array(items) = value
        && beneath(schema).is_some()
    {
        for (at, item) in items.iter().enumerate() {
            present(schema, item, path, &format!("{pointer}/{at}"), found);
        }
        return;
    }
    let written = path.join(".");
    let named = beneath(schema).filter(|_| !WHOLE.contains(&written.as_str()));
    let (Some(named), Value::Object(fields)) = (named, value) else {
        found.push((canonical(&written), pointer.to_owned()));
        return;
    };
    for (name, value) in fields {
        if let Some(schema) = named.get(name) {
            path.push(name.clone());
            present(
                schema,
                value,
                path,
                &format!("{pointer}/{}", name.replace('~', "~0").replace('/', "~1")),
                found,
            );
            path.pop();
        }
    }
}

/// Takes away what a pointer points to.
///
/// # Errors
/// When it points to nothing.
pub fn remove(object: &mut Value, pointer: &str) -> Result<()> {
    let (parent, name) = pointer.rsplit_once('/').context("no pointer")?;
    let fields = object.pointer_mut(parent).and_then(Value::as_object_mut).context("nothing is there")?;
    fields.remove(&name.replace("~1", "/").replace("~0", "~")).context("no such field")?;
    Ok(())
}
