//! TLS: who a proxy shows itself as, and whom it believes.
//!
//! Knows: Envoy's TLS contexts, where the mesh's certificates come from, the mesh's settings of TLS. Must not know: which connections
//! are encrypted; chains and clusters decide that.   Start at [`MeshTls`]; `downstream` accepts, `upstream` calls.
//! Invariant: no certificate and no key is here; proxies get them from what runs beside them (SDS), or from their own files.

pub(crate) mod downstream;
pub(crate) mod gateway;
pub(crate) mod upstream;

use std::sync::Arc;

use meltemi_api::mesh_config::TlsVersion;
use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::Read;
use meltemi_model::settings::settings;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_proto::envoy::config::core::v3::grpc_service::{EnvoyGrpc, TargetSpecifier};
use meltemi_proto::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_proto::envoy::config::core::v3::{
    ApiConfigSource, ApiVersion, ConfigSource, GrpcService, TransportSocket, api_config_source::ApiType,
};
use meltemi_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, SdsSecretConfig, SubjectAltNameMatcher, TlsParameters,
};
use meltemi_proto::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};

use crate::wrap::seconds;

/// The bootstrap's cluster of what serves a proxy its certificates, and the names of the secrets there (Istio:
/// pkg/model/authentication.go).
const SDS_CLUSTER: &str = "sds-grpc";
/// The proxy's own certificate.
const CERTIFICATE: &str = "default";
/// The certificates that others are verified by.
const ROOTS: &str = "ROOTCA";

/// The mesh's settings of TLS: a change of another setting ends here.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct MeshTls;

/// The answer of [`MeshTls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MeshTlsSettings {
    /// Whose identities count as the mesh's own; the mesh's trust domain first, none twice.
    pub(crate) trust_domains: Vec<Arc<str>>,
    /// The oldest version that is spoken.
    min_version: TlsVersion,
    /// For TLS 1.2, as written; empty: what each side takes by default.
    cipher_suites: Vec<String>,
}

impl Question for MeshTls {
    type World = Mesh;
    type Answer = MeshTlsSettings;
    const NAME: &'static str = "settings of mesh TLS";

    fn answer(&self, read: &Read<'_>) -> MeshTlsSettings {
        let mesh = settings(read);
        let mut trust_domains: Vec<Arc<str>> = Vec::new();
        for written in std::iter::once(&mesh.trust_domain).chain(&mesh.trust_domain_aliases) {
            // As Istio writes them in identities (pkg/spiffe/spiffe.go).
            let domain = written.replace('@', ".").into();
            if !trust_domains.contains(&domain) {
                trust_domains.push(domain);
            }
        }
        MeshTlsSettings {
            trust_domains,
            min_version: mesh.mesh_mtls.min_protocol_version,
            cipher_suites: mesh.mesh_mtls.cipher_suites.clone(),
        }
    }
}

impl MeshTlsSettings {
    /// The context of mutual TLS with the mesh's certificates; `names`: what the other's certificate is asked for.
    fn context(
        &self,
        alpn: &[&str],
        names: Vec<SubjectAltNameMatcher>,
        cipher_suites: Vec<String>,
    ) -> CommonTlsContext {
        let validation = CombinedCertificateValidationContext {
            default_validation_context: Some(CertificateValidationContext {
                match_typed_subject_alt_names: names,
                ..CertificateValidationContext::default()
            }),
            validation_context_sds_secret_config: Some(secret(ROOTS)),
            ..CombinedCertificateValidationContext::default()
        };
        CommonTlsContext {
            tls_params: Some(parameters(self.min_version, cipher_suites)),
            tls_certificate_sds_secret_configs: vec![secret(CERTIFICATE)],
            alpn_protocols: alpn.iter().map(|&name| name.to_owned()).collect(),
            validation_context_type: Some(ValidationContextType::CombinedValidationContext(validation)),
            ..CommonTlsContext::default()
        }
    }
}

fn parameters(min: TlsVersion, cipher_suites: Vec<String>) -> TlsParameters {
    let min = match min {
        TlsVersion::Auto | TlsVersion::V1_2 => TlsProtocol::TlSv12,
        TlsVersion::V1_3 => TlsProtocol::TlSv13,
    };
    TlsParameters {
        tls_minimum_protocol_version: min.into(),
        tls_maximum_protocol_version: TlsProtocol::TlSv13.into(),
        cipher_suites,
        ..TlsParameters::default()
    }
}

/// A secret of that name, from what runs beside the proxy. Envoy waits for it as long as it takes: without it nothing could be said.
fn secret(name: &str) -> SdsSecretConfig {
    let beside = GrpcService {
        target_specifier: Some(TargetSpecifier::EnvoyGrpc(EnvoyGrpc {
            cluster_name: SDS_CLUSTER.to_owned(),
            ..EnvoyGrpc::default()
        })),
        ..GrpcService::default()
    };
    let source = ApiConfigSource {
        api_type: ApiType::Grpc.into(),
        transport_api_version: ApiVersion::V3.into(),
        set_node_on_first_message_only: true,
        grpc_services: vec![beside],
        ..ApiConfigSource::default()
    };
    SdsSecretConfig {
        name: name.to_owned(),
        sds_config: Some(ConfigSource {
            initial_fetch_timeout: Some(seconds(0)),
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(ConfigSourceSpecifier::ApiConfigSource(source)),
            ..ConfigSource::default()
        }),
    }
}

fn name(san_type: SanType, pattern: MatchPattern) -> SubjectAltNameMatcher {
    SubjectAltNameMatcher {
        san_type: san_type.into(),
        matcher: Some(StringMatcher { match_pattern: Some(pattern), ..StringMatcher::default() }),
        ..SubjectAltNameMatcher::default()
    }
}

fn socket<M: prost::Message + prost::Name>(context: &M) -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.tls".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(context))),
    }
}

/// Plain text.
pub(crate) fn raw_buffer() -> TransportSocket {
    TransportSocket {
        name: "envoy.transport_sockets.raw_buffer".to_owned(),
        config_type: Some(ConfigType::TypedConfig(pack(&RawBuffer::default()))),
    }
}
