//! The TLS of a gateway's clients, as a server of a Gateway says (Istio: core/listener.go, `BuildListenerTLSContext`).
//!
//! Certificates come from the control plane by the stream of everything else (Secrets), from what runs beside the proxy (files and the
//! mesh's own), or are read by Envoy itself (files, where nothing runs beside it).

use meltemi_api::gateway::{ServerTls, ServerTlsMode, TlsProtocol};
use meltemi_proto::envoy::config::core::v3::config_source::ConfigSourceSpecifier;
use meltemi_proto::envoy::config::core::v3::{
    AggregatedConfigSource, ApiVersion, ConfigSource, TransportSocket,
};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::certificate_validation_context::TrustChainVerification;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::{
    CombinedCertificateValidationContext, ValidationContextType,
};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol as Version;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, SdsSecretConfig, TlsCertificate,
    TlsParameters,
};
use meltemi_proto::google::protobuf::BoolValue;

use super::upstream::{exact, file};
use super::{CERTIFICATE, ROOTS, secret, socket};
use crate::gateway::secret::{certificate_name, roots_name};

/// What is agreed on of what clients offer.
const ALPN: [&str; 2] = ["h2", "http/1.1"];

/// From where a proxy can have certificates.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Means {
    /// Something beside it serves it the mesh's certificates, and files.
    pub(crate) has_certificates: bool,
    /// The control plane may be asked for Secrets.
    pub(crate) asks_secrets: bool,
}

/// How TLS is ended; none if the proxy can have no certificate for it.
pub(crate) fn terminating(tls: &ServerTls, means: Means) -> Option<TransportSocket> {
    let mut common =
        CommonTlsContext { alpn_protocols: ALPN.map(str::to_owned).to_vec(), ..CommonTlsContext::default() };
    match (tls.mode, tls.credentials()) {
        (ServerTlsMode::Passthrough | ServerTlsMode::AutoPassthrough, _) => return None,
        (ServerTlsMode::IstioMutual, _) => {
            if !means.has_certificates {
                return None;
            }
            common.tls_certificate_sds_secret_configs = vec![secret(CERTIFICATE)];
            common.validation_context_type = Some(combined(validation(tls), secret(ROOTS)));
        }
        (_, written @ [_, ..]) => {
            if !means.asks_secrets {
                return None;
            }
            let configs = written.iter().map(|written| over_ads(certificate_name(written)));
            common.tls_certificate_sds_secret_configs = configs.collect();
            common.validation_context_type =
                tls.roots_credential().map(|roots| combined(validation(tls), over_ads(roots_name(roots))));
        }
        (_, []) if means.has_certificates => by_agent(tls, &mut common),
        (_, []) => by_files(tls, &mut common),
    }
    if tls.mode != ServerTlsMode::IstioMutual {
        common.tls_params = parameters(tls);
    }
    let required = matches!(tls.mode, ServerTlsMode::Mutual | ServerTlsMode::IstioMutual);
    Some(socket(&DownstreamTlsContext {
        common_tls_context: Some(common),
        require_client_certificate: Some(BoolValue { value: required }),
        ..DownstreamTlsContext::default()
    }))
}

/// The pairs of files of a server.
fn pairs(tls: &ServerTls) -> Vec<(&str, &str)> {
    let listed = tls.tls_certificates.iter();
    let listed = listed.map(|pair| (pair.server_certificate.as_deref(), pair.private_key.as_deref()));
    let own = tls
        .tls_certificates
        .is_empty()
        .then_some((tls.server_certificate.as_deref(), tls.private_key.as_deref()));
    listed.chain(own).filter_map(|(certificate, key)| Some((certificate?, key?))).collect()
}

/// Files that what runs beside the proxy reads, and reads again when they change.
fn by_agent(tls: &ServerTls, common: &mut CommonTlsContext) {
    let pairs = pairs(tls).into_iter();
    let pairs = pairs.map(|(certificate, key)| of_file(&format!("file-cert:{certificate}~{key}")));
    common.tls_certificate_sds_secret_configs = pairs.collect();
    if let Some(roots) = tls.ca_certificates.as_deref().filter(|_| tls.mode.verifies()) {
        let roots = of_file(&format!("file-root:{roots}"));
        common.validation_context_type = Some(combined(validation(tls), roots));
    }
}

/// A secret of a file: one that is not there must not keep the listener's other chains from their clients for ever.
fn of_file(name: &str) -> SdsSecretConfig {
    let mut config = secret(name);
    if let Some(source) = &mut config.sds_config {
        source.initial_fetch_timeout = None;
    }
    config
}

/// Files that Envoy reads itself, once.
fn by_files(tls: &ServerTls, common: &mut CommonTlsContext) {
    let pairs = pairs(tls).into_iter().map(|(certificate, key)| TlsCertificate {
        certificate_chain: Some(file(certificate)),
        private_key: Some(file(key)),
        ..TlsCertificate::default()
    });
    common.tls_certificates = pairs.collect();
    if let Some(roots) = tls.ca_certificates.as_deref().filter(|_| tls.mode.verifies()) {
        let context = CertificateValidationContext { trusted_ca: Some(file(roots)), ..validation(tls) };
        common.validation_context_type = Some(ValidationContextType::ValidationContext(context));
    }
}

/// What a client's certificate is asked for, beside who vouches for it.
fn validation(tls: &ServerTls) -> CertificateValidationContext {
    let trust = if tls.insecure_skip_verify {
        TrustChainVerification::AcceptUntrusted
    } else {
        TrustChainVerification::VerifyTrustChain
    };
    CertificateValidationContext {
        match_typed_subject_alt_names: tls.subject_alt_names.iter().map(|text| exact(text)).collect(),
        verify_certificate_spki: tls.verify_certificate_spki.clone(),
        verify_certificate_hash: tls.verify_certificate_hash.clone(),
        crl: tls.ca_crl.as_deref().map(file),
        trust_chain_verification: trust.into(),
        ..CertificateValidationContext::default()
    }
}

pub(super) fn combined(
    default: CertificateValidationContext,
    roots: SdsSecretConfig,
) -> ValidationContextType {
    ValidationContextType::CombinedValidationContext(CombinedCertificateValidationContext {
        default_validation_context: Some(default),
        validation_context_sds_secret_config: Some(roots),
        ..CombinedCertificateValidationContext::default()
    })
}

/// A secret over the stream that the listener itself came by.
pub(super) fn over_ads(name: String) -> SdsSecretConfig {
    SdsSecretConfig {
        name,
        sds_config: Some(ConfigSource {
            resource_api_version: ApiVersion::V3.into(),
            config_source_specifier: Some(ConfigSourceSpecifier::Ads(AggregatedConfigSource::default())),
            ..ConfigSource::default()
        }),
    }
}

/// None where Envoy's own choice is left alone.
fn parameters(tls: &ServerTls) -> Option<TlsParameters> {
    let version = |written: TlsProtocol| match written {
        TlsProtocol::Auto => Version::TlsAuto,
        TlsProtocol::V1_0 => Version::TlSv10,
        TlsProtocol::V1_1 => Version::TlSv11,
        TlsProtocol::V1_2 => Version::TlSv12,
        TlsProtocol::V1_3 => Version::TlSv13,
    };
    let parameters = TlsParameters {
        tls_minimum_protocol_version: version(tls.min_protocol_version).into(),
        tls_maximum_protocol_version: version(tls.max_protocol_version).into(),
        cipher_suites: tls.known_cipher_suites().into_iter().map(str::to_owned).collect(),
        ecdh_curves: tls.ecdh_curves.clone(),
        ..TlsParameters::default()
    };
    (parameters != TlsParameters::default()).then_some(parameters)
}
