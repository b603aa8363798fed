//! Who takes the access log of a side.

use std::collections::{BTreeMap, BTreeSet};

use meltemi_api::Telemetry;
use meltemi_api::value::Cel;

use super::Side;

/// Who takes the log, by the provider's name.
pub type Logging = BTreeMap<String, Log>;

/// What a provider takes of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// Nothing.
    pub disabled: bool,
    /// What this is true of; none: everything.
    pub filter: Option<Cel>,
}

/// None where nobody says who takes it.
///
/// Of the levels the last that names providers for this side says which; a rule without providers is for those of the rule before it.
pub(super) fn merge(objects: &[&Telemetry], defaults: &[String], side: Side) -> Option<Logging> {
    let levels: Vec<_> =
        objects.iter().map(|object| &object.access_logging).filter(|rules| !rules.is_empty()).collect();
    if levels.is_empty() {
        let named = || defaults.iter().map(|name| (name.clone(), Log::default())).collect();
        return (!defaults.is_empty()).then(named);
    }
    let mut in_scope: BTreeSet<&str> = defaults.iter().map(String::as_str).collect();
    let mut filters: BTreeMap<&str, &Option<_>> = BTreeMap::new();
    for rules in &levels {
        let for_side = rules.iter().filter(|rule| side.is_of(rule.matches.mode));
        let named: Vec<_> = for_side
            .flat_map(|rule| {
                rule.providers.iter().map(move |provider| (provider.name.as_str(), &rule.filter))
            })
            .collect();
        if !named.is_empty() {
            in_scope = named.iter().map(|(name, _)| *name).collect();
            filters.extend(named);
        }
    }
    let mut logging = Logging::new();
    let mut before: Vec<&str> = defaults.iter().map(String::as_str).collect();
    for rule in levels.into_iter().flatten() {
        if !rule.providers.is_empty() {
            before = rule.providers.iter().map(|provider| provider.name.as_str()).collect();
        }
        if !side.is_of(rule.matches.mode) {
            continue;
        }
        for name in before.iter().filter(|name| in_scope.contains(*name)) {
            let log = if rule.disabled == Some(true) {
                Log { disabled: true, filter: None }
            } else {
                let filter = filters.get(name).and_then(|filter| filter.as_ref());
                Log { disabled: false, filter: filter.and_then(|filter| filter.expression.clone()) }
            };
            logging.insert((*name).to_owned(), log);
        }
    }
    Some(logging)
}
