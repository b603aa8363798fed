//! The file for Prometheus, and the table.

use std::path::Path;

#[test]
fn the_file_for_prometheus_is_this_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/prometheus/relabel.yaml");
    let now = super::as_yaml();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &now).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(written, now, "{} is out of step; UPDATE=1 writes it", path.display());
    let rules: Vec<serde_norway::Value> = serde_norway::from_str(&now).unwrap();
    // What is copied, and what is dropped.
    assert_eq!(rules.len(), super::rules().len() + 2);
}
