//! Several replicas: all must have it, and who cannot be asked makes no yes.

use anyhow::Result;
use meltemi_testkit::xds::Form;
use meltemi_tests::control_plane::{ControlPlane, until};

use super::{AFTER, ROUTE, counts, files, mesh, settled};
use crate::reviews;

/// Two replicas over one folder; the second asks the first.
async fn replicas() -> Result<(ControlPlane, ControlPlane)> {
    let first = mesh().await?;
    let peer = first.monitoring().to_string();
    let second = first.beside(|config| config.peers = vec![peer]).await?;
    Ok((first, second))
}

#[tokio::test]
async fn of_two_replicas_both_must_have_it_and_the_proxies_of_both_are_counted() -> Result<()> {
    let (mut first, mut second) = replicas().await?;
    let mut far = settled(&first, "far", Form::Delta).await?;
    let mut near = settled(&second, "near", Form::Delta).await?;
    let all = "kind=vs&name=reviews&scope=mesh";
    let before = second.in_force(all).await?;
    assert_eq!((counts(&before), &before["met"]), (("inForce", 2, 2), &true.into()), "{before}");

    let known = first.generation();
    second.save("route.yaml", &reviews::route(AFTER)).await?;
    first.after(known).await?;
    until(&mut near, |held| reviews::splits(held, AFTER)).await?;
    assert_eq!(counts(&second.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 1, 1));
    let late = second.in_force(all).await?;
    assert_eq!((counts(&late), &late["met"]), (("propagating", 1, 2), &false.into()), "{late}");
    let lagging = &late["lagging"][0];
    assert_eq!(
        (&lagging["proxy"], &lagging["replica"]),
        (&"far.default".into(), &first.monitoring().to_string().into())
    );
    let waiting = second.in_force("kind=vs&name=reviews&scope=mesh&timeout=60s");
    let (answer, _) = tokio::try_join!(waiting, until(&mut far, |held| reviews::splits(held, AFTER)))?;
    assert_eq!((counts(&answer), &answer["met"]), (("inForce", 2, 2), &true.into()), "{answer}");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_cannot_be_reached_makes_the_answer_unknown() -> Result<()> {
    let (first, second) = replicas().await?;
    let _near = settled(&second, "near", Form::Delta).await?;
    let address = first.monitoring().to_string();
    drop(first);
    for query in ["kind=vs&name=reviews&scope=mesh", "kind=vs&name=reviews&scope=mesh&timeout=300ms"] {
        let answer = second.in_force(query).await?;
        assert_eq!((counts(&answer), &answer["met"]), (("unknown", 1, 1), &false.into()), "{answer}");
        assert_eq!(answer["replicas"][1]["address"], address.as_str(), "{answer}");
        assert!(
            answer["message"].as_str().is_some_and(|said| said.contains("cannot be reached")),
            "{answer}"
        );
    }
    assert_eq!(counts(&second.in_force(ROUTE).await?), ("inForce", 1, 1), "of its own proxies it knows");
    Ok(())
}

#[tokio::test]
async fn a_replica_that_has_not_read_the_state_yet_makes_the_answer_no() -> Result<()> {
    // Two folders stand for one replica that has read a state and one that has not.
    let behind = mesh().await?;
    let peer = behind.monitoring().to_string();
    let files = files();
    let mut ahead =
        ControlPlane::start_with(&files.each_ref().map(|(name, text)| (*name, text.as_str())), |config| {
            config.peers = vec![peer];
        })
        .await?;
    let all = "kind=vs&name=reviews&scope=mesh";
    assert_eq!(ahead.in_force(all).await?["met"], true, "equal files are equal states");
    ahead.save("route.yaml", &reviews::route(AFTER)).await?;
    let answer = ahead.in_force(&format!("{all}&timeout=300ms")).await?;
    assert_eq!((&answer["state"], &answer["met"]), (&"notSeen".into(), &false.into()), "{answer}");
    let waiting = ahead.in_force("kind=vs&name=reviews&scope=mesh&timeout=60s");
    behind.write("route.yaml", &reviews::route(AFTER))?;
    assert_eq!(waiting.await?["met"], true);
    Ok(())
}
