//! Objects from YAML: applied as `kubectl apply --server-side` does, and deleted.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{ApiResource, DeleteParams, DynamicObject, Patch, PatchParams};
use kube::core::GroupVersionKind;
use kube::discovery::{self, Scope};
use kube::{Api, Client, ResourceExt};
use serde::Deserialize;
use serde_json::Value;

use super::Cluster;
use super::wait::{Seen, until};

/// Who owns the fields that a test applies.
const MANAGER: &str = "meltemi-tests";

/// How long a definition may take until its kind is served, and a kind until it is known.
const KIND_LIMIT: Duration = Duration::from_secs(60);

/// Requests that [`Cluster::apply_at_once`] has under way.
const AT_ONCE: usize = 32;

impl Cluster {
    /// Applies every object of `yaml` in its order, as their owner by force; unknown fields are errors. Objects
    /// without a namespace go to `default`. A definition of a kind is waited for, and so is what the controllers put
    /// into a namespace.
    ///
    /// # Errors
    /// When the API server refuses one; names it. Those before it are applied.
    pub async fn apply(&self, yaml: &str) -> Result<()> {
        let (client, mut kinds) = (self.admin().await?, Kinds::default());
        for object in objects(yaml)? {
            let api = kinds.api(&client, &object).await?;
            apply(&api, &object).await?;
        }
        Ok(())
    }

    /// Applies the objects of `yaml` in no order, many at a time: for thousands of them.
    ///
    /// # Errors
    /// As [`Cluster::apply`].
    pub async fn apply_at_once(&self, yaml: &str) -> Result<()> {
        let (client, mut kinds) = (self.admin().await?, Kinds::default());
        let mut work = Vec::new();
        for object in objects(yaml)? {
            work.push((kinds.api(&client, &object).await?, object));
        }
        stream::iter(work)
            .map(async |(api, object)| apply(&api, &object).await)
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await
    }

    /// Deletes every object that `yaml` names; one that is not there is no error. What they own goes later.
    ///
    /// # Errors
    /// When the API server refuses to.
    pub async fn delete(&self, yaml: &str) -> Result<()> {
        let (client, mut kinds) = (self.admin().await?, Kinds::default());
        for object in objects(yaml)? {
            let api = kinds.api(&client, &object).await?;
            match api.delete(&object.name_any(), &DeleteParams::background()).await {
                Ok(_) => {}
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                Err(error) => return Err(error).with_context(|| format!("deleting {}", label(&object))),
            }
        }
        Ok(())
    }

    /// The object of that kind, as the API server has it: `get("networking.istio.io/v1", "VirtualService", ...)`. None
    /// where it is not there.
    ///
    /// # Errors
    /// When the kind is unknown, or the API server refuses to.
    pub async fn get(
        &self,
        version: &str,
        kind: &str,
        namespace: &str,
        name: &str,
    ) -> Result<Option<DynamicObject>> {
        let resource = ApiResource::from_gvk(&gvk(version, kind));
        let mut object = DynamicObject::new(name, &resource);
        if !namespace.is_empty() {
            object = object.within(namespace);
        }
        let api = Kinds::default().api(&self.admin().await?, &object).await?;
        Ok(api.get_opt(name).await?)
    }
}

async fn apply(api: &Api<DynamicObject>, object: &DynamicObject) -> Result<()> {
    let parameters = PatchParams::apply(MANAGER).force().validation_strict();
    let place = || format!("applying {}", label(object));
    api.patch(&object.name_any(), &parameters, &Patch::Apply(object)).await.with_context(place)?;
    match object.types.as_ref().map(|types| types.kind.as_str()) {
        Some("CustomResourceDefinition") => established(api, &object.name_any()).await.with_context(place),
        Some("Namespace") => {
            furnished(api.clone().into_client(), &object.name_any()).await.with_context(place)
        }
        _ => Ok(()),
    }
}

/// Waits until a namespace has the service account without which no pod can be made in it.
async fn furnished(client: Client, namespace: &str) -> Result<()> {
    let api: Api<ServiceAccount> = Api::namespaced(client, namespace);
    until("its account `default`", KIND_LIMIT, async || {
        Ok(match api.get_opt("default").await? {
            Some(_) => Seen::Yes(()),
            None => Seen::NotYet("not there".to_owned()),
        })
    })
    .await
}

/// Waits until the kind that a definition defines is served.
async fn established(api: &Api<DynamicObject>, name: &str) -> Result<()> {
    until(name, KIND_LIMIT, async || {
        let found = api.get(name).await?;
        let conditions = found.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let is_established = conditions
            .iter()
            .any(|condition| condition["type"] == "Established" && condition["status"] == "True");
        Ok(if is_established { Seen::Yes(()) } else { Seen::NotYet(format!("{conditions:?}")) })
    })
    .await
}

/// The kinds that were asked for so far: how they are called in a path.
#[derive(Default)]
struct Kinds {
    known: BTreeMap<String, (ApiResource, Scope)>,
}

impl Kinds {
    /// Where objects like this one are.
    async fn api(&mut self, client: &Client, object: &DynamicObject) -> Result<Api<DynamicObject>> {
        let Some(types) = &object.types else { bail!("{}: no kind", label(object)) };
        let key = format!("{} {}", types.api_version, types.kind);
        if !self.known.contains_key(&key) {
            let gvk = gvk(&types.api_version, &types.kind);
            // A kind that was just defined is listed a moment after it is served.
            let (resource, capabilities) = until(&key, KIND_LIMIT, async || {
                Ok(match discovery::pinned_kind(client, &gvk).await {
                    Ok(found) => Seen::Yes(found),
                    Err(error) => Seen::NotYet(error.to_string()),
                })
            })
            .await
            .with_context(|| format!("{}: no such kind", label(object)))?;
            self.known.insert(key.clone(), (resource, capabilities.scope));
        }
        let (resource, scope) = &self.known[&key];
        Ok(match scope {
            Scope::Cluster => Api::all_with(client.clone(), resource),
            Scope::Namespaced => {
                let namespace = object.namespace().unwrap_or_else(|| "default".to_owned());
                Api::namespaced_with(client.clone(), &namespace, resource)
            }
        })
    }
}

fn gvk(version: &str, kind: &str) -> GroupVersionKind {
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    GroupVersionKind::gvk(group, version, kind)
}

/// The objects of a stream of documents; empty documents are none, and lists are their items.
fn objects(yaml: &str) -> Result<Vec<DynamicObject>> {
    let mut objects = Vec::new();
    for (number, document) in (1..).zip(serde_norway::Deserializer::from_str(yaml)) {
        let place = || format!("document {number}");
        let mut value = Value::deserialize(document).with_context(place)?;
        match value["items"].take() {
            Value::Array(items) => {
                for item in items {
                    objects.push(serde_json::from_value(item).with_context(place)?);
                }
            }
            _ if value.is_null() => {}
            _ => {
                if let Value::Object(fields) = &mut value {
                    fields.retain(|name, value| name != "items" || !value.is_null());
                }
                objects.push(serde_json::from_value(value).with_context(place)?);
            }
        }
    }
    Ok(objects)
}

fn label(object: &DynamicObject) -> String {
    let kind = object.types.as_ref().map_or("object", |types| types.kind.as_str());
    match object.namespace() {
        Some(namespace) => format!("{kind} {namespace}/{}", object.name_any()),
        None => format!("{kind} {}", object.name_any()),
    }
}
