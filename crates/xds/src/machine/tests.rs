//! Every rule of the protocol, without sockets: what goes in, what comes out.

mod bench;
#[path = "../../tests/support/envoy.rs"]
mod envoy;
#[path = "../../tests/support/mesh.rs"]
mod mesh;

mod ack;
mod delta;
mod limits;
mod nack;
mod order;
mod property;
mod sotw;
mod standing;
mod status;
mod virtual_hosts;
mod whole;
