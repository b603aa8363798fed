//! `meltemi analyze`: each code by a folder that has it, exit codes, suppression, JSON.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::program::{Serving, ended, text};
use crate::yaml::{APP, ROUTE, RULE, folder, reviews};

/// The codes of what is told of a folder with the app, its rule and this.
async fn codes(more: &str) -> Result<BTreeSet<String>> {
    let folder = folder(&[("app.yaml", APP), ("rule.yaml", RULE), ("more.yaml", more)])?;
    let report = ended(&["analyze", "--config", text(folder.path())?, "-o", "json"]).await?.json()?;
    let items = report["items"].as_array().context("items")?;
    Ok(items.iter().filter_map(|item| item["code"].as_str().map(str::to_owned)).collect())
}

fn rules(http: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {{name: reviews}}\nspec: {{hosts: [reviews], http: [{http}]}}\n"
    )
}

fn policy(spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: other}}\nspec: {{{spec}}}\n"
    )
}

fn service(name: &str, spec: &str) -> String {
    format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

fn scope(name: &str, labels: &str) -> String {
    let selector =
        if labels == "{}" { String::new() } else { format!("workloadSelector: {{labels: {labels}}}, ") };
    format!(
        "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: {name}}}\nspec: {{{selector}egress: [{{hosts: [./*]}}]}}\n"
    )
}

const EDGE: &str = "apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge}
spec: {selector: {istio: edge}, servers: [{port: {number: 8080, name: a, protocol: HTTP}, hosts: [shop.example.com]}]}
";

const TOLD: &str = "apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: told}
spec: {accessLogging: [{providers: [{name: envoy}]}]}
";

const POD: &str = "---
apiVersion: v1
kind: Pod
metadata: {name: cart-1, labels: {app: cart}}
spec: {containers: []}
status: {phase: Running, podIP: 10.0.0.9, podIPs: [{ip: 10.0.0.9}]}
";

#[tokio::test]
async fn a_clean_mesh_gets_no_code() -> Result<()> {
    assert_eq!(codes(ROUTE).await?, BTreeSet::new());
    Ok(())
}

#[tokio::test]
async fn each_code_of_istios_is_given_for_what_istio_gives_it_for() -> Result<()> {
    let two_ports = service(
        "cart",
        "selector: {app: reviews}, ports: [{name: http, port: 80}, {name: grpc, port: 81, targetPort: 81}]",
    );
    let gateway =
        ROUTE.replace("{name: reviews}", "{name: gate}").replace("  http:", "  gateways: [edge]\n  http:");
    let gateway = gateway.replace("{host: reviews, subset: v1}", "{host: reviews}");
    let cases = [
        ("IST0002", rules("{route: [{destination: {host: reviews}}], fault: {delay: {fixedDelay: 1s, percent: 5}}}")),
        ("IST0101", rules("{route: [{destination: {host: nobody}}]}")),
        ("IST0101", rules("{route: [{destination: {host: reviews, subset: v9}}]}")),
        ("IST0102", format!("apiVersion: v1\nkind: Namespace\nmetadata: {{name: default}}\n{POD}")),
        ("IST0106", rules("{route: [{destination: {host: reviews}, weight: most}]}")),
        ("IST0101", format!("{}---\n{EDGE}", ROUTE.replace("  http:", "  gateways: [other]\n  http:"))),
        ("IST0101", EDGE.replace("HTTP}", "HTTPS}, tls: {mode: SIMPLE, credentialName: nobody}")),
        ("IST0109", format!("{ROUTE}---\n{}", ROUTE.replace("{name: reviews}", "{name: second}"))),
        ("IST0110", format!("{}---\n{}{POD}", scope("one", "{app: cart}"), scope("two", "{app: cart}"))),
        ("IST0111", format!("{}---\n{}", scope("one", "{}"), scope("two", "{}"))),
        ("IST0112", format!("{}{two_ports}", rules("{route: [{destination: {host: cart}}]}"))),
        (
            "IST0116",
            format!(
                "{POD}{}{}",
                service("a", "selector: {app: cart}, ports: [{name: tcp, port: 53}]"),
                service("b", "selector: {app: cart}, ports: [{name: udp, port: 53, protocol: UDP}]")
            ),
        ),
        ("IST0118", service("a", "selector: {app: reviews}, ports: [{name: web, port: 80}]")),
        (
            "IST0123",
            "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {istio-injection: enabled, istio.io/rev: next}}\n".to_owned(),
        ),
        (
            "IST0127",
            "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: x}\nspec: {selector: {matchLabels: {app: gone}}}\n".to_owned(),
        ),
        ("IST0128", policy("host: reviews, trafficPolicy: {tls: {mode: SIMPLE}}")),
        ("IST0129", policy("host: reviews, trafficPolicy: {portLevelSettings: [{port: {number: 9080}, tls: {mode: SIMPLE}}]}")),
        ("IST0130", rules("{route: [{destination: {host: reviews}}]}, {route: [{destination: {host: reviews}}]}")),
        (
            "IST0131",
            rules("{match: [{uri: {prefix: /a}}], route: [{destination: {host: reviews}}]}, {match: [{uri: {prefix: /a/b}}, {uri: {prefix: /c}}], route: [{destination: {host: reviews}}]}"),
        ),
        ("IST0132", format!("{}---\n{EDGE}", ROUTE.replace("  http:", "  gateways: [edge]\n  http:"))),
        ("IST0133", rules("{route: [{destination: {host: reviews, subset: v1}, weight: 50}, {destination: {host: reviews, subset: v2}, weight: 20}]}")),
        (
            "IST0137",
            format!(
                "{POD}{}{}",
                service("a", "selector: {app: cart}, ports: [{name: http, port: 80, targetPort: 8080}]"),
                service("b", "selector: {app: cart}, ports: [{name: http, port: 81, targetPort: 8080}]")
            ),
        ),
        ("IST0140", format!("{ROUTE}---\n{gateway}")),
        ("IST0145", format!("{EDGE}---\n{}", EDGE.replace("{name: edge}", "{name: late}").replace("HTTP}", "TCP}"))),
        ("IST0150", service("a", "type: ExternalName, externalName: db.example.com, ports: [{name: db, port: 5555}]")),
        ("IST0160", format!("{}---\n{}", TOLD, TOLD.replace("{name: told}", "{name: twice}"))),
        (
            "IST0161",
            format!(
                "{}---\napiVersion: v1\nkind: Secret\ntype: Opaque\nmetadata: {{name: half}}\nstringData: {{ca.crt: \"-----BEGIN CERTIFICATE-----\\nAAAA\\n-----END CERTIFICATE-----\\n\"}}\n",
                EDGE.replace("HTTP}", "HTTPS}, tls: {mode: SIMPLE, credentialName: half}")
            ),
        ),
        ("IST0173", policy("host: reviews, subsets: [{name: v9, labels: {version: v9}}]")),
        ("IST0174", policy("host: nobody")),
    ];
    for (code, more) in cases {
        let given = codes(&more).await?;
        assert!(given.contains(code), "{code}: {given:?} of\n{more}");
    }
    Ok(())
}

#[tokio::test]
async fn a_metric_that_nobody_counts_is_found_in_the_rules_of_other_tools() -> Result<()> {
    let template = "\
apiVersion: flagger.app/v1beta1
kind: MetricTemplate
metadata: {name: errors}
spec:
  query: |
    sum(rate(istio_request_total{response_code=~\"5.*\"}[1m]))
";
    let folder = folder(&[("flagger.yaml", template)])?;
    let path = text(folder.path())?;
    let ended = ended(&["analyze", "--config", path, "--failure-threshold", "warning"]).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let expected = format!(
        "warning [metric-unknown] {path}/flagger.yaml:6:14: no proxy counts `istio_request_total`\n    did you mean `istio_requests_total`?\n"
    );
    assert!(ended.stdout.starts_with(&expected), "{}", ended.stdout);
    Ok(())
}

#[tokio::test]
async fn the_exit_code_follows_the_threshold() -> Result<()> {
    let clean = reviews()?;
    // An error by Istio's measure, a warning, a note.
    let error = folder(&[("a.yaml", APP), ("b.yaml", ROUTE)])?;
    let warning = folder(&[("a.yaml", APP), ("b.yaml", &policy("host: nobody"))])?;
    let note = folder(&[("a.yaml", &APP.replace("name: http, ", "name: web, "))])?;
    for (folder, fails) in [
        (&clean, [false; 3]),
        (&error, [true; 3]),
        (&warning, [false, true, true]),
        (&note, [false, false, true]),
    ] {
        for (level, fails) in ["Error", "warning", "info"].into_iter().zip(fails) {
            let arguments = ["analyze", "--config", text(folder.path())?, "--failure-threshold", level];
            let ended = ended(&arguments).await?;
            assert_eq!(ended.code, Some(i32::from(fails)), "{level}: {ended:?}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn what_is_suppressed_is_not_told() -> Result<()> {
    let folder = folder(&[("a.yaml", APP), ("b.yaml", &policy("host: nobody"))])?;
    let path = text(folder.path())?;
    for (suppress, stays) in [
        ("IST0174=DestinationRule other.default", false),
        ("IST0174=DestinationRule *.default", false),
        ("*=* *", false),
        ("IST0174=DestinationRule other.shop", true),
        ("IST0101=DestinationRule *", true),
    ] {
        let page = ended(&["analyze", "--config", path, "-S", suppress]).await?.stdout;
        assert_eq!(page.contains("IST0174"), stays, "{suppress}: {page}");
    }
    let own = policy("host: nobody")
        .replace("{name: other}", "{name: other, annotations: {galley.istio.io/analyze-suppress: IST0174}}");
    std::fs::write(folder.path().join("b.yaml"), own)?;
    let page = ended(&["analyze", "--config", path]).await?.stdout;
    assert!(!page.contains("IST0174"), "{page}");
    Ok(())
}

#[tokio::test]
async fn json_items_have_exactly_the_promised_fields() -> Result<()> {
    let folder = folder(&[("a.yaml", APP), ("b.yaml", ROUTE)])?;
    let report = ended(&["analyze", "--config", text(folder.path())?, "-o", "json"]).await?.json()?;
    let item = &report["items"][0];
    let keys: Vec<&str> = item.as_object().context("an object")?.keys().map(String::as_str).collect();
    let expected = [
        "severity",
        "code",
        "title",
        "finding",
        "kind",
        "namespace",
        "name",
        "field",
        "message",
        "hint",
        "file",
        "line",
        "column",
    ];
    assert_eq!(keys, expected);
    let told: Vec<&Value> =
        ["severity", "code", "title", "finding", "kind"].iter().map(|key| &item[*key]).collect();
    assert_eq!(
        told,
        ["error", "IST0101", "ReferencedResourceNotFound", "subset-not-found", "VirtualService"]
    );
    assert_eq!(item["line"], 8);
    Ok(())
}

#[tokio::test]
async fn a_running_control_plane_is_analyzed_too() -> Result<()> {
    let folder = folder(&[("a.yaml", APP), ("b.yaml", ROUTE)])?;
    let serving = Serving::start(folder.path()).await?;
    let ended = ended(&["analyze", "--server", &serving.monitoring.to_string()]).await?;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let line = "error [IST0101 ReferencedResourceNotFound] VirtualService default/reviews: ";
    assert!(ended.stdout.starts_with(line), "{ended:?}");
    Ok(())
}

#[tokio::test]
async fn colours_are_for_terminals_and_those_who_ask() -> Result<()> {
    let folder = folder(&[("a.yaml", APP), ("b.yaml", ROUTE)])?;
    let arguments = ["analyze", "--config", text(folder.path())?];
    assert!(!ended(&arguments).await?.stdout.contains('\u{1b}'));
    let asked = ended(&[arguments.as_slice(), &["--color", "always"]].concat()).await?.stdout;
    assert!(asked.starts_with("\u{1b}[31merror\u{1b}[0m"), "{asked:?}");
    Ok(())
}
