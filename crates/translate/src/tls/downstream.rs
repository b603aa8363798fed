//! The TLS of a workload's callers: they show a certificate of the mesh (Istio: pilot/pkg/security/authn/utils/utils.go).

use meltemi_proto::envoy::config::core::v3::TransportSocket;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::DownstreamTlsContext;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;
use meltemi_proto::google::protobuf::BoolValue;

use super::{MeshTlsSettings, name, socket};

/// What Istio's sidecars take of TLS 1.2.
const CIPHER_SUITES: [&str; 6] = [
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "AES256-GCM-SHA384",
    "AES128-GCM-SHA256",
];

/// What is agreed on of what callers offer. Never one of Istio's own names: those choose the chain, and are agreed on by nobody. Of
/// `istio-peer-exchange` the same holds that keeps it out of the chains' matches.
const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// Mutual TLS: a certificate that the mesh's roots vouch for, with an identity of one of its trust domains.
pub(crate) fn mutual(settings: &MeshTlsSettings) -> TransportSocket {
    let of_domain = |domain| name(SanType::Uri, MatchPattern::Prefix(format!("spiffe://{domain}/")));
    let names = settings.trust_domains.iter().map(of_domain).collect();
    let cipher_suites = match settings.cipher_suites.as_slice() {
        [] => CIPHER_SUITES.map(str::to_owned).to_vec(),
        written => written.to_vec(),
    };
    socket(&DownstreamTlsContext {
        common_tls_context: Some(settings.context(&ALPN, names, cipher_suites)),
        require_client_certificate: Some(BoolValue { value: true }),
        ..DownstreamTlsContext::default()
    })
}
