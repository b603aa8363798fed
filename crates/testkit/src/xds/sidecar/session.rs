//! The two forms of the protocol under one face.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail};
use meltemi_names::TypeUrl;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use meltemi_proto::google::protobuf::Any;
use meltemi_proto::google::rpc::Status;
use prost::Message;
use tonic::transport::Channel;

use super::{Form, Subscription, is_wildcard};
use crate::xds::held::own_name;
use crate::xds::{DeltaStream, Held, Node, Resource, SotwStream};

/// gRPC's code for an invalid argument, which Envoy gives when it refuses an answer.
const REFUSED: i32 = 3;

/// One live stream.
pub(super) enum Session {
    Delta(DeltaStream),
    Sotw(SotwStream),
}

/// An answer of either form.
pub(super) struct Incoming {
    pub(super) kind: TypeUrl,
    pub(super) nonce: String,
    /// State of the world: of the response.
    pub(super) version: String,
    pub(super) resources: Vec<(String, Resource)>,
    pub(super) removed: Vec<String>,
    /// Whether a resource that is not in it is gone: clusters and listeners in state-of-the-world form.
    pub(super) is_complete: bool,
    pub(super) bytes: usize,
}

impl Session {
    /// Opens a stream and subscribes to `subscriptions`, in the order of types; to the clusters first in any case.
    pub(super) async fn open(
        channel: Channel,
        form: Form,
        node: &Node,
        subscriptions: &BTreeMap<TypeUrl, Subscription>,
        held: &Held,
    ) -> Result<Self> {
        let clusters = Subscription::default();
        let node = Some(node.message()?);
        let first = subscriptions.get(&TypeUrl::Cluster).unwrap_or(&clusters);
        let session = match form {
            Form::Delta => {
                let request = DeltaDiscoveryRequest { node, ..delta_start(TypeUrl::Cluster, first, held) };
                Self::Delta(DeltaStream::delta(channel, request).await?)
            }
            Form::Sotw => {
                let request = DiscoveryRequest { node, ..sotw_request(TypeUrl::Cluster, first) };
                Self::Sotw(SotwStream::sotw(channel, request).await?)
            }
        };
        for (kind, subscription) in subscriptions {
            // Without names it would be a wildcard, where all names were given up.
            let is_empty = subscription.names.is_empty() && !is_wildcard(*kind);
            if *kind == TypeUrl::Cluster || is_empty {
                continue;
            }
            match &session {
                Self::Delta(stream) => stream.send(delta_start(*kind, subscription, held)).await?,
                Self::Sotw(stream) => stream.send(sotw_request(*kind, subscription)).await?,
            }
        }
        Ok(session)
    }

    /// Asks for `subscription`, where `before` were the names until now.
    pub(super) async fn subscribe(
        &self,
        kind: TypeUrl,
        subscription: &Subscription,
        before: &BTreeSet<String>,
    ) -> Result<()> {
        match self {
            Self::Delta(stream) => {
                let request = DeltaDiscoveryRequest {
                    type_url: kind.as_str().to_owned(),
                    resource_names_subscribe: subscription.names.difference(before).cloned().collect(),
                    resource_names_unsubscribe: before.difference(&subscription.names).cloned().collect(),
                    ..DeltaDiscoveryRequest::default()
                };
                stream.send(request).await
            }
            Self::Sotw(stream) => stream.send(sotw_request(kind, subscription)).await,
        }
    }

    /// Says that the last answer of that type was taken, or why not.
    pub(super) async fn acknowledge(
        &self,
        kind: TypeUrl,
        subscription: &Subscription,
        refused: Option<&str>,
    ) -> Result<()> {
        let error_detail =
            refused.map(|reason| Status { code: REFUSED, message: reason.to_owned(), ..Status::default() });
        match self {
            Self::Delta(stream) => {
                let request = DeltaDiscoveryRequest {
                    type_url: kind.as_str().to_owned(),
                    response_nonce: subscription.nonce.clone(),
                    error_detail,
                    ..DeltaDiscoveryRequest::default()
                };
                stream.send(request).await
            }
            Self::Sotw(stream) => {
                stream.send(DiscoveryRequest { error_detail, ..sotw_request(kind, subscription) }).await
            }
        }
    }

    /// Waits for the next answer.
    pub(super) async fn receive(&mut self) -> Result<Incoming> {
        match self {
            Self::Delta(stream) => {
                let answer = stream.receive().await?.context("the server ended the stream")?;
                let bytes = answer.encoded_len();
                let kind = kind(&answer.type_url)?;
                let mut resources = Vec::new();
                for resource in answer.resources {
                    let any =
                        resource.resource.with_context(|| format!("{kind} `{}` is empty", resource.name))?;
                    if any.type_url != kind.as_str() {
                        bail!("{kind} `{}` is a {}", resource.name, any.type_url);
                    }
                    resources.push((resource.name, Resource { version: resource.version, body: any.value }));
                }
                let (nonce, version, removed) =
                    (answer.nonce, answer.system_version_info, answer.removed_resources);
                Ok(Incoming { kind, nonce, version, resources, removed, is_complete: false, bytes })
            }
            Self::Sotw(stream) => {
                let answer = stream.receive().await?.context("the server ended the stream")?;
                let bytes = answer.encoded_len();
                let kind = kind(&answer.type_url)?;
                let mut resources = Vec::new();
                for Any { type_url, value: body } in answer.resources {
                    if type_url != kind.as_str() {
                        bail!("a resource in an answer of {kind} is a {type_url}");
                    }
                    let name = own_name(kind, &body)?;
                    resources.push((name, Resource { version: answer.version_info.clone(), body }));
                }
                let is_complete = matches!(kind, TypeUrl::Cluster | TypeUrl::Listener);
                let (nonce, version) = (answer.nonce, answer.version_info);
                Ok(Incoming { kind, nonce, version, resources, removed: Vec::new(), is_complete, bytes })
            }
        }
    }
}

fn kind(type_url: &str) -> Result<TypeUrl> {
    TypeUrl::parse(type_url)
        .with_context(|| format!("the server sent a type that no Envoy knows: {type_url}"))
}

/// The first request of a type on a stream.
fn delta_start(kind: TypeUrl, subscription: &Subscription, held: &Held) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.as_str().to_owned(),
        resource_names_subscribe: subscription.names.iter().cloned().collect(),
        initial_resource_versions: held.versions(kind),
        ..DeltaDiscoveryRequest::default()
    }
}

fn sotw_request(kind: TypeUrl, subscription: &Subscription) -> DiscoveryRequest {
    DiscoveryRequest {
        type_url: kind.as_str().to_owned(),
        version_info: subscription.version.clone(),
        response_nonce: subscription.nonce.clone(),
        resource_names: subscription.names.iter().cloned().collect(),
        ..DiscoveryRequest::default()
    }
}
