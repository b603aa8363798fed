//! Whom a node may name.

use super::*;

#[test]
fn a_node_is_of_its_identity_s_namespace_and_of_its_account_where_it_says_one() {
    let id = SpiffeId::parse("spiffe://cluster.local/ns/shop/sa/reviews").unwrap();
    assert_eq!(matches(&id, "shop", None), Ok(()));
    assert_eq!(matches(&id, "shop", Some("reviews")), Ok(()));
    assert!(matches(&id, "bank", Some("reviews")).is_err());
    assert!(matches(&id, "shop", Some("ratings")).is_err());
    assert!(matches(&id, "", None).is_err());
}

#[test]
fn secrets_and_debug_pages_need_an_identity() {
    for kind in [
        "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret",
        "istio.io/debug",
        "istio.io/debug/syncz",
    ] {
        assert!(needs_identity(kind), "{kind}");
    }
    for kind in ["type.googleapis.com/envoy.config.cluster.v3.Cluster", "istio.io/connections"] {
        assert!(!needs_identity(kind), "{kind}");
    }
}
