//! Workload identities.

/// `spiffe://<trust domain>/ns/<namespace>/sa/<service account>`, the form that Istio issues and checks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    trust_domain: String,
    namespace: String,
    service_account: String,
}

/// Why a text is no workload identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not of the form spiffe://<trust domain>/ns/<namespace>/sa/<service account>")]
pub struct SpiffeError(String);

impl SpiffeId {
    /// Parses the URI form.
    ///
    /// # Errors
    /// When the text has another shape or an empty part.
    pub fn parse(text: &str) -> Result<Self, SpiffeError> {
        let parts: Vec<&str> = text.strip_prefix("spiffe://").unwrap_or_default().split('/').collect();
        match parts[..] {
            [domain, "ns", namespace, "sa", account] if ![domain, namespace, account].contains(&"") => {
                Ok(Self {
                    trust_domain: domain.to_owned(),
                    namespace: namespace.to_owned(),
                    service_account: account.to_owned(),
                })
            }
            _ => Err(SpiffeError(text.to_owned())),
        }
    }

    /// The trust domain.
    pub fn trust_domain(&self) -> &str {
        &self.trust_domain
    }

    /// The workload's namespace.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The workload's service account.
    pub fn service_account(&self) -> &str {
        &self.service_account
    }
}

impl std::fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "spiffe://{}/ns/{}/sa/{}", self.trust_domain, self.namespace, self.service_account)
    }
}
