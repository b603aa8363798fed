//! docs/metrics.md is made from what is served and what is counted, so that it cannot rot.

use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use meltemi_telemetry::{metric, rule};

use crate::program::Serving;
use crate::yaml::reviews;

const HEAD: &str = "# Metrics

Made by a test (`UPDATE=1 cargo xtask test -p meltemi-cli --test cli metrics_page` writes it).

## Of traffic

Each proxy counts the requests and connections that pass it, under Istio's names: the caller's as `reporter=\"source\"`, that of who is called
as `reporter=\"destination\"`. Envoy has them at `/stats/prometheus`, as `envoy_istio_...` and with packed labels; the rules of
`deploy/prometheus/relabel.yaml`, under `metric_relabel_configs`, make Istio's of them. [compat.md](compat.md#metrics-of-traffic) says which labels are known
where. `defaultProviders: {metrics: []}` in the mesh's settings switches all of it off, in every proxy, at once.

| metric | kind | |
|---|---|---|
";

const LABELS: &str = "
Labels, all with `unknown` where nothing is known: ";

const RULES: &str = "; `request_protocol`; of HTTP also `response_code`, and of gRPC `grpc_response_status`.

What a release is judged by, here the errors and the slowest 1 % of version v2 of a service:

    sum(rate(istio_requests_total{reporter=\"source\",destination_service=\"reviews.shop.svc.cluster.local\",destination_version=\"v2\",response_code=~\"5.*\"}[5m]))
      / sum(rate(istio_requests_total{reporter=\"source\",destination_service=\"reviews.shop.svc.cluster.local\",destination_version=\"v2\"}[5m]))
    histogram_quantile(0.99, sum by (le) (rate(istio_request_duration_milliseconds_bucket{reporter=\"source\",destination_service=\"reviews.shop.svc.cluster.local\",destination_version=\"v2\"}[5m])))

Envoy puts durations into its histograms every 5 s, and counts at once: scraped faster, counts are ahead.

## Of the control plane

At `:15014/metrics`; [operations.md](operations.md#metrics) says what to make of them, and has those of the cluster's followers
(`meltemi_sources_kube_...`), which are there in a cluster only.

| metric | kind | |
|---|---|---|
";

#[tokio::test]
async fn the_page_of_metrics_is_what_is_served() -> Result<()> {
    let mut page = HEAD.to_owned();
    for (name, kind, what) in metric::ALL {
        writeln!(page, "| `{name}` | {kind} | {what} |")?;
    }
    let labels: Vec<String> = rule::LABELS.iter().map(|label| format!("`{label}`")).collect();
    write!(page, "{LABELS}{}{RULES}", labels.join(", "))?;

    let folder = reviews()?;
    let serving = Serving::start(folder.path()).await?;
    let served = serving.page(serving.monitoring, "/metrics").await?.text();
    let mut rows = Vec::new();
    let mut help = ("", "");
    for line in served.lines() {
        if let Some((name, text)) = line.strip_prefix("# HELP ").and_then(|line| line.split_once(' ')) {
            help = (name, text);
        }
        // Help comes first.
        let kind = line.strip_prefix("# TYPE ").and_then(|line| line.split_once(' '));
        if let Some((name, kind)) = kind.filter(|(name, _)| *name == help.0) {
            let suffix = if kind == "counter" { "_total" } else { "" };
            let text = help.1.trim_end_matches('.').trim_end_matches(" (unstable)");
            rows.push(format!("| `{name}{suffix}` | {kind} | {text} |\n"));
        }
    }
    rows.sort();
    assert!(rows.len() > 15, "{served}");
    page.extend(rows);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page)?;
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of step; UPDATE=1 writes it. It would be:\n{page}");
    Ok(())
}
