//! `meltemi proxy-status`: who is connected, where each stands, and what was refused.

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held};

use crate::program::{LIMIT, Serving, ended};
use crate::yaml::{ROUTE, reviews};

const VIRTUAL_HOST: &str = "9080/reviews.default.svc.cluster.local";

fn has_weight(held: &Held, weight: u64) -> bool {
    held.json(TypeUrl::VirtualHost, VIRTUAL_HOST)
        .is_ok_and(|host| host["routes"][0]["route"]["weighted_clusters"]["clusters"][0]["weight"] == weight)
}

#[tokio::test]
async fn a_connected_proxy_has_a_line_with_its_types_and_what_it_refused() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let server = serving.monitoring.to_string();
    let none = ended(&["proxy-status", "--server", &server]).await?;
    assert_eq!((none.code, none.stdout.lines().count()), (Some(0), 1), "headings only: {none:?}");

    let mut client = serving.client(Form::Delta, |held| has_weight(held, 90)).await?;
    client.refuse(|kind, _| (kind == TypeUrl::VirtualHost).then(|| "weights look odd".to_owned()));
    std::fs::write(folder.path().join("route.yaml"), ROUTE.replace("weight: 90", "weight: 80"))?;
    client.step().await?;
    client.accept();
    // What comes after the refusal says that it has arrived.
    std::fs::write(folder.path().join("other.yaml"), crate::yaml::APP.replace("reviews", "other"))?;
    client.until(LIMIT, |held| held.names(TypeUrl::VirtualHost).len() == 3).await?;

    let text = ended(&["proxy-status", "--server", &server]).await?;
    let lines: Vec<&str> = text.stdout.lines().collect();
    let [headings, line] = lines[..] else { panic!("two lines: {text:?}") };
    let words: Vec<&str> = headings.split_whitespace().collect();
    assert_eq!(
        words,
        [
            "PROXY",
            "STREAM",
            "CONNECTED",
            "VERSION",
            "LAG",
            "CDS",
            "EDS",
            "LDS",
            "RDS",
            "VHDS",
            "IDENTITY",
            "REJECTED"
        ]
    );
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[..2], ["client.default", "delta"], "{line}");
    assert!(words[2].ends_with('s'), "{line}");
    assert_eq!((words[5], words[9], words[10]), ("synced", "rejected", "-"), "{line}");
    assert!(line.contains("VirtualService default/reviews: ") && line.contains("weights look odd"), "{line}");

    let json = ended(&["proxy-status", "--server", &server, "-o", "json"]).await?.json()?;
    let proxy = &json["proxies"][0];
    assert_eq!((proxy["proxy"].as_str(), proxy["stream"].as_str()), (Some("client.default"), Some("delta")));
    assert!(proxy["connectedSeconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{proxy}");
    assert!(proxy["version"].is_u64() && proxy["lag"].is_u64() && json["generation"].is_u64(), "{json}");
    let types = proxy["types"].as_array().context("types")?;
    let names: Vec<&str> = types.iter().filter_map(|one| one["type"].as_str()).collect();
    assert_eq!(names, ["CDS", "EDS", "LDS", "RDS", "VHDS"]);
    let hosts = &types[4];
    assert_eq!(hosts["state"], "REJECTED", "{hosts}");
    assert_eq!(hosts["rejected"]["resources"][0], VIRTUAL_HOST);
    assert!(hosts["rejected"]["reason"].as_str().is_some_and(|reason| reason.contains("odd")), "{hosts}");
    Ok(())
}

#[tokio::test]
async fn a_server_that_is_not_there_exits_with_1_and_says_what_to_check() -> Result<()> {
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let ended = ended(&["proxy-status", "--server", &address]).await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("--monitoring-address"), "{ended:?}");
    Ok(())
}
