//! `targetRef`: objects that a policy names instead of selecting workloads (Istio's reference: type/workload-selector).
//!
//! Knows which of them stand for proxies that there are (Istio: pilot/pkg/model/policyattachment.go). Must not know the kinds that name them.

use meltemi_names::Labels;

/// An object of the policy's own namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(default)]
pub struct TargetRef {
    /// Of its kind; empty or `core` are Kubernetes' own kinds.
    pub group: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// An error, as in Istio.
    pub namespace: String,
}

/// The label of the proxies of a Gateway of the Gateway API: its name.
pub const GATEWAY_NAME: &str = "gateway.networking.k8s.io/gateway-name";

impl TargetRef {
    /// The name of the Gateway of the Gateway API that it is.
    pub fn gateway(&self) -> Option<&str> {
        let is_one = self.group == "gateway.networking.k8s.io" && self.kind == "Gateway";
        (is_one && self.namespace.is_empty()).then_some(self.name.as_str())
    }

    /// Whether it can be meant at all: Istio knows four kinds.
    pub fn is_known(&self) -> bool {
        matches!(
            (self.group.as_str(), self.kind.as_str()),
            ("" | "core", "Service")
                | ("networking.istio.io", "ServiceEntry")
                | ("gateway.networking.k8s.io", "Gateway" | "GatewayClass")
        )
    }
}

/// Whether a policy that names these objects is for a proxy of its namespace with these labels.
pub fn targets(refs: &[TargetRef], labels: &Labels) -> bool {
    labels.value(GATEWAY_NAME).is_some_and(|own| refs.iter().any(|found| found.gateway() == Some(own)))
}

#[cfg(test)]
mod tests {
    use meltemi_names::Labels;

    use super::{GATEWAY_NAME, TargetRef, targets};

    #[test]
    fn only_gateways_of_the_gateway_api_stand_for_proxies() {
        let made = |group: &str, kind: &str| TargetRef {
            group: group.into(),
            kind: kind.into(),
            name: "edge".into(),
            ..TargetRef::default()
        };
        let labels: Labels = [(GATEWAY_NAME, "edge")].into_iter().collect();
        let api = "gateway.networking.k8s.io";
        assert!(targets(&[made("", "Service"), made(api, "Gateway")], &labels));
        assert!(!targets(&[made("", "Service"), made(api, "GatewayClass")], &labels));
        assert!(!targets(&[made("networking.istio.io", "Gateway")], &labels));
        assert!(!targets(&[made(api, "Gateway")], &Labels::default()));
        assert!(made("core", "Service").is_known() && !made("", "Gateway").is_known());
    }
}
