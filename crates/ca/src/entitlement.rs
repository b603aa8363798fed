//! Who may have which name: from who was authenticated, and whom they ask to speak for.
//!
//! Knows: trust domains, Istio's rules for nodes. Must not know: tokens, certificates, sockets.   Start at [`Rules::entitled`].
//! Invariant: a name that is answered is of the mesh's own trust domain, and is the caller's own unless the caller's
//! account is listed and runs beside a workload of that name.

use std::collections::BTreeSet;

use meltemi_names::SpiffeId;

/// A pod, as a token names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// `authentication.kubernetes.io/pod-name`.
    pub name: String,
    /// `authentication.kubernetes.io/pod-uid`.
    pub uid: String,
}

/// How somebody proved who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token of Kubernetes.
    KubernetesToken,
    /// The certificate that they have now.
    Certificate,
    /// A token of file mode.
    FileToken,
}

/// Somebody who was authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// As whom.
    pub identity: SpiffeId,
    /// By what.
    pub proof: Proof,
    /// Where they run, if their token says so.
    pub pod: Option<PodRef>,
}

/// What is known of pods; asked only where somebody wants to speak for another.
pub trait Pods: Send + Sync {
    /// Whether the caller's pod is there (by name, UID and account), and some pod of `wanted` runs on the same node.
    fn beside(&self, caller: &SpiffeId, pod: &PodRef, wanted: &SpiffeId) -> bool;
}

/// Knows no pods, so that nobody speaks for another.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPods;

impl Pods for NoPods {
    fn beside(&self, _: &SpiffeId, _: &PodRef, _: &SpiffeId) -> bool {
        false
    }
}

/// The mesh's names, and who may speak for others.
#[derive(Clone, Debug)]
pub struct Rules {
    trust_domain: String,
    aliases: BTreeSet<String>,
    speakers: BTreeSet<(String, String)>,
}

/// Why a name is not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotEntitled {
    /// Of another mesh.
    #[error("`{id}` is not of the trust domain `{trust_domain}` nor of its aliases")]
    TrustDomain {
        /// Who.
        id: SpiffeId,
        /// The mesh's.
        trust_domain: String,
    },
    /// A name with letters that no namespace or account has.
    #[error("`{0}` is no identity of a workload")]
    Malformed(String),
    /// The caller is not listed.
    #[error("`{0}` may not ask for other identities (CA_TRUSTED_NODE_ACCOUNTS does not list it)")]
    NotListed(SpiffeId),
    /// The caller's pod is not known, or nothing of that name runs on its node.
    #[error("no workload `{0}` runs on the node of who asks for it")]
    NotBeside(SpiffeId),
}

impl Rules {
    /// `speakers` are the accounts (namespace, name) that may ask for the identities of pods on their node.
    pub fn new(
        trust_domain: &str,
        aliases: impl IntoIterator<Item = String>,
        speakers: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        // A trust domain like an account of Google's, as Istio writes it.
        let domain = |text: &str| text.replace('@', ".");
        Self {
            trust_domain: domain(trust_domain),
            aliases: aliases.into_iter().map(|alias| domain(&alias)).collect(),
            speakers: speakers.into_iter().collect(),
        }
    }

    /// The mesh's trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The identity of a service account of this mesh.
    ///
    /// # Errors
    /// When the names are none of Kubernetes.
    pub fn identity(&self, namespace: &str, account: &str) -> Result<SpiffeId, NotEntitled> {
        let text = format!("spiffe://{}/ns/{namespace}/sa/{account}", self.trust_domain);
        match SpiffeId::parse(&text) {
            Ok(id) if is_name(namespace) && is_name(account) => Ok(id),
            _ => Err(NotEntitled::Malformed(text)),
        }
    }

    /// The name that `caller` gets, who may ask to speak for somebody (`ImpersonatedIdentity`; empty is nobody).
    ///
    /// # Errors
    /// See [`NotEntitled`].
    pub fn entitled(&self, caller: &Caller, wanted: &str, pods: &dyn Pods) -> Result<SpiffeId, NotEntitled> {
        let own = self.own(&caller.identity)?;
        if wanted.is_empty() {
            return Ok(own);
        }
        let account = (own.namespace().to_owned(), own.service_account().to_owned());
        if !self.speakers.contains(&account) {
            return Err(NotEntitled::NotListed(own));
        }
        let malformed = || NotEntitled::Malformed(wanted.to_owned());
        let wanted = SpiffeId::parse(wanted).map_err(|_| malformed())?;
        // Istio gives any trust domain to those listed. An alias is refused, too: the name given would not be the one
        // asked for, and ztunnel refuses such an answer.
        if wanted.trust_domain() != self.trust_domain {
            return Err(self.foreign(&wanted));
        }
        let wanted = self.identity(wanted.namespace(), wanted.service_account())?;
        match &caller.pod {
            Some(pod) if pods.beside(&own, pod, &wanted) => Ok(wanted),
            _ => Err(NotEntitled::NotBeside(wanted)),
        }
    }

    /// The caller's name in this mesh: who comes with an alias (a mesh that was renamed) leaves with the mesh's name.
    fn own(&self, id: &SpiffeId) -> Result<SpiffeId, NotEntitled> {
        if id.trust_domain() != self.trust_domain && !self.aliases.contains(id.trust_domain()) {
            return Err(self.foreign(id));
        }
        self.identity(id.namespace(), id.service_account())
    }

    fn foreign(&self, id: &SpiffeId) -> NotEntitled {
        NotEntitled::TrustDomain { id: id.clone(), trust_domain: self.trust_domain.clone() }
    }
}

/// Names of namespaces and accounts: DNS subdomains (Kubernetes, "Object Names and IDs").
fn is_name(text: &str) -> bool {
    (1..=253).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

#[cfg(test)]
mod tests;
