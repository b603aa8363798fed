//! WorkloadEntry: an endpoint outside Kubernetes (Istio's reference: networking/workload-entry).

use std::collections::BTreeMap;

use meltemi_names::{Labels, Locality, Port};

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
}

fn optional_address<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Address>, D::Error> {
    non_empty(deserializer)?.map(|text| Address::parse(&text).map_err(serde::de::Error::custom)).transpose()
}

fn optional_locality<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Locality>, D::Error> {
    Ok(non_empty(deserializer)?.map(|text| Locality::parse(&text)))
}
