//! Which VirtualServices a namespace's sidecars follow.

use std::collections::BTreeSet;

use meltemi_memo::Question;
use meltemi_names::{Namespace, Selector};

use crate::entry::IndexKey;
use crate::mesh::Mesh;
use crate::read::{self, Read, filed};

/// The selectors over a caller's labels that anything outbound asks for, as a namespace sees it: `sourceLabels` of VirtualServices and
/// `workloadSelector` of its own DestinationRules.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutboundSelectors(pub Namespace);

impl Question for OutboundSelectors {
    type World = Mesh;
    type Answer = BTreeSet<Selector>;
    const NAME: &'static str = "outbound selectors";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut selectors = BTreeSet::new();
        for key in filed(read, IndexKey::VirtualServicesWithSourceLabels) {
            let Some((_, service)) = read::virtual_service(read, key) else { continue };
            let matches = service.http.iter().flat_map(|route| &route.matches);
            selectors.extend(matches.map(|found| found.source_labels.clone()));
        }
        for key in filed(read, IndexKey::RulesWithSelector(self.0.clone())) {
            let Some((_, rule)) = read::destination_rule(read, key) else { continue };
            selectors.extend(rule.workload_selector.iter().map(|selector| selector.match_labels.clone()));
        }
        selectors.remove(&Selector::default());
        selectors
    }
}
