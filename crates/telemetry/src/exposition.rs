//! Metrics as text: one scrape of Envoy's `/stats/prometheus`, with the metrics of traffic spread into Istio's.
//!
//! Knows: Prometheus' text format. Must not know what the labels mean: [`crate::rule`] does.

use std::collections::HashMap;
use std::sync::LazyLock;

use regex::Regex;

use crate::metric::ENVOY_PREFIX;
use crate::rule::{PACKED, Rule, rules};
use crate::tag;

/// The rules, ready to apply. That each compiles is tested.
static READY: LazyLock<Vec<(Regex, Rule)>> = LazyLock::new(|| {
    let whole = |rule: Rule| Some((anchored(&rule.regex)?, rule));
    rules().into_iter().filter_map(whole).collect()
});

static DROPPED: LazyLock<Option<Regex>> = LazyLock::new(|| anchored(PACKED));

fn anchored(regex: &str) -> Option<Regex> {
    Regex::new(&format!("^(?:{regex})$")).ok()
}

/// A scrape's text with Istio's names and labels where there are metrics of traffic; every other line as it is. A line that cannot be
/// read stays as it is, too. Series that differ only in labels that a Telemetry takes away come out as one, with the sum of their values.
pub fn spread(exposition: &str) -> String {
    // Spread labels are about twice as long; what is not of traffic is most of a scrape.
    let mut out = String::with_capacity(exposition.len() * 3 / 2);
    let mut sums = Sums::default();
    for line in exposition.lines() {
        // Of a metric's series all come before the next metric.
        if line.starts_with('#') {
            sums.write(&mut out);
        }
        match spread_line(line) {
            Some(Spread::Head(head)) => out.push_str(&head),
            Some(Spread::Series { name, rest, merged: false }) => {
                out.push_str(&name);
                out.push_str(rest);
            }
            Some(Spread::Series { name, rest, merged: true }) => {
                sums.add(name, rest);
                continue;
            }
            None => out.push_str(line),
        }
        out.push('\n');
    }
    sums.write(&mut out);
    out
}

/// Series that may come out with equal labels, and their sums, in the order in which they came.
#[derive(Default)]
struct Sums {
    at: HashMap<String, usize>,
    series: Vec<(String, f64)>,
}

impl Sums {
    fn add(&mut self, name: String, rest: &str) {
        // Envoy writes no times.
        let value = rest.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or_default();
        let at = *self.at.entry(name.clone()).or_insert(self.series.len());
        match self.series.get_mut(at) {
            Some((_, sum)) => *sum += value,
            None => self.series.push((name, value)),
        }
    }

    fn write(&mut self, out: &mut String) {
        self.at.clear();
        for (name, sum) in self.series.drain(..) {
            out.push_str(&format!("{name} {sum}\n"));
        }
    }
}

/// A line that is another one afterwards.
enum Spread<'a> {
    Head(String),
    Series {
        /// With its labels.
        name: String,
        /// Value and time, as they stand.
        rest: &'a str,
        /// Others may come out with the same name.
        merged: bool,
    },
}

/// None for a line that stays.
fn spread_line(line: &str) -> Option<Spread<'_>> {
    for keyword in ["# TYPE ", "# HELP "] {
        if let Some(rest) = line.strip_prefix(keyword) {
            let named = rest.strip_prefix(ENVOY_PREFIX).filter(|name| name.starts_with("istio_"))?;
            return Some(Spread::Head(format!("{keyword}{named}")));
        }
    }
    line.strip_prefix(ENVOY_PREFIX).filter(|name| name.starts_with("istio_"))?;
    let mut sample = Sample::read(line)?;
    let merged = !sample.value(tag::REMOVED).is_empty();
    for (regex, rule) in READY.iter() {
        let values: Vec<&str> = rule.source_labels.iter().map(|label| sample.value(label)).collect();
        let joined = values.join(";");
        if let Some(found) = regex.captures(&joined) {
            let mut value = String::new();
            found.expand(rule.replacement, &mut value);
            sample.set(&rule.target_label, value);
        }
    }
    let set = sample
        .labels
        .iter()
        .filter_map(|(name, value)| Some((name.strip_prefix(tag::SET)?.to_owned(), value.clone())));
    for (name, value) in set.collect::<Vec<_>>() {
        sample.set(&name, value);
    }
    if let Some(dropped) = &*DROPPED {
        sample.labels.retain(|(name, _)| !dropped.is_match(name));
    }
    Some(Spread::Series { name: sample.written(), rest: sample.rest, merged })
}

/// A line of a metric, with its name as the label `__name__`.
struct Sample<'a> {
    labels: Vec<(String, String)>,
    /// Value and time, as they stand.
    rest: &'a str,
}

const NAME: &str = "__name__";

impl<'a> Sample<'a> {
    fn read(line: &'a str) -> Option<Self> {
        let (name, rest) = line.split_at(line.find(['{', ' '])?);
        let mut labels = vec![(NAME.to_owned(), name.to_owned())];
        let Some(mut rest) = rest.strip_prefix('{') else { return Some(Self { labels, rest }) };
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(rest) = rest.strip_prefix('}') {
                return Some(Self { labels, rest });
            }
            let (label, value) = rest.split_once("=\"")?;
            let (value, after) = unquoted(value)?;
            labels.push((label.to_owned(), value));
            rest = after;
        }
    }

    fn value(&self, label: &str) -> &str {
        self.labels.iter().find(|(name, _)| name == label).map_or("", |(_, value)| value)
    }

    fn set(&mut self, label: &str, value: String) {
        match self.labels.iter_mut().find(|(name, _)| name == label) {
            Some((_, old)) => *old = value,
            None => self.labels.push((label.to_owned(), value)),
        }
    }

    fn written(&self) -> String {
        let labels = self.labels.iter().filter(|(name, value)| name != NAME && !value.is_empty());
        let labels: Vec<String> =
            labels.map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
        let name = self.value(NAME);
        if labels.is_empty() { name.to_owned() } else { format!("{name}{{{}}}", labels.join(",")) }
    }
}

/// The value up to its closing quote, and what comes after that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut signs = text.char_indices();
    while let Some((at, sign)) = signs.next() {
        match sign {
            '"' => return Some((value, text.get(at + 1..)?)),
            '\\' => value.push(match signs.next()?.1 {
                'n' => '\n',
                other => other,
            }),
            other => value.push(other),
        }
    }
    None
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::{DROPPED, READY, spread};
    use crate::rule::rules;

    /// The labels of the one sample in `line`, sorted.
    fn labels(line: &str) -> Vec<String> {
        let spread = spread(line);
        let (_, rest) = spread.split_once('{').unwrap();
        let (inside, _) = rest.rsplit_once('}').unwrap();
        let mut labels: Vec<String> = inside.split("\",").map(|label| label.replace('"', "")).collect();
        labels.sort();
        labels
    }

    #[test]
    fn every_rule_compiles() {
        assert_eq!(READY.len(), rules().len());
        assert!(DROPPED.is_some());
    }

    #[test]
    fn a_callers_report_becomes_istios_series() {
        let line = concat!(
            r#"envoy_istio_requests_total{reporter="source",istio_source="web-1;shop;web;v7;Kubernetes","#,
            r#"istio_destination="reviews-v2;books;reviews;v2;east","#,
            r#"istio_service="reviews.books.svc.cluster.local;reviews;books",response_code="503","#,
            r#"grpc_response_status="",response_flags="UF,URX"} 7"#
        );
        let expected = [
            "connection_security_policy=unknown",
            "destination_app=reviews",
            "destination_canonical_revision=v2",
            "destination_canonical_service=reviews",
            "destination_cluster=east",
            "destination_principal=unknown",
            "destination_service=reviews.books.svc.cluster.local",
            "destination_service_name=reviews",
            "destination_service_namespace=books",
            "destination_version=v2",
            "destination_workload=reviews-v2",
            "destination_workload_namespace=books",
            "reporter=source",
            "request_protocol=http",
            "response_code=503",
            "response_flags=UF,URX",
            "source_app=web",
            "source_canonical_revision=v7",
            "source_canonical_service=web",
            "source_cluster=Kubernetes",
            "source_principal=unknown",
            "source_version=v7",
            "source_workload=web-1",
            "source_workload_namespace=shop",
        ];
        assert_eq!(labels(line), expected);
        assert!(spread(line).starts_with("istio_requests_total{"));
        assert!(spread(line).ends_with("} 7\n"));
    }

    #[test]
    fn what_is_not_known_is_unknown() {
        let line = r#"envoy_istio_tcp_connections_opened_total{reporter="source",istio_service=";PassthroughCluster;"} 1"#;
        let labels = labels(line);
        for expected in [
            "request_protocol=tcp",
            "destination_service=unknown",
            "destination_service_name=PassthroughCluster",
            "destination_service_namespace=unknown",
            "destination_workload=unknown",
            "source_workload=unknown",
            "response_flags=unknown",
        ] {
            assert!(labels.iter().any(|label| label == expected), "{expected} in {labels:?}");
        }
    }

    #[test]
    fn labels_of_a_workload_go_before_its_canonical_names() {
        let of = |packed: &str| {
            let labels =
                labels(&format!("envoy_istio_request_bytes_sum{{istio_destination=\"{packed}\"}} 1"));
            let of = labels.into_iter().filter(|label| {
                ["destination_app", "destination_version", "destination_canonical"]
                    .iter()
                    .any(|name| label.starts_with(name))
            });
            of.collect::<Vec<_>>()
        };
        assert_eq!(
            of("w;n;shop-web;1.2;c;web;v2"),
            [
                "destination_app=web",
                "destination_canonical_revision=1.2",
                "destination_canonical_service=shop-web",
                "destination_version=v2"
            ]
        );
        assert_eq!(
            of("w;n;web;;c"),
            [
                "destination_app=web",
                "destination_canonical_revision=latest",
                "destination_canonical_service=web",
                "destination_version=unknown"
            ]
        );
    }

    #[test]
    fn a_grpc_status_tells_grpc_and_a_certificate_the_callers_namespace() {
        let line = concat!(
            r#"envoy_istio_request_duration_milliseconds_bucket{reporter="destination",grpc_response_status="0","#,
            r#"source_principal="spiffe://cluster.local/ns/shop/sa/web",le="0.5"} 3"#
        );
        let labels = labels(line);
        for expected in ["request_protocol=grpc", "source_workload_namespace=shop", "le=0.5"] {
            assert!(labels.iter().any(|label| label == expected), "{expected} in {labels:?}");
        }
    }

    #[test]
    fn a_label_that_is_taken_away_is_neither_spread_nor_unknown() {
        let line = concat!(
            r#"envoy_istio_requests_total{reporter="source",istio_source="web;shop;web;v1;c","#,
            r#"istio_removed="source_app;request_protocol;source_principal",istio_set_request_host="a.example",istio_set_source_version="none"} 7"#
        );
        let labels = labels(line);
        for gone in ["source_app", "request_protocol", "source_principal", "istio_"] {
            assert!(!labels.iter().any(|label| label.starts_with(gone)), "{gone} in {labels:?}");
        }
        for there in [
            "request_host=a.example",
            "source_version=none",
            "source_workload=web",
            "destination_app=unknown",
        ] {
            assert!(labels.iter().any(|label| label == there), "{there} in {labels:?}");
        }
    }

    #[test]
    fn series_that_come_out_equal_are_added() {
        let of = |workload: &str, bucket: &str, value: u32| {
            format!(
                "envoy_istio_request_bytes_bucket{{istio_removed=\"destination_workload\",istio_destination=\"{workload};shop;web;v1;c\",le=\"{bucket}\"}} {value}\n"
            )
        };
        let text = format!(
            "# TYPE envoy_istio_request_bytes histogram\n{}{}{}{}# TYPE x counter\nx 1\n",
            of("a", "1", 2),
            of("a", "+Inf", 3),
            of("b", "1", 4),
            of("b", "+Inf", 5)
        );
        let spread = spread(&text);
        let lines: Vec<&str> = spread.lines().collect();
        assert_eq!(lines.len(), 5, "{spread}");
        assert!(lines[1].contains("le=\"1\"") && lines[1].ends_with("} 6"), "{spread}");
        assert!(lines[2].contains("le=\"+Inf\"") && lines[2].ends_with("} 8"), "{spread}");
        assert_eq!(lines[4], "x 1");
    }

    #[test]
    fn other_lines_stay_as_they_are() {
        let text = concat!(
            "# TYPE envoy_cluster_upstream_rq counter\n",
            "envoy_cluster_upstream_rq{istio_source=\"a;b;c;d;e\"} 1\n",
            "istio_build{component=\"proxy\"} 1\n",
            "envoy_istio_broken{reporter=\"sour\n",
            "envoy_server_live{} 1\n",
            "\n",
        );
        assert_eq!(spread(text), text);
        assert_eq!(
            spread("# TYPE envoy_istio_requests_total counter\n"),
            "# TYPE istio_requests_total counter\n"
        );
    }

    #[test]
    fn signs_that_are_written_with_a_backslash_survive() {
        let line = "envoy_istio_requests_total{response_flags=\"a\\\"b\\\\c\\nd\"} 1";
        assert!(spread(line).contains("response_flags=\"a\\\"b\\\\c\\nd\""), "{}", spread(line));
    }
}
