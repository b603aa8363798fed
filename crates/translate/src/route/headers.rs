//! Changes of headers.

use meltemi_api::value::HeaderName;
use meltemi_api::virtual_service::HeaderChange;
use meltemi_proto::envoy::config::core::v3::header_value_option::HeaderAppendAction;
use meltemi_proto::envoy::config::core::v3::{HeaderValue, HeaderValueOption};

/// The headers that a change overwrites and appends, each by name. The authority is no header to Envoy: see
/// [`HeaderChange::authority`].
pub(super) fn added(change: &HeaderChange) -> Vec<HeaderValueOption> {
    let option = |(name, value): (&HeaderName, &String), action: HeaderAppendAction| HeaderValueOption {
        header: Some(HeaderValue { key: name.to_string(), value: value.clone(), ..HeaderValue::default() }),
        append_action: action.into(),
        ..HeaderValueOption::default()
    };
    let set = change.set.iter().map(|pair| option(pair, HeaderAppendAction::OverwriteIfExistsOrAdd));
    let add = change.add.iter().map(|pair| option(pair, HeaderAppendAction::AppendIfExistsOrAdd));
    set.chain(add)
        .filter(|option| option.header.as_ref().is_some_and(|header| may_change(&header.key)))
        .collect()
}

/// The headers that a change takes away.
pub(super) fn removed(change: &HeaderChange) -> Vec<String> {
    change.remove.iter().map(HeaderName::to_string).filter(|name| may_change(name)).collect()
}

/// Envoy refuses operations on pseudo-headers and `host`; what begins with `@` is no header at all.
fn may_change(name: &str) -> bool {
    !name.starts_with([':', '@']) && name != "host"
}
