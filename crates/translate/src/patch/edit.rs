//! The operations, on lists and messages of any kind.

use meltemi_api::envoy_filter::Operation;
use meltemi_proto::dynamic::{self, Lists};
use meltemi_proto::google::protobuf::Any;
use prost::{Message, Name};

use super::written::Written;

/// Adds, inserts, replaces or removes in a list; true if the list is another one now. `named`: the patch names the item that it is
/// about, and `is_meant` tells it (Istio: core/envoyfilter/util.go).
pub(super) fn list<T: Message + Default>(
    items: &mut Vec<T>,
    patch: &Written,
    named: bool,
    is_meant: impl Fn(&T) -> bool,
) -> bool {
    let meant = || items.iter().position(&is_meant);
    let place = match patch.operation {
        Operation::Add => Some(items.len()),
        Operation::InsertFirst => Some(0),
        Operation::InsertAfter if !named => Some(items.len()),
        Operation::InsertAfter => meant().map(|place| place + 1),
        Operation::InsertBefore if !named => Some(0),
        Operation::InsertBefore => meant(),
        Operation::Replace if named => {
            let Some((place, value)) = meant().zip(patch.message()) else { return false };
            items[place] = value;
            return true;
        }
        Operation::Remove if named => {
            let before = items.len();
            items.retain(|item| !is_meant(item));
            return items.len() < before;
        }
        _ => None,
    };
    let Some((place, value)) = place.zip(patch.message()) else { return false };
    items.insert(place, value);
    true
}

/// Merges a patch's value into a message; true if that could be done.
pub(super) fn merge<M: Message + Name + Default>(into: &mut M, patch: &Written) -> bool {
    let lists = match patch.operation {
        Operation::MergeAndReplaceList => Lists::Replace,
        _ => Lists::Append,
    };
    let merged = dynamic::merge(&M::full_name(), &into.encode_to_vec(), &patch.value, lists);
    match merged.ok().and_then(|bytes| M::decode(bytes.as_slice()).ok()) {
        Some(merged) => {
            *into = merged;
            true
        }
        None => false,
    }
}

/// Merges the configuration of an extension into another of the same type; true if that could be done.
pub(super) fn merge_any(into: &mut Any, from: &Any) -> bool {
    let same = |url: &str| url.rsplit('/').next().unwrap_or(url).to_owned();
    if same(&into.type_url) != same(&from.type_url) {
        return false;
    }
    match dynamic::merge(&into.type_url, &into.value, &from.value, Lists::Append) {
        Ok(bytes) => {
            into.value = bytes.into();
            true
        }
        Err(_) => false,
    }
}
