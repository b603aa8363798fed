//! The lists are what prost makes of them, whatever the order and whatever stands between.

use std::collections::BTreeMap;

use meltemi_names::Version;
use meltemi_proto::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DiscoveryRequest};
use proptest::prelude::*;
use prost::Message;

use super::super::names::Held;
use super::take_lists;

proptest! {
    #[test]
    fn a_delta_request_is_taken_apart_and_nothing_is_lost(
        names in prop::collection::vec(".{0,20}", 0..8),
        gone in prop::collection::vec("[a-z]{1,5}", 0..3),
        versions in prop::collection::btree_map(".{0,9}", ".{0,30}", 0..8),
        nonce in ".{0,5}",
    ) {
        let message = DeltaDiscoveryRequest {
            type_url: "type".to_owned(),
            resource_names_subscribe: names.clone(),
            resource_names_unsubscribe: gone.clone(),
            initial_resource_versions: versions.clone(),
            response_nonce: nonce.clone(),
            ..Default::default()
        };
        let lists = take_lists(&message.encode_to_vec(), true);
        prop_assert_eq!(lists.names.iter().collect::<Vec<_>>(), names);
        let rest = DeltaDiscoveryRequest::decode(&*lists.rest).expect("the other fields");
        prop_assert_eq!(&rest.resource_names_unsubscribe, &gone);
        prop_assert_eq!((rest.type_url.as_str(), rest.response_nonce), ("type", nonce));
        // prost leaves out an empty key or value: such an entry is prost's.
        let mut held: Held = lists.held;
        rest.initial_resource_versions.iter().for_each(|(name, version)| held.push(name, version));
        prop_assert!(rest.resource_names_subscribe.is_empty());
        let found: BTreeMap<&str, Option<Version>> = held.within(meltemi_catalog::Parts::ALL).into_iter().collect();
        let wanted: BTreeMap<&str, Option<Version>> =
            versions.iter().map(|(name, version)| (name.as_str(), Version::parse(version))).collect();
        prop_assert_eq!(found, wanted);
    }

    #[test]
    fn any_bytes_are_left_to_prost_or_mean_the_same(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let lists = take_lists(&bytes, true);
        let whole = DeltaDiscoveryRequest::decode(&*bytes);
        let rest = DeltaDiscoveryRequest::decode(&*lists.rest);
        if let Ok(whole) = whole {
            let rest = rest.expect("what prost takes it takes in parts");
            prop_assert_eq!(lists.names.len() + rest.resource_names_subscribe.len(), whole.resource_names_subscribe.len());
            prop_assert_eq!(whole.type_url, rest.type_url);
        }
    }
}

#[test]
fn field_5_of_a_state_of_the_world_request_is_its_nonce() {
    let message = DiscoveryRequest {
        resource_names: vec!["a".to_owned(), "b".to_owned()],
        response_nonce: "n".to_owned(),
        ..Default::default()
    };
    let lists = take_lists(&message.encode_to_vec(), false);
    assert_eq!(lists.names.iter().collect::<Vec<_>>(), ["a", "b"]);
    assert!(lists.held.is_empty());
    let rest = DiscoveryRequest::decode(&*lists.rest).expect("the other fields");
    assert_eq!((rest.response_nonce.as_str(), rest.resource_names.len()), ("n", 0));
}
