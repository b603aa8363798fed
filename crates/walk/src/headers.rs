//! Changes of headers that a route makes.

use meltemi_proto::envoy::config::core::v3::HeaderValueOption;
use meltemi_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use serde::Serialize;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeaderChange {
    /// What is done.
    pub operation: HeaderOperation,
    /// The header.
    pub name: String,
    /// As written, with Envoy's command operators; none for what is taken away.
    pub value: Option<String>,
}

/// What is done to a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum HeaderOperation {
    /// A value more.
    Append,
    /// Only if there is none.
    AddIfAbsent,
    /// Instead of whatever there is.
    Set,
    /// Only if there is one.
    SetIfPresent,
    /// Taken away.
    Remove,
}

pub(crate) fn changes(add: &[HeaderValueOption], remove: &[String]) -> Vec<HeaderChange> {
    // Envoy takes away first.
    let removed = remove.iter().map(|name| HeaderChange {
        operation: HeaderOperation::Remove,
        name: name.clone(),
        value: None,
    });
    let added = add.iter().filter_map(|option| {
        let header = option.header.as_ref()?;
        Some(HeaderChange {
            operation: match HeaderAppendAction::try_from(option.append_action) {
                Ok(HeaderAppendAction::AddIfAbsent) => HeaderOperation::AddIfAbsent,
                Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => HeaderOperation::Set,
                Ok(HeaderAppendAction::OverwriteIfExists) => HeaderOperation::SetIfPresent,
                _ => HeaderOperation::Append,
            },
            name: header.key.clone(),
            value: Some(header.value.clone()),
        })
    });
    removed.chain(added).collect()
}
