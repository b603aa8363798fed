//! The strategies of `examples/`, as each kind of client gets them; and faults.

use anyhow::Result;
use meltemi_testkit::xds::{Form, Held};
use meltemi_tests::control_plane::{ControlPlane, destinations, until, virtual_host};
use serde_json::{Value, json};

fn example(name: &str) -> Result<String> {
    Ok(std::fs::read_to_string(format!("{}/../examples/{name}.yaml", env!("CARGO_MANIFEST_DIR")))?)
}

/// The virtual host of `myapp` with this routing file, for a client of each form, once it is such; compared between them.
async fn routed(routing: &str, is_such: impl Fn(&Value) -> bool + Copy) -> Result<Value> {
    let mut mesh = ControlPlane::start(&[
        ("app.yaml", &example("canary/app")?),
        ("endpoints-local.yaml", &example("canary/endpoints-local")?),
        ("routing.yaml", &example("canary/routing")?),
    ])
    .await?;
    let mut found = Vec::new();
    let mut clients = [mesh.client(Form::Delta).await?, mesh.client(Form::Sotw).await?];
    for client in &mut clients {
        until(client, |held| myapp(held).is_some()).await?;
    }
    mesh.save("routing.yaml", routing).await?;
    for client in &mut clients {
        until(client, |held| myapp(held).is_some_and(|host| is_such(&host))).await?;
        assert_eq!(client.held().missing_clusters()?, Default::default());
        found.extend(myapp(client.held()).map(|host| host["routes"].clone()));
    }
    assert_eq!(found[0], found[1]);
    Ok(found.swap_remove(0))
}

fn myapp(held: &Held) -> Option<Value> {
    virtual_host(held, "8000", "myapp")
}

/// The subsets, with weights, of one route of a virtual host.
fn ways(route: &Value) -> Vec<(String, u64)> {
    destinations(&route["route"])
}

fn all(subset: &str) -> Vec<(String, u64)> {
    vec![(subset.to_owned(), 100)]
}

#[tokio::test]
async fn an_ab_test_matches_header_cookie_and_query_parameter_before_the_rest() -> Result<()> {
    let routes = routed(&example("strategies/ab-test")?, |host| {
        host["routes"].as_array().is_some_and(|routes| routes.len() == 4)
    })
    .await?;
    for route in 0..3 {
        assert_eq!(ways(&routes[route]), all("v2"), "{route}");
    }
    let header = |route: usize| &routes[route]["match"]["headers"][0];
    assert_eq!(header(0)["name"], "x-user");
    assert_eq!(header(0)["string_match"]["safe_regex"]["regex"], "^(user-[0-9]{3}|user-[0-9]{4})$");
    assert_eq!(header(1)["name"], "cookie");
    assert_eq!(header(1)["string_match"]["safe_regex"]["regex"], r"^(.*?;\s*)?group=b(;.*)?$");
    let parameter = &routes[2]["match"]["query_parameters"][0];
    assert_eq!((&parameter["name"], &parameter["string_match"]["exact"]), (&json!("version"), &json!("b")));
    assert_eq!(ways(&routes[3]), all("v1"));
    assert!(routes[3]["match"]["headers"].is_null() && routes[3]["match"]["query_parameters"].is_null());
    Ok(())
}

#[tokio::test]
async fn a_blue_green_switch_moves_all_requests_and_back() -> Result<()> {
    let blue = example("strategies/blue-green")?;
    let green = blue.replacen("        subset: blue\n", "        subset: green\n", 1);
    assert_ne!(blue, green);
    for (routing, colour) in [(&blue, "blue"), (&green, "green"), (&blue, "blue")] {
        let routes = routed(routing, |host| ways(&host["routes"][0]) == all(colour)).await?;
        assert_eq!(routes.as_array().map(Vec::len), Some(1), "{routes}");
    }
    Ok(())
}

#[tokio::test]
async fn a_mirror_gets_a_copy_of_every_request_and_v1_answers() -> Result<()> {
    let is_mirrored = |host: &Value| host["routes"][0]["route"]["request_mirror_policies"].is_array();
    let routes = routed(&example("strategies/mirror")?, is_mirrored).await?;
    assert_eq!(ways(&routes[0]), all("v1"));
    let policies = &routes[0]["route"]["request_mirror_policies"];
    assert_eq!(policies.as_array().map(Vec::len), Some(1));
    assert_eq!(policies[0]["cluster"], "outbound|8000|v2|myapp.default.svc.cluster.local");
    let share = &policies[0]["runtime_fraction"]["default_value"];
    let denominator = match share["denominator"].as_str() {
        Some("MILLION") => 1_000_000.0,
        Some("TEN_THOUSAND") => 10_000.0,
        _ => 100.0,
    };
    assert_eq!(share["numerator"].as_f64().map(|numerator| numerator / denominator), Some(1.0), "{policies}");
    Ok(())
}

#[tokio::test]
async fn a_fault_delays_and_aborts_the_share_that_the_rule_says() -> Result<()> {
    let routing = example("canary/routing")?.replacen(
        "  - route:\n",
        "  - fault:
      delay: {percentage: {value: 25}, fixedDelay: 3s}
      abort: {percentage: {value: 10}, httpStatus: 418}
    route:
",
        1,
    );
    let fault = "envoy.filters.http.fault";
    let routes = routed(&routing, |host| host["routes"][0]["typed_per_filter_config"].is_object()).await?;
    let config = &routes[0]["typed_per_filter_config"][fault];
    let percent = |share: &Value| {
        let denominator = match share["denominator"].as_str() {
            Some("MILLION") => 10_000.0,
            Some("TEN_THOUSAND") => 100.0,
            _ => 1.0,
        };
        share["numerator"].as_f64().map(|numerator| numerator / denominator)
    };
    assert_eq!(config["abort"]["http_status"], 418, "{config}");
    assert_eq!(percent(&config["abort"]["percentage"]), Some(10.0), "{config}");
    assert_eq!(config["delay"]["fixed_delay"], "3s", "{config}");
    assert_eq!(percent(&config["delay"]["percentage"]), Some(25.0), "{config}");
    assert_eq!(ways(&routes[0]), [("v1".to_owned(), 90), ("v2".to_owned(), 10)]);
    Ok(())
}
