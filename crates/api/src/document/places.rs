//! Where each field of a document stands in its file.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::decode::UNKNOWN_FIELD;
use crate::field::{FieldPath, Segment};
use crate::finding::{Finding, Place};

/// The places of all fields of a document, or of one object of a list in it: some 20 bytes a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    file: Arc<str>,
    nodes: Arc<Nodes>,
    /// The node that is this object's root.
    root: u32,
    /// A text within the document that is a document itself, and its path.
    inner: Option<Arc<(FieldPath, Places)>>,
}

/// Nodes in the order of the text; a parent stands before its children.
#[derive(Debug, PartialEq, Eq)]
struct Nodes {
    nodes: Box<[Node]>,
    /// The keys that occur, each once.
    keys: Box<[Box<str>]>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    parent: u32,
    step: Step,
    line: u32,
    /// Of the key, or of the item.
    column: u32,
    /// Of the scalar that follows its key on the same line; 0: none does.
    value_column: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Key(u32),
    Index(u32),
}

impl Places {
    /// Of a file of which nothing was read.
    pub(crate) fn none(file: Arc<str>) -> Self {
        let nodes = Nodes { nodes: Box::default(), keys: Box::default() };
        Self { file, nodes: Arc::new(nodes), root: 0, inner: None }
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where the whole object begins.
    pub fn start(&self) -> Option<Place> {
        self.nodes.nodes.get(self.root as usize).map(|node| self.place(node.line, node.column))
    }

    /// Where the value of the field stands, or the nearest field around it that there is.
    pub fn value(&self, path: &FieldPath) -> Option<Place> {
        if let Some((inner, rest)) = self.inner(path) {
            return inner.value(&rest);
        }
        let (node, whole) = self.nearest(path)?;
        let column = if whole && node.value_column > 0 { node.value_column } else { node.column };
        Some(self.place(node.line, column))
    }

    /// Where the name of the field stands, or the nearest field around it that there is.
    pub fn key(&self, path: &FieldPath) -> Option<Place> {
        if let Some((inner, rest)) = self.inner(path) {
            return inner.key(&rest);
        }
        self.nearest(path).map(|(node, _)| self.place(node.line, node.column))
    }

    /// The inner document that the path leads into, and the rest of the path.
    fn inner(&self, path: &FieldPath) -> Option<(&Self, FieldPath)> {
        let (prefix, inner) = self.inner.as_deref()?;
        let rest = path.strip_prefix(prefix).filter(|rest| !rest.segments().is_empty())?;
        Some((inner, rest))
    }

    /// The same document with the places of the text at `path`, which is a document itself.
    pub(crate) fn with_inner(self, path: FieldPath, inner: Self) -> Self {
        Self { inner: Some(Arc::new((path, inner))), ..self }
    }

    /// The finding with the place of its field, unless it has one already: for findings made where no file is known.
    #[must_use]
    pub fn locate(&self, mut finding: Finding) -> Finding {
        if finding.place.is_none() {
            finding.place = match FieldPath::parse(&finding.field) {
                Some(path) if finding.code == UNKNOWN_FIELD => self.key(&path),
                Some(path) => self.value(&path),
                None => self.start(),
            };
        }
        finding
    }

    /// The same document seen from each item of the list `name`, in order. One pass: a list may have thousands.
    pub(crate) fn items(&self, name: &str) -> impl Iterator<Item = Self> {
        let list = self.child(self.root, &Segment::Key(name.to_owned()));
        let of_list = move |node: &Node| Some(node.parent) == list && matches!(node.step, Step::Index(_));
        let items = self.nodes.nodes.iter().zip(0..).filter(move |(node, _)| of_list(node));
        items.map(|(_, root)| Self { root, inner: None, ..self.clone() })
    }

    fn place(&self, line: u32, column: u32) -> Place {
        Place { file: self.file.clone(), line, column }
    }

    /// The node of the path, or of its longest part that there is; and whether it is the whole.
    fn nearest(&self, path: &FieldPath) -> Option<(&Node, bool)> {
        let mut here = self.root;
        let mut whole = true;
        for segment in path.segments() {
            match self.child(here, segment) {
                Some(child) => here = child,
                None => {
                    whole = false;
                    break;
                }
            }
        }
        self.nodes.nodes.get(here as usize).map(|node| (node, whole))
    }

    /// O(nodes within the parent): they follow it without a gap.
    fn child(&self, parent: u32, segment: &Segment) -> Option<u32> {
        let step = match segment {
            Segment::Index(index) => Step::Index(u32::try_from(*index).ok()?),
            Segment::Key(name) => {
                Step::Key(u32::try_from(self.nodes.keys.iter().position(|key| **key == **name)?).ok()?)
            }
        };
        let first = parent as usize + 1;
        let mut within = self.nodes.nodes.iter().skip(first).take_while(|node| node.parent >= parent);
        let found = within.position(|node| node.parent == parent && node.step == step)?;
        u32::try_from(first + found).ok()
    }
}

/// Collects places while a document is read.
#[derive(Debug, Default)]
pub(crate) struct PlacesBuilder {
    nodes: Vec<Node>,
    keys: Vec<Box<str>>,
    /// The keys after the first [`FEW`], each with its place among all.
    known: BTreeMap<Box<str>, u32>,
}

/// So many keys are faster compared one by one than looked up.
const FEW: usize = 24;

/// A node within a [`PlacesBuilder`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeId(u32);

impl PlacesBuilder {
    /// The document itself; called first, once.
    pub(crate) fn root(&mut self, line: u32, column: u32) -> NodeId {
        // As most objects have.
        self.nodes.reserve(32);
        self.keys.reserve(FEW);
        self.push(Node { parent: u32::MAX, step: Step::Index(0), line, column, value_column: 0 })
    }

    /// The field `name` of `parent`.
    pub(crate) fn field(&mut self, parent: NodeId, name: &str, line: u32, column: u32) -> NodeId {
        let among_few = self.keys.iter().take(FEW).position(|key| **key == *name);
        let known = among_few.and_then(|key| u32::try_from(key).ok());
        let key = match known.or_else(|| self.known.get(name).copied()) {
            Some(key) => key,
            None => {
                let key = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
                self.keys.push(name.into());
                if self.keys.len() > FEW {
                    self.known.insert(name.into(), key);
                }
                key
            }
        };
        self.push(Node { parent: parent.0, step: Step::Key(key), line, column, value_column: 0 })
    }

    /// An item of `parent`.
    pub(crate) fn item(&mut self, parent: NodeId, index: usize, line: u32, column: u32) -> NodeId {
        let index = u32::try_from(index).unwrap_or(u32::MAX);
        self.push(Node { parent: parent.0, step: Step::Index(index), line, column, value_column: 0 })
    }

    /// The scalar of `node`, if it stands on the node's line.
    pub(crate) fn scalar(&mut self, node: NodeId, line: u32, column: u32) {
        if let Some(node) = self.nodes.get_mut(node.0 as usize).filter(|node| node.line == line) {
            node.value_column = column;
        }
    }

    fn push(&mut self, node: Node) -> NodeId {
        // A document has far fewer than 2^32 nodes: its size is bounded.
        let id = u32::try_from(self.nodes.len()).unwrap_or(u32::MAX);
        self.nodes.push(node);
        NodeId(id)
    }

    /// All of them.
    pub(crate) fn build(self, file: Arc<str>) -> Places {
        let nodes = Nodes { nodes: self.nodes.into(), keys: self.keys.into() };
        Places { file, nodes: Arc::new(nodes), root: 0, inner: None }
    }
}
