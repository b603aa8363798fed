//! One YAML document (or JSON, which is YAML) to a value and the places of its fields.
//!
//! Scalars mean what they mean to `kubectl`: plain `yes`, `no`, `on`, `off` are booleans, `<<` merges, keys become texts.
//! Invariant: work and memory are bounded by the text's length; a document that breaks off yields what came before.

mod scalar;

use std::collections::HashMap;
use std::sync::Arc;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle};
use serde_json::{Map, Value};

use super::places::{NodeId, Places, PlacesBuilder};

/// Istio's and Kubernetes' objects nest some 20 deep.
const DEPTH: usize = 64;

/// What aliases may add to a document, in bytes: a few lines of them could stand for gigabytes ("billion laughs").
const ALIASES: usize = 1 << 20;

/// How many faults of a document are told.
const FAULTS: usize = 20;

/// A document as read.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The value, or what came before the fault.
    pub(crate) value: Value,
    /// Where its fields stand.
    pub(crate) places: Places,
    /// What is wrong with it.
    pub(crate) faults: Vec<Fault>,
}

/// What is wrong with a document, and where.
#[derive(Debug)]
pub(crate) struct Fault {
    pub(crate) code: &'static str,
    pub(crate) message: String,
    pub(crate) hint: Option<&'static str>,
    pub(crate) line: u32,
    pub(crate) column: u32,
}

/// Where a text stands in its file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The line of the file that is the text's first, from 1.
    pub(crate) line: u32,
    /// How many characters stand before the text on each line.
    pub(crate) indent: u32,
}

/// Reads a text of (mostly) one document. An empty document is left out.
pub(crate) fn load(text: &str, origin: Origin, file: &Arc<str>) -> Vec<Loaded> {
    let mut parser = Parser::new_from_str(text);
    let mut documents = Vec::new();
    let mut loader = Loader::new(origin);
    while let Some(event) = parser.next_event() {
        match event {
            Ok((Event::StreamStart | Event::Nothing, _)) => {}
            Ok((Event::StreamEnd, _)) => break,
            Ok((Event::DocumentStart(_), _)) => loader = Loader::new(origin),
            Ok((Event::DocumentEnd, _)) => {
                documents.extend(std::mem::replace(&mut loader, Loader::new(origin)).finish(file));
            }
            Ok((event, span)) => {
                if let Err(mut fault) = loader.on(event, span.start) {
                    fault.hint = fault.hint.or_else(|| scalar::hint_for_syntax(text, span.start.line()));
                    loader.faults.push(fault);
                    break;
                }
            }
            Err(error) => {
                let (line, column) = loader.position(*error.marker());
                loader.faults.push(Fault {
                    code: "yaml-syntax",
                    message: error.info().to_owned(),
                    hint: scalar::hint_for_syntax(text, error.marker().line()),
                    line,
                    column,
                });
                break;
            }
        }
    }
    documents.extend(loader.finish(file));
    documents
}

/// A collection that is being read.
enum Frame {
    List { items: Vec<Value>, node: NodeId, anchor: usize },
    Map { entries: Map<String, Value>, node: NodeId, anchor: usize, key: Option<Key>, merged: Vec<Value> },
}

/// A key that waits for its value.
enum Key {
    Name(String, NodeId),
    Merge(NodeId),
}

/// What an alias stands for.
struct Anchor {
    value: Value,
    weight: usize,
    depth: usize,
}

struct Loader {
    origin: Origin,
    frames: Vec<Frame>,
    places: PlacesBuilder,
    anchors: HashMap<usize, Anchor>,
    /// What aliases may still add.
    budget: usize,
    value: Option<Value>,
    started: bool,
    faults: Vec<Fault>,
}

impl Loader {
    fn new(origin: Origin) -> Self {
        Self {
            origin,
            frames: Vec::new(),
            places: PlacesBuilder::default(),
            anchors: HashMap::new(),
            budget: ALIASES,
            value: None,
            started: false,
            faults: Vec::new(),
        }
    }

    /// The line and column in the file, from 1.
    fn position(&self, marker: Marker) -> (u32, u32) {
        let line = u32::try_from(marker.line().saturating_sub(1)).unwrap_or(u32::MAX);
        let column = u32::try_from(marker.col()).unwrap_or(u32::MAX);
        let indent = self.origin.indent;
        (self.origin.line.saturating_add(line), column.saturating_add(1).saturating_add(indent))
    }

    fn fault(&self, at: Marker, code: &'static str, message: impl Into<String>) -> Fault {
        let (line, column) = self.position(at);
        Fault { code, message: message.into(), hint: None, line, column }
    }

    fn on(&mut self, event: Event<'_>, at: Marker) -> Result<(), Fault> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                if self.awaits_key() {
                    return self.key(&text, style, at);
                }
                let node = self.place(at);
                let (line, column) = self.position(at);
                self.places.scalar(node, line, column);
                let value = match &tag {
                    None => scalar::resolve(&text, style),
                    Some(tag) => scalar::tagged(&text, tag).ok_or_else(|| {
                        self.fault(at, "yaml-tag", format!("the tag `{tag}` has no meaning here"))
                    })?,
                };
                self.value(value, anchor, at)
            }
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) if self.awaits_key() => {
                let _ = (anchor, tag);
                Err(self.fault(at, "yaml-key", "a key must be a text, not a list or a map"))
            }
            Event::SequenceStart(anchor, _) => {
                self.deepen(at)?;
                let node = self.place(at);
                self.frames.push(Frame::List { items: Vec::new(), node, anchor });
                Ok(())
            }
            Event::MappingStart(anchor, _) => {
                self.deepen(at)?;
                let node = self.place(at);
                self.frames.push(Frame::Map {
                    entries: Map::new(),
                    node,
                    anchor,
                    key: None,
                    merged: Vec::new(),
                });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.frames.pop() {
                Some(frame) => {
                    let anchor = match &frame {
                        Frame::List { anchor, .. } | Frame::Map { anchor, .. } => *anchor,
                    };
                    let value = self.close(frame);
                    self.value(value, anchor, at)
                }
                None => Ok(()),
            },
            Event::Alias(_) if self.awaits_key() => {
                Err(self.fault(at, "yaml-key", "a key must be a text, not an alias"))
            }
            Event::Alias(id) => self.alias(id, at),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    /// Whether the next node is a key.
    fn awaits_key(&self) -> bool {
        matches!(self.frames.last(), Some(Frame::Map { key: None, .. }))
    }

    fn deepen(&self, at: Marker) -> Result<(), Fault> {
        if self.frames.len() < DEPTH {
            Ok(())
        } else {
            Err(self.fault(at, "yaml-depth", format!("nested deeper than {DEPTH} levels")))
        }
    }

    fn key(&mut self, text: &str, style: ScalarStyle, at: Marker) -> Result<(), Fault> {
        let (line, column) = self.position(at);
        if let Some(Frame::Map { entries, node, key, .. }) = self.frames.last_mut() {
            if text == "<<" && style == ScalarStyle::Plain {
                *key = Some(Key::Merge(*node));
                return Ok(());
            }
            if entries.contains_key(text) && self.faults.len() < FAULTS {
                self.faults.push(Fault {
                    code: "duplicate-field",
                    message: format!("`{text}` stands here a second time"),
                    hint: Some("keep one of them"),
                    line,
                    column,
                });
            }
            *key = Some(Key::Name(text.to_owned(), self.places.field(*node, text, line, column)));
        }
        Ok(())
    }

    /// The node of the value that comes now: that of its key, or a new item.
    fn place(&mut self, at: Marker) -> NodeId {
        let (line, column) = self.position(at);
        match self.frames.last() {
            Some(Frame::Map { key: Some(Key::Name(_, node) | Key::Merge(node)), .. })
            | Some(Frame::Map { key: None, node, .. }) => *node,
            Some(Frame::List { items, node, .. }) => {
                let (node, index) = (*node, items.len());
                self.places.item(node, index, line, column)
            }
            None => {
                self.started = true;
                self.places.root(line, column)
            }
        }
    }

    /// Puts a finished value where it belongs.
    fn value(&mut self, value: Value, anchor: usize, at: Marker) -> Result<(), Fault> {
        if anchor != 0 {
            let (weight, depth) = measure(&value);
            self.spend(weight, at)?;
            self.anchors.insert(anchor, Anchor { value: value.clone(), weight, depth });
        }
        match self.frames.last_mut() {
            None => self.value = Some(value),
            Some(Frame::List { items, .. }) => items.push(value),
            Some(Frame::Map { entries, key, merged, .. }) => match key.take() {
                Some(Key::Name(name, _)) => {
                    entries.insert(name, value);
                }
                Some(Key::Merge(_)) => match value {
                    Value::Object(_) => merged.push(value),
                    Value::Array(many) if many.iter().all(Value::is_object) => merged.extend(many),
                    _ => return Err(self.fault(at, "yaml-merge", "`<<` takes a map or a list of maps")),
                },
                None => {}
            },
        }
        Ok(())
    }

    fn alias(&mut self, id: usize, at: Marker) -> Result<(), Fault> {
        let Some(anchor) = self.anchors.get(&id) else {
            return Err(self.fault(at, "yaml-alias", "an alias must not stand within what it stands for"));
        };
        if self.frames.len() + anchor.depth > DEPTH {
            return Err(self.fault(at, "yaml-depth", format!("nested deeper than {DEPTH} levels")));
        }
        let (value, weight) = (anchor.value.clone(), anchor.weight);
        self.spend(weight, at)?;
        let node = self.place(at);
        let (line, column) = self.position(at);
        self.places.scalar(node, line, column);
        self.value(value, 0, at)
    }

    fn spend(&mut self, weight: usize, at: Marker) -> Result<(), Fault> {
        match self.budget.checked_sub(weight) {
            Some(rest) => {
                self.budget = rest;
                Ok(())
            }
            None => Err(self.fault(at, "yaml-alias", "anchors and aliases stand for more than a megabyte")),
        }
    }

    fn close(&mut self, frame: Frame) -> Value {
        match frame {
            Frame::List { items, .. } => Value::Array(items),
            Frame::Map { mut entries, merged, .. } => {
                // What is written counts before what is merged, and the first merged before the others.
                for merged in merged {
                    if let Value::Object(merged) = merged {
                        for (name, value) in merged {
                            entries.entry(name).or_insert(value);
                        }
                    }
                }
                Value::Object(entries)
            }
        }
    }

    /// The document as far as it was read; none when it is empty and without fault.
    fn finish(mut self, file: &Arc<str>) -> Option<Loaded> {
        while let Some(frame) = self.frames.pop() {
            let value = self.close(frame);
            match self.frames.last_mut() {
                None => self.value = Some(value),
                Some(Frame::List { items, .. }) => items.push(value),
                Some(Frame::Map { entries, key, .. }) => {
                    if let Some(Key::Name(name, _)) = key.take() {
                        entries.insert(name, value);
                    }
                }
            }
        }
        let value = self.value.unwrap_or_default();
        if value.is_null() && self.faults.is_empty() {
            return None;
        }
        if !self.started {
            self.places.root(self.origin.line, self.origin.indent + 1);
        }
        Some(Loaded { value, places: self.places.build(file.clone()), faults: self.faults })
    }
}

/// The bytes of a value, roughly, and how deep it nests. The value's own depth is bounded, so this recursion is.
fn measure(value: &Value) -> (usize, usize) {
    const NODE: usize = 32;
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => (NODE, 0),
        Value::String(text) => (NODE + text.len(), 0),
        Value::Array(items) => items
            .iter()
            .map(measure)
            .fold((NODE, 1), |(weight, depth), item| (weight.saturating_add(item.0), depth.max(item.1 + 1))),
        Value::Object(entries) => entries
            .iter()
            .map(|(name, value)| (name.len(), measure(value)))
            .fold((NODE, 1), |(weight, depth), (name, item)| {
                (weight.saturating_add(name + item.0), depth.max(item.1 + 1))
            }),
    }
}
