//! Which chains an inbound port has, by what it speaks and by how much TLS its policy asks for.
//!
//! Knows Istio's table and nothing else: names of protocols as Envoy's inspectors report them.

use meltemi_model::peer::Mode;

use super::super::bind::Treatment;
use super::super::chain::RAW_BUFFER;

/// One chain of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChainRow {
    /// What the client offers (ALPN), or what http_inspector found; empty matches all.
    pub application_protocols: &'static [&'static str],
    /// `tls` or `raw_buffer`; empty matches both.
    pub transport_protocol: &'static str,
    /// The chain ends the callers' mutual TLS.
    pub mutual_tls: bool,
    /// The chain takes requests, not bytes.
    pub http: bool,
}

impl ChainRow {
    /// Only tls_inspector can tell whether a connection is this chain's.
    pub fn tells_tls(&self) -> bool {
        self.transport_protocol == TLS
    }

    /// Only http_inspector can tell whether a connection is this chain's.
    pub fn tells_http(&self) -> bool {
        self.application_protocols == PLAINTEXT_HTTP
    }
}

const TLS: &str = "tls";
const PLAINTEXT_HTTP: &[&str] = &["http/1.1", "h2c"];
/// What Istio's sidecars offer for HTTP.
const PEER_HTTP: &[&str] = &["istio-http/1.0", "istio-http/1.1", "istio-h2"];
/// What they offer for anything else. `istio-peer-exchange` is not taken: whoever negotiates it expects a preamble that only a filter
/// outside of stock Envoy speaks.
const PEER_TCP: &[&str] = &["istio"];
/// What they offer for either.
const PEER_ANY: &[&str] = &["istio", "istio-http/1.0", "istio-http/1.1", "istio-h2"];

const fn mutual(application_protocols: &'static [&'static str], http: bool) -> ChainRow {
    ChainRow { application_protocols, transport_protocol: TLS, mutual_tls: true, http }
}

const fn plain(
    application_protocols: &'static [&'static str],
    transport_protocol: &'static str,
    http: bool,
) -> ChainRow {
    ChainRow { application_protocols, transport_protocol, mutual_tls: false, http }
}

/// The chains of a port (Istio: pilot/pkg/networking/core/filterchain_options.go). Where plaintext is all there is, a chain for bytes
/// takes the application's own TLS too, and nothing waits for bytes to tell them apart: a server may speak first.
pub fn rows(mode: Mode, treatment: Treatment) -> &'static [ChainRow] {
    match (mode, treatment) {
        (Mode::Disable, Treatment::Http) => &const { [plain(&[], RAW_BUFFER, true)] },
        (Mode::Disable, Treatment::Tcp) => &const { [plain(&[], "", false)] },
        (Mode::Disable, Treatment::Sniffed) => {
            // Both raw_buffer: Envoy does not go back from a transport protocol that matched to chains without one.
            &const { [plain(PLAINTEXT_HTTP, RAW_BUFFER, true), plain(&[], RAW_BUFFER, false)] }
        }
        (Mode::Permissive, Treatment::Http) => {
            &const { [mutual(PEER_ANY, true), plain(&[], RAW_BUFFER, true)] }
        }
        (Mode::Permissive, Treatment::Tcp) => {
            &const { [mutual(PEER_ANY, false), plain(&[], TLS, false), plain(&[], RAW_BUFFER, false)] }
        }
        (Mode::Permissive, Treatment::Sniffed) => {
            &const {
                [
                    mutual(PEER_HTTP, true),
                    plain(PLAINTEXT_HTTP, RAW_BUFFER, true),
                    mutual(PEER_TCP, false),
                    plain(&[], RAW_BUFFER, false),
                    plain(&[], TLS, false),
                ]
            }
        }
        (Mode::Strict, Treatment::Http) => &const { [mutual(&[], true)] },
        (Mode::Strict, Treatment::Tcp) => &const { [mutual(&[], false)] },
        (Mode::Strict, Treatment::Sniffed) => &const { [mutual(PEER_HTTP, true), mutual(&[], false)] },
    }
}
