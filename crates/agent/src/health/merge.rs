//! One page of metrics from several.

/// Puts texts in Prometheus' form after each other. An end mark (OpenMetrics) in the middle would hide what follows, so it goes.
pub(crate) fn merge<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut merged = String::new();
    for part in parts {
        for line in part.lines().filter(|line| line.trim_end() != "# EOF") {
            merged.push_str(line);
            merged.push('\n');
        }
    }
    merged
}
