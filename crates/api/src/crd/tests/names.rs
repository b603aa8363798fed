//! Names, versions and columns are those that Istio's users have: scripts, Flagger and Argo Rollouts ask for them.

use serde_json::{Value, json};

use crate::crd::all;
use crate::decode::decode;

/// Kind, CRD, versions with `*` at the stored one, short name, columns.
const ISTIO: &str = "
AuthorizationPolicy    authorizationpolicies.security.istio.io      v1* v1beta1          ap         Action,Age
DestinationRule        destinationrules.networking.istio.io         v1* v1beta1 v1alpha3 dr         Host,Age
EnvoyFilter            envoyfilters.networking.istio.io             v1alpha3*            -          -
Gateway                gateways.networking.istio.io                 v1* v1beta1 v1alpha3 gw         -
PeerAuthentication     peerauthentications.security.istio.io        v1* v1beta1          pa         Mode,Age
ProxyConfig            proxyconfigs.networking.istio.io             v1beta1*             -          -
RequestAuthentication  requestauthentications.security.istio.io     v1* v1beta1          ra         -
ServiceEntry           serviceentries.networking.istio.io           v1* v1beta1 v1alpha3 se         Hosts,Location,Resolution,Age
Sidecar                sidecars.networking.istio.io                 v1* v1beta1 v1alpha3 -          -
Telemetry              telemetries.telemetry.istio.io               v1 v1alpha1*         telemetry  Age
VirtualService         virtualservices.networking.istio.io          v1* v1beta1 v1alpha3 vs         Gateways,Hosts,Age
WorkloadEntry          workloadentries.networking.istio.io          v1* v1beta1 v1alpha3 we         Age,Address
WorkloadGroup          workloadgroups.networking.istio.io           v1* v1beta1 v1alpha3 wg         Age
";

fn texts(values: &Value, field: &str) -> String {
    let texts: Vec<&str> =
        values.as_array().into_iter().flatten().filter_map(|value| value[field].as_str()).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(",") }
}

#[test]
fn kinds_versions_short_names_and_columns_are_istios() {
    let mut rows = Vec::new();
    for crd in all() {
        let value = crd.to_value();
        let spec = &value["spec"];
        let versions = spec["versions"].as_array().unwrap().iter();
        let versions: Vec<String> = versions
            .map(|version| {
                assert_eq!(version["served"], true);
                let name = version["name"].as_str().unwrap();
                if version["storage"] == true { format!("{name}*") } else { name.to_owned() }
            })
            .collect();
        let name = value["metadata"]["name"].as_str().unwrap();
        let short = spec["names"]["shortNames"][0].as_str().unwrap_or("-");
        let columns = texts(&spec["versions"][0]["additionalPrinterColumns"], "name");
        let kind = spec["names"]["kind"].as_str().unwrap();
        rows.push([kind, name, &versions.join(" "), short, &columns].join(" "));
    }
    let expected: Vec<String> = ISTIO
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn a_crd_is_named_for_its_plural_and_group_and_is_found_by_its_categories() {
    for crd in all() {
        let value = crd.to_value();
        let spec = &value["spec"];
        let (plural, group) = (spec["names"]["plural"].as_str().unwrap(), spec["group"].as_str().unwrap());
        assert_eq!(value["metadata"]["name"], format!("{plural}.{group}"));
        let kind = spec["names"]["kind"].as_str().unwrap();
        assert_eq!(spec["names"]["singular"], kind.to_lowercase());
        assert_eq!(spec["names"]["listKind"], format!("{kind}List"));
        let of_group = format!("{}-istio-io", group.split('.').next().unwrap());
        assert_eq!(spec["names"]["categories"], json!(["istio-io", of_group]));
        assert_eq!(spec["scope"], "Namespaced");
    }
}

#[test]
fn removing_the_chart_keeps_them_and_with_them_every_object_of_the_mesh() {
    for crd in all() {
        assert_eq!(crd.to_value()["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

#[test]
fn every_version_that_is_served_is_one_that_is_read_or_said_to_be_unread() {
    for crd in all() {
        for version in crd.served() {
            let object = json!({
                "apiVersion": format!("{}/{version}", crd.group()), "kind": crd.kind().as_str(),
                "metadata": {"name": "one"}, "spec": {}
            });
            let decoded = decode(&object, "default");
            let codes: Vec<&str> = decoded.findings.iter().map(|finding| finding.code).collect();
            assert!(
                !codes.contains(&"bad-api-version") && !codes.contains(&"unknown-kind"),
                "{object}: {codes:?}"
            );
            assert!(decoded.skipped.is_none(), "{object}");
        }
    }
}
