//! Who may see what of the debug pages (Istio: pilot/pkg/xds/debug.go, `ENABLE_DEBUG_ENDPOINT_AUTH`). Knows names of pages and
//! namespaces; must not know what is on a page.

use std::net::SocketAddr;
use std::sync::Arc;

use meltemi_names::SpiffeId;

use super::Refused;

/// The pages that a proxy's own namespace may read of it.
const OF_ONE_PROXY: [&str; 3] = ["config_dump", "edsz", "ndsz"];

/// Who asks.
#[derive(Clone, Debug)]
pub(crate) enum Caller {
    /// Somebody on this machine, or in this pod: `kubectl port-forward` comes so.
    Local,
    /// Whom a certificate or token was verified of.
    Verified(Arc<SpiffeId>),
}

impl Caller {
    /// Who asks by HTTP.
    ///
    /// # Errors
    /// For anybody on another machine: a token over plain HTTP would be everybody's.
    pub(crate) fn of_address(address: SocketAddr) -> Result<Self, Refused> {
        if address.ip().to_canonical().is_loopback() {
            return Ok(Self::Local);
        }
        let text = "debug pages are for callers on this machine: use `kubectl port-forward`, or istioctl, which asks over xDS with TLS";
        Err(Refused::Forbidden(text.to_owned()))
    }

    /// Whether proxies of that namespace are shown.
    pub(super) fn may_see(&self, namespace: &str, root: &str) -> bool {
        match self {
            Self::Local => true,
            Self::Verified(identity) => identity.namespace() == root || identity.namespace() == namespace,
        }
    }

    /// Whether that page may be read.
    pub(super) fn may_read(&self, page: &str, root: String) -> Result<(), Refused> {
        match self {
            Self::Verified(identity) if identity.namespace() != root && !OF_ONE_PROXY.contains(&page) => {
                Err(Refused::Forbidden(format!(
                    "page `{page}` is for identities of namespace {root}, this one is of {}",
                    identity.namespace()
                )))
            }
            Self::Local | Self::Verified(_) => Ok(()),
        }
    }
}
