//! Route configurations and virtual hosts.

use std::sync::Arc;

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::proxy::IpFamily;
use meltemi_model::read::Read;
use meltemi_names::{Namespace, Selector};

use crate::key::{Made, Members};

/// The outbound routes of one kind of caller.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoutesKey {
    /// Whose services, rules and short names count.
    pub namespace: Namespace,
    /// The domain in which short names resolve; none if they do not.
    pub domain: Option<Arc<str>>,
    /// Which addresses are of use as domains.
    pub family: IpFamily,
    /// As in [`crate::key::OutboundKey`].
    pub selectors: Arc<[Selector]>,
    /// Routes go out as virtual hosts.
    pub virtual_hosts: bool,
}

impl Question for RoutesKey {
    type World = Mesh;
    type Answer = Members;
    const NAME: &'static str = "part: routes";

    fn answer(&self, _read: &Read<'_>) -> Members {
        Members::new()
    }
}

/// One route configuration: with its virtual hosts, or only its head if they go out as resources of their own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey;

impl Question for RouteKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "route configuration";

    fn answer(&self, _read: &Read<'_>) -> Made {
        None
    }
}

/// One virtual host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VirtualHostKey;

impl Question for VirtualHostKey {
    type World = Mesh;
    type Answer = Made;
    const NAME: &'static str = "virtual host";

    fn answer(&self, _read: &Read<'_>) -> Made {
        None
    }
}
