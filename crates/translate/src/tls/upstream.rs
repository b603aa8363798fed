//! The TLS of calls: with the mesh's own certificates, or as a DestinationRule's files or Secret say (Istio: core/cluster_tls.go).
//!
//! Files are read by Envoy itself (`filename`), not asked for at an SDS server (`file-cert:...`), which only a proxy with an agent
//! has: so the cluster is the same for all proxies, and a file that is not there is a refusal that its author is told of.

use std::collections::BTreeSet;
use std::net::IpAddr;

use meltemi_api::destination_rule::{ClientTls, TlsMode};
use meltemi_api::mesh_config::{TlsDefaults, TlsVersion};
use meltemi_model::endpoints::Identities;
use meltemi_names::{Host, Port, SpiffeId};
use meltemi_proto::envoy::config::core::v3::{DataSource, TransportSocket, data_source::Specifier};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SubjectAltNameMatcher, TlsCertificate, TlsParameters,
    UpstreamTlsContext,
};
use meltemi_proto::envoy::r#type::matcher::v3::string_matcher::MatchPattern;

use super::gateway::{combined, over_ads};
use super::{MeshTlsSettings, name, parameters, socket};
use crate::gateway::secret::{certificate_name, roots_name};

/// What a cluster speaks to its endpoints, as far as the offer in its handshake depends on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2.
    Http2,
    /// Either of these, as the caller's application does; connections that are no HTTP say so themselves ([`AS_BYTES`]).
    Either,
    /// Bytes.
    Bytes,
}

impl Spoken {
    /// What is offered (ALPN). Istio's names choose the chain at the other side: without Istio's own filter, which offers by request,
    /// the offer must be the cluster's. The last name, where there is one, is what both sides agree on. Where the protocol is the
    /// caller's choice nothing may be agreed on, lest it is the wrong one: then the other side looks at the first bytes.
    fn offer(self) -> &'static [&'static str] {
        match self {
            Self::Http1 => &["istio-http/1.1", "istio", "http/1.1"],
            Self::Http2 => &["istio-h2", "istio", "h2"],
            Self::Either => &["istio-http/1.1", "istio-h2", "istio"],
            Self::Bytes => &[AS_BYTES],
        }
    }
}

/// The offer of connections that are no HTTP. `istio-peer-exchange`, which Istio's sidecars put before it, is left out: whoever agrees on
/// it expects a preamble that only a filter outside of stock Envoy speaks.
pub(crate) const AS_BYTES: &str = "istio";

/// The file of a system's certificates, where Envoy's image, Debian, Ubuntu and Alpine have it.
const SYSTEM_ROOTS: &str = "/etc/ssl/certs/ca-certificates.crt";

/// Mutual TLS with the mesh's certificates, to a server of one of `identities` (none: of any), or of the names that a rule writes.
pub(crate) fn mutual(
    settings: &MeshTlsSettings,
    written: Option<&ClientTls>,
    identities: &Identities,
    sni: String,
    spoken: Spoken,
) -> TransportSocket {
    let names = match written.map(|tls| tls.subject_alt_names.as_slice()) {
        Some(written @ [_, ..]) => written.iter().map(|text| exact(text)).collect(),
        _ => expanded(settings, identities).iter().map(|text| exact(text)).collect(),
    };
    let common = settings.context(spoken.offer(), names, settings.cipher_suites.clone());
    let written = written.and_then(|tls| tls.sni.clone());
    socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: written.unwrap_or(sni),
        ..UpstreamTlsContext::default()
    })
}

/// How a subset of a service calls itself in the handshake.
pub(crate) fn sni(port: Port, subset: Option<&str>, host: &Host) -> String {
    format!("outbound_.{port}_.{}_.{host}", subset.unwrap_or_default())
}

/// The identities in each of the mesh's trust domains: a server may still show the one from before a migration.
fn expanded(settings: &MeshTlsSettings, identities: &Identities) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut add = |namespace: &str, account: &str| {
        let each = settings.trust_domains.iter();
        names.extend(each.map(|domain| format!("spiffe://{domain}/ns/{namespace}/sa/{account}")));
    };
    for (namespace, account) in &identities.accounts {
        add(namespace.as_str(), account);
    }
    let mut others = Vec::new();
    for written in &identities.written {
        match SpiffeId::parse(written) {
            Ok(id) if settings.trust_domains.iter().any(|domain| **domain == *id.trust_domain()) => {
                add(id.namespace(), id.service_account());
            }
            _ => others.push(written.to_string()),
        }
    }
    names.extend(others);
    names
}

/// A name of whatever kind it looks like.
pub(super) fn exact(text: &str) -> SubjectAltNameMatcher {
    let san_type = if text.contains("://") {
        SanType::Uri
    } else if text.parse::<IpAddr>().is_ok() {
        SanType::IpAddress
    } else {
        SanType::Dns
    };
    name(san_type, MatchPattern::Exact(text.to_owned()))
}

/// TLS as a rule says, by its files or its Secret: modes SIMPLE and MUTUAL.
pub(crate) fn of_rule(tls: &ClientTls, defaults: &TlsDefaults, spoken: Spoken) -> TransportSocket {
    let mut common = CommonTlsContext {
        tls_params: Some(TlsParameters {
            ecdh_curves: defaults.ecdh_curves.clone(),
            ..parameters(TlsVersion::Auto, defaults.cipher_suites.clone())
        }),
        alpn_protocols: (spoken == Spoken::Http2).then(|| "h2".to_owned()).into_iter().collect(),
        ..CommonTlsContext::default()
    };
    match tls.credential() {
        Some(secret) => by_secret(tls, secret, &mut common),
        None => by_files(tls, &mut common),
    }
    socket(&UpstreamTlsContext {
        common_tls_context: Some(common),
        sni: tls.sni.clone().unwrap_or_default(),
        ..UpstreamTlsContext::default()
    })
}

/// By the Secret of that name: what is shown, and what the server is verified by (Istio: pilot/pkg/security/model/authentication.go).
fn by_secret(tls: &ClientTls, secret: &str, common: &mut CommonTlsContext) {
    if tls.mode == TlsMode::Mutual {
        common.tls_certificate_sds_secret_configs = vec![over_ads(certificate_name(secret))];
    }
    if !tls.insecure_skip_verify {
        let names = CertificateValidationContext {
            match_typed_subject_alt_names: tls.subject_alt_names.iter().map(|text| exact(text)).collect(),
            ..CertificateValidationContext::default()
        };
        common.validation_context_type = Some(combined(names, over_ads(roots_name(secret))));
    }
}

fn by_files(tls: &ClientTls, common: &mut CommonTlsContext) {
    if tls.mode == TlsMode::Mutual {
        common.tls_certificates = vec![TlsCertificate {
            certificate_chain: tls.client_certificate.as_deref().map(file),
            private_key: tls.private_key.as_deref().map(file),
            ..TlsCertificate::default()
        }];
    }
    if !tls.insecure_skip_verify {
        let validation = CertificateValidationContext {
            trusted_ca: Some(file(tls.ca_certificates.as_deref().unwrap_or(SYSTEM_ROOTS))),
            crl: tls.ca_crl.as_deref().map(file),
            match_typed_subject_alt_names: tls.subject_alt_names.iter().map(|text| exact(text)).collect(),
            ..CertificateValidationContext::default()
        };
        common.validation_context_type = Some(ValidationContextType::ValidationContext(validation));
    }
}

/// What Envoy reads of a file itself.
pub(super) fn file(path: &str) -> DataSource {
    DataSource { specifier: Some(Specifier::Filename(path.to_owned())), ..DataSource::default() }
}
