//! What was likely meant instead of a host that is none.

use meltemi_model::read::Read;
use meltemi_model::service::{CLUSTER_DOMAIN, ServiceOf, VisibleServices};
use meltemi_names::{Host, Namespace};

/// A hint that names the nearest service. Reads the list of all services: only who misses one pays for it.
pub(super) fn service(read: &Read<'_>, viewer: &Namespace, host: &Host) -> Option<String> {
    let visible = read.ask(VisibleServices(viewer.clone()));
    let suffix = format!(".svc.{CLUSTER_DOMAIN}");
    // `reviews.prod` is taken literally, though a shell in a pod would find the service.
    let longer = Host::parse(&format!("{host}{suffix}")).ok();
    if let Some(longer) = longer.filter(|longer| visible.iter().any(|service| service.host == *longer)) {
        return Some(format!("a host with a dot is taken as it is: write {longer}"));
    }
    let meant = host.as_str().strip_suffix(&suffix).unwrap_or(host.as_str());
    let (name, namespace) = meant.split_once('.').unwrap_or((meant, viewer.as_str()));
    let elsewhere = visible.iter().find(|service| service.object.name.as_str() == name);
    let similar = visible
        .iter()
        .filter(|service| service.namespace().as_str() == namespace)
        .map(|service| (strsim::damerau_levenshtein(name, service.object.name.as_str()), service))
        // A third of the letters may differ.
        .filter(|(distance, service)| distance * 3 <= service.object.name.as_str().len().max(3))
        .min();
    let meant = similar.map(|(_, service)| service).or(elsewhere)?;
    let known = read.ask(ServiceOf(meant.clone()));
    known.as_ref().as_ref().map(|shape| format!("is {} meant? Its host is {}", meant, shape.id.host))
}
