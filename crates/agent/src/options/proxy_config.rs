//! The fields of Istio's ProxyConfig that count here, from all places that may say them (Istio: pilot/cmd/pilot-agent/config/config.go).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Note, OptionsError, env, value};

/// What counts of it, with Istio's defaults (Istio: pkg/config/mesh/mesh.go).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ProxyConfig {
    pub(super) discovery_address: String,
    pub(super) config_path: PathBuf,
    pub(super) binary_path: PathBuf,
    pub(super) proxy_admin_port: u16,
    pub(super) status_port: u16,
    pub(super) drain_duration: Duration,
    pub(super) termination_drain_duration: Duration,
    pub(super) control_plane_auth_policy: String,
    pub(super) service_cluster: String,
    pub(super) concurrency: Option<u32>,
    /// For the control plane.
    pub(super) gateway_topology: Option<Value>,
}

impl Default for ProxyConfig {
    fn default() -> Self {
        Self {
            discovery_address: "istiod.istio-system.svc:15012".to_owned(),
            config_path: "./etc/istio/proxy".into(),
            binary_path: "/usr/local/bin/envoy".into(),
            proxy_admin_port: 15000,
            status_port: 15020,
            drain_duration: Duration::from_secs(45),
            termination_drain_duration: Duration::from_secs(5),
            control_plane_auth_policy: "MUTUAL_TLS".to_owned(),
            service_cluster: "istio-proxy".to_owned(),
            concurrency: None,
            gateway_topology: None,
        }
    }
}

/// Fields that somebody else acts on: injection, or the control plane by its own settings.
const ELSEWHERE: &[&str] =
    &["proxyMetadata", "holdApplicationUntilProxyStarts", "image", "interceptionMode", "tracing", "meshId"];

impl ProxyConfig {
    /// Lays what is there over each other: mesh, environment, annotations. A field replaces the one before.
    pub(super) fn read(
        mesh: Option<&str>,
        variable: Option<&str>,
        annotations: &BTreeMap<String, String>,
        notes: &mut Vec<Note>,
    ) -> Result<Self, OptionsError> {
        let mut all = Map::new();
        if let Some(text) = mesh {
            let mesh = parse("the mesh's settings", text)?;
            if let Some(Value::Object(fields)) = mesh.get("defaultConfig") {
                all.extend(fields.clone());
            }
        }
        if let Some(text) = variable {
            all.extend(parse("PROXY_CONFIG", text)?);
        }
        if let Some(text) = annotations.get("proxy.istio.io/config") {
            all.extend(parse("the annotation proxy.istio.io/config", text)?);
        }
        for (annotation, field) in [
            ("sidecar.istio.io/discoveryAddress", "discoveryAddress"),
            ("status.sidecar.istio.io/port", "statusPort"),
        ] {
            if let Some(text) = annotations.get(annotation) {
                all.insert(field.to_owned(), text.clone().into());
            }
        }
        let mut config = Self::default();
        for (field, given) in all {
            config.set(&field, &given, notes)?;
        }
        Ok(config)
    }

    fn set(&mut self, field: &str, given: &Value, notes: &mut Vec<Note>) -> Result<(), OptionsError> {
        let text = match given {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let place = || format!("ProxyConfig's {field}");
        let duration = || env::duration(&place(), &text);
        let wrong = |error: std::num::ParseIntError| value(&place(), &text, &error);
        match field {
            "discoveryAddress" => self.discovery_address = text,
            "configPath" => self.config_path = text.into(),
            "binaryPath" => self.binary_path = text.into(),
            "proxyAdminPort" => self.proxy_admin_port = text.parse().map_err(wrong)?,
            "statusPort" => self.status_port = text.parse().map_err(wrong)?,
            "drainDuration" => self.drain_duration = duration()?,
            "terminationDrainDuration" => self.termination_drain_duration = duration()?,
            // An enum may be written as its number.
            "controlPlaneAuthPolicy" => {
                self.control_plane_auth_policy = if text == "0" { "NONE".to_owned() } else { text }
            }
            "serviceCluster" => self.service_cluster = text,
            "concurrency" if given.is_null() => {}
            "concurrency" => self.concurrency = Some(text.parse().map_err(wrong)?),
            "gatewayTopology" => self.gateway_topology = Some(given.clone()),
            field if ELSEWHERE.contains(&field) => {}
            _ => notes.push(Note::Unsupported { place: place(), instead: "the field does nothing here" }),
        }
        Ok(())
    }
}

fn parse(place: &str, text: &str) -> Result<Map<String, Value>, OptionsError> {
    match serde_norway::from_str(text) {
        Ok(Value::Object(fields)) => Ok(fields),
        Ok(Value::Null) => Ok(Map::new()),
        Ok(_) => Err(value(place, text, &"it is no mapping of fields")),
        Err(error) => Err(value(place, text, &error)),
    }
}
