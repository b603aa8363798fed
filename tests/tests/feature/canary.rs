//! A canary step: what it costs each kind of client, and that both kinds end with the same.

use std::collections::BTreeMap;

use anyhow::Result;
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held};
use meltemi_tests::control_plane::{ControlPlane, step, until, virtual_hosts};
use serde_json::Value;

use crate::reviews::{self, CONFIGURATION, VIRTUAL_HOST};

fn neighbours(count: usize) -> String {
    (0..count).map(|index| reviews::service(&format!("s{index}"))).collect()
}

#[tokio::test]
async fn a_canary_step_sends_a_delta_client_one_virtual_host_and_nothing_else() -> Result<()> {
    let mut mesh = ControlPlane::start(&[
        ("app.yaml", &reviews::app()),
        ("neighbours.yaml", &neighbours(50)),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(&[("v1", 90), ("v2", 10)])),
    ])
    .await?;
    let mut client = mesh.client(Form::Delta).await?;
    until(&mut client, |held| reviews::splits(held, &[("v1", 90), ("v2", 10)])).await?;
    assert_eq!(client.held().missing_clusters()?, Default::default());

    // Each answer is the very next one: nothing else can have been sent between two steps.
    for weight in [20, 50, 80] {
        let weights = [("v1", 100 - weight), ("v2", weight)];
        mesh.save("route.yaml", &reviews::route(&weights)).await?;
        let step = step(&mut client).await?;
        assert_eq!(step.kind, TypeUrl::VirtualHost, "{step:?}");
        assert_eq!((step.resources, step.removed), (vec![VIRTUAL_HOST.to_owned()], vec![]));
        assert!(step.bytes < 1_000, "{} bytes for one virtual host", step.bytes);
        assert!(reviews::splits(client.held(), &weights));
    }
    Ok(())
}

#[tokio::test]
async fn a_canary_step_sends_a_sotw_client_the_whole_route_configuration_with_equal_content() -> Result<()> {
    let mut mesh = ControlPlane::start(&[
        ("app.yaml", &reviews::app()),
        ("neighbours.yaml", &neighbours(50)),
        ("rule.yaml", &reviews::rule(&["v1", "v2"])),
        ("route.yaml", &reviews::route(&[("v1", 90), ("v2", 10)])),
    ])
    .await?;
    let mut sotw = mesh.client(Form::Sotw).await?;
    let mut delta = mesh.client(Form::Delta).await?;
    for client in [&mut sotw, &mut delta] {
        until(client, |held| reviews::splits(held, &[("v1", 90), ("v2", 10)])).await?;
    }
    assert_eq!(state(sotw.held())?, state(delta.held())?);
    for weight in [20, 60] {
        let weights = [("v1", 100 - weight), ("v2", weight)];
        mesh.save("route.yaml", &reviews::route(&weights)).await?;
        let step = step(&mut sotw).await?;
        assert_eq!((step.kind, step.resources), (TypeUrl::Route, vec![CONFIGURATION.to_owned()]));
        until(&mut delta, |held| reviews::splits(held, &weights)).await?;
        assert!(reviews::splits(sotw.held(), &weights));
        assert_eq!(virtual_hosts(sotw.held(), CONFIGURATION).len(), 51 + 1, "all services and the catch-all");
        assert_eq!(state(sotw.held())?, state(delta.held())?);
    }
    Ok(())
}

#[tokio::test]
async fn both_forms_hold_the_same_after_a_history_of_changes() -> Result<()> {
    let example = |name: &str| {
        std::fs::read_to_string(format!("{}/../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR")))
    };
    let app = [example("canary/app")?, "---\n".into(), example("canary/endpoints-local")?].concat();
    let mut mesh = ControlPlane::start(&[
        ("app.yaml", &app),
        ("reviews.yaml", &reviews::app()),
        ("routing.yaml", &example("canary/routing")?),
    ])
    .await?;
    let mut clients = [mesh.client(Form::Sotw).await?, mesh.client(Form::Delta).await?];
    let mirror = example("strategies/mirror")?;
    let history = [
        ("rule.yaml", reviews::rule(&["v1", "v2"])),
        ("route.yaml", reviews::route(&[("v1", 50), ("v2", 50)])),
        ("routing.yaml", example("strategies/ab-test")?),
        ("rule.yaml", reviews::rule(&["v1", "v2", "v3"])),
        ("routing.yaml", example("strategies/blue-green")?),
        ("other.yaml", [reviews::service("other"), reviews::workload("other", "v9")].concat()),
        ("route.yaml", reviews::plain("reviews", "3s")),
        ("other.yaml", String::new()),
        ("routing.yaml", mirror),
        (
            "last.yaml",
            reviews::plain("myapp.default.svc.cluster.local", "7s")
                .replace("name: myapp.default.svc.cluster.local", "name: last"),
        ),
        ("end.yaml", reviews::service("end")),
    ];
    for (file, text) in &history {
        mesh.save(file, text).await?;
    }
    for client in &mut clients {
        let is_last = |held: &Held| {
            let hosts = virtual_hosts(held, CONFIGURATION);
            let domains: Vec<String> = hosts.iter().map(|host| host["domains"].to_string()).collect();
            reviews::has_timeout(held, "reviews", "3s")
                && domains.iter().any(|domains| domains.contains("\"end\""))
                && !domains.iter().any(|domains| domains.contains("\"other\""))
                && held.names(TypeUrl::Cluster).iter().any(|name| name.contains("|end."))
                && held.warming().is_empty()
        };
        until(client, is_last).await?;
        assert_eq!(client.held().missing_clusters()?, Default::default());
    }
    let [sotw, delta] = clients;
    assert_eq!(state(sotw.held())?, state(delta.held())?);
    Ok(())
}

/// All that a client holds, decoded, in a form that does not tell how the virtual hosts came.
fn state(held: &Held) -> Result<BTreeMap<String, Value>> {
    let mut state = BTreeMap::new();
    for kind in [TypeUrl::Cluster, TypeUrl::Endpoint, TypeUrl::Listener, TypeUrl::Route] {
        for (name, mut resource) in held.all_json(kind)? {
            if kind == TypeUrl::Route {
                let mut hosts = virtual_hosts(held, &name);
                assert!(!hosts.is_empty(), "route configuration {name} has virtual hosts");
                // A virtual host that is a resource of its own is named for its resource.
                for host in &mut hosts {
                    host["name"] = Value::Null;
                }
                resource["virtual_hosts"] = hosts.into();
                if let Some(fields) = resource.as_object_mut() {
                    fields.remove("vhds");
                }
            }
            state.insert(format!("{kind} {name}"), resource);
        }
    }
    Ok(state)
}
