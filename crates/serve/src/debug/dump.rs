//! What one proxy is served, as Envoy's own dump of its configuration.
//!
//! Knows: Envoy's dump messages. Must not know who asks. Invariant: no private key is in it.

use meltemi_catalog::View;
use meltemi_names::TypeUrl;
use meltemi_proto::any::pack;
use meltemi_proto::envoy::admin::v3::clusters_config_dump::DynamicCluster;
use meltemi_proto::envoy::admin::v3::endpoints_config_dump::DynamicEndpointConfig;
use meltemi_proto::envoy::admin::v3::listeners_config_dump::{DynamicListener, DynamicListenerState};
use meltemi_proto::envoy::admin::v3::routes_config_dump::DynamicRouteConfig;
use meltemi_proto::envoy::admin::v3::secrets_config_dump::DynamicSecret;
use meltemi_proto::envoy::admin::v3::{
    BootstrapConfigDump, ClustersConfigDump, ConfigDump, EcdsConfigDump, EndpointsConfigDump,
    ListenersConfigDump, RoutesConfigDump, ScopedRoutesConfigDump, SecretsConfigDump,
};
use meltemi_proto::envoy::config::core::v3::{DataSource, data_source::Specifier};
use meltemi_proto::envoy::config::route::v3::{RouteConfiguration, VirtualHost};
use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::{Secret, secret};
use meltemi_proto::google::protobuf::Any;
use meltemi_proto::json::to_json;
use prost::Message;
use serde_json::Value;

use super::Refused;
use crate::streams::Stream;

/// What stands for a private key.
const REDACTED: &str = "[redacted]";

/// The dumps by kind, in the order that `istioctl` reads them in.
pub(super) fn resources(stream: &Stream) -> Vec<(String, Any)> {
    configs(&stream.handle.view()).into_iter().map(|config| (String::new(), config)).collect()
}

/// The same as JSON; with the load assignments if they are asked for, which Envoy's own dump leaves out, too.
pub(super) fn page(stream: &Stream, with_endpoints: bool) -> Result<Value, Refused> {
    let view = stream.handle.view();
    let mut configs = configs(&view);
    if with_endpoints {
        let all = view.all(TypeUrl::Endpoint).map(|live| DynamicEndpointConfig {
            version_info: live.resource.version().to_string(),
            endpoint_config: Some(any(TypeUrl::Endpoint, live.resource.body().to_vec())),
            ..DynamicEndpointConfig::default()
        });
        let dump =
            EndpointsConfigDump { dynamic_endpoint_configs: all.collect(), ..EndpointsConfigDump::default() };
        // Behind the bootstrap and the clusters, as in Istio.
        configs.insert(2, pack(&dump));
    }
    json("envoy.admin.v3.ConfigDump", &ConfigDump { configs }.encode_to_vec())
}

/// The resources of some types alone, by Istio's short names of them: `cds,lds`.
pub(super) fn of_types(stream: &Stream, names: &str) -> Result<Value, Refused> {
    let view = stream.handle.view();
    let mut configs = Vec::new();
    for name in names.split(',') {
        let known = TYPES.iter().find(|(short, _)| *short == name);
        let (_, type_url) = *known.ok_or_else(|| Refused::NoType(name.to_owned()))?;
        configs.extend(view.all(type_url).map(|live| {
            let bytes = live.resource.body().to_vec();
            match type_url {
                TypeUrl::Route => pack(&route(&view, live.resource.name().as_str(), &bytes)),
                TypeUrl::Secret => pack(&redacted(&bytes)),
                _ => any(type_url, bytes),
            }
        }));
    }
    json("envoy.admin.v3.ConfigDump", &ConfigDump { configs }.encode_to_vec())
}

/// Istio's short names of types (Istio: pilot/pkg/xds/v3/model.go).
const TYPES: [(&str, TypeUrl); 7] = [
    ("cds", TypeUrl::Cluster),
    ("ecds", TypeUrl::ExtensionConfig),
    ("eds", TypeUrl::Endpoint),
    ("lds", TypeUrl::Listener),
    ("nds", TypeUrl::NameTable),
    ("rds", TypeUrl::Route),
    ("sds", TypeUrl::Secret),
];

fn any(type_url: TypeUrl, bytes: Vec<u8>) -> Any {
    Any { type_url: type_url.as_str().to_owned(), value: bytes.into() }
}

fn json(type_url: &str, bytes: &[u8]) -> Result<Value, Refused> {
    to_json(type_url, bytes).map_err(|error| Refused::Broken(error.to_string()))
}

fn configs(view: &View) -> Vec<Any> {
    let all = |type_url: TypeUrl| {
        view.all(type_url).map(move |live| {
            let value = live.resource.body().to_vec().into();
            let config = Any { type_url: type_url.as_str().to_owned(), value };
            (live.resource.name().to_string(), live.resource.version().to_string(), config)
        })
    };
    let clusters = all(TypeUrl::Cluster).map(|(_, version_info, cluster)| DynamicCluster {
        version_info,
        cluster: Some(cluster),
        ..DynamicCluster::default()
    });
    let listeners = all(TypeUrl::Listener).map(|(name, version_info, listener)| DynamicListener {
        name,
        active_state: Some(DynamicListenerState {
            version_info,
            listener: Some(listener),
            ..DynamicListenerState::default()
        }),
        ..DynamicListener::default()
    });
    let routes = view.all(TypeUrl::Route).map(|live| DynamicRouteConfig {
        version_info: live.resource.version().to_string(),
        route_config: Some(pack(&route(view, live.resource.name().as_str(), &live.resource.body().to_vec()))),
        ..DynamicRouteConfig::default()
    });
    let secrets = view.all(TypeUrl::Secret).map(|live| DynamicSecret {
        name: live.resource.name().to_string(),
        version_info: live.resource.version().to_string(),
        secret: Some(pack(&redacted(&live.resource.body().to_vec()))),
        ..DynamicSecret::default()
    });
    vec![
        pack(&BootstrapConfigDump::default()),
        pack(&ClustersConfigDump {
            dynamic_active_clusters: clusters.collect(),
            ..ClustersConfigDump::default()
        }),
        pack(&ListenersConfigDump {
            dynamic_listeners: listeners.collect(),
            ..ListenersConfigDump::default()
        }),
        pack(&ScopedRoutesConfigDump::default()),
        pack(&RoutesConfigDump { dynamic_route_configs: routes.collect(), ..RoutesConfigDump::default() }),
        pack(&SecretsConfigDump {
            dynamic_active_secrets: secrets.collect(),
            ..SecretsConfigDump::default()
        }),
        pack(&EcdsConfigDump::default()),
    ]
}

/// A route configuration with its virtual hosts in it, also where they go out as resources of their own: so Istio's tools read it.
fn route(view: &View, name: &str, bytes: &[u8]) -> RouteConfiguration {
    let mut route = RouteConfiguration::decode(bytes).unwrap_or_default();
    if route.vhds.take().is_some() {
        let own = view
            .all(TypeUrl::VirtualHost)
            .filter(|live| live.resource.parent().is_some_and(|parent| parent.as_str() == name));
        route
            .virtual_hosts
            .extend(own.filter_map(|live| VirtualHost::decode(&*live.resource.body().to_vec()).ok()));
    }
    route
}

/// A secret without what is secret in it.
fn redacted(bytes: &[u8]) -> Secret {
    let mut secret = Secret::decode(bytes).unwrap_or_default();
    let hide = |source: &mut Option<DataSource>| {
        if source.is_some() {
            let specifier = Some(Specifier::InlineString(REDACTED.to_owned()));
            *source = Some(DataSource { specifier, ..DataSource::default() });
        }
    };
    match &mut secret.r#type {
        Some(secret::Type::TlsCertificate(certificate)) => {
            hide(&mut certificate.private_key);
            hide(&mut certificate.password);
            hide(&mut certificate.pkcs12);
            certificate.private_key_provider = None;
        }
        // Trust anchors are no secret.
        Some(secret::Type::ValidationContext(_)) | None => {}
        Some(secret::Type::SessionTicketKeys(_) | secret::Type::GenericSecret(_)) => secret.r#type = None,
    }
    secret
}

#[cfg(test)]
mod tests {
    use super::*;
    use meltemi_proto::envoy::extensions::transport_sockets::tls::v3::TlsCertificate;

    #[test]
    fn a_private_key_is_never_shown() {
        let text = |text: &str| {
            Some(DataSource {
                specifier: Some(Specifier::InlineString(text.to_owned())),
                ..DataSource::default()
            })
        };
        let certificate = TlsCertificate {
            certificate_chain: text("chain"),
            private_key: text("key"),
            ..TlsCertificate::default()
        };
        let secret = Secret { name: "a".to_owned(), r#type: Some(secret::Type::TlsCertificate(certificate)) };
        let shown = json(
            "envoy.extensions.transport_sockets.tls.v3.Secret",
            &redacted(&secret.encode_to_vec()).encode_to_vec(),
        );
        let shown = shown.unwrap().to_string();
        assert!(
            shown.contains("[redacted]") && shown.contains("chain") && !shown.contains("\"key\""),
            "{shown}"
        );
    }
}
