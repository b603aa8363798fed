//! Whether an object is in force: asked, and waited for.

use std::time::Duration;

use anyhow::{Context, Result};
use meltemi_names::{Kind, ObjectKey, TypeUrl};
use meltemi_testkit::xds::{Form, Node, Sidecar};
use meltemi_tests::control_plane::{ControlPlane, LIMIT, step, until};
use serde_json::Value;

use crate::reviews::{self, VIRTUAL_HOST};

mod replicas;

const BEFORE: &[(&str, u64)] = &[("v1", 90), ("v2", 10)];
const AFTER: &[(&str, u64)] = &[("v1", 50), ("v2", 50)];

/// The VirtualService.
const ROUTE: &str = "kind=VirtualService&name=reviews";

async fn mesh() -> Result<ControlPlane> {
    ControlPlane::start(&files().each_ref().map(|(name, text)| (*name, text.as_str()))).await
}

fn files() -> [(&'static str, String); 4] {
    [
        ("app.yaml", reviews::app()),
        ("other.yaml", reviews::service("other")),
        ("rule.yaml", reviews::rule(&["v1", "v2"])),
        ("route.yaml", reviews::route(BEFORE)),
    ]
}

/// A client that has everything, and has acknowledged it.
async fn settled(mesh: &ControlPlane, name: &str, form: Form) -> Result<Sidecar> {
    let mut client = mesh.join(Node::sidecar(name, "default"), form).await?;
    until(&mut client, |held| reviews::splits(held, BEFORE)).await?;
    let kind = Kind::VirtualService;
    waits(mesh, &ObjectKey::new(kind, "default", "reviews"), |answer| answer["met"] == true).await?;
    Ok(client)
}

/// Asks until the answer is such, each time when some proxy has moved; the API's own waiting is for yes only.
pub(crate) async fn waits(
    mesh: &ControlPlane,
    object: &ObjectKey,
    is_such: impl Fn(&Value) -> bool,
) -> Result<Value> {
    let query = format!("kind={}&namespace={}&name={}", object.kind, object.namespace, object.name);
    let mut last = Value::Null;
    let asked = async {
        loop {
            // An answer takes at least one turn of the streams' tasks.
            last = mesh.in_force(&query).await?;
            if is_such(&last) {
                return anyhow::Ok(());
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LIMIT, asked).await.with_context(|| format!("still {last}"))??;
    Ok(last)
}

fn route() -> ObjectKey {
    ObjectKey::new(Kind::VirtualService, "default", "reviews")
}

fn counts(answer: &Value) -> (&str, u64, u64) {
    let number = |field: &str| answer[field].as_u64().unwrap_or(u64::MAX);
    (answer["state"].as_str().unwrap_or_default(), number("have"), number("of"))
}

#[tokio::test]
async fn a_change_is_in_force_when_its_proxies_have_acknowledged_it_and_not_before() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = mesh().await?;
        let mut quick = settled(&mesh, "quick", form).await?;
        let mut slow = settled(&mesh, "slow", form).await?;
        assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("inForce", 2, 2), "{form:?}");
        mesh.save("route.yaml", &reviews::route(AFTER)).await?;
        let now = mesh.in_force(ROUTE).await?;
        assert_eq!((counts(&now), &now["met"]), (("propagating", 0, 2), &false.into()), "{form:?}: {now}");
        step(&mut quick).await?;
        let one = waits(&mesh, &route(), |answer| answer["have"] == 1).await?;
        assert_eq!(counts(&one), ("propagating", 1, 2));
        let lagging = &one["lagging"][0];
        assert_eq!((&lagging["proxy"], &lagging["why"]), (&"slow.default".into(), &"notAcknowledged".into()));
        assert_eq!(one["lagging"].as_array().map(Vec::len), Some(1), "{one}");
        step(&mut slow).await?;
        let all = mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?;
        assert_eq!((counts(&all), &all["met"]), (("inForce", 2, 2), &true.into()));
        assert!(all["published"].as_u64() > now["published"].as_u64().map(|before| before - 1), "{all}");
    }
    Ok(())
}

#[tokio::test]
async fn who_waits_hears_of_it_when_the_last_proxy_acknowledges() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    let waiting = mesh.in_force("kind=vs&name=reviews&timeout=60s");
    tokio::pin!(waiting);
    // It does not come while the proxy says nothing, however often it is polled meanwhile.
    for _ in 0..20 {
        tokio::select! {
            biased;
            early = &mut waiting => anyhow::bail!("before the acknowledgement: {early:?}"),
            now = mesh.in_force(ROUTE) => assert_eq!(counts(&now?), ("propagating", 0, 1)),
        }
    }
    step(&mut client).await?;
    assert_eq!(counts(&waiting.await?), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn time_that_is_up_is_answered_with_who_does_not_have_it() -> Result<()> {
    let mut mesh = mesh().await?;
    let _stalled = settled(&mesh, "stalled", Form::Delta).await?;
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    let answer = mesh.in_force(&format!("{ROUTE}&timeout=50ms")).await?;
    assert_eq!((counts(&answer), &answer["met"]), (("propagating", 0, 1), &false.into()));
    assert_eq!(answer["lagging"][0]["proxy"], "stalled.default");
    assert_eq!(answer["lagging"][0]["resource"], VIRTUAL_HOST);
    Ok(())
}

#[tokio::test]
async fn who_refuses_it_is_named_with_its_words_and_a_refusal_of_another_object_does_not_count() -> Result<()>
{
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "picky", Form::Delta).await?;
    client.refuse(|kind, name| {
        (kind == TypeUrl::VirtualHost && name == VIRTUAL_HOST).then(|| "weights look odd".to_owned())
    });
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    step(&mut client).await?;
    let refused = waits(&mesh, &route(), |answer| answer["lagging"][0]["why"] == "refused").await?;
    assert_eq!((counts(&refused), &refused["starting"]), (("propagating", 0, 1), &0.into()));
    let said = refused["lagging"][0]["message"].as_str().unwrap_or_default();
    assert!(said.contains("weights look odd") && said.contains(VIRTUAL_HOST), "{refused}");

    // The rule and the service, which the refused virtual host is made from, too, did not change since it was accepted.
    for object in ["kind=dr&name=reviews", "kind=svc&name=reviews", "kind=svc&name=other"] {
        assert_eq!(counts(&mesh.in_force(object).await?), ("inForce", 1, 1), "{object}");
    }
    mesh.save("timeout.yaml", &reviews::plain("other", "7s")).await?;
    until(&mut client, |held| reviews::has_timeout(held, "other", "7s")).await?;
    let other = mesh.in_force("kind=vs&name=other&timeout=60s").await?;
    assert_eq!((counts(&other), &other["met"]), (("inForce", 1, 1), &true.into()));
    assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("propagating", 0, 1));

    client.accept();
    mesh.save("route.yaml", &reviews::route(&[("v1", 40), ("v2", 60)])).await?;
    step(&mut client).await?;
    assert_eq!(counts(&mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn a_held_route_says_what_is_missing_and_is_in_force_when_that_comes() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = mesh().await?;
        let mut client = settled(&mesh, "client", form).await?;
        let canary = [("v1", 50), ("v3", 50)];
        mesh.save("route.yaml", &reviews::route(&canary)).await?;
        let held = mesh.in_force(ROUTE).await?;
        assert_eq!(counts(&held), ("propagating", 0, 1), "{form:?}: {held}");
        let lagging = &held["lagging"][0];
        assert_eq!((&lagging["proxy"], &lagging["why"]), (&"client.default".into(), &"held".into()));
        let said = lagging["message"].as_str().unwrap_or_default();
        assert!(said.contains("reviews.default.svc.cluster.local has no subset `v3`"), "{form:?}: {held}");
        assert!(!said.contains("`v1`"), "{said}");
        assert_eq!(counts(&mesh.in_force("kind=svc&name=reviews").await?), ("inForce", 1, 1));

        mesh.save("rule.yaml", &reviews::rule(&["v1", "v2", "v3"])).await?;
        let waiting = mesh.in_force("kind=vs&name=reviews&timeout=60s");
        let (answer, _) =
            tokio::try_join!(waiting, until(&mut client, |held| reviews::splits(held, &canary)))?;
        assert_eq!(counts(&answer), ("inForce", 1, 1));
        assert_eq!(counts(&mesh.in_force("kind=dr&name=reviews&timeout=60s").await?), ("inForce", 1, 1));
    }
    Ok(())
}

#[tokio::test]
async fn a_subset_that_is_kept_for_a_route_is_not_gone_yet() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    mesh.save("rule.yaml", &reviews::rule(&["v1"])).await?;
    let kept = mesh.in_force("kind=dr&name=reviews").await?;
    assert_eq!(
        (counts(&kept), &kept["lagging"][0]["why"]),
        (("propagating", 0, 1), &"needed".into()),
        "{kept}"
    );
    mesh.save("route.yaml", &reviews::route(&[("v1", 100)])).await?;
    let waiting = mesh.in_force("kind=dr&name=reviews&timeout=60s");
    let drops =
        until(&mut client, |held| !held.names(TypeUrl::Cluster).iter().any(|name| name.contains("|v2|")));
    let (answer, _) = tokio::try_join!(waiting, drops)?;
    assert_eq!(counts(&answer), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn what_nobody_uses_is_in_force_and_that_is_said() -> Result<()> {
    let mut mesh = mesh().await?;
    let none = mesh.in_force(ROUTE).await?;
    assert_eq!((counts(&none), &none["met"]), (("inForce", 0, 0), &true.into()));
    assert!(
        none["message"].as_str().is_some_and(|said| said.contains("no connected proxy uses it")),
        "{none}"
    );
    let _client = settled(&mesh, "client", Form::Delta).await?;
    mesh.save("elsewhere.yaml", &reviews::plain("nobody.example", "1s")).await?;
    let unused = mesh.in_force("kind=vs&name=nobody.example&timeout=60s").await?;
    assert_eq!((counts(&unused), &unused["met"]), (("inForce", 0, 0), &true.into()), "{unused}");
    Ok(())
}

#[tokio::test]
async fn what_was_deleted_is_gone_when_every_proxy_has_dropped_what_was_made_from_it() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mut mesh = mesh().await?;
        let mut client = settled(&mesh, "client", form).await?;
        let before = mesh.generation();
        mesh.remove("route.yaml")?;
        mesh.after(before).await?;
        let gone = "kind=vs&name=reviews&for=deleted";
        let now = mesh.in_force(gone).await?;
        assert_eq!((counts(&now), &now["met"]), (("propagating", 0, 1), &false.into()), "{form:?}: {now}");
        let unasked = mesh.in_force(ROUTE).await?;
        assert_eq!((&unasked["state"], &unasked["met"]), (&"deleted".into(), &false.into()), "{unasked}");
        let waiting = mesh.in_force("kind=vs&name=reviews&for=deleted&timeout=60s");
        let (answer, _) =
            tokio::try_join!(waiting, until(&mut client, |held| !reviews::splits(held, BEFORE)))?;
        assert_eq!((counts(&answer), &answer["met"]), (("deleted", 1, 1), &true.into()), "{form:?}");
        // It comes back as it was.
        mesh.save("route.yaml", &reviews::route(BEFORE)).await?;
        assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("propagating", 0, 1));
        until(&mut client, |held| reviews::splits(held, BEFORE)).await?;
        assert_eq!(counts(&mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 1, 1));
    }
    Ok(())
}

#[tokio::test]
async fn a_host_that_a_route_has_left_is_in_force_when_it_is_taken_back_there() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    // It leaves `reviews` for a host that no proxy has: all that is left to do is to take it back.
    let moved = reviews::route(BEFORE).replace("hosts: [reviews]", "hosts: [nowhere.example]");
    mesh.save("route.yaml", &moved).await?;
    assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("propagating", 0, 1));
    until(&mut client, |held| !reviews::splits(held, BEFORE)).await?;
    assert!(mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?["met"].as_bool().unwrap_or_default());
    Ok(())
}

#[tokio::test]
async fn who_comes_back_counts_as_late_until_it_has_acknowledged_everything_again() -> Result<()> {
    for form in [Form::Delta, Form::Sotw] {
        let mesh = mesh().await?;
        let mut client = settled(&mesh, "client", form).await?;
        client.reconnect().await?;
        // Its old stream may still be there; the new one is late.
        let late = waits(&mesh, &route(), |answer| answer["lagging"][0]["why"] == "starting").await?;
        assert_eq!(
            (counts(&late), &late["starting"]),
            (("propagating", 0, 1), &1.into()),
            "{form:?}: {late}"
        );
        let waiting = mesh.in_force("kind=vs&name=reviews&timeout=60s");
        let answers = async {
            loop {
                client.step().await?;
            }
            #[allow(unreachable_code, reason = "says what the loop ends with")]
            anyhow::Ok(())
        };
        tokio::select! {
            answer = waiting => assert_eq!(counts(&answer?), ("inForce", 1, 1), "{form:?}"),
            ended = answers => ended?,
        }
    }
    Ok(())
}

#[tokio::test]
async fn two_streams_of_one_node_are_one_proxy_that_has_it_when_both_have() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut first = settled(&mesh, "client", Form::Delta).await?;
    let mut second = settled(&mesh, "client", Form::Delta).await?;
    assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("inForce", 1, 1));
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    step(&mut first).await?;
    until(&mut first, |held| reviews::splits(held, AFTER)).await?;
    for _ in 0..20 {
        let now = mesh.in_force(ROUTE).await?;
        assert_eq!((counts(&now), now["lagging"].as_array().map(Vec::len)), (("propagating", 0, 1), Some(1)));
    }
    step(&mut second).await?;
    assert_eq!(counts(&mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn a_change_that_waits_for_what_it_refers_to_is_not_in_force() -> Result<()> {
    let hour = Duration::from_secs(3600);
    let files = files();
    let mut mesh =
        ControlPlane::start_with(&files.each_ref().map(|(name, text)| (*name, text.as_str())), |config| {
            config.patience = meltemi_serve::Patience { quiet: hour, limit: hour };
        })
        .await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    let after = [("v3", 100)];
    mesh.write("route.yaml", &reviews::route(&after))?;
    mesh.until_a_change_waits().await?;
    let waits = mesh.in_force(&format!("{ROUTE}&timeout=10ms")).await?;
    assert_eq!((&waits["state"], &waits["met"]), (&"waiting".into(), &false.into()), "{waits}");
    mesh.save("rule.yaml", &reviews::rule(&["v1", "v2", "v3"])).await?;
    until(&mut client, |held| reviews::splits(held, &after)).await?;
    assert_eq!(counts(&mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn a_state_that_cannot_be_used_is_refused_and_never_in_force() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    mesh.write("route.yaml", &reviews::route(BEFORE).replace("weight: 90", "weight: most"))?;
    let refused = waits(&mesh, &route(), |answer| answer["state"] == "refused").await?;
    assert_eq!(refused["met"], false);
    let said = refused["message"].as_str().unwrap_or_default();
    assert!(said.contains("weight") && said.contains("last good state stays in force"), "{refused}");
    assert_eq!(counts(&refused), ("refused", 1, 1), "the last good state");
    // Mended without another change.
    mesh.write("route.yaml", &reviews::route(BEFORE))?;
    let mended = mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?;
    assert_eq!(counts(&mended), ("inForce", 1, 1));
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    until(&mut client, |held| reviews::splits(held, AFTER)).await?;
    Ok(())
}

#[tokio::test]
async fn a_generation_that_was_not_seen_yet_is_waited_for() -> Result<()> {
    let generation = |number: u64, weights: &[(&str, u64)]| {
        reviews::route(weights)
            .replace("{name: reviews}", &format!("{{name: reviews, generation: {number}}}"))
    };
    let mut mesh = mesh().await?;
    mesh.save("route.yaml", &generation(2, BEFORE)).await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    let seen = mesh.in_force(&format!("{ROUTE}&generation=2")).await?;
    assert_eq!((counts(&seen), &seen["generation"]), (("inForce", 1, 1), &2.into()));
    let unseen = mesh.in_force(&format!("{ROUTE}&generation=3&timeout=10ms")).await?;
    assert_eq!((&unseen["state"], &unseen["met"]), (&"notSeen".into(), &false.into()), "{unseen}");
    assert!(unseen["message"].as_str().is_some_and(|said| said.contains("the latest is 2")), "{unseen}");
    let waiting = mesh.in_force("kind=vs&name=reviews&generation=3&timeout=60s");
    mesh.write("route.yaml", &generation(4, AFTER))?;
    let (answer, _) = tokio::try_join!(waiting, until(&mut client, |held| reviews::splits(held, AFTER)))?;
    assert_eq!(
        (counts(&answer), &answer["generation"]),
        (("inForce", 1, 1), &4.into()),
        "a later one has it in it"
    );
    Ok(())
}

#[tokio::test]
async fn an_object_that_is_not_known_is_waited_for_and_a_near_name_is_shown() -> Result<()> {
    let mesh = mesh().await?;
    let unknown = mesh.in_force("kind=vs&name=reveiws").await?;
    assert_eq!((&unknown["state"], &unknown["met"]), (&"notSeen".into(), &false.into()));
    let said = unknown["message"].as_str().unwrap_or_default();
    assert!(said.contains("is VirtualService default/reviews meant?"), "{unknown}");
    let waiting = mesh.in_force("kind=vs&name=other&timeout=60s");
    mesh.write("late.yaml", &reviews::plain("other", "7s"))?;
    assert_eq!(counts(&waiting.await?), ("inForce", 0, 0));
    let never = mesh.in_force("kind=vs&name=never&for=deleted").await?;
    assert_eq!(never["met"], true, "{never}");
    Ok(())
}

#[tokio::test]
async fn an_endpoint_is_in_force_when_the_assignments_that_it_changed_are_acknowledged() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    mesh.save(
        "more.yaml",
        &reviews::workload("reviews", "v2").replace("reviews-v2", "more").replace("10.0.0.2", "10.0.0.9"),
    )
    .await?;
    let more = "kind=we&name=more";
    let now = mesh.in_force(more).await?;
    assert_eq!(counts(&now), ("propagating", 0, 1), "{now}");
    let waiting = mesh.in_force("kind=we&name=more&timeout=60s");
    let takes = async {
        loop {
            if step(&mut client).await?.kind == TypeUrl::Endpoint {
                return anyhow::Ok(());
            }
        }
    };
    let (answer, ()) = tokio::try_join!(waiting, takes)?;
    assert_eq!(counts(&answer), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn an_answer_looks_at_single_resources_only_of_those_that_are_behind() -> Result<()> {
    let neighbours: String = (0..200).map(|index| reviews::service(&format!("s{index}"))).collect();
    let mut mesh = mesh().await?;
    mesh.save("neighbours.yaml", &neighbours).await?;
    let mut clients = Vec::new();
    for index in 0..5 {
        clients.push(settled(&mesh, &format!("c{index}"), Form::Delta).await?);
    }
    let propagation = std::sync::Arc::clone(mesh.propagation());
    propagation.take_cost();
    for _ in 0..10 {
        assert_eq!(propagation.state(&route()).of, 5);
    }
    let cost = propagation.take_cost();
    assert_eq!(
        (cost.resources, cost.layers),
        (0, 0),
        "all have acknowledged everything, and the layers are known"
    );
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    assert_eq!(propagation.state(&route()).have, 0);
    let cost = propagation.take_cost();
    assert_eq!((cost.resources, cost.layers), (5, 0), "one virtual host of each; not one of 200 neighbours");
    Ok(())
}

#[tokio::test]
async fn who_follows_is_told_of_what_changed_and_of_what_is_not_in_force_yet_and_of_nothing_else()
-> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    let propagation = std::sync::Arc::clone(mesh.propagation());
    let mut changes = propagation.changes();
    let other = ObjectKey::new(Kind::Service, "default", "other");
    let first = changes.take();
    assert!(first.contains(&route()) && first.contains(&other), "all to begin with: {first:?}");
    assert!(changes.take().is_empty());

    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    tokio::time::timeout(LIMIT, changes.changed()).await?;
    assert_eq!(changes.take(), [route()].into());
    assert!(!propagation.state(&route()).met);
    step(&mut client).await?;
    tokio::time::timeout(LIMIT, async {
        while !propagation.state(&route()).met {
            changes.changed().await;
            assert_eq!(changes.take(), [route()].into());
        }
    })
    .await?;
    // A proxy that comes is no change of what was in force.
    let mut late = mesh.join(Node::sidecar("late", "default"), Form::Delta).await?;
    until(&mut late, |held| reviews::splits(held, AFTER)).await?;
    assert!(changes.take().is_empty());

    client.refuse(|kind, _| (kind == TypeUrl::VirtualHost).then(|| "odd".to_owned()));
    mesh.save("route.yaml", &reviews::route(BEFORE)).await?;
    step(&mut client).await?;
    waits(&mesh, &route(), |answer| answer["lagging"][0]["why"] == "refused").await?;
    assert!(changes.take().contains(&route()));
    let mut again = propagation.changes();
    assert!(changes.take().is_empty(), "another follows instead");
    assert!(again.take().contains(&other));
    Ok(())
}

#[tokio::test]
async fn a_question_that_is_not_understood_is_refused_with_what_to_write() -> Result<()> {
    let mesh = mesh().await?;
    let answer =
        meltemi_testkit::http::Request::get("/api/v1/in-force?kind=vs").send(mesh.monitoring()).await?;
    assert_eq!(answer.status, 400);
    assert!(
        answer.json()["error"].as_str().is_some_and(|said| said.contains("name is missing")),
        "{}",
        answer.text()
    );
    Ok(())
}

#[tokio::test]
async fn a_tool_that_reads_only_the_status_code_may_ask_strictly() -> Result<()> {
    let mut mesh = mesh().await?;
    let _stalled = settled(&mesh, "stalled", Form::Delta).await?;
    let address = mesh.monitoring();
    let ask = async |method: &str| {
        let strict = "/api/v1/in-force?kind=vs&name=reviews&strict=true";
        let answer = meltemi_testkit::http::Request::new(method, strict).send(address).await?;
        anyhow::Ok((answer.status, answer.json()["met"].as_bool()))
    };
    assert_eq!((ask("GET").await?, ask("POST").await?), ((200, Some(true)), (200, Some(true))));
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    assert_eq!((ask("GET").await?, ask("POST").await?), ((503, Some(false)), (503, Some(false))));
    Ok(())
}

#[tokio::test]
async fn a_rule_that_changes_only_endpoints_is_in_force_when_these_are_acknowledged() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    // The subset keeps its name, and its cluster its bytes; other endpoints are meant.
    let moved = reviews::rule(&["v1", "v2"]).replace("{version: v2}", "{version: v3}");
    mesh.save("rule.yaml", &moved).await?;
    let rule = "kind=dr&name=reviews";
    assert_eq!(counts(&mesh.in_force(rule).await?), ("propagating", 0, 1));
    assert_eq!(counts(&mesh.in_force(ROUTE).await?), ("inForce", 1, 1), "the route did not change");
    let waiting = mesh.in_force("kind=dr&name=reviews&timeout=60s");
    let takes = async {
        loop {
            if step(&mut client).await?.kind == TypeUrl::Endpoint {
                return anyhow::Ok(());
            }
        }
    };
    let (answer, ()) = tokio::try_join!(waiting, takes)?;
    assert_eq!(counts(&answer), ("inForce", 1, 1));
    Ok(())
}

#[tokio::test]
async fn what_is_set_aside_for_a_build_is_not_in_force_at_its_proxies() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut clients = [settled(&mesh, "a", Form::Delta).await?, settled(&mesh, "b", Form::Delta).await?];
    for client in &mut clients {
        client.refuse(|kind, name| {
            (kind == TypeUrl::VirtualHost && name == VIRTUAL_HOST).then(|| "weights look odd".to_owned())
        });
    }
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    for client in &mut clients {
        step(client).await?;
    }
    let aside = |answer: &Value| {
        answer["lagging"].as_array().is_some_and(|all| all.iter().all(|one| one["why"] == "setAside"))
    };
    let answer = waits(&mesh, &route(), aside).await?;
    assert_eq!(counts(&answer), ("propagating", 0, 2), "{answer}");
    for client in &mut clients {
        client.accept();
    }
    let mended = [("v1", 40), ("v2", 60)];
    mesh.save("route.yaml", &reviews::route(&mended)).await?;
    for client in &mut clients {
        until(client, |held| reviews::splits(held, &mended)).await?;
    }
    assert_eq!(counts(&mesh.in_force(&format!("{ROUTE}&timeout=60s")).await?), ("inForce", 2, 2));
    Ok(())
}

#[tokio::test]
async fn more_who_wait_than_can_be_served_are_told_to_come_again() -> Result<()> {
    let mut mesh = mesh().await?;
    let mut client = settled(&mesh, "client", Form::Delta).await?;
    mesh.save("route.yaml", &reviews::route(AFTER)).await?;
    let address = mesh.monitoring();
    let ask = |timeout: &str| {
        let page = format!("/api/v1/in-force?kind=vs&name=reviews{timeout}");
        async move { meltemi_testkit::http::Request::get(&page).send(address).await }
    };
    let mut waiters = tokio::task::JoinSet::new();
    for _ in 0..65 {
        waiters.spawn(ask("&timeout=60s"));
    }
    // One of them at once; the others wait.
    let first = waiters.join_next().await.context("an answer")???;
    assert_eq!(first.status, 429, "{}", first.text());
    assert_eq!(ask("").await?.status, 200, "who does not wait is answered");
    step(&mut client).await?;
    while let Some(answer) = waiters.join_next().await {
        let answer = answer??;
        assert_eq!((answer.status, &answer.json()["met"]), (200, &true.into()), "{}", answer.text());
    }
    assert_eq!(ask("&timeout=60s").await?.status, 200, "there is room again");
    Ok(())
}
