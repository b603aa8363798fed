//! `meltemi serve` as an operator and a platform see it: addresses, probes, findings, logs, signals.

use std::net::TcpListener;

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held};
use serde_json::Value;

use crate::program::{FREE_PORTS, LIMIT, Serving, ended, meltemi, text};
use crate::yaml::{APP, ROUTE, RULE, broken_route, folder, reviews};

const HOST: &str = "9080/reviews.default.svc.cluster.local";

fn weight(held: &Held) -> Option<u64> {
    let host = held.json(TypeUrl::VirtualHost, HOST).ok()?;
    host["routes"][0]["route"]["weighted_clusters"]["clusters"][0]["weight"].as_u64()
}

#[tokio::test]
async fn port_0_takes_a_free_port_and_the_log_says_which() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    serving.client(Form::Delta, |held| weight(held) == Some(90)).await?;
    assert_eq!(serving.page(serving.http, "/ready").await?.status, 200);
    assert_eq!(serving.page(serving.monitoring, "/ready").await?.status, 200);
    let metrics = serving.page(serving.monitoring, "/metrics").await?;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("meltemi_serve_generation"), "{}", metrics.text());
    Ok(())
}

#[tokio::test]
async fn the_version_has_the_three_parts_that_istioctl_reads() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let version = serving.page(serving.monitoring, "/version").await?.text();
    let parts: Vec<&str> = version.split('-').collect();
    assert_eq!(parts.len(), 3, "{version}");
    let cli = ended(&["--version"]).await?.stdout;
    assert_eq!(cli.trim(), format!("meltemi {}", parts[0]));
    Ok(())
}

#[tokio::test]
async fn it_is_ready_after_the_first_snapshot_and_says_so_before() -> Result<()> {
    let many: String = (0..3_000)
        .map(|index| {
            let named = format!("s{index}");
            [APP, RULE, ROUTE].map(|text| format!("---\n{}", text.replace("reviews", &named))).concat()
        })
        .collect();
    let folder = folder(&[("many.yaml", &many)])?;
    let serving = Serving::start(folder.path()).await?;
    // Reading so much takes seconds; the probe is answered meanwhile.
    let early = serving.page(serving.http, "/ready").await?;
    assert_eq!(early.status, 503, "{}", early.text());
    // Nobody is served before the first snapshot, so it is ready when somebody is.
    serving.client(Form::Delta, |held| held.names(TypeUrl::Cluster).len() > 9_000).await?;
    assert_eq!(serving.page(serving.http, "/ready").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_busy_port_exits_with_1_and_says_what_to_do() -> Result<()> {
    let folder = reviews()?;
    let busy = TcpListener::bind("127.0.0.1:0")?;
    let address = busy.local_addr()?.to_string();
    for (index, option) in ["--xds-address", "--http-address", "--monitoring-address"].into_iter().enumerate()
    {
        let mut arguments = vec!["serve", "--config", text(folder.path())?];
        arguments.extend(FREE_PORTS);
        arguments[4 + 2 * index] = &address;
        let ended = ended(&arguments).await?;
        assert_eq!(ended.code, Some(1), "{option}: {ended:?}");
        for said in [address.as_str(), option, "port 0"] {
            assert!(ended.stderr.contains(said), "{option} does not say {said}: {}", ended.stderr);
        }
    }
    Ok(())
}

#[tokio::test]
async fn sigterm_drains_and_exits_with_0_with_clients_connected() -> Result<()> {
    for signal in ["TERM", "INT"] {
        let folder = reviews()?;
        let serving = Serving::start(folder.path()).await?;
        let mut clients = Vec::new();
        for form in [Form::Delta, Form::Sotw] {
            let last = if form == Form::Delta { TypeUrl::VirtualHost } else { TypeUrl::Route };
            // It has all there is: nothing is under way whose ACK could come too late.
            clients.push(serving.client(form, |held| !held.names(last).is_empty()).await?);
        }
        serving.signal(signal).await?;
        for client in &mut clients {
            let ended = loop {
                if let Err(error) = client.step().await {
                    break error.to_string();
                }
            };
            assert!(ended.contains("the server ended the stream"), "not cut, but ended: {ended}");
        }
        // Half of what it would wait for a client that does not read.
        assert_eq!(serving.end(LIMIT).await?, Some(0), "{signal}");
    }
    Ok(())
}

#[tokio::test]
async fn every_option_is_an_environment_variable_too() -> Result<()> {
    let (app, routing) =
        (folder(&[("app.yaml", APP)])?, folder(&[("rule.yaml", RULE), ("route.yaml", ROUTE)])?);
    let mut command = meltemi(["serve"]);
    command
        .env("MELTEMI_CONFIG", format!("{},{}", text(app.path())?, text(routing.path())?))
        .env("MELTEMI_NAMESPACE", "shop")
        .env("MELTEMI_XDS_ADDRESS", "127.0.0.1:0")
        .env("MELTEMI_HTTP_ADDRESS", "127.0.0.1:0")
        .env("MELTEMI_MONITORING_ADDRESS", "127.0.0.1:0")
        .env("MELTEMI_HOLDS", "off")
        .env("MELTEMI_VIRTUAL_HOSTS", "off")
        .env("MELTEMI_LOG_FORMAT", "json");
    let serving = Serving::spawn(command).await?;
    for line in &serving.first_lines {
        serde_json::from_str::<Value>(line).with_context(|| format!("no JSON: {line}"))?;
    }
    let client = serving.client(Form::Delta, |held| held.resource(TypeUrl::Route, "9080").is_some()).await?;
    assert_eq!(client.held().names(TypeUrl::VirtualHost).len(), 0, "MELTEMI_VIRTUAL_HOSTS=off");
    let cluster = "outbound|9080|v1|reviews.shop.svc.cluster.local";
    assert!(client.held().resource(TypeUrl::Cluster, cluster).is_some(), "MELTEMI_NAMESPACE=shop");
    // Without holds a subset goes although a route names it.
    std::fs::write(routing.path().join("rule.yaml"), RULE.replace("name: v1", "name: v7"))?;
    let mut client = client;
    client.until(LIMIT, |held| held.resource(TypeUrl::Cluster, cluster).is_none()).await?;
    Ok(())
}

#[tokio::test]
async fn an_option_wins_over_its_environment_variable() -> Result<()> {
    let folder = reviews()?;
    let mut command = meltemi(["serve", "--config", text(folder.path())?].into_iter().chain(FREE_PORTS));
    command.env("MELTEMI_CONFIG", "/nowhere/at/all").env("MELTEMI_XDS_ADDRESS", "127.0.0.1:1");
    let serving = Serving::spawn(command).await?;
    assert_ne!(serving.xds.port(), 1);
    Ok(())
}

#[tokio::test]
async fn logs_are_json_objects_when_asked() -> Result<()> {
    let folder = reviews()?;
    let mut arguments = vec!["serve", "--config", text(folder.path())?, "--log-format", "json"];
    arguments.extend(FREE_PORTS);
    let mut serving = Serving::spawn(meltemi(arguments)).await?;
    serving.client(Form::Delta, |held| weight(held) == Some(90)).await?;
    let mut lines = serving.first_lines.clone();
    lines.extend(serving.lines_until(|line| line.contains("proxy connected")).await?);
    serving.signal("TERM").await?;
    lines.extend(serving.lines_until(|line| line.contains("draining")).await?);
    for line in &lines {
        let event: Value = serde_json::from_str(line).with_context(|| format!("no JSON: {line}"))?;
        for field in ["timestamp", "level", "message"] {
            assert!(event[field].is_string(), "{field}: {line}");
        }
    }
    let connected = lines.iter().find(|line| line.contains("proxy connected")).context("the client")?;
    assert_eq!(serde_json::from_str::<Value>(connected)?["proxy"], "client.default");
    Ok(())
}

#[tokio::test]
async fn a_broken_file_is_a_line_with_its_place_and_its_last_good_state_stays() -> Result<()> {
    let folder = reviews()?;
    let path = text(folder.path())?;
    let mut serving = Serving::start(folder.path()).await?;
    let mut client = serving.client(Form::Delta, |held| weight(held) == Some(90)).await?;
    std::fs::write(folder.path().join("route.yaml"), broken_route())?;
    let place = format!("{path}/route.yaml:9:15: error: VirtualService default/reviews, ");
    let line = serving.line(|line| line.starts_with(&place)).await?;
    assert!(line.contains("spec.http[0].route[0].weight: ") && line.contains("; in force: "), "{line}");
    assert_eq!(serving.page(serving.http, "/ready").await?.status, 200);

    // What is sent next is another change: the broken one changed nothing.
    std::fs::write(folder.path().join("other.yaml"), APP.replace("reviews", "other"))?;
    client.until(LIMIT, |held| held.names(TypeUrl::VirtualHost).len() == 3).await?;
    assert_eq!(weight(client.held()), Some(90));

    // Mended and broken again, it is told again.
    std::fs::write(folder.path().join("route.yaml"), ROUTE.replace("weight: 90", "weight: 80"))?;
    client.until(LIMIT, |held| weight(held) == Some(80)).await?;
    std::fs::write(folder.path().join("route.yaml"), broken_route())?;
    serving.line(|line| line.starts_with(&place)).await?;
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_there_twice_is_a_line_that_names_both_files() -> Result<()> {
    let folder = reviews()?;
    let path = text(folder.path())?;
    let mut serving = Serving::start(folder.path()).await?;
    serving.client(Form::Delta, |held| weight(held) == Some(90)).await?;
    std::fs::write(folder.path().join("second.yaml"), ROUTE.replace("weight: 90", "weight: 70"))?;
    let place = format!("{path}/second.yaml:1:1: ");
    let line = serving.line(|line| line.starts_with(&place)).await?;
    assert!(line.contains("VirtualService default/reviews") && line.contains("route.yaml"), "{line}");
    Ok(())
}

#[tokio::test]
async fn a_route_to_a_subset_that_is_not_there_is_a_line_that_says_what_stays() -> Result<()> {
    let folder = reviews()?;
    let path = text(folder.path())?;
    let mut serving = Serving::start(folder.path()).await?;
    let mut client = serving.client(Form::Delta, |held| weight(held) == Some(90)).await?;
    std::fs::write(folder.path().join("route.yaml"), ROUTE.replace("subset: v2", "subset: v3"))?;
    let line = serving.line(|line| line.contains("`v3`")).await?;
    assert!(line.starts_with(&format!("{path}/route.yaml:10:")), "{line}");
    std::fs::write(folder.path().join("rule.yaml"), RULE.replace("v2", "v3"))?;
    client
        .until(LIMIT, |held| {
            held.json(TypeUrl::VirtualHost, HOST)
                .is_ok_and(|host| host["routes"].to_string().contains("|v3|"))
        })
        .await?;
    assert_eq!(client.held().missing_clusters()?, Default::default());
    Ok(())
}
