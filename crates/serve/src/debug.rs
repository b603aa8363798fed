//! Istiod's debug pages, as far as they are asked for: what `istioctl` reads, over xDS and by HTTP.
//!
//! Knows: Istio's names and shapes of them (Istio: pilot/pkg/xds/debug.go, statusgen.go, debuggen.go), the live streams, the mesh. Must not
//! know: how a stream is served.   Start at [`Debug::page`] and [`Debug::over_xds`]; `access` says who may see what.
//! Invariant: nobody sees proxies of another namespace but who is of the root namespace, or on this machine; and no private key is ever shown.

pub(crate) mod access;
mod dump;
mod lists;
mod registry;
mod syncz;

use std::sync::Arc;

use meltemi_model::Mesh;
use meltemi_proto::google::protobuf::Any;
use meltemi_xds::Page;
use serde_json::Value;
use tokio::sync::watch;
use tonic::Status;

use self::access::Caller;
use crate::streams::{Stream, Streams};

/// The type of all pages over xDS, with the page's name and query as the one resource name.
const PAGES: &str = "istio.io/debug";
/// How far each proxy is, for `istioctl proxy-status`.
const SYNCZ: &str = "istio.io/debug/syncz";
/// What one proxy is served, for `istioctl proxy-status POD`.
const CONFIG_DUMP: &str = "istio.io/debug/config_dump";

/// The pages, in the order of their list.
const NAMES: [&str; 18] = [
    "adsz",
    "clusterz",
    "config_dump",
    "configz",
    "connections",
    "ecdsz",
    "edsz",
    "endpointShardz",
    "endpointz",
    "instancesz",
    "list",
    "mesh",
    "ndsz",
    "registryz",
    "resourcesz",
    "sidecarz",
    "syncz",
    "telemetryz",
];

/// What the pages are made of.
#[derive(Debug)]
pub(crate) struct Debug {
    pub(crate) streams: Arc<Streams>,
    pub(crate) mesh: watch::Receiver<Arc<Mesh>>,
    /// What this replica calls itself: its pod.
    pub(crate) replica: String,
    /// Its revision.
    pub(crate) revision: String,
}

/// Why there is no page.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    #[error("You must provide a proxyID in the query string")]
    NoProxy,
    #[error("Proxy not connected to this Pilot instance. It may be connected to another instance.")]
    NotHere,
    #[error("`{0}` is no type of resources: cds, ecds, eds, lds, nds, rds and sds are")]
    NoType(String),
    #[error("there is no page `{0}`; /debug/list has those that there are")]
    NoPage(String),
    #[error("the mesh's settings are in the file of --mesh-config; they are not kept as they were written")]
    OfFile,
    #[error("the page cannot be written: {0}")]
    Broken(String),
    #[error("{0}")]
    Forbidden(String),
}

impl Debug {
    /// The page of that name, as JSON. `query` is what stands behind `?`.
    pub(crate) fn page(&self, name: &str, query: &str, caller: &Caller) -> Result<Value, Refused> {
        let asked = |key: &str| {
            let mut pairs = form_urlencoded::parse(query.as_bytes());
            pairs.find(|(name, _)| name == key).map(|(_, value)| value.into_owned())
        };
        let wanted = |key: &str| asked(key).unwrap_or_default();
        caller.may_read(name, self.root_namespace())?;
        let seen = self.seen_by(caller);
        let proxy = || self.proxy(&wanted("proxyID"), &seen);
        // Some pages are of all proxies, or of one if that is asked for.
        let one = || if wanted("proxyID").is_empty() { Ok(None) } else { proxy().map(Some) };
        let mesh = || Arc::clone(&self.mesh.borrow());
        match name {
            "list" => Ok(NAMES.to_vec().into()),
            "syncz" => Ok(syncz::page(&seen, &wanted("namespace"))),
            "adsz" => Ok(lists::adsz(one()?.map_or(&seen, std::slice::from_ref))),
            "connections" => Ok(lists::connections(&seen)),
            "configz" => Ok(lists::configz(&mesh())),
            "resourcesz" => Ok(lists::resourcesz()),
            "mesh" => lists::settings(&mesh()).ok_or(Refused::OfFile),
            "clusterz" => Ok(lists::clusterz()),
            "telemetryz" => Ok(lists::telemetryz(&mesh(), one()?)),
            "registryz" => Ok(registry::registryz(&mesh())),
            "endpointz" | "endpointShardz" => Ok(registry::endpointz(&mesh())),
            "instancesz" => Ok(registry::instancesz(&mesh(), &seen)),
            "sidecarz" => Ok(registry::sidecarz(&mesh(), proxy()?)),
            "config_dump" => match asked("types").filter(|types| !types.is_empty()) {
                Some(types) => dump::of_types(proxy()?, &types),
                None => dump::page(proxy()?, asked("include_eds").is_some()),
            },
            "edsz" => dump::of_types(proxy()?, "eds"),
            "ecdsz" => dump::of_types(proxy()?, "ecds"),
            "ndsz" => dump::of_types(proxy()?, "nds"),
            other => Err(Refused::NoPage(other.to_owned())),
        }
    }

    /// The answer over xDS; none for a type that is no page.
    pub(crate) fn over_xds(
        &self,
        type_url: &str,
        names: &[String],
        caller: &Caller,
    ) -> Option<Result<Page, Status>> {
        let seen = || self.seen_by(caller);
        Some(match type_url {
            SYNCZ => Ok(Page { resources: syncz::resources(&seen()), control_plane: self.who() }),
            CONFIG_DUMP => Ok(match names {
                [name] => {
                    // As in Istio: a proxy of another replica is none here, and no error.
                    let resources = self.proxy(name, &seen()).map(dump::resources).unwrap_or_default();
                    Page { resources, control_plane: String::new() }
                }
                _ => Page::default(),
            }),
            PAGES => match names {
                [name] => {
                    let (page, query) = name.split_once('?').unwrap_or((name, ""));
                    self.page(page, query, caller).map_err(Status::from).map(|page| {
                        let value = format!("{page:#}").into_bytes();
                        let content = Any { type_url: PAGES.to_owned(), value: value.into() };
                        Page { resources: vec![(name.clone(), content)], control_plane: String::new() }
                    })
                }
                _ => Err(Status::invalid_argument(format!(
                    "exactly one resource name is wanted, {} came",
                    names.len()
                ))),
            },
            _ => return None,
        })
    }

    fn root_namespace(&self) -> String {
        self.mesh.borrow().settings().root_namespace.clone()
    }

    /// The proxies that a caller may know of, by name.
    fn seen_by(&self, caller: &Caller) -> Vec<Stream> {
        let root = self.root_namespace();
        let all = self.streams.all().into_iter();
        all.filter(|stream| caller.may_see(stream.proxy.namespace.as_str(), &root)).collect()
    }

    /// The first proxy whose name has that in it, as in Istio.
    fn proxy<'a>(&self, id: &str, seen: &'a [Stream]) -> Result<&'a Stream, Refused> {
        if id.is_empty() {
            return Err(Refused::NoProxy);
        }
        let exact = seen.iter().find(|stream| *stream.proxy.id == *id);
        exact.or_else(|| seen.iter().find(|stream| stream.proxy.id.contains(id))).ok_or(Refused::NotHere)
    }

    /// Who answers, in the JSON that `istioctl` shows its column ISTIOD from.
    fn who(&self) -> String {
        let info = serde_json::json!({
            "version": env!("CARGO_PKG_VERSION"),
            "revision": self.revision,
            "golang_version": "",
            "status": "Clean",
            "tag": env!("CARGO_PKG_VERSION"),
        });
        serde_json::json!({"Component": "istiod", "ID": self.replica, "Info": info}).to_string()
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Self {
        let text = refused.to_string();
        match refused {
            Refused::NoProxy | Refused::NoType(_) => Self::invalid_argument(text),
            Refused::NotHere | Refused::OfFile | Refused::NoPage(_) => Self::not_found(text),
            Refused::Broken(_) => Self::internal(text),
            Refused::Forbidden(_) => Self::permission_denied(text),
        }
    }
}
