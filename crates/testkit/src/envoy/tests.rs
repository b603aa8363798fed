//! A real Envoy with static bootstraps.

use anyhow::Result;
use serde_json::{Value, json};

use super::*;
use crate::http::{App, Load, Request};

fn bootstrap(v1: &App, v2: &App) -> String {
    let cluster = |name: &str, app: &App| {
        format!(
            "
  - name: {name}
    type: STATIC
    load_assignment:
      cluster_name: {name}
      endpoints: [{{lb_endpoints: [{{endpoint: {{address: {{socket_address: {{address: 127.0.0.1, port_value: {}}}}}}}}}]}}]",
            app.address().port()
        )
    };
    format!(
        "
static_resources:
  clusters:{}{}
  listeners:
  - name: outbound
    address: {{socket_address: {{address: 127.0.0.1, port_value: 0}}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: outbound
          access_log:
          - name: envoy.access_loggers.stdout
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ['*']
              routes:
              - match: {{prefix: /}}
                route: {{weighted_clusters: {{clusters: [{{name: v1, weight: 90}}, {{name: v2, weight: 10}}]}}}}
",
        cluster("v1", v1),
        cluster("v2", v2)
    )
}

#[tokio::test]
async fn an_envoy_splits_requests_as_its_bootstrap_says() -> Result<()> {
    let (v1, v2) = (App::start("reviews", "v1").await?, App::start("reviews", "v2").await?);
    let envoy = Envoy::start(bootstrap(&v1, &v2)).await?;
    let address = envoy.admin().listener("outbound").await?;

    let tally = Load::new(address, Request::get("/x")).workers(4).requests(1000).run().await;
    tally.expect_all(200)?;
    tally.expect_share("v2", 0.1)?;

    assert_eq!(envoy.admin().stat("http.outbound.downstream_rq_2xx").await?, 1000);
    assert_eq!(envoy.admin().stat("http.outbound.no_such_thing").await?, 0);
    assert_eq!(envoy.admin().clusters().await?["cluster_statuses"].as_array().map(Vec::len), Some(2));
    assert!(envoy.admin().config_dump().await?["configs"].is_array());
    assert!(envoy.admin().certs().await?.is_object());

    let pid = envoy.pid().map(|pid| format!("/proc/{pid}")).unwrap_or_default();
    assert!(Path::new(&pid).exists());
    let log = envoy.stop().await?;
    assert!(log.contains("starting main dispatch loop"), "{log}");
    assert!(!Path::new(&pid).exists());
    Ok(())
}

#[tokio::test]
async fn an_envoy_that_refuses_its_bootstrap_says_why() -> Result<()> {
    let Err(error) = Envoy::start("no_such_field: 1").await else { bail!("it started") };
    assert!(format!("{error:#}").contains("no_such_field"), "{error:#}");
    Ok(())
}

#[tokio::test]
async fn envoys_validation_takes_a_good_bootstrap_and_refuses_a_bad_one() -> Result<()> {
    let app = App::start("reviews", "v1").await?;
    let good = bootstrap(&app, &app);
    validate(&good).await?;
    let Err(error) = validate(&good.replace("weight: 90", "wait: 90")).await else { bail!("it is taken") };
    assert!(format!("{error:#}").contains("wait"), "{error:#}");
    Ok(())
}

fn golden() -> Value {
    json!({
        "clusters": [{
            "name": "outbound|80|v1|a",
            "type": "EDS",
            "eds_cluster_config": {"eds_config": {"ads": {}}, "service_name": "outbound|80|v1|a"},
        }],
        "endpoints": [{
            "cluster_name": "outbound|80|v1|a",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {
                "address": "10.0.0.1", "port_value": 80,
            }}}}]}],
        }],
        "listeners": [{
            "name": "0.0.0.0_80",
            "address": {"socket_address": {"address": "0.0.0.0", "port_value": 80}},
            "filter_chains": [{"filters": [{
                "name": "envoy.filters.network.http_connection_manager",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
                    "stat_prefix": "outbound",
                    "rds": {"route_config_name": "80", "config_source": {"ads": {}}},
                    "http_filters": [{
                        "name": "envoy.filters.http.router",
                        "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
                    }],
                },
            }]}],
        }],
        "routes": [{"name": "80", "vhds": {"config_source": {"ads": {}}}}],
        "virtual_hosts": [{
            "name": "80/a",
            "domains": ["a"],
            "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "outbound|80|v1|a"}}],
        }],
    })
}

#[tokio::test]
async fn a_golden_is_judged_with_its_endpoints_routes_and_virtual_hosts() -> Result<()> {
    validate(&bootstrap_of(&golden()).to_string()).await?;
    let wrong = [
        ("/endpoints/0/endpoints/0/lb_endpoints/0/endpoint/address/socket_address/address", "no address"),
        ("/virtual_hosts/0/routes/0/route/cluster", "no such cluster"),
        ("/listeners/0/filter_chains/0/filters/0/typed_config/@type", "no.such.Type"),
    ];
    for (place, text) in wrong {
        let mut golden = golden();
        let value = golden.pointer_mut(place).context(place)?;
        *value = text.into();
        let Err(error) = validate(&bootstrap_of(&golden).to_string()).await else {
            bail!("{place} may be wrong")
        };
        assert!(format!("{error:#}").contains(text), "{error:#}");
    }
    Ok(())
}
