//! The rules that lead a pod's TCP traffic through its sidecar, as Istio's `istio-iptables` sets them in REDIRECT mode
//! (facts/identity-and-injection.md): outbound to 15001, inbound to 15006, the proxy's own and loopback left alone.

/// Where redirected outbound connections arrive.
pub const OUTBOUND_PORT: u16 = 15001;

/// Where redirected inbound connections arrive.
pub const INBOUND_PORT: u16 = 15006;

/// The group that the proxy runs as; its traffic is not redirected again. Istio's number. The rules go by group and not
/// by user, so that an Envoy may be started from a folder that only root can read.
pub const PROXY_GROUP: u32 = 1337;

/// Inbound ports that are not redirected: HBONE, the agent's, health and metrics of the proxy.
const LEFT_ALONE: [u16; 4] = [15008, 15020, 15021, 15090];

/// The source address of the sidecar's connections to its own app, which must not be redirected again.
const INBOUND_SOURCE: &str = "127.0.0.6/32";

/// The rules, as input of `iptables-restore`.
pub(super) fn rules() -> String {
    let left_alone = LEFT_ALONE.map(|port| port.to_string()).join(",");
    format!(
        "*nat
:TO_SIDECAR_IN - [0:0]
:TO_SIDECAR_OUT - [0:0]
-A PREROUTING -p tcp -m multiport ! --dports {left_alone} -j TO_SIDECAR_IN
-A OUTPUT -p tcp -j TO_SIDECAR_OUT
-A TO_SIDECAR_IN -p tcp -j REDIRECT --to-ports {INBOUND_PORT}
-A TO_SIDECAR_OUT -o lo -s {INBOUND_SOURCE} -j RETURN
-A TO_SIDECAR_OUT -o lo ! -d 127.0.0.1/32 -m owner --gid-owner {PROXY_GROUP} -j TO_SIDECAR_IN
-A TO_SIDECAR_OUT -o lo -m owner ! --gid-owner {PROXY_GROUP} -j RETURN
-A TO_SIDECAR_OUT -m owner --gid-owner {PROXY_GROUP} -j RETURN
-A TO_SIDECAR_OUT -d 127.0.0.1/32 -j RETURN
-A TO_SIDECAR_OUT -p tcp -j REDIRECT --to-ports {OUTBOUND_PORT}
COMMIT
"
    )
}
