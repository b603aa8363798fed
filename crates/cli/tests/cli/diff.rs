//! `meltemi diff`: what a pull request changes, its warnings, exit codes and JSON, as people and pipelines read them.

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, Serving, ended, text};
use crate::yaml::{APP, ROUTE, RULE, broken_route, folder, reviews};

/// What `diff` says of the app when this is laid over it.
async fn with(change: &str, more: &[&str]) -> Result<Ended> {
    let (base, change) = (reviews()?, folder(&[("change.yaml", change)])?);
    let arguments = ["diff", "--config", text(base.path())?, "--with", text(change.path())?];
    ended(&[arguments.as_slice(), more].concat()).await
}

fn weights(v1: u32, v2: u32) -> String {
    ROUTE.replace("weight: 10", &format!("weight: {v2}")).replace("weight: 90", &format!("weight: {v1}"))
}

#[tokio::test]
async fn a_weight_is_told_with_both_values_and_whose_requests_it_is_about() -> Result<()> {
    let ended = with(&weights(75, 25), &["--strict"]).await?;
    assert_eq!(ended.code, Some(0), "a weight is no warning: {ended:?}");
    let page = &ended.stdout;
    assert!(page.starts_with("1 object changes\n  changed VirtualService default/reviews ("), "{page}");
    assert!(page.contains("change.yaml:1)\n"), "{page}");
    assert!(page.contains("sidecars in default (3 of 3 proxies)\n  reviews.default:9080\n"), "{page}");
    assert!(page.contains("\n    all requests: v1 90 % -> 75 %, v2 10 % -> 25 %\n"), "{page}");
    assert!(!page.contains("Warnings"), "{page}");
    Ok(())
}

#[tokio::test]
async fn rules_that_come_and_go_are_told_in_words() -> Result<()> {
    let change = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - match: [{headers: {end-user: {exact: jason}}, uri: {prefix: /api}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
    timeout: 2s
";
    let page = with(change, &[]).await?.stdout;
    for line in [
        "    a new rule, before the one for all requests: requests whose path begins with /api and header end-user is \"jason\" to subset v2 of reviews.default\n",
        "    all requests: timeout none -> 2s\n",
    ] {
        assert!(page.contains(line), "{line}{page}");
    }
    Ok(())
}

/// The codes of the warnings, each once.
fn codes(report: &Value) -> Vec<&str> {
    let mut codes: Vec<&str> = report["warnings"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|warning| warning["code"].as_str())
        .collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

#[tokio::test]
async fn each_thing_that_may_break_callers_is_a_warning_and_fails_a_strict_check() -> Result<()> {
    // Of the same age, and with a name that comes first.
    let older = ROUTE.replace("{name: reviews}", "{name: earlier}").replace("subset: v2", "subset: v1");
    let without_v2 = RULE.replace("  - {name: v2, labels: {version: v2}}\n", "");
    let nobody_is_v2 = RULE.replace("{version: v2}", "{version: v9}");
    let unreached = format!("{ROUTE}  - route: [{{destination: {{host: reviews}}}}]\n");
    for (change, delete, code, says) in [
        (
            weights(100, 0).as_str(),
            "",
            "fewer-destinations",
            "reviews.default:9080: of all requests, none goes to subset v2",
        ),
        (
            &without_v2,
            "",
            "subset-lost",
            "sends to subset v2 of reviews.default, which there is not: such requests get 503",
        ),
        (&without_v2, "", "subset-not-found", "reviews.default.svc.cluster.local has no subset `v2`"),
        (&nobody_is_v2, "", "no-endpoints", "subset v2 of reviews.default loses its last endpoint"),
        (
            &nobody_is_v2,
            "",
            "subset-without-endpoints",
            "no workload of Service default/reviews carries `version=v9`",
        ),
        (
            "",
            "workloadentry/default/reviews-v2",
            "fewer-endpoints",
            "reviews.default has fewer endpoints: 2 -> 1",
        ),
        ("", "service/default/reviews", "host-unknown", "reviews.default becomes unknown"),
        (
            &older,
            "",
            "rule-shadowed",
            "VirtualService default/reviews decides here no more; VirtualService default/earlier does",
        ),
        (
            &older,
            "",
            "duplicate-host",
            "VirtualService default/earlier has the host `reviews` too, and is older",
        ),
        (&unreached, "", "unreachable-rule", "no request comes here: rule 0 takes them all"),
        (&broken_route(), "", "bad-value", "it is refused, and what was before stays"),
    ] {
        let more: Vec<&str> = if delete.is_empty() { vec![] } else { vec!["--delete", delete] };
        let plain = with(change, &more).await?;
        assert_eq!(plain.code, Some(0), "{code}: {plain:?}");
        assert!(plain.stdout.contains(&format!("  {code}: ")), "{code}: {}", plain.stdout);
        assert!(plain.stdout.contains(says), "{code}: {}", plain.stdout);
        let strict = with(change, &[&more[..], &["--strict", "-o", "json"]].concat()).await?;
        assert_eq!(strict.code, Some(1), "{code}: {strict:?}");
        assert!(codes(&strict.json()?).contains(&code), "{code}: {}", strict.stdout);
    }
    Ok(())
}

#[tokio::test]
async fn equal_folders_differ_in_nothing() -> Result<()> {
    let base = reviews()?;
    let path = text(base.path())?;
    let ended = ended(&["diff", "--config", path, "--with", path, "--replace", "--strict"]).await?;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stdout, "No object changes.\n\nNothing changes for any of 3 proxies.\n");
    Ok(())
}

#[tokio::test]
async fn what_a_whole_branch_lacks_goes() -> Result<()> {
    let (base, change) = (reviews()?, folder(&[("app.yaml", APP), ("rule.yaml", RULE)])?);
    let arguments = ["diff", "--config", text(base.path())?, "--with", text(change.path())?];
    let kept = ended(&arguments).await?.stdout;
    assert!(kept.starts_with("No object changes.\n"), "{kept}");
    let replaced = ended(&[arguments.as_slice(), &["--replace"]].concat()).await?.stdout;
    assert!(replaced.contains("  removed VirtualService default/reviews ("), "{replaced}");
    assert!(
        replaced.contains("all requests: v1 90 % -> 0 %, v2 10 % -> 0 %, all versions 0 % -> 100 %"),
        "{replaced}"
    );
    Ok(())
}

#[tokio::test]
async fn json_has_the_same_for_scripts() -> Result<()> {
    let report = with(&weights(75, 25), &["-o", "json"]).await?.json()?;
    let keys = |value: &Value| -> Vec<String> {
        value.as_object().into_iter().flat_map(|all| all.keys().cloned()).collect()
    };
    assert_eq!(keys(&report), ["objects", "proxies", "changed_proxies", "groups", "warnings"]);
    assert_eq!((&report["proxies"], &report["changed_proxies"]), (&3.into(), &3.into()));
    assert_eq!(keys(&report["objects"][0]), ["action", "kind", "namespace", "name", "place"]);
    let group = &report["groups"][0];
    assert_eq!(keys(&group["proxies"]), ["text", "count", "namespaces"]);
    assert_eq!(group["proxies"]["namespaces"][0]["all"], true);
    let change = &group["changes"][0];
    let expected = [
        "subject", "what", "action", "host", "port", "subset", "text", "fields", "warning", "type",
        "resource", "objects",
    ];
    assert_eq!(keys(change), expected);
    assert_eq!(
        (&change["what"], &change["action"], &change["host"], &change["port"], &change["type"]),
        (
            &"route".into(),
            &"changed".into(),
            &"reviews.default.svc.cluster.local".into(),
            &9080.into(),
            &"VHDS".into()
        )
    );
    assert_eq!(
        change["objects"],
        serde_json::json!(["Service default/reviews", "VirtualService default/reviews"])
    );
    assert_eq!(keys(&change["fields"][0]), ["path", "before", "after"]);
    let warned = with(&weights(100, 0), &["-o", "json"]).await?.json()?;
    assert_eq!(keys(&warned["warnings"][0]), ["code", "message", "hint", "place", "proxies"]);
    Ok(())
}

#[tokio::test]
async fn a_policy_is_told_for_the_workloads_that_it_is_about() -> Result<()> {
    let injected =
        |text: &str| text.replace("labels: {app: reviews", "serviceAccount: reviews, labels: {app: reviews");
    let base = folder(&[("app.yaml", &injected(APP))])?;
    let strict = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";
    let change = folder(&[("strict.yaml", strict)])?;
    let page = ended(&["diff", "--config", text(base.path())?, "--with", text(change.path())?]).await?.stdout;
    let who = "WorkloadEntry default/reviews-v1 and WorkloadEntry default/reviews-v2 (2 of 3 proxies)\n  inbound port 9080\n";
    let says = "    takes mutual TLS only (STRICT); before, it takes mutual TLS and plaintext (PERMISSIVE)\n";
    assert!(page.contains(&format!("{who}{says}")), "{page}");
    Ok(())
}

#[tokio::test]
async fn a_running_control_plane_is_a_base_too() -> Result<()> {
    let (base, change) = (reviews()?, folder(&[("change.yaml", &weights(100, 0))])?);
    let serving = Serving::start(base.path()).await?;
    let server = serving.monitoring.to_string();
    let arguments = ["diff", "--server", &server, "--strict", "--with"];
    let same = ended(&[arguments.as_slice(), &[text(base.path())?]].concat()).await?;
    assert_eq!((same.code, same.stdout.lines().next()), (Some(0), Some("No object changes.")), "{same:?}");
    let changed = ended(&[arguments.as_slice(), &[text(change.path())?]].concat()).await?;
    assert_eq!(changed.code, Some(1), "{changed:?}");
    assert!(changed.stdout.contains("all requests: v1 90 % -> 100 %, v2 10 % -> 0 %"), "{changed:?}");
    // What the folder lacks goes where it is said, of Istio's kinds and in its namespaces alone.
    let replaced =
        ended(&[arguments.as_slice(), &[text(change.path())?, "--replace"]].concat()).await?.stdout;
    assert!(replaced.contains("removed DestinationRule default/reviews"), "{replaced}");
    assert!(
        !replaced.contains("removed Service") && !replaced.contains("removed WorkloadEntry"),
        "{replaced}"
    );
    Ok(())
}

#[tokio::test]
async fn colours_are_for_terminals_and_those_who_ask() -> Result<()> {
    let plain = with(&weights(100, 0), &[]).await?.stdout;
    assert!(!plain.contains('\u{1b}'), "{plain:?}");
    let asked = with(&weights(100, 0), &["--color", "always"]).await?.stdout;
    assert!(asked.contains("\u{1b}[31mfewer-destinations\u{1b}[0m"), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_use_is_told_with_what_to_write() -> Result<()> {
    let base: TempDir = reviews()?;
    let path = text(base.path())?;
    for (more, code, says) in [
        (&["--config", path][..], 2, "--with <PATH>"),
        (&["--with", path], 2, "--config <DIR>"),
        (&["--config", path, "--delete", "vs/reviews"], 2, "KIND/NAMESPACE/NAME"),
        (&["--config", path, "--with", "/nonexistent"], 2, "there is no such file or folder"),
        (&["--config", path, "--server", "127.0.0.1:1", "--with", path], 2, "cannot be used with"),
        (&["--server", "127.0.0.1:1", "--with", path], 1, "is `meltemi serve` running"),
    ] {
        let ended = ended(&[&["diff"], more].concat()).await?;
        assert_eq!(ended.code, Some(code), "{more:?}: {ended:?}");
        assert!(ended.stderr.contains(says), "{more:?}: {}", ended.stderr);
    }
    let none = ended(&["diff", "--config", path, "--delete", "vs/default/none"]).await?;
    none.stdout.lines().next().context("a line")?;
    assert!(none.stdout.starts_with("No object changes."), "{none:?}");
    Ok(())
}
