//! `meltemi wait`: an object is in force, or who does not have it, and why.

use std::path::Path;

use anyhow::{Context, Result};
use meltemi_names::TypeUrl;
use meltemi_testkit::xds::{Form, Held, Sidecar};

use crate::program::{Ended, LIMIT, Serving, ended, text};
use crate::yaml::{ROUTE, broken_route, folder, reviews};

const VIRTUAL_HOST: &str = "9080/reviews.default.svc.cluster.local";

fn has_weight(held: &Held, weight: u64) -> bool {
    held.json(TypeUrl::VirtualHost, VIRTUAL_HOST)
        .is_ok_and(|host| host["routes"][0]["route"]["weighted_clusters"]["clusters"][0]["weight"] == weight)
}

fn with_weight(weight: u64) -> String {
    ROUTE.replace("weight: 90", &format!("weight: {weight}"))
}

async fn wait(serving: &Serving, arguments: &[&str]) -> Result<Ended> {
    let server = serving.monitoring.to_string();
    let all: Vec<&str> = ["wait", "--server", &server].into_iter().chain(arguments.iter().copied()).collect();
    ended(&all).await
}

/// Writes the route and takes it at the client.
async fn take(client: &mut Sidecar, folder: &Path, weight: u64) -> Result<()> {
    std::fs::write(folder.join("route.yaml"), with_weight(weight))?;
    client.until(LIMIT, |held| has_weight(held, weight)).await.map(drop)
}

#[tokio::test]
async fn it_returns_when_every_proxy_has_it() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let unused = wait(&serving, &["vs/reviews"]).await?;
    assert_eq!(unused.code, Some(0), "{unused:?}");
    assert!(unused.stdout.contains("no connected proxy uses it (0 of 0)"), "{unused:?}");

    let mut client = serving.client(Form::Delta, |held| has_weight(held, 90)).await?;
    let file = folder.path().join("route.yaml");
    let desired = [
        "-f",
        text(&file)?,
        "vs/reviews",
        "dr/reviews",
        "--for",
        "in-force",
        "--timeout",
        "60s",
        "-o",
        "json",
    ];
    // A file that was saved just before counts, whether or not it was read yet.
    std::fs::write(&file, with_weight(80))?;
    let taken = async {
        client.until(LIMIT, |held| has_weight(held, 80)).await?;
        // It goes on answering, so that the last acknowledgement is heard.
        anyhow::Ok(())
    };
    let (waited, ()) = tokio::try_join!(wait(&serving, &desired), taken)?;
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let json = waited.json()?;
    assert_eq!(json["met"], true);
    let names: Vec<&str> = json["objects"]
        .as_array()
        .context("objects")?
        .iter()
        .filter_map(|one| one["object"]["kind"].as_str())
        .collect();
    assert_eq!(names, ["VirtualService", "DestinationRule", "VirtualService"]);
    assert_eq!((&json["objects"][2]["have"], &json["objects"][2]["of"]), (&1.into(), &1.into()), "{json}");
    assert!(json["objects"][2]["content"].is_string() && json["objects"][2]["published"].is_u64(), "{json}");
    Ok(())
}

#[tokio::test]
async fn when_the_time_is_up_it_exits_with_1_and_names_who_does_not_have_it_and_why() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let mut client = serving.client(Form::Delta, |held| has_weight(held, 90)).await?;
    take(&mut client, folder.path(), 85).await?;
    client.refuse(|kind, _| (kind == TypeUrl::VirtualHost).then(|| "weights look odd".to_owned()));
    std::fs::write(folder.path().join("route.yaml"), with_weight(80))?;
    client.step().await?;
    let file = folder.path().join("route.yaml");
    let late = wait(&serving, &["-f", text(&file)?, "--timeout", "1500ms"]).await?;
    assert_eq!(late.code, Some(1), "{late:?}");
    assert!(late.stdout.contains("in force in 0 of 1 proxies"), "{late:?}");
    assert!(
        late.stdout.contains("  client.default: it refuses virtual host")
            && late.stdout.contains("weights look odd")
    );
    assert!(late.stderr.contains("waiting for client.default"), "progress: {late:?}");
    assert_eq!(late.stderr.lines().count(), 1, "told once, since it does not change: {late:?}");
    Ok(())
}

#[tokio::test]
async fn what_is_unknown_or_refused_exits_with_1_and_says_so() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let unknown = wait(&serving, &["vs/reveiws", "--timeout", "100ms"]).await?;
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.stdout.contains("is VirtualService default/reviews meant?"), "{unknown:?}");
    let elsewhere = wait(&serving, &["vs/reviews", "-n", "shop", "--timeout", "100ms"]).await?;
    assert_eq!(elsewhere.code, Some(1));
    let generation = wait(&serving, &["vs/reviews", "--generation", "3", "--timeout", "0"]).await?;
    assert_eq!(generation.code, Some(1));
    assert!(generation.stdout.contains("it comes from a file"), "{generation:?}");
    let broken = crate::yaml::folder(&[("route.yaml", &broken_route())])?;
    let broken = wait(&serving, &["-f", text(broken.path())?]).await?;
    assert_eq!(broken.code, Some(1));
    assert!(broken.stderr.contains("VirtualService default/reviews cannot be used"), "{broken:?}");
    Ok(())
}

#[tokio::test]
async fn it_waits_for_a_deletion() -> Result<()> {
    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let mut client = serving.client(Form::Delta, |held| has_weight(held, 90)).await?;
    let there = wait(&serving, &["vs/reviews", "--for", "deleted", "--timeout", "0"]).await?;
    assert_eq!(there.code, Some(1), "{there:?}");
    std::fs::remove_file(folder.path().join("route.yaml"))?;
    let (gone, _) = tokio::try_join!(
        wait(&serving, &["vs/reviews", "--for", "deleted", "--timeout", "60s"]),
        client.until(LIMIT, |held| held
            .json(TypeUrl::VirtualHost, VIRTUAL_HOST)
            .is_ok_and(|host| host["routes"][0]["route"]["weighted_clusters"].is_null()))
    )?;
    assert_eq!(gone.code, Some(0), "{gone:?}");
    let after = wait(&serving, &["vs/reviews", "--timeout", "100ms"]).await?;
    assert_eq!(after.code, Some(1), "gone is not in force: {after:?}");
    assert!(after.stdout.contains("was deleted"), "{after:?}");
    Ok(())
}

#[tokio::test]
async fn another_replica_that_is_not_there_is_named() -> Result<()> {
    let folder = reviews()?;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let serve = ["serve", "--config", text(folder.path())?, "--peer", &nobody];
    let command = crate::program::meltemi(serve.into_iter().chain(crate::program::FREE_PORTS));
    let serving = Serving::spawn(command).await?;
    let all = wait(&serving, &["vs/reviews", "--timeout", "300ms"]).await?;
    assert_eq!(all.code, Some(1), "{all:?}");
    assert!(all.stdout.contains(&nobody) && all.stdout.contains("cannot be reached"), "{all:?}");
    let own = wait(&serving, &["vs/reviews", "--timeout", "300ms", "--scope", "replica"]).await?;
    assert_eq!(own.code, Some(0), "{own:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_use_exits_with_2() -> Result<()> {
    let empty = folder(&[])?;
    for arguments in [
        &["wait"][..],
        &["wait", "reviews"],
        &["wait", "thing/reviews"],
        &["wait", "vs/reviews", "--timeout", "soon"],
        &["wait", "vs/reviews", "--for", "ready"],
        &["wait", "vs/reviews", "--for", "deleted", "--generation", "3"],
        &["wait", "-f", text(&empty.path().join("none.yaml"))?],
    ] {
        let ended = ended(arguments).await?;
        assert_eq!(ended.code, Some(2), "{arguments:?}: {ended:?}");
    }
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let ended = ended(&["wait", "vs/reviews", "--server", &address]).await?;
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains(&address) && ended.stderr.contains("--monitoring-address"), "{ended:?}");
    Ok(())
}
