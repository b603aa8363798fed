//! A toy spreadsheet: cells are entries; sums, signs and chains are questions.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::{Memo, Question, Reader, World};

#[derive(Clone, Debug, Default)]
struct Sheet(BTreeMap<u8, i64>);

impl World for Sheet {
    type Entry = u8;
}

fn cell(read: &Reader<'_, Sheet>, cell: u8) -> i64 {
    read.world_at(cell).0.get(&cell).copied().unwrap_or_default()
}

/// The sum of a range of cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sum(u8, u8);

impl Question for Sum {
    type World = Sheet;
    type Answer = i64;
    const NAME: &'static str = "sum";
    fn answer(&self, read: &Reader<'_, Sheet>) -> i64 {
        (self.0..self.1).map(|at| cell(read, at)).sum()
    }
}

/// The sign of a sum: often equal when the sum is not.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sign(u8, u8);

impl Question for Sign {
    type World = Sheet;
    type Answer = i64;
    const NAME: &'static str = "sign";
    fn answer(&self, read: &Reader<'_, Sheet>) -> i64 {
        read.ask(Sum(self.0, self.1)).signum()
    }
}

/// Reads one sum or another, as a cell decides: what it depends on changes with what it reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Pick(u8);

impl Question for Pick {
    type World = Sheet;
    type Answer = (i64, i64);
    const NAME: &'static str = "pick";
    fn answer(&self, read: &Reader<'_, Sheet>) -> (i64, i64) {
        let sign = *read.ask(Sign(self.0, self.0 + 3));
        let value = if sign < 0 { *read.ask(Sum(0, 4)) } else { *read.ask(Sum(4, 8)) };
        (sign, value)
    }
}

fn set(sheet: &mut Sheet, at: u8, value: i64) {
    sheet.0.insert(at, value);
}

#[test]
fn an_unrelated_change_makes_nothing() {
    let (memo, mut sheet) = (Memo::new(), Sheet::default());
    memo.observe(Sum(0, 3), &sheet);
    memo.take_cost();
    set(&mut sheet, 9, 5);
    assert_eq!(memo.apply(&sheet, &[9]), []);
    assert_eq!(memo.take_cost(), crate::Cost::default());
}

#[test]
fn an_equal_answer_stops_the_change_there() {
    let (memo, mut sheet) = (Memo::new(), Sheet::default());
    set(&mut sheet, 0, 1);
    let (pick, answer) = memo.observe(Pick(0), &sheet);
    assert_eq!(*answer, (1, 0));
    memo.take_cost();
    set(&mut sheet, 0, 2);
    assert_eq!(memo.apply(&sheet, &[0]), [], "the sign is the same");
    let cost = memo.take_cost();
    assert_eq!((cost.made("sum"), cost.made("sign"), cost.made("pick")), (1, 1, 0));
    set(&mut sheet, 0, -2);
    assert_eq!(memo.apply(&sheet, &[0]), [pick]);
    assert_eq!(*memo.answer::<Pick>(pick).unwrap(), (-1, -2));
}

#[test]
fn a_shared_answer_is_made_once() {
    let (memo, sheet) = (Memo::new(), Sheet::default());
    memo.observe(Sign(0, 3), &sheet);
    memo.observe(Pick(0), &sheet);
    let cost = memo.take_cost();
    assert_eq!((cost.made("sign"), cost.made("sum")), (1, 2), "Sum(0,3) once for both, and Sum(4,8)");
}

#[test]
fn what_nobody_needs_is_forgotten_with_all_that_only_it_read() {
    let (memo, sheet) = (Memo::new(), Sheet::default());
    let (pick, _) = memo.observe(Pick(0), &sheet);
    let (sum, _) = memo.observe(Sum(4, 8), &sheet);
    memo.release(pick);
    memo.sweep();
    assert_eq!(memo.len(), 1);
    assert!(memo.answer::<Pick>(pick).is_none());
    assert!(memo.answer::<Sum>(sum).is_some());
    memo.release(sum);
    memo.sweep();
    assert!(memo.is_empty());
}

#[test]
fn a_node_in_the_place_of_a_forgotten_one_is_another_node() {
    let (memo, sheet) = (Memo::new(), Sheet::default());
    let (first, _) = memo.observe(Sum(0, 1), &sheet);
    memo.release(first);
    memo.sweep();
    let (second, _) = memo.observe(Sum(0, 1), &sheet);
    assert_ne!(first, second);
    assert!(memo.answer::<Sum>(first).is_none());
}

proptest! {
    #[test]
    fn incremental_equals_scratch(changes in proptest::collection::vec((0_u8..10, -3_i64..3), 1..60)) {
        let (memo, mut sheet) = (Memo::new(), Sheet::default());
        let picks: Vec<_> = (0..5).map(|at| memo.observe(Pick(at), &sheet)).collect();
        let mut seen: Vec<_> = picks.iter().map(|(_, answer)| **answer).collect();
        for batch in changes.chunks(3) {
            for &(at, value) in batch {
                set(&mut sheet, at, value);
            }
            let entries: Vec<u8> = batch.iter().map(|&(at, _)| at).collect();
            let told = memo.apply(&sheet, &entries);
            memo.sweep();
            for (at, (node, _)) in picks.iter().enumerate() {
                let now = *memo.answer::<Pick>(*node).unwrap();
                let scratch = *Memo::new().observe(Pick(u8::try_from(at).unwrap()), &sheet).1;
                prop_assert_eq!(now, scratch);
                prop_assert_eq!(told.contains(node), now != seen[at], "told exactly what differs");
                seen[at] = now;
            }
        }
    }
}
