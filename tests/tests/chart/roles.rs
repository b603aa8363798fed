//! The roles are of least privilege: what the program asks for, and no more. That it needs no more is tested with an API server.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::helm::{object, rendered};

/// `group/resource verb` of each permission; a name behind `#` where it is for that one alone.
fn permissions(role: &Value) -> Result<BTreeSet<String>> {
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_owned)).collect()
    };
    let mut all = BTreeSet::new();
    for rule in role["rules"].as_array().context("rules")? {
        assert!(rule["nonResourceURLs"].is_null(), "{rule}");
        let mut names: Vec<String> =
            texts(&rule["resourceNames"]).iter().map(|name| format!("#{name}")).collect();
        if names.is_empty() {
            names.push(String::new());
        }
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for verb in texts(&rule["verbs"]) {
                    for name in &names {
                        let new = all.insert(format!("{group}/{resource}{name} {verb}"));
                        assert!(new, "{group}/{resource} {verb} is said twice");
                    }
                }
            }
        }
    }
    Ok(all)
}

fn listed<'a>(resources: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    resources.into_iter().flat_map(|name| ["list", "watch"].map(|verb| format!("{name} {verb}"))).collect()
}

#[test]
fn the_cluster_role_lets_it_follow_what_it_reads_and_say_in_the_status_what_became_of_it() -> Result<()> {
    let istio: Vec<String> =
        meltemi_api::crd::all().iter().map(|crd| format!("{}/{}", crd.group(), crd.plural())).collect();
    let kubernetes = [
        "/services",
        "/pods",
        "/nodes",
        "/namespaces",
        "discovery.k8s.io/endpointslices",
        "apiextensions.k8s.io/customresourcedefinitions",
    ];
    let followed = listed(kubernetes.into_iter().chain(istio.iter().map(String::as_str)));
    let followed: BTreeSet<String> =
        followed.into_iter().chain(OF_THE_AUTHORITY.map(str::to_owned)).collect();
    let bare = followed.clone();
    let followed: BTreeSet<String> = followed.into_iter().chain(OF_GATEWAYS.map(str::to_owned)).collect();
    let mut expected = followed.clone();
    // Also of kinds that have no effect yet: that is what their status says.
    expected.extend(istio.iter().map(|resource| format!("{resource}/status patch")));
    let objects = rendered(&json!({}))?;
    assert_eq!(permissions(object(&objects, "ClusterRole", "meltemi-istio-system"))?, expected);
    let silent = rendered(&json!({"serve": {"status": "off"}}))?;
    assert_eq!(permissions(object(&silent, "ClusterRole", "meltemi-istio-system"))?, followed);
    let neither = rendered(&json!({"serve": {"status": "off", "ca": "off"}}))?;
    let neither = permissions(object(&neither, "ClusterRole", "meltemi-istio-system"))?;
    // Without identities nobody could have a Secret.
    assert_eq!(bare.difference(&neither).map(String::as_str).collect::<Vec<_>>(), OF_THE_AUTHORITY);
    let unread = rendered(&json!({"serve": {"status": "off"}, "gateways": {"secrets": "off"}}))?;
    assert_eq!(permissions(object(&unread, "ClusterRole", "meltemi-istio-system"))?, bare);
    Ok(())
}

/// What it takes to give gateways the certificates that Secrets hold, sorted: read them, and ask who may have them.
const OF_GATEWAYS: [&str; 3] =
    ["/secrets list", "/secrets watch", "authorization.k8s.io/subjectaccessreviews create"];

#[test]
fn where_namespaces_of_gateways_are_named_no_others_secrets_are_read() -> Result<()> {
    let values = json!({"gateways": {"secretNamespaces": ["edge", "ingress", "edge"]}});
    let objects = rendered(&values)?;
    let everywhere = permissions(object(&objects, "ClusterRole", "meltemi-istio-system"))?;
    assert!(everywhere.contains(OF_GATEWAYS[2]) && !everywhere.contains(OF_GATEWAYS[0]), "{everywhere:?}");
    let mut found = Vec::new();
    for kind in ["Role", "RoleBinding"] {
        for one in objects.iter().filter(|one| one["metadata"]["name"] == "meltemi-istio-system-gateways") {
            if one["kind"] != kind {
                continue;
            }
            found.push((kind, one["metadata"]["namespace"].as_str().context("a namespace")?));
            if kind == "Role" {
                assert_eq!(
                    permissions(one)?.iter().map(String::as_str).collect::<Vec<_>>(),
                    &OF_GATEWAYS[..2]
                );
            } else {
                assert_eq!(one["roleRef"]["name"], one["metadata"]["name"]);
                assert_eq!(
                    one["subjects"],
                    json!([{"kind": "ServiceAccount", "name": "meltemi", "namespace": "istio-system"}])
                );
            }
        }
    }
    let expected =
        [("Role", "edge"), ("Role", "ingress"), ("RoleBinding", "edge"), ("RoleBinding", "ingress")];
    assert_eq!(found, expected);
    // And the program asks for no others.
    for (values, told) in [
        (values, "edge,ingress"),
        (json!({}), "all"),
        (json!({"gateways": {"secrets": "off"}}), "off"),
        (json!({"serve": {"ca": "off"}}), "off"),
    ] {
        let objects = rendered(&values)?;
        let deployment = object(&objects, "Deployment", "meltemi");
        let variables = deployment["spec"]["template"]["spec"]["containers"][0]["env"].as_array();
        let value = variables.into_iter().flatten().find(|one| one["name"] == "MELTEMI_GATEWAY_SECRETS");
        assert_eq!(value.context("set")?["value"], told, "{values}");
    }
    Ok(())
}

/// What an authority may do in the whole cluster, sorted: ask whose a token is, and keep two ConfigMaps by their names.
const OF_THE_AUTHORITY: [&str; 9] = [
    "/configmaps#istio-ca-crl create",
    "/configmaps#istio-ca-crl list",
    "/configmaps#istio-ca-crl patch",
    "/configmaps#istio-ca-crl watch",
    "/configmaps#istio-ca-root-cert create",
    "/configmaps#istio-ca-root-cert list",
    "/configmaps#istio-ca-root-cert patch",
    "/configmaps#istio-ca-root-cert watch",
    "authentication.k8s.io/tokenreviews create",
];

#[test]
fn in_its_own_namespace_it_reads_its_settings_keeps_what_signs_and_holds_its_lease() -> Result<()> {
    let objects = rendered(&json!({}))?;
    let expected = [
        "/configmaps#istio list",
        "/configmaps#istio watch",
        "/secrets create",
        "/secrets#cacerts get",
        "/secrets#cacerts list",
        "/secrets#cacerts watch",
        "/secrets#istio-ca-secret get",
        "/secrets#istio-ca-secret list",
        "/secrets#istio-ca-secret update",
        "/secrets#istio-ca-secret watch",
        "coordination.k8s.io/leases create",
        "coordination.k8s.io/leases#meltemi-ca-leader get",
        "coordination.k8s.io/leases#meltemi-ca-leader update",
        "coordination.k8s.io/leases#meltemi-leader get",
        "coordination.k8s.io/leases#meltemi-leader update",
    ];
    let found = permissions(object(&objects, "Role", "meltemi"))?;
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    // Who writes the roots is elected apart.
    let silent = rendered(&json!({"serve": {"status": "off"}}))?;
    let found = permissions(object(&silent, "Role", "meltemi"))?;
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), &expected[..expected.len() - 2]);
    let neither = rendered(&json!({"serve": {"status": "off", "ca": "off"}}))?;
    let found = permissions(object(&neither, "Role", "meltemi"))?;
    assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), &expected[..2]);
    Ok(())
}

#[test]
fn nothing_it_may_do_is_everything_and_no_secret_is_read_but_its_own_where_gateways_have_none() -> Result<()>
{
    for object in rendered(&json!({"gateways": {"secrets": "off"}}))? {
        if ["ClusterRole", "Role"].contains(&object["kind"].as_str().unwrap_or_default()) {
            for permission in permissions(&object)? {
                assert!(!permission.contains('*'), "{permission}");
                let of_secrets = permission.contains("secrets") && permission != "/secrets create";
                let is_own = ["/secrets#istio-ca-secret ", "/secrets#cacerts "];
                assert!(
                    !of_secrets
                        || (object["kind"] == "Role" && is_own.iter().any(|own| permission.starts_with(own))),
                    "{permission}"
                );
                assert!(
                    !permission.contains("escalate") && !permission.contains("impersonate"),
                    "{permission}"
                );
            }
        }
    }
    Ok(())
}

#[test]
fn the_bindings_give_the_roles_to_the_account_that_the_pod_has() -> Result<()> {
    for values in [json!({}), json!({"serviceAccount": {"create": false, "name": "own"}})] {
        let objects = rendered(&values)?;
        let deployment = object(&objects, "Deployment", "meltemi");
        let account = &deployment["spec"]["template"]["spec"]["serviceAccountName"];
        for (kind, role, name) in [
            ("ClusterRoleBinding", "ClusterRole", "meltemi-istio-system"),
            ("RoleBinding", "Role", "meltemi"),
        ] {
            let binding = object(&objects, kind, name);
            assert_eq!(binding["roleRef"]["kind"], role);
            assert_eq!(object(&objects, role, name)["kind"], role, "it is there");
            let subject = json!({"kind": "ServiceAccount", "name": account, "namespace": "istio-system"});
            assert_eq!(binding["subjects"], json!([subject]));
            assert_eq!(binding["roleRef"]["name"], name);
        }
    }
    Ok(())
}
