//! The TLS port: takes connections, lets each through its handshake beside the others, and hands it to gRPC.
//!
//! Knows: sockets, rustls. Must not know: what is served.   Start at [`serve`].
//! Invariants: a handshake holds up nobody else, ends within [`HANDSHAKE`], and at most [`HANDSHAKES`] are under way: further connections
//! wait at the socket. A handshake uses the newest certificate and roots; a connection keeps those that it was made with.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use meltemi_ca::entitlement::Rules;
use meltemi_xds::DiscoveryServer;
use rustls::{CertificateError, Error as TlsError, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::wrappers::ReceiverStream;

use super::Identity;
use super::connection::{Accepted, Secured};
use super::metrics::{HandshakeRefused, IdentityMetrics};
use super::verifier::{NoName, certified};
use crate::listen::{accept, grpc};
use crate::ports::Listener;
use crate::wire::Failure;

/// How long a handshake may take, from the connection to its end: a client on another continent needs a second.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How many handshakes may be under way: enough for a mesh that comes back at once, and 10 MB at the most.
const HANDSHAKES: usize = 256;

/// Serves both services until `stop` is done, then lets what is under way end.
pub(crate) async fn serve(
    socket: TcpListener,
    identity: Identity,
    discovery: DiscoveryServer,
    mut drained: watch::Receiver<bool>,
) -> Result<(), Failure> {
    let Identity { certificates, tls, domains, metrics, .. } = identity;
    let (accepted, connections) = mpsc::channel(1);
    let door = Door { tls, domains, metrics, accepted };
    let taking = tokio::spawn(door.take(socket, drained.clone()));
    let served = grpc()
        .add_service(discovery)
        .add_service(certificates)
        .serve_with_incoming_shutdown(ReceiverStream::new(connections), async move {
            let _ = drained.wait_for(|drained| *drained).await;
        })
        .await;
    taking.abort();
    served.map_err(|error| Failure::Serve { listener: Listener::SecureXds, reason: error.to_string() })
}

#[derive(Clone)]
struct Door {
    tls: watch::Receiver<Option<Arc<ServerConfig>>>,
    domains: watch::Receiver<Arc<Rules>>,
    metrics: IdentityMetrics,
    /// Only those that succeeded; the type is tonic's.
    accepted: mpsc::Sender<io::Result<Accepted<TlsStream<TcpStream>>>>,
}

impl Door {
    async fn take(self, socket: TcpListener, mut drained: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(HANDSHAKES));
        let mut handshakes = JoinSet::new();
        let stop = drained.wait_for(|drained| *drained);
        tokio::pin!(stop);
        loop {
            let place = tokio::select! {
                _ = &mut stop => return,
                place = Arc::clone(&places).acquire_owned() => place,
            };
            let Ok(place) = place else { return };
            let (stream, address) = tokio::select! {
                _ = &mut stop => return,
                taken = accept(&socket) => taken,
                // So that what has ended is not kept.
                Some(_) = handshakes.join_next() => continue,
            };
            let door = self.clone();
            handshakes.spawn(async move {
                // Held by the handshake alone, not by the connection that comes of it.
                let shaken = door.shake(stream, address).await;
                drop(place);
                if let Some(accepted) = shaken {
                    let _ = door.accepted.send(Ok(accepted)).await;
                }
            });
        }
    }

    async fn shake(&self, stream: TcpStream, address: SocketAddr) -> Option<Accepted<TlsStream<TcpStream>>> {
        let refused = |reason: HandshakeRefused, why: &dyn std::fmt::Display| {
            self.metrics.handshake_refused(reason);
            // A client whose certificate is not taken is worth a line; one that went away, or a probe of the port, is not.
            match reason {
                HandshakeRefused::Gone | HandshakeRefused::Slow | HandshakeRefused::NotReady => {
                    tracing::debug!(target: "ca", %address, ?reason, "handshake: {why}");
                }
                _ => tracing::warn!(target: "ca", %address, ?reason, "handshake refused: {why}"),
            }
        };
        let handshake = async {
            let mut tls = self.tls.clone();
            // At a start there is no certificate for a moment: whoever comes then waits, as long as a handshake may take.
            let config = match tls.wait_for(Option::is_some).await {
                Ok(config) => config.clone(),
                Err(_) => None,
            };
            let Some(config) = config else { return Err(None) };
            TlsAcceptor::from(config).accept(stream).await.map_err(Some)
        };
        let stream = match tokio::time::timeout(HANDSHAKE, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(Some(error))) => {
                refused(reason(&error), &error);
                return None;
            }
            Ok(Err(None)) => {
                refused(HandshakeRefused::NotReady, &"stopping");
                return None;
            }
            Err(late) if self.tls.borrow().is_none() => {
                refused(HandshakeRefused::NotReady, &late);
                return None;
            }
            Err(late) => {
                refused(HandshakeRefused::Slow, &late);
                return None;
            }
        };
        let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
        let certified = match certificate {
            None => None,
            // As the handshake did: the name is there, and is read here.
            Some(certificate) => match certified(certificate, &Arc::clone(&self.domains.borrow())) {
                Ok(certified) => Some(Arc::new(certified)),
                Err(error) => {
                    refused(HandshakeRefused::Name, &error);
                    return None;
                }
            },
        };
        self.metrics.connected();
        Some(Accepted { stream, secured: Secured { address, certified } })
    }
}

/// What a failed handshake failed of.
fn reason(error: &io::Error) -> HandshakeRefused {
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) else {
        return HandshakeRefused::Gone;
    };
    let TlsError::InvalidCertificate(error) = error else { return HandshakeRefused::Protocol };
    match error {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => HandshakeRefused::Expired,
        CertificateError::UnknownIssuer | CertificateError::BadSignature => HandshakeRefused::Foreign,
        CertificateError::Revoked => HandshakeRefused::Revoked,
        CertificateError::Other(other) if other.0.downcast_ref::<NoName>().is_some() => {
            HandshakeRefused::Name
        }
        _ => HandshakeRefused::Protocol,
    }
}
