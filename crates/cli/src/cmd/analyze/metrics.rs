//! Names of Istio's metrics that do not exist, in rules and queries of other tools: a canary that is judged by them sees nothing.
//!
//! Knows: texts and their lines. Must not know: files.

use meltemi_api::{Finding, Place};
use meltemi_telemetry::metric;

/// Kinds whose queries are looked at: a name that is not known is wrong there.
const ASKING: &[&str] = &[
    "AlertmanagerConfig",
    "AnalysisRun",
    "AnalysisTemplate",
    "Canary",
    "ClusterAnalysisTemplate",
    "MetricTemplate",
    "PrometheusRule",
    "Rollout",
    "ScaledObject",
];

/// Kinds that may hold anything: only what is nearly a name is wrong there.
const HOLDING: &[&str] = &["ConfigMap", "GrafanaDashboard"];

/// Those that proxies count and Meltemi does not name elsewhere.
const OTHERS: &[&str] = &["istio_build", "istio_request_messages_total", "istio_response_messages_total"];

/// Names of others that begin so: agents', the CNI plugin's.
const FAMILIES: &[&str] = &["istio_agent_", "istio_cni_", "istio_dry_run_", "istio_io_", "istio_operator_"];

/// What a histogram's name ends in.
const PARTS: &[&str] = &["_bucket", "_count", "_sum"];

/// The name of a code of ours.
pub(crate) const METRIC_UNKNOWN: &str = "metric-unknown";

/// Every name of a text that is wrong, with its place.
pub(crate) fn findings(file: &str, text: &str) -> Vec<Finding> {
    if !text.contains("istio_") {
        return Vec::new();
    }
    let mut all = Vec::new();
    let mut first = 0;
    let lines: Vec<&str> = text.lines().collect();
    for end in (0..=lines.len()).filter(|end| lines.get(*end).is_none_or(|line| line.starts_with("---"))) {
        let document = &lines[first..end];
        all.extend(of_document(file, document, first));
        first = (end + 1).min(lines.len());
    }
    all
}

fn of_document(file: &str, lines: &[&str], before: usize) -> Vec<Finding> {
    let mut kinds = lines.iter().filter_map(|line| {
        let line = line.trim_start_matches(['{', ' ', '-']);
        let value = line.strip_prefix("kind:").or_else(|| line.split_once("kind: ").map(|(_, rest)| rest))?;
        Some(value.split([',', '}']).next().unwrap_or_default().trim().trim_matches(['"', '\'']).to_owned())
    });
    let Some(strict) = kinds.find_map(|kind| match kind.as_str() {
        kind if ASKING.contains(&kind) => Some(true),
        kind if HOLDING.contains(&kind) => Some(false),
        _ => None,
    }) else {
        return Vec::new();
    };
    // What the document records itself is a name, too.
    let records: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.trim_start_matches(['-', ' ']).strip_prefix("record:"))
        .map(str::trim)
        .collect();
    let mut all = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        for (column, name) in names(line) {
            if is_known(name) || records.iter().any(|record| record.starts_with(name)) {
                continue;
            }
            let near = nearest(name);
            if !strict && near.is_none() {
                continue;
            }
            let place = Place {
                file: file.into(),
                line: u32::try_from(before + index + 1).unwrap_or(u32::MAX),
                column: u32::try_from(line[..column].chars().count() + 1).unwrap_or(u32::MAX),
            };
            let finding = Finding::warning(METRIC_UNKNOWN, format!("no proxy counts `{name}`"));
            let finding =
                finding.in_force("a query for it finds nothing, and what is judged by it is not judged");
            let hint = near.map_or_else(
                || "docs/metrics.md has the names of all".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            all.push(finding.hint(hint).placed(Some(place)));
        }
    }
    all
}

/// The words of a line that begin as Istio's metrics do, with where they begin. Labels (`label_istio_...`) and parts of other words are none.
fn names(line: &str) -> Vec<(usize, &str)> {
    let is_word = |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    let line_end = line.find('#').filter(|at| line[..*at].trim().is_empty()).map_or(line.len(), |_| 0);
    let text = &line[..line_end];
    text.match_indices("istio_")
        .filter(|(at, _)| {
            !text[..*at].ends_with(|character: char| is_word(character) || "-./".contains(character))
        })
        .map(|(at, _)| {
            let length = text[at..].find(|character: char| !is_word(character)).unwrap_or(text.len() - at);
            (at, &text[at..at + length])
        })
        .filter(|(at, name)| {
            !text[at + name.len()..].starts_with(['=', '*', '.', '/', '-']) && !name.contains(':')
        })
        .collect()
}

fn bases() -> impl Iterator<Item = &'static str> {
    metric::ALL.iter().map(|(name, ..)| *name).chain(OTHERS.iter().copied())
}

/// Whether it is a histogram, and so has parts.
fn is_histogram(base: &str) -> bool {
    metric::ALL.iter().any(|(name, kind, _)| *name == base && *kind == "histogram")
}

fn is_known(name: &str) -> bool {
    let part =
        |base: &str| is_histogram(base) && name.strip_prefix(base).is_some_and(|part| PARTS.contains(&part));
    FAMILIES.iter().any(|family| name.starts_with(family)) || bases().any(|base| base == name || part(base))
}

/// The name that is nearly it.
fn nearest(name: &str) -> Option<String> {
    let parts = |base: &'static str| {
        let parts = PARTS.iter().filter(move |_| is_histogram(base)).map(move |part| format!("{base}{part}"));
        std::iter::once(base.to_owned()).chain(parts)
    };
    let distance = |other: &str| strsim::osa_distance(name, other);
    let best = bases().flat_map(parts).min_by_key(|other| distance(other))?;
    (distance(&best) <= 4).then_some(best)
}

#[cfg(test)]
mod tests {
    use super::findings;

    fn found(text: &str) -> Vec<String> {
        findings("f.yaml", text)
            .iter()
            .map(|finding| {
                let place = finding.place.as_ref().unwrap();
                format!(
                    "{}:{} {} ({})",
                    place.line,
                    place.column,
                    finding.message,
                    finding.hint.as_ref().unwrap()
                )
            })
            .collect()
    }

    #[test]
    fn the_misspelt_name_of_requests_is_found_where_it_stands() {
        let text = "kind: Service\n---\napiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nspec:\n  expr: sum(rate(istio_request_total{reporter=\"source\"}[5m])) / sum(istio_requests_total)\n";
        assert_eq!(
            found(text),
            ["6:18 no proxy counts `istio_request_total` (did you mean `istio_requests_total`?)"]
        );
    }

    #[test]
    fn names_that_are_right_labels_and_recorded_ones_are_passed_over() {
        let text = "kind: MetricTemplate\nquery: |\n  istio_request_duration_milliseconds_bucket{istio_canonical=\"x\"} istio_tcp_sent_bytes_total\n  istio_agent_pilot_xds label_istio_io_rev istio_build\n- record: istio_own_rate\n  expr: istio_own_rate\n# istio_request_total\n";
        assert_eq!(found(text), Vec::<String>::new());
        assert_eq!(found("kind: Deployment\nname: istio_request_total\n"), Vec::<String>::new());
    }

    #[test]
    fn a_config_map_may_hold_anything_but_what_is_nearly_a_name() {
        let text = "kind: ConfigMap\ndata:\n  a: istio_request_total > 0\n  b: istio_something_else\n";
        assert_eq!(found(text).len(), 1);
        assert_eq!(found("kind: Canary\nq: istio_something_else > 1\n").len(), 1);
    }
}
