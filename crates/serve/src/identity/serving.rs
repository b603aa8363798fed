//! What the TLS port shows and asks for: its own certificate, by what signs now, and the roots that clients' certificates must come from.
//!
//! Knows: rustls. Must not know: sockets.   Start at [`start`]; [`config`] makes what a handshake goes by.
//! Invariant: a certificate that is shown verifies to a root that clients were given, and its end was kept before it was signed.

mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use meltemi_ca::entitlement::Rules;
use meltemi_ca::{Bundle, ForServer};
use rustls::pki_types::CertificateRevocationListDer;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;

pub(super) use self::task::{Task, start};
use super::verifier::Verifier;

/// What a handshake goes by: `shown` for ourselves, and for clients that show one a certificate by a root of `bundle`.
fn config(
    shown: &ForServer,
    bundle: &Bundle,
    domains: watch::Receiver<Arc<Rules>>,
) -> Result<ServerConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for root in bundle.roots() {
        roots.add(root.clone()).map_err(|error| format!("a root cannot be used: {error}"))?;
    }
    let revoked = bundle.revoked().iter().map(|list| CertificateRevocationListDer::from(list.clone()));
    let chains = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .with_crls(revoked)
        // There is a list for each CA of the signer's chain, or for none; while signers change, the other may have none.
        .allow_unknown_revocation_status()
        // A workload without a certificate yet comes with a token.
        .allow_unauthenticated()
        // While roots change, a client must not keep its certificate back because it is by the other one.
        .clear_root_hint_subjects()
        .build()
        .map_err(|error| format!("clients' certificates cannot be verified: {error}"))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13, &TLS12])
        .and_then(|builder| {
            builder
                .with_client_cert_verifier(Arc::new(Verifier { chains, domains }))
                .with_single_cert(shown.chain.clone(), shown.key.clone_key())
        })
        .map_err(|error| format!("the certificate cannot be shown: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A session that is taken up again proves nothing anew: it could outlive the certificate that it was made with.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(config)
}
