//! What stands for a name that does not exist, where silence would leave the client waiting.
//!
//! Envoy keeps a cluster warming until its assignment comes, and a listener until its route configuration comes; so these
//! two types answer with an empty resource of that name (as Istio does). Other types are told as removed.

use std::sync::Arc;

use meltemi_catalog::{Body, Resource, ResourceName, varint};
use meltemi_names::{TypeUrl, Version};

/// The empty resource of that name; none for types where a missing name is told as removed.
pub(crate) fn missing(type_url: TypeUrl, name: &ResourceName) -> Option<Arc<Resource>> {
    let mut bytes = Vec::with_capacity(name.as_str().len() + 8);
    // Field 1 is the name in both: ClusterLoadAssignment.cluster_name, RouteConfiguration.name.
    text_field(1, name.as_str(), &mut bytes);
    match type_url {
        TypeUrl::Endpoint => {}
        // Field 7, validate_clusters, a BoolValue of false: present, and empty.
        TypeUrl::Route => text_field(7, "", &mut bytes),
        _ => return None,
    }
    let version = Version::of(&bytes);
    Some(Arc::new(Resource::new(type_url, name.clone(), version, Body::from(bytes))))
}

/// A length-delimited field.
pub(crate) fn text_field(field: u64, text: &str, out: &mut Vec<u8>) {
    bytes_field(field, text.as_bytes(), out);
}

/// A length-delimited field.
pub(crate) fn bytes_field(field: u64, bytes: &[u8], out: &mut Vec<u8>) {
    varint(field << 3 | 2, out);
    varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use meltemi_names::TypeUrl;
    use meltemi_proto::envoy::config::endpoint::v3::ClusterLoadAssignment;
    use meltemi_proto::envoy::config::route::v3::RouteConfiguration;
    use prost::Message;

    use super::missing;

    #[test]
    fn a_missing_assignment_is_an_empty_one_of_that_name() {
        let resource =
            missing(TypeUrl::Endpoint, &"outbound|80||gone".into()).expect("EDS has an empty form");
        let decoded =
            ClusterLoadAssignment::decode(&*resource.body().to_vec()).expect("a ClusterLoadAssignment");
        assert_eq!(
            decoded,
            ClusterLoadAssignment { cluster_name: "outbound|80||gone".into(), ..Default::default() }
        );
    }

    #[test]
    fn a_missing_route_configuration_is_an_empty_one_that_validates_no_clusters() {
        let resource = missing(TypeUrl::Route, &"8080".into()).expect("RDS has an empty form");
        let decoded = RouteConfiguration::decode(&*resource.body().to_vec()).expect("a RouteConfiguration");
        assert_eq!(decoded.name, "8080");
        assert!(decoded.virtual_hosts.is_empty());
        assert!(!decoded.validate_clusters.expect("said, not left out").value);
    }

    #[test]
    fn other_types_have_no_empty_form() {
        assert!(missing(TypeUrl::Cluster, &"c".into()).is_none());
        assert!(missing(TypeUrl::VirtualHost, &"8080/h".into()).is_none());
    }
}
