//! The graph of remembered answers: what each one read, who read it, and what a change makes stale.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use crate::cost::Cost;
use crate::question::{ErasedAnswer, Key, Question, World};
use crate::reader::{Reader, Reads};

/// Names a remembered answer as long as it is kept: while it is observed, or read by one that is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId {
    index: u32,
    /// Tells this node from an earlier one in the same place.
    age: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// As it would be made from scratch.
    Fresh,
    /// Something it read changed, or it was never made.
    Stale,
    /// Being made now.
    Making,
}

#[derive(Debug)]
struct Node<W: World> {
    age: u32,
    key: Key<W>,
    answer: Option<ErasedAnswer>,
    state: State,
    /// Above everything that it read, so that a change goes through the graph once.
    height: u32,
    observers: u32,
    entries: Vec<u32>,
    nodes: Vec<u32>,
    readers: BTreeSet<u32>,
}

#[derive(Debug)]
struct EntryNode<E> {
    entry: E,
    readers: BTreeSet<u32>,
}

#[derive(Debug)]
struct Graph<W: World> {
    ids: HashMap<Key<W>, u32>,
    nodes: Vec<Option<Node<W>>>,
    free: Vec<u32>,
    next_age: u32,
    entry_ids: HashMap<W::Entry, u32>,
    entries: Vec<Option<EntryNode<W::Entry>>>,
    free_entries: Vec<u32>,
    stale: BinaryHeap<Reverse<(u32, u32)>>,
    /// Observed nodes whose answer changed since the last [`Memo::apply`] returned.
    changed: BTreeSet<u32>,
    /// Nodes that may have lost their last reader.
    orphans: Vec<u32>,
    cost: Cost,
}

/// Remembers answers. Owned by one writer; not shared between threads.
#[derive(Debug)]
pub struct Memo<W: World> {
    graph: RefCell<Graph<W>>,
}

impl<W: World> Default for Memo<W> {
    fn default() -> Self {
        Self::new()
    }
}

impl<W: World> Memo<W> {
    /// Nothing asked yet.
    pub fn new() -> Self {
        Self {
            graph: RefCell::new(Graph {
                ids: HashMap::new(),
                nodes: Vec::new(),
                free: Vec::new(),
                next_age: 0,
                entry_ids: HashMap::new(),
                entries: Vec::new(),
                free_entries: Vec::new(),
                stale: BinaryHeap::new(),
                changed: BTreeSet::new(),
                orphans: Vec::new(),
                cost: Cost::default(),
            }),
        }
    }

    /// Asks, and keeps the answer up to date from now on. Each call needs its [`Memo::release`].
    pub fn observe<Q: Question<World = W>>(&self, question: Q, world: &W) -> (NodeId, Arc<Q::Answer>) {
        self.observe_shared(&Arc::new(question), world)
    }

    /// [`Memo::observe`] for a question that others keep, too: it then exists once.
    pub fn observe_shared<Q: Question<World = W>>(
        &self,
        question: &Arc<Q>,
        world: &W,
    ) -> (NodeId, Arc<Q::Answer>) {
        let (node, answer) = self.answer_for(question, world);
        if let Some(node) = self.graph.borrow_mut().node_mut(node.index) {
            node.observers += 1;
        }
        (node, answer)
    }

    /// Ends one observation; answers that nobody needs any more are forgotten by the next [`Memo::sweep`].
    pub fn release(&self, node: NodeId) {
        let mut graph = self.graph.borrow_mut();
        if let Some(found) = graph.node_mut(node.index).filter(|found| found.age == node.age) {
            found.observers = found.observers.saturating_sub(1);
            graph.orphans.push(node.index);
        }
    }

    /// The present answer of an observed question; none if `node` is no longer kept or answers another type of question.
    pub fn answer<Q: Question<World = W>>(&self, node: NodeId) -> Option<Arc<Q::Answer>> {
        let graph = self.graph.borrow();
        let found = graph.nodes.get(node.index as usize)?.as_ref().filter(|found| found.age == node.age)?;
        typed::<Q>(found.answer.as_ref()?)
    }

    /// Brings every kept answer up to date with `world`, in which only `entries` changed. Returns the observed nodes whose
    /// answers came out different, in a fixed order. Costs what the change touches.
    pub fn apply<'e>(&self, world: &W, entries: impl IntoIterator<Item = &'e W::Entry>) -> Vec<NodeId> {
        {
            let mut graph = self.graph.borrow_mut();
            for entry in entries {
                graph.entry_changed(entry);
            }
        }
        loop {
            let next = self.graph.borrow_mut().next_stale();
            let Some(index) = next else { break };
            self.make(index, world);
        }
        let mut graph = self.graph.borrow_mut();
        let changed = std::mem::take(&mut graph.changed);
        changed
            .into_iter()
            .filter_map(|index| {
                let node = graph.nodes[index as usize].as_ref()?;
                (node.observers > 0).then_some(NodeId { index, age: node.age })
            })
            .collect()
    }

    /// Forgets answers that are neither observed nor read by one that is kept.
    pub fn sweep(&self) {
        self.graph.borrow_mut().sweep();
    }

    /// The work counted since the last call.
    pub fn take_cost(&self) -> Cost {
        std::mem::take(&mut self.graph.borrow_mut().cost)
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.graph.borrow().ids.len()
    }

    /// Nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn count_read(&self) {
        self.graph.borrow_mut().cost.entries_read += 1;
    }

    /// The node of a question and its answer, made now if it is not there or stale.
    pub(crate) fn answer_for<Q: Question<World = W>>(
        &self,
        question: &Arc<Q>,
        world: &W,
    ) -> (NodeId, Arc<Q::Answer>) {
        let key = Key(Arc::clone(question) as _);
        let index = self.graph.borrow_mut().find_or_add(key);
        let id = self.graph.borrow().node_id(index);
        let state = self.graph.borrow().nodes[index as usize].as_ref().map(|node| node.state);
        if state == Some(State::Stale) {
            self.make(index, world);
        }
        let answer = self.graph.borrow().nodes[index as usize]
            .as_ref()
            .and_then(|node| node.answer.as_ref())
            .and_then(typed::<Q>);
        match answer {
            Some(answer) => (id, answer),
            #[allow(
                clippy::panic,
                reason = "invariant: no question asks itself, directly or through others. No answer could be given, and \
                          every test that asks the question meets this"
            )]
            None => panic!("{question:?} asks itself"),
        }
    }

    /// Makes the answer of a stale node, and marks its readers stale if it came out different.
    fn make(&self, index: u32, world: &W) {
        let key = {
            let mut graph = self.graph.borrow_mut();
            let Some(node) = graph.node_mut(index) else { return };
            if node.state != State::Stale {
                return;
            }
            node.state = State::Making;
            node.key.clone()
        };
        let reader = Reader::new(self, world);
        let answer = key.0.make(&reader);
        let reads = reader.reads.into_inner();
        self.graph.borrow_mut().made(index, answer, reads);
    }
}

fn typed<Q: Question>(answer: &ErasedAnswer) -> Option<Arc<Q::Answer>> {
    Arc::clone(answer).downcast::<Q::Answer>().ok()
}

impl<W: World> Graph<W> {
    fn node_mut(&mut self, index: u32) -> Option<&mut Node<W>> {
        self.nodes.get_mut(index as usize)?.as_mut()
    }

    fn node_id(&self, index: u32) -> NodeId {
        let age = self.nodes[index as usize].as_ref().map_or(0, |node| node.age);
        NodeId { index, age }
    }

    fn find_or_add(&mut self, key: Key<W>) -> u32 {
        if let Some(&index) = self.ids.get(&key) {
            return index;
        }
        let node = Node {
            age: self.next_age,
            key: key.clone(),
            answer: None,
            state: State::Stale,
            height: 0,
            observers: 0,
            entries: Vec::new(),
            nodes: Vec::new(),
            readers: BTreeSet::new(),
        };
        self.next_age = self.next_age.wrapping_add(1);
        let index = place(&mut self.nodes, &mut self.free, node);
        self.ids.insert(key, index);
        // Unless someone reads it before the sweep, it is not kept.
        self.orphans.push(index);
        index
    }

    fn entry_changed(&mut self, entry: &W::Entry) {
        let Some(&id) = self.entry_ids.get(entry) else { return };
        let Some(node) = &self.entries[id as usize] else { return };
        let readers: Vec<u32> = node.readers.iter().copied().collect();
        for reader in readers {
            self.mark_stale(reader);
        }
    }

    fn mark_stale(&mut self, index: u32) {
        let Some(node) = self.node_mut(index) else { return };
        if node.state == State::Fresh {
            node.state = State::Stale;
            let height = node.height;
            self.stale.push(Reverse((height, index)));
        }
    }

    fn next_stale(&mut self) -> Option<u32> {
        while let Some(Reverse((_, index))) = self.stale.pop() {
            // One that nobody needs stays stale: it is made when someone asks, or swept.
            if self.node_mut(index).is_some_and(|node| {
                node.state == State::Stale && (node.observers > 0 || !node.readers.is_empty())
            }) {
                return Some(index);
            }
        }
        None
    }

    /// Takes in a made answer: what it read, whether it differs, who must be made again.
    fn made(&mut self, index: u32, answer: ErasedAnswer, reads: Reads<W::Entry>) {
        self.note_reads(index, reads);
        let Some(node) = self.node_mut(index) else { return };
        node.state = State::Fresh;
        let name = node.key.0.name();
        let differs = match &node.answer {
            Some(before) => !node.key.0.same_answer(before, &answer),
            None => true,
        };
        let is_new = node.answer.is_none();
        let observed = node.observers > 0;
        if differs {
            node.answer = Some(answer);
        }
        let readers: Vec<u32> =
            if differs && !is_new { node.readers.iter().copied().collect() } else { Vec::new() };
        *self.cost.made.entry(name).or_default() += 1;
        if differs {
            *self.cost.changed.entry(name).or_default() += 1;
        }
        if differs && !is_new && observed {
            self.changed.insert(index);
        }
        for reader in readers {
            self.mark_stale(reader);
        }
    }

    /// Replaces what a node reads by `reads`, and keeps the reverse index and the heights in step.
    fn note_reads(&mut self, index: u32, reads: Reads<W::Entry>) {
        let mut entries: Vec<u32> = reads.entries.into_iter().map(|entry| self.entry_id(entry)).collect();
        entries.sort_unstable();
        entries.dedup();
        let mut nodes: Vec<u32> = reads.nodes.into_iter().map(|node| node.index).collect();
        nodes.sort_unstable();
        nodes.dedup();

        let Some(node) = self.node_mut(index) else { return };
        let old_entries = std::mem::replace(&mut node.entries, entries.clone());
        let old_nodes = std::mem::replace(&mut node.nodes, nodes.clone());
        for &id in &entries {
            if old_entries.binary_search(&id).is_err()
                && let Some(entry) = &mut self.entries[id as usize]
            {
                entry.readers.insert(index);
            }
        }
        for id in old_entries {
            if entries.binary_search(&id).is_err() {
                self.unread_entry(id, index);
            }
        }
        let mut height = 0;
        for &id in &nodes {
            if let Some(read) = self.node_mut(id) {
                height = height.max(read.height + 1);
                read.readers.insert(index);
            }
        }
        for id in old_nodes {
            if nodes.binary_search(&id).is_err()
                && let Some(read) = self.node_mut(id)
            {
                read.readers.remove(&index);
                self.orphans.push(id);
            }
        }
        self.raise(index, height);
    }

    /// Lifts a node, and all that read it, above what they read.
    fn raise(&mut self, index: u32, height: u32) {
        let mut work = vec![(index, height)];
        while let Some((index, height)) = work.pop() {
            let Some(node) = self.node_mut(index) else { continue };
            if node.height >= height {
                continue;
            }
            node.height = height;
            work.extend(node.readers.iter().map(|&reader| (reader, height + 1)));
        }
    }

    fn entry_id(&mut self, entry: W::Entry) -> u32 {
        if let Some(&id) = self.entry_ids.get(&entry) {
            return id;
        }
        let node = EntryNode { entry: entry.clone(), readers: BTreeSet::new() };
        let id = place(&mut self.entries, &mut self.free_entries, node);
        self.entry_ids.insert(entry, id);
        id
    }

    fn unread_entry(&mut self, id: u32, reader: u32) {
        let Some(node) = &mut self.entries[id as usize] else { return };
        node.readers.remove(&reader);
        if node.readers.is_empty() {
            self.entry_ids.remove(&node.entry);
            self.entries[id as usize] = None;
            self.free_entries.push(id);
        }
    }

    fn sweep(&mut self) {
        while let Some(index) = self.orphans.pop() {
            let Some(node) = &self.nodes[index as usize] else { continue };
            if node.observers > 0 || !node.readers.is_empty() {
                continue;
            }
            let Some(node) = self.nodes[index as usize].take() else { continue };
            self.ids.remove(&node.key);
            self.free.push(index);
            for id in node.entries {
                self.unread_entry(id, index);
            }
            for id in node.nodes {
                if let Some(read) = self.node_mut(id) {
                    read.readers.remove(&index);
                    self.orphans.push(id);
                }
            }
        }
    }
}

/// Puts a value into a free place, or a new one.
fn place<T>(places: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    match free.pop() {
        Some(index) => {
            places[index as usize] = Some(value);
            index
        }
        None => {
            places.push(Some(value));
            // Four thousand million remembered answers do not fit into any machine's memory.
            u32::try_from(places.len() - 1).unwrap_or(u32::MAX)
        }
    }
}
