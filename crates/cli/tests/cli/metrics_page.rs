//! docs/metrics.md is made from the names that are counted by and from the table of docs/operations.md, so that it cannot rot.
//! That the table has all that is served is for `operations` to check.

use std::path::Path;

use meltemi_telemetry::{metric, rule};

const HEAD: &str = "# Metrics

Made by a test (`UPDATE=1 cargo xtask test -p meltemi-cli --test cli metrics_page` writes it).

## Of traffic

Each proxy counts the requests and connections that pass it, under Istio's names: the caller's as `reporter=\"source\"`, that of who is called
as `reporter=\"destination\"`. Envoy has them at `/stats/prometheus`, as `envoy_istio_...` and with packed labels; the rules of
`deploy/prometheus/relabel.yaml`, under `metric_relabel_configs`, make Istio's of them. `meltemi agent` has done so on its page at port 15020. [compat.md](compat.md#metrics-of-traffic) says which labels are known
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

What it costs in Envoy 1.40, measured on two busy cores, small requests over one worker, five pairs: 36 us of CPU for each request without it, 46 us with it
(medians; an access log to a file: 37 us). A filter chain grows by 2 kB; a thousand TCP services, each with a listener of its own, made Envoy 26 MB larger. HTTP
services of one port share one listener.

## Of the control plane

At `:15014/metrics`, in OpenMetrics; [operations.md](operations.md#alerts) has alerts. Those that count by a label appear with the first of what they
count, those of the cluster's followers (`meltemi_sources_kube_...`) in a cluster only.

| metric | |
|---|---|
";

#[test]
fn the_page_of_metrics_is_what_is_counted() {
    let mut page = HEAD.to_owned();
    for (name, kind, what) in metric::ALL {
        page += &format!("| `{name}` | {kind} | {what} |\n");
    }
    let labels: Vec<String> = rule::LABELS.iter().map(|label| format!("`{label}`")).collect();
    page += LABELS;
    page += &labels.join(", ");
    page += RULES;

    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    let operations = std::fs::read_to_string(docs.join("operations.md")).unwrap();
    let (_, section) = operations.split_once("\n## Metrics\n").unwrap();
    let (table, _) = section.split_once("\n### Alerts\n").unwrap();
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 25, "{rows:?}");
    for row in rows {
        // A link within that page.
        page += &row.replace("](#", "](operations.md#");
        page.push('\n');
    }

    let path = docs.join("metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == page, "docs/metrics.md is out of step; UPDATE=1 writes it. It would be:\n{page}");
}
