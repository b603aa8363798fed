//! PeerAuthentication: whether a workload takes plain text from its callers (Istio's reference: security/peer_authentication).

use std::collections::BTreeMap;

use meltemi_names::{Port, Selector};

/// What the workloads of a mesh, a namespace or a selector ask of their callers.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PeerAuthentication {
    /// The workloads that it is for; none, or one without labels: all of the namespace (in the root namespace: of the mesh).
    pub selector: Option<MatchLabels>,
    /// For all their ports.
    pub mtls: Mtls,
    /// For single ports, by the number that the workload listens on.
    #[serde(deserialize_with = "by_port")]
    pub port_level_mtls: Option<BTreeMap<Port, Mtls>>,
}

impl PeerAuthentication {
    /// The labels that it asks for; none if it is for a whole namespace or mesh.
    pub fn labels(&self) -> Option<&Selector> {
        self.selector.as_ref().map(|selector| &selector.match_labels).filter(|labels| !labels.is_empty())
    }
}

/// Which workloads a policy is for.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct MatchLabels {
    /// All of these labels.
    pub match_labels: Selector,
}

/// What is asked of callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct Mtls {
    /// What is asked.
    pub mode: MtlsMode,
}

/// What is asked of callers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum MtlsMode {
    /// As the level above says.
    #[default]
    Unset,
    /// Plain text.
    Disable,
    /// Mutual TLS or plain text, as they like.
    Permissive,
    /// Mutual TLS.
    Strict,
}

fn by_port<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<BTreeMap<Port, Mtls>>, D::Error> {
    use serde::Deserialize as _;
    use serde::de::Error as _;
    let Some(written) = Option::<BTreeMap<String, Mtls>>::deserialize(deserializer)? else { return Ok(None) };
    let ports = written.into_iter().map(|(port, mtls)| {
        let number = port.parse().ok().and_then(Port::new);
        let number = number.ok_or_else(|| {
            D::Error::custom(format!("a port of the workload is a number from 1 to 65535, found `{port}`"))
        })?;
        Ok((number, mtls))
    });
    ports.collect::<Result<_, _>>().map(Some)
}
