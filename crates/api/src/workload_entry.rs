//! WorkloadEntry: an endpoint outside Kubernetes (Istio's reference: networking/workload-entry).

use std::collections::BTreeMap;

use meltemi_names::{Labels, Locality, Port};
use serde_json::Value;

use crate::value::{Address, non_empty};

/// One workload, picked by services through its labels.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadEntry {
    /// Where it listens; none only beside a network.
    #[serde(deserialize_with = "optional_address")]
    pub address: Option<Address>,
    /// Its ports by name of the service's port; a port not named here is the service's target port.
    pub ports: BTreeMap<String, Port>,
    /// What selectors and subsets see, beside the labels of the object.
    pub labels: Labels,
    /// The network where the address is reachable; none: everywhere.
    #[serde(deserialize_with = "non_empty")]
    pub network: Option<String>,
    /// Where it runs, `region/zone/subzone`.
    #[serde(deserialize_with = "optional_locality")]
    pub locality: Option<Locality>,
    /// Relative to the service's other endpoints; 0 is "not set", which is 1.
    pub weight: u32,
    /// Whose identity it has, in its namespace.
    #[serde(deserialize_with = "non_empty")]
    pub service_account: Option<String>,
    /// Its agent says whether it is well, and does not say that it is: it is left out.
    #[serde(skip)]
    pub unwell: bool,
}

/// The annotation by which an agent asks whether the workload is well, and writes it into the entry's status.
pub(crate) const HEALTH_CHECKS: &str = "proxy.istio.io/health-checks-enabled";

impl WorkloadEntry {
    /// Takes what of the object's status is read: where health is asked for, an entry is well from when its condition says so (Istio:
    /// serviceregistry/serviceentry/conversion.go).
    pub(crate) fn with_status(mut self, checked: Option<&str>, status: Option<&Value>) -> Self {
        let conditions = status.and_then(|status| status.get("conditions")).and_then(Value::as_array);
        let says = |condition: &&Value, name: &str, text: &str| {
            condition.get(name).and_then(Value::as_str) == Some(text)
        };
        let healthy = conditions
            .into_iter()
            .flatten()
            .find(|condition| says(condition, "type", "Healthy"))
            .is_some_and(|condition| says(&condition, "status", "True"));
        // The words that Go reads as true.
        let is_checked = matches!(checked, Some("1" | "t" | "T" | "TRUE" | "true" | "True"));
        self.unwell = is_checked && !healthy;
        self
    }
}

fn optional_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    non_empty(deserializer)?.map(|text| Address::parse(&text).map_err(serde::de::Error::custom)).transpose()
}

fn optional_locality<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Locality>, D::Error> {
    Ok(non_empty(deserializer)?.map(|text| Locality::parse(&text)))
}
