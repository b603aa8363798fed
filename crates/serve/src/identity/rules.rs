//! Whose names there are: the mesh's settings, as the certificate service reads them.

use std::sync::Arc;

use meltemi_api::MeshConfig;
use meltemi_ca::entitlement::Rules;
use tokio::sync::watch;

/// Follows the mesh's settings. Owned by the mesh's task, which tells it of each state.
#[derive(Debug)]
pub(crate) struct Domains {
    speakers: Vec<(String, String)>,
    seen: Option<(Arc<str>, Vec<Arc<str>>)>,
    rules: watch::Sender<Arc<Rules>>,
}

impl Domains {
    /// `speakers` are the accounts that may ask for the identities of pods on their node.
    pub(crate) fn new(speakers: Vec<(String, String)>) -> (Self, watch::Receiver<Arc<Rules>>) {
        let defaults = MeshConfig::default();
        let rules = rules(&defaults, &speakers);
        let (sender, receiver) = watch::channel(Arc::new(rules));
        (Self { speakers, seen: None, rules: sender }, receiver)
    }

    /// The settings are now these.
    pub(crate) fn follow(&mut self, settings: &MeshConfig) {
        let now = (Arc::clone(&settings.trust_domain), settings.trust_domain_aliases.clone());
        if self.seen.as_ref() == Some(&now) {
            return;
        }
        if let Some((before, _)) = &self.seen
            && *before != now.0
        {
            tracing::warn!(
                target: "ca",
                before = &**before, now = &*now.0,
                "the trust domain changed: workloads keep the names of the old one until they renew; it must be among trustDomainAliases \
                 for that long, or they are refused"
            );
        }
        self.rules.send_replace(Arc::new(rules(settings, &self.speakers)));
        self.seen = Some(now);
    }
}

fn rules(settings: &MeshConfig, speakers: &[(String, String)]) -> Rules {
    let aliases = settings.trust_domain_aliases.iter().map(ToString::to_string);
    Rules::new(&settings.trust_domain, aliases, speakers.iter().cloned())
}
