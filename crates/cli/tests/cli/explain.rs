//! `meltemi explain`: the page and its JSON, by the words that people and scripts read.

use anyhow::{Context, Result};
use serde_json::Value;
use tempfile::TempDir;

use crate::program::{Ended, Serving, ended, text};
use crate::yaml::{APP, ROUTE, RULE, folder};

/// Rules for testers before the canary.
const TESTERS: &str = "\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews}
spec:
  hosts: [reviews]
  http:
  - name: testers
    match:
    - headers: {end-user: {exact: jason}}
    - sourceLabels: {app: test}
    route: [{destination: {host: reviews, subset: v2}}]
    timeout: 2s
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - match: [{uri: {prefix: /gone}}]
    route: [{destination: {host: reviews, subset: v9}}]
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
";

fn testers() -> Result<TempDir> {
    folder(&[("app.yaml", APP), ("route.yaml", TESTERS), ("rule.yaml", RULE)])
}

async fn explained(folder: &TempDir, more: &[&str]) -> Result<Ended> {
    let arguments = ["explain", "--config", text(folder.path())?, "--from", "client.default"];
    let ended = ended(&[arguments.as_slice(), more].concat()).await?;
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    Ok(ended)
}

/// The lines of a section of the page, its title apart.
fn section(page: &str, title: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let mut inside = false;
    for line in page.lines() {
        let (head, rest) = line.split_at_checked(10).unwrap_or((line, ""));
        if !head.trim().is_empty() {
            inside = head.trim() == title;
        }
        if inside {
            lines.push(rest.trim_end().to_owned());
        }
    }
    lines
}

/// The own namespace's service is not among what the Sidecar lists.
const SCOPED: &str = "\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: narrow}
spec:
  egress: [{hosts: [elsewhere/*]}]
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
";

#[tokio::test]
async fn a_host_out_of_the_senders_scope_is_named_with_the_sidecar() -> Result<()> {
    let folder = folder(&[("app.yaml", APP), ("sidecar.yaml", SCOPED)])?;
    let page = explained(&folder, &["GET", "http://reviews:9080/"]).await?.stdout;
    let said = "it is not in the scope of Sidecar default/narrow: the sender's proxy does not know it";
    assert_eq!(section(&page, "Name")[1], said, "{page}");
    let widened = SCOPED.replace("elsewhere/*", "./*");
    let folder = crate::yaml::folder(&[("app.yaml", APP), ("sidecar.yaml", &widened)])?;
    let page = explained(&folder, &["GET", "http://reviews:9080/"]).await?.stdout;
    assert!(!page.contains("not in the scope"), "{page}");
    Ok(())
}

#[tokio::test]
async fn the_page_names_the_rule_its_place_and_why_those_before_did_not_match() -> Result<()> {
    let folder = testers()?;
    let page = explained(&folder, &["GET", "http://reviews:9080/reviews"]).await?.stdout;
    let file = text(folder.path())?;
    let of = |line: u32, rule: &str| {
        format!("VirtualService default/reviews, spec.http{rule} ({file}/route.yaml:{line})")
    };
    let expected = [
        "4, in order".to_owned(),
        format!("no  {} \"testers\"", of(9, "[0].match[0]")),
        "    header end-user must be \"jason\"; the request has none".to_owned(),
        format!("no  {}", of(10, "[0].match[1]")),
        "    is for senders with other labels (sourceLabels)".to_owned(),
        format!("no  {}", of(13, "[1].match[0]")),
        "    the path must begin with \"/old\"; it is \"/reviews\"".to_owned(),
        format!("no  {}", of(15, "[2].match[0]")),
        "    the path must begin with \"/gone\"; it is \"/reviews\"".to_owned(),
        format!("yes {}", of(17, "[3]")),
        "    takes every request".to_owned(),
    ];
    assert_eq!(section(&page, "Rules"), expected, "{page}");
    assert_eq!(
        section(&page, "Name")[0],
        "reviews is Service default/reviews, without an address of its own"
    );
    let goes_to = section(&page, "Goes to");
    assert!(
        goes_to[0].starts_with("90 %: outbound|9080|v1|reviews.default.svc.cluster.local, subset v1"),
        "{page}"
    );
    assert_eq!(goes_to[2].trim(), "10.0.0.1:9080           100 %");
    assert_eq!(section(&page, "Timeout"), ["none"]);
    let expected = [
        "90 %: what an endpoint of subset v1 of reviews.default.svc.cluster.local answers",
        "10 %: what an endpoint of subset v2 of reviews.default.svc.cluster.local answers",
    ];
    assert_eq!(section(&page, "Sees"), expected, "{page}");
    Ok(())
}

#[tokio::test]
async fn what_a_request_carries_and_who_sends_it_decide() -> Result<()> {
    let folder = testers()?;
    let url = "http://reviews.default:9080/";
    let by_header = explained(&folder, &["-H", "End-User: jason", "GET", url]).await?.stdout;
    assert_eq!(section(&by_header, "Timeout"), ["2s for all tries together"], "{by_header}");
    let by_label = explained(&folder, &["--label", "app=test", "GET", url]).await?.stdout;
    let rules = section(&by_label, "Rules");
    assert!(rules[3].starts_with("yes VirtualService default/reviews, spec.http[0].match[1]"), "{by_label}");
    let redirected = explained(&folder, &["GET", "http://reviews:9080/old"]).await?.stdout;
    let expected = ["the sender is told to go to http://reviews:9080/new (301)"];
    assert_eq!(section(&redirected, "Then"), expected, "{redirected}");
    Ok(())
}

#[tokio::test]
async fn what_is_missing_is_told_with_what_the_sender_sees() -> Result<()> {
    let folder = testers()?;
    for (url, title, says) in [
        ("http://reviews:9080/gone", "Sees", "503 (NC): the rule sends to a cluster that there is not"),
        ("http://reviews:9080/gone", "Goes to", "a cluster that there is not"),
        ("http://reviews:81/", "Name", "it has no port 81; it has 9080"),
        (
            "http://nobody:9080/",
            "Name",
            "nobody is no service that the sender sees; where it leads is for DNS",
        ),
        (
            "http://nobody:9080/",
            "Rules",
            "hosts that nobody knows are let through (outboundTrafficPolicy ALLOW_ANY)",
        ),
        ("tcp://reviews:9080", "Listener", "sends the connection on as it is"),
    ] {
        let page = explained(&folder, &["GET", url]).await?.stdout;
        let lines = section(&page, title).join("\n");
        assert!(lines.contains(says), "{url}: {page}");
    }
    let page = explained(&folder, &["GET", "http://reviews:9080/gone"]).await?.stdout;
    assert!(section(&page, "Look at").iter().any(|line| line.contains("v9")), "{page}");
    Ok(())
}

#[tokio::test]
async fn json_has_the_same_for_scripts() -> Result<()> {
    let folder = testers()?;
    let all = explained(&folder, &["-o", "json", "GET", "http://reviews:9080/x?y=z"]).await?.json()?;
    let keys: Vec<&str> = all.as_object().context("an object")?.keys().map(String::as_str).collect();
    let expected = [
        "url",
        "host",
        "from",
        "request",
        "target",
        "way",
        "rules",
        "passed_over",
        "policies",
        "receivers",
        "telemetry",
        "findings",
    ];
    assert_eq!(keys, expected);
    let handling = &all["way"]["handling"];
    assert_eq!((&handling["kind"], &handling["route_configuration"]), (&"http".into(), &"9080".into()));
    assert_eq!(handling["virtual_host"]["domain"], "reviews");
    let clusters = handling["route"]["action"]["destinations"].as_array().context("destinations")?;
    let shares: Vec<&Value> = clusters.iter().map(|cluster| &cluster["share"]).collect();
    assert_eq!(shares, [90.0, 10.0]);
    let rule = &all["rules"][3]["written"];
    assert_eq!(
        (&rule["name"], &rule["field"], &rule["place"]["line"]),
        (&"reviews".into(), &"spec.http[3]".into(), &17.into())
    );
    assert_eq!(all["passed_over"][0]["reason"], "labels");
    assert_eq!(all["receivers"][0]["workload"]["name"], "reviews-v1");
    assert_eq!(all["way"]["seen"][0]["seen"], "endpoint");
    Ok(())
}

#[tokio::test]
async fn identity_and_tls_are_told_for_both_sides() -> Result<()> {
    let account = |text: &str| {
        text.replace(
            "labels: {app: reviews, version: v1}",
            "serviceAccount: reviews, labels: {app: reviews, version: v1, security.istio.io/tlsMode: istio}",
        )
    };
    let strict = "\
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default}
spec: {mtls: {mode: STRICT}}
";
    let folder = folder(&[("app.yaml", &account(APP)), ("strict.yaml", strict)])?;
    let only_v1 = ROUTE.replace("weight: 90", "weight: 100").replace("weight: 10\n", "weight: 0\n");
    std::fs::write(folder.path().join("route.yaml"), only_v1)?;
    std::fs::write(folder.path().join("rule.yaml"), RULE)?;
    let page = explained(&folder, &["GET", "http://reviews:9080/"]).await?.stdout;
    let expected = [
        "to 10.0.0.1:9080: mutual TLS, as spiffe://cluster.local/ns/default/sa/default",
        "  accepts only spiffe://cluster.local/ns/default/sa/reviews",
        "  verifies by ROOTCA",
    ];
    assert_eq!(section(&page, "TLS")[..3], expected, "{page}");
    let expected = [
        "10.0.0.1:9080, WorkloadEntry default/reviews-v1: its sidecar takes mutual TLS only (STRICT)",
        "  knows the sender as spiffe://cluster.local/ns/default/sa/default",
    ];
    assert_eq!(section(&page, "At"), expected, "{page}");

    let page = explained(&folder, &["--without-certificate", "GET", "http://reviews:9080/"]).await?.stdout;
    let expected = ["to 10.0.0.1:9080: in the clear: the sender's sidecar has no certificate"];
    assert_eq!(section(&page, "TLS"), expected, "{page}");
    assert_eq!(section(&page, "At")[1], "  refuses it: the sender speaks in the clear", "{page}");
    let expected = ["503 (UC): no connection to subset v1 of reviews.default.svc.cluster.local comes about"];
    assert_eq!(section(&page, "Sees"), expected, "{page}");

    let page = explained(&folder, &["GET", "http://reviews-v2:9080/"]).await?.stdout;
    assert_eq!(section(&page, "TLS"), ["to the destination: in the clear"], "{page}");
    Ok(())
}

#[tokio::test]
async fn colours_are_for_terminals_and_those_who_ask() -> Result<()> {
    let folder = testers()?;
    let url = ["GET", "http://reviews:9080/"];
    let piped = explained(&folder, &url).await?.stdout;
    assert!(!piped.contains('\u{1b}'), "{piped:?}");
    let asked = explained(&folder, &[&["--color", "always"], url.as_slice()].concat()).await?.stdout;
    assert!(asked.contains("\u{1b}[32myes\u{1b}[0m"), "{asked:?}");
    Ok(())
}

#[tokio::test]
async fn wrong_use_is_told_with_what_to_write() -> Result<()> {
    let folder = testers()?;
    let path = text(folder.path())?;
    let base = ["explain", "--config", path, "--from", "client.default"];
    for (more, says) in [
        (&["GET", "ftp://reviews/"][..], "`ftp` is no scheme"),
        (&["GET", "http://reviews:port/"], "`port` is no port"),
        (&["GET", "http:///x"], "the URL names no host; write it as http://reviews:9080/"),
        (&["get", "http://reviews/"], "write it as GET"),
        (&["http://reviews/", "GET"], "the method comes first"),
        (&["-H", "jason", "GET", "http://reviews/"], "NAME: VALUE"),
        (&["GET"], "<URL>"),
    ] {
        let ended = ended(&[base.as_slice(), more].concat()).await?;
        assert_eq!(ended.code, Some(2), "{more:?}");
        assert!(ended.stderr.contains(says), "{more:?}: {}", ended.stderr);
    }
    let other = ended(&["explain", "--config", path, "--from", "client", "GET", "http://reviews/"]).await?;
    assert!(other.code == Some(2) && other.stderr.contains("NAME.NAMESPACE"), "{}", other.stderr);
    let arguments = ["explain", "--server", "127.0.0.1:1", "--from", "a.b", "GET", "http://reviews/"];
    let server = ended(&arguments).await?;
    assert!(
        server.code == Some(1) && server.stderr.contains("is `meltemi serve` running"),
        "{}",
        server.stderr
    );
    Ok(())
}

#[tokio::test]
async fn a_running_control_plane_answers_as_its_folder_does_but_for_the_places() -> Result<()> {
    let folder = testers()?;
    let serving = Serving::start(folder.path()).await?;
    let request = ["--from", "client.default", "--label", "app=test", "GET", "http://reviews:9080/reviews"];
    let server = serving.monitoring.to_string();
    let asked = ended(&[&["explain", "--server", &server], request.as_slice()].concat()).await?;
    assert_eq!(asked.code, Some(0), "{}", asked.stderr);
    let read = explained(&folder, &request[2..]).await?.stdout;
    let without_places: Vec<String> = read
        .lines()
        .map(|line| match (line.find(&format!(" ({}", folder.path().display())), line.find(')')) {
            (Some(from), Some(to)) if from < to => format!("{}{}", &line[..from], &line[to + 1..]),
            _ => line.to_owned(),
        })
        .collect();
    assert_eq!(asked.stdout.lines().collect::<Vec<_>>(), without_places);
    Ok(())
}

#[tokio::test]
async fn the_page_says_a_tunnel_a_header_a_budget_and_which_endpoints_come_first() -> Result<()> {
    let entry = |name: &str, address: &str, locality: &str| {
        format!(
            "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {{name: {name}}}\nspec: {{address: {address}, labels: {{app: a}}, locality: {locality}}}\n"
        )
    };
    let service = "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {selector: {app: a}, ports: [{name: http, port: 80}, {name: tcp, port: 81}]}\n";
    let rule = "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a, trafficPolicy: {POLICY, outlierDetection: {outlierDetectionHttpErrorCodes: [429], consecutive5xxErrors: 3}, retryBudget: {percent: 25}}}\n";
    let all = format!("{service}{}{}{rule}", entry("far", "10.1.0.1", "us"), entry("near", "10.1.0.2", "eu"));
    let said = async |policy: &str, asked: &[&str]| -> Result<String> {
        let folder = folder(&[("a.yaml", &all.replace("POLICY", policy))])?;
        let place = ["--label", "topology.istio.io/locality=eu"];
        Ok(explained(&folder, &[&place, asked].concat()).await?.stdout)
    };
    let page = said("proxyProtocol: {version: V2}", &["GET", "http://a/"]).await?;
    let goes = section(&page, "Goes to").join("\n");
    for words in ["PROXY protocol header (v2)", "10.1.0.2:80", "100 %", "0 %, priority 1, in us"] {
        assert!(goes.contains(words), "{words}\n{page}");
    }
    let limits = section(&page, "Limits").join("\n");
    for words in ["at most 25 % are retries, and 3 always may be", "3 answers of 429 in a row"] {
        assert!(limits.contains(words), "{words}\n{page}");
    }
    let page = said("tunnel: {targetHost: out.example, targetPort: 443}", &["GET", "tcp://a:81/"]).await?;
    assert_eq!(
        section(&page, "Tunnel"),
        ["to out.example:443, which that endpoint is asked to open by CONNECT"]
    );
    Ok(())
}
