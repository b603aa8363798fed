//! Who gets which name.

use super::*;

fn rules() -> Rules {
    Rules::new("mesh.shop", ["cluster.local".to_owned()], [("istio-system".to_owned(), "ztunnel".to_owned())])
}

fn caller(id: &str) -> Caller {
    let pod = Some(PodRef { name: "ztunnel-x".to_owned(), uid: "1".to_owned() });
    Caller { identity: SpiffeId::parse(id).unwrap(), proof: Proof::KubernetesToken, pod }
}

const ZTUNNEL: &str = "spiffe://mesh.shop/ns/istio-system/sa/ztunnel";
const REVIEWS: &str = "spiffe://mesh.shop/ns/shop/sa/reviews";

/// Runs reviews beside ztunnel, and nothing else.
struct Node;

impl Pods for Node {
    fn beside(&self, caller: &SpiffeId, pod: &PodRef, wanted: &SpiffeId) -> bool {
        caller.to_string() == ZTUNNEL && pod.uid == "1" && wanted.to_string() == REVIEWS
    }
}

fn gets(id: &str, wanted: &str) -> Result<String, NotEntitled> {
    rules().entitled(&caller(id), wanted, &Node).map(|id| id.to_string())
}

#[test]
fn whoever_asks_for_nobody_gets_their_own_name() {
    assert_eq!(gets(REVIEWS, ""), Ok(REVIEWS.to_owned()));
}

#[test]
fn who_comes_with_an_alias_leaves_with_the_mesh_s_name() {
    assert_eq!(gets("spiffe://cluster.local/ns/shop/sa/reviews", ""), Ok(REVIEWS.to_owned()));
}

#[test]
fn another_mesh_s_name_is_refused() {
    assert!(matches!(gets("spiffe://other/ns/shop/sa/reviews", ""), Err(NotEntitled::TrustDomain { .. })));
}

#[test]
fn a_node_s_agent_speaks_for_what_runs_beside_it_alone() {
    assert_eq!(gets(ZTUNNEL, REVIEWS), Ok(REVIEWS.to_owned()));
    let bank = "spiffe://mesh.shop/ns/bank/sa/vault";
    assert!(matches!(gets(ZTUNNEL, bank), Err(NotEntitled::NotBeside(_))));
    assert!(matches!(gets(REVIEWS, bank), Err(NotEntitled::NotListed(_))));
    let mut nowhere = caller(ZTUNNEL);
    nowhere.pod = None;
    assert!(matches!(rules().entitled(&nowhere, REVIEWS, &Node), Err(NotEntitled::NotBeside(_))));
    assert!(matches!(rules().entitled(&caller(ZTUNNEL), REVIEWS, &NoPods), Err(NotEntitled::NotBeside(_))));
}

#[test]
fn nobody_speaks_for_a_name_of_another_trust_domain_or_of_no_form() {
    assert!(matches!(
        gets(ZTUNNEL, "spiffe://cluster.local/ns/shop/sa/reviews"),
        Err(NotEntitled::TrustDomain { .. })
    ));
    for wanted in [
        "reviews",
        "spiffe://mesh.shop/ns/shop/sa/",
        "spiffe://mesh.shop/ns/SHOP/sa/reviews",
        "spiffe://mesh.shop/ns/a%2fb/sa/c",
    ] {
        assert_eq!(gets(ZTUNNEL, wanted), Err(NotEntitled::Malformed(wanted.to_owned())));
    }
}

#[test]
fn an_account_in_the_trust_domain_is_written_with_a_dot() {
    let rules = Rules::new("me@shop", [], []);
    assert_eq!(rules.identity("shop", "reviews").unwrap().to_string(), "spiffe://me.shop/ns/shop/sa/reviews");
}

#[test]
fn names_are_of_kubernetes_form_and_length() {
    let long = "a".repeat(253);
    assert!(rules().identity(&long, "reviews").is_ok());
    assert!(rules().identity(&(long + "a"), "reviews").is_err());
    for name in ["", "a b", "A", "a/b", "ä", "a\n"] {
        assert!(rules().identity("shop", name).is_err(), "{name:?}");
    }
}
