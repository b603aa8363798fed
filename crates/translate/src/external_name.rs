//! Names that stand for others: ExternalName services. Must not know who asks, nor what becomes of the name.

use meltemi_memo::Question;
use meltemi_model::Mesh;
use meltemi_model::read::{self, Read};
use meltemi_model::service::CLUSTER_DOMAIN;
use meltemi_names::{Host, Kind, ObjectKey};

/// What a host stands for: itself, unless it is that of an ExternalName service.
pub(crate) fn meant(read: &Read<'_>, host: &Host) -> Host {
    (*read.ask(ExternalNameOf(host.clone()))).clone().unwrap_or_else(|| host.clone())
}

/// What an ExternalName service of that host stands for, through others of them or directly.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ExternalNameOf(Host);

impl Question for ExternalNameOf {
    type World = Mesh;
    type Answer = Option<Host>;
    const NAME: &'static str = "external name";

    fn answer(&self, read: &Read<'_>) -> Self::Answer {
        let mut found: Vec<Host> = Vec::new();
        // Those that point to each other stand for nothing.
        while let Some(next) = named_by(read, found.last().unwrap_or(&self.0))
            && !found.contains(&next)
        {
            found.push(next);
        }
        found.pop()
    }
}

fn named_by(read: &Read<'_>, host: &Host) -> Option<Host> {
    let short = host.as_str().strip_suffix(CLUSTER_DOMAIN)?.strip_suffix(".svc.")?;
    let (name, namespace) = short.split_once('.')?;
    let (_, service) = read::service(read, &ObjectKey::new(Kind::Service, namespace, name))?;
    service.external_name.clone()
}
