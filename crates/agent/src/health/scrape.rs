//! What of the workload's own metrics is asked for: what its annotations said before injection replaced them
//! (Istio: env `ISTIO_PROMETHEUS_ANNOTATIONS`, annotation `prometheus.istio.io/scrape-targets`).

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

/// What a scraper that says nothing is taken to wait.
pub(crate) const USUAL_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest that a scrape may take, whatever a scraper says.
pub(crate) const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

/// The most bytes of one target, as in Istio.
pub(crate) const MOST_BYTES: usize = 10 << 20;

/// The most targets.
const MOST_TARGETS: usize = 16;

/// Where the workload's metrics are, on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) port: u16,
    pub(crate) path: String,
}

#[derive(Deserialize)]
struct Written {
    #[serde(default)]
    scrape: Value,
    #[serde(default)]
    path: Value,
    #[serde(default)]
    port: Value,
    #[serde(default)]
    targets: Vec<Value>,
}

/// Reads the variable and the annotation.
///
/// # Errors
/// Says what cannot be read; the workload's metrics are then left out.
pub(crate) fn targets(variable: Option<&str>, annotation: Option<&str>) -> Result<Vec<Target>, String> {
    let mut found = Vec::new();
    if let Some(text) = variable.filter(|text| !text.trim().is_empty()) {
        let written: Written =
            serde_json::from_str(text).map_err(|error| format!("no such JSON: {error}"))?;
        if word(&written.scrape) == "true" {
            if written.targets.is_empty() {
                found.push(target(&word(&written.port), &word(&written.path))?);
            }
            for item in &written.targets {
                found.push(match item {
                    Value::String(text) => one(text)?,
                    other => target(&word(&other["port"]), &word(&other["path"]))?,
                });
            }
        }
    }
    if let Some(text) = annotation.filter(|text| !text.trim().is_empty()) {
        // They stand for all: one that names targets means these.
        found = text.split(',').map(|item| one(item.trim())).collect::<Result<_, _>>()?;
    }
    if found.len() > MOST_TARGETS {
        return Err(format!("{} targets, and {MOST_TARGETS} are the most", found.len()));
    }
    Ok(found)
}

/// How long a scrape may take: a tenth less than the scraper waits, so that what there is comes in time.
pub(crate) fn limit(header: Option<&str>) -> Duration {
    let seconds = header.and_then(|text| text.trim().parse::<f64>().ok());
    let seconds = seconds.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
    seconds.map_or(USUAL_TIMEOUT, |seconds| {
        Duration::from_secs_f64(seconds.min(LONGEST_TIMEOUT.as_secs_f64()) * 0.9)
    })
}

/// `port:path`, or a port.
fn one(text: &str) -> Result<Target, String> {
    let (port, path) = text.split_once(':').unwrap_or((text, ""));
    target(port, path)
}

fn target(port: &str, path: &str) -> Result<Target, String> {
    let port = if port.is_empty() { Ok(80) } else { port.parse() };
    let port = port.map_err(|_| "a port is no number of 1 to 65535".to_owned())?;
    let path = match path {
        "" => "/metrics".to_owned(),
        path if path.starts_with('/') => path.to_owned(),
        path => format!("/{path}"),
    };
    if path.parse::<http::uri::PathAndQuery>().is_err() || port == 0 {
        return Err(format!("`{port}{path}` is no port and path"));
    }
    Ok(Target { port, path })
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}
