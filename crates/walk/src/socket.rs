//! Transport sockets: in the clear, or by TLS with whose certificate, and whom it is shown to.

use meltemi_proto::envoy::config::core::v3::TransportSocket;
use meltemi_proto::envoy::config::core::v3::proxy_protocol_config::Version;
use meltemi_proto::envoy::config::core::v3::transport_socket::ConfigType;
use meltemi_proto::envoy::extensions::transport_sockets::proxy_protocol::v3::ProxyProtocolUpstreamTransport;
use meltemi_proto::envoy::extensions::transport_sockets::raw_buffer::v3::RawBuffer;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::common_tls_context::ValidationContextType;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::subject_alt_name_matcher::SanType;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::tls_parameters::TlsProtocol;
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{
    CertificateValidationContext, CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext,
};
use prost::Name;
use serde::Serialize;

use crate::configuration::{Broken, opened};
use crate::request::TlsOffer;
use crate::text::Wanted;

/// How a proxy speaks to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum UpstreamSocket {
    /// In the clear.
    Plaintext,
    /// By TLS; mutual if [`TlsSettings::certificates`] are there.
    Tls {
        /// SNI; none: none is sent.
        server_name: Option<String>,
        /// The server's name is the request's own host.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        server_name_of_host: bool,
        /// The rest.
        #[serde(flatten)]
        settings: TlsSettings,
    },
    /// By one that the walk does not read.
    Unread {
        /// Its name.
        name: String,
    },
}

/// How a proxy is spoken to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum DownstreamSocket {
    /// In the clear; or TLS that is not the proxy's to end.
    Plaintext,
    /// By TLS that ends here.
    Tls {
        /// Whether the client shows a certificate.
        client_certificate: ClientCertificate,
        /// The rest.
        #[serde(flatten)]
        settings: TlsSettings,
    },
    /// By one that the walk does not read.
    Unread {
        /// Its name.
        name: String,
    },
}

/// Whether a server asks its clients for a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientCertificate {
    /// Nobody gets in without one.
    Required,
    /// One that is shown is verified.
    Optional,
    /// Not asked for.
    NotAsked,
}

/// What both ends have in common.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TlsSettings {
    /// Where the own certificate comes from: names of secrets, or `inline`. Empty: none is shown.
    pub certificates: Vec<String>,
    /// What the other's certificate is verified against: names of secrets, files, `inline` or `system`. Empty: it is not verified.
    pub roots: Vec<String>,
    /// The names of which the other's certificate must have one. Empty: any name will do.
    pub accepts: Vec<AcceptedName>,
    /// ALPN.
    pub application_protocols: Vec<String>,
    /// The least version, as `1.2`; none: Envoy's default.
    pub minimum_version: Option<&'static str>,
    /// The highest version; none: Envoy's default.
    pub maximum_version: Option<&'static str>,
    /// Cipher suites below TLS 1.3; empty: Envoy's.
    pub cipher_suites: Vec<String>,
}

/// A name that a certificate may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AcceptedName {
    /// Of which kind: `uri`, `dns`, `email`, `ip`, `other`; none: any.
    pub san: Option<&'static str>,
    /// What it must be.
    #[serde(flatten)]
    pub wanted: Wanted,
}

impl UpstreamSocket {
    /// What is spoken, and the version of the PROXY protocol's header that comes before it.
    pub(crate) fn after_header(
        socket: Option<&TransportSocket>,
        what: &str,
    ) -> Result<(Self, Option<&'static str>), Broken> {
        let any = socket.and_then(|socket| socket.config_type.as_ref());
        let any = any.map(|ConfigType::TypedConfig(any)| any);
        let Some(header) = opened::<ProxyProtocolUpstreamTransport>(any, || what.to_owned())? else {
            return Ok((Self::of(socket, what)?, None));
        };
        let version = header.config.map(|config| Version::try_from(config.version));
        let version = if version == Some(Ok(Version::V2)) { "v2" } else { "v1" };
        Ok((Self::of(header.transport_socket.as_ref(), what)?, Some(version)))
    }

    pub(crate) fn of(socket: Option<&TransportSocket>, what: &str) -> Result<Self, Broken> {
        let Some(socket) = socket else { return Ok(Self::Plaintext) };
        let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
            return Ok(plain_by_name(socket).map_or_else(|| unread(socket), |()| Self::Plaintext));
        };
        if any.type_url == RawBuffer::type_url() {
            return Ok(Self::Plaintext);
        }
        let context = opened::<UpstreamTlsContext>(Some(any), || format!("transport socket of {what}"))?;
        let Some(context) = context else { return Ok(unread(socket)) };
        let common = context.common_tls_context.unwrap_or_default();
        Ok(Self::Tls {
            server_name: Some(context.sni).filter(|name| !name.is_empty()),
            server_name_of_host: context.auto_host_sni,
            settings: TlsSettings::of(&common),
        })
    }

    /// What the proxy offers to the other side by it; none where it speaks in the clear. `identity` is the name in its certificate.
    pub fn offer(&self, identity: Option<&str>) -> Option<TlsOffer> {
        match self {
            Self::Tls { server_name, settings, .. } => Some(TlsOffer {
                server_name: server_name.clone(),
                protocols: settings.application_protocols.clone(),
                identity: identity.filter(|_| !settings.certificates.is_empty()).map(str::to_owned),
            }),
            _ => None,
        }
    }

    /// Whether both sides prove who they are.
    pub fn is_mutual(&self) -> bool {
        matches!(self, Self::Tls { settings, .. } if !settings.certificates.is_empty())
    }
}

impl DownstreamSocket {
    pub(crate) fn of(socket: Option<&TransportSocket>, what: &str) -> Result<Self, Broken> {
        let Some(socket) = socket else { return Ok(Self::Plaintext) };
        let Some(ConfigType::TypedConfig(any)) = &socket.config_type else {
            let unread = || Self::Unread { name: socket.name.clone() };
            return Ok(plain_by_name(socket).map_or_else(unread, |()| Self::Plaintext));
        };
        if any.type_url == RawBuffer::type_url() {
            return Ok(Self::Plaintext);
        }
        let context = opened::<DownstreamTlsContext>(Some(any), || format!("transport socket of {what}"))?;
        let Some(context) = context else { return Ok(Self::Unread { name: socket.name.clone() }) };
        let settings = TlsSettings::of(&context.common_tls_context.unwrap_or_default());
        let client_certificate = match context.require_client_certificate {
            Some(required) if required.value => ClientCertificate::Required,
            _ if settings.roots.is_empty() && settings.accepts.is_empty() => ClientCertificate::NotAsked,
            _ => ClientCertificate::Optional,
        };
        Ok(Self::Tls { client_certificate, settings })
    }
}

fn unread(socket: &TransportSocket) -> UpstreamSocket {
    UpstreamSocket::Unread { name: socket.name.clone() }
}

/// Without a configuration Envoy goes by the name.
fn plain_by_name(socket: &TransportSocket) -> Option<()> {
    (socket.name == "envoy.transport_sockets.raw_buffer" || socket.name == "raw_buffer").then_some(())
}

impl TlsSettings {
    fn of(common: &CommonTlsContext) -> Self {
        let mut settings = Self { application_protocols: common.alpn_protocols.clone(), ..Self::default() };
        let secrets = common.tls_certificate_sds_secret_configs.iter().map(|secret| secret.name.clone());
        let inline = common.tls_certificates.iter().map(|_| "inline".to_owned());
        settings.certificates = secrets.chain(inline).collect();
        if let Some(parameters) = &common.tls_params {
            settings.minimum_version = version(parameters.tls_minimum_protocol_version);
            settings.maximum_version = version(parameters.tls_maximum_protocol_version);
            settings.cipher_suites = parameters.cipher_suites.clone();
        }
        match &common.validation_context_type {
            Some(ValidationContextType::ValidationContext(context)) => settings.validated_by(context),
            Some(ValidationContextType::ValidationContextSdsSecretConfig(secret)) => {
                settings.roots.push(secret.name.clone());
            }
            Some(ValidationContextType::CombinedValidationContext(combined)) => {
                if let Some(context) = &combined.default_validation_context {
                    settings.validated_by(context);
                }
                settings.roots.extend(
                    combined.validation_context_sds_secret_config.iter().map(|secret| secret.name.clone()),
                );
            }
            Some(_) => settings.roots.push("certificate provider".to_owned()),
            None => {}
        }
        settings
    }

    #[allow(deprecated, reason = "configurations that are read may still use the older field")]
    fn validated_by(&mut self, context: &CertificateValidationContext) {
        use meltemi_proto::envoy::config::core::v3::data_source::Specifier;
        self.roots.extend(context.trusted_ca.as_ref().map(|source| match &source.specifier {
            Some(Specifier::Filename(file)) => file.clone(),
            _ => "inline".to_owned(),
        }));
        self.roots.extend(context.system_root_certs.as_ref().map(|_| "system".to_owned()));
        let typed = context.match_typed_subject_alt_names.iter().filter_map(|name| {
            let san = match SanType::try_from(name.san_type) {
                Ok(SanType::Uri) => Some("uri"),
                Ok(SanType::Dns) => Some("dns"),
                Ok(SanType::Email) => Some("email"),
                Ok(SanType::IpAddress) => Some("ip"),
                Ok(SanType::OtherName) => Some("other"),
                _ => None,
            };
            Some(AcceptedName { san, wanted: Wanted::matcher(name.matcher.as_ref()?) })
        });
        let untyped = context
            .match_subject_alt_names
            .iter()
            .map(|matcher| AcceptedName { san: None, wanted: Wanted::matcher(matcher) });
        self.accepts.extend(typed.chain(untyped));
    }
}

fn version(protocol: i32) -> Option<&'static str> {
    match TlsProtocol::try_from(protocol) {
        Ok(TlsProtocol::TlSv10) => Some("1.0"),
        Ok(TlsProtocol::TlSv11) => Some("1.1"),
        Ok(TlsProtocol::TlSv12) => Some("1.2"),
        Ok(TlsProtocol::TlSv13) => Some("1.3"),
        _ => None,
    }
}
