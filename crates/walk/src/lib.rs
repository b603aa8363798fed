//! What would Envoy do with this request? A walk through the configuration of one proxy, without a proxy.
//!
//! Knows: Envoy's messages and Envoy's rules (listeners, filter chains, virtual hosts, routes, clusters, endpoints, transport sockets).
//! Must not know: Istio, the mesh, files, how anything is shown.   Start at [`walk`] for what a workload sends and [`arrive`] for what
//! it is sent; [`Way`] is what both answer.
//! Invariants: the answer is a tree of values without sentences, and its JSON is promised; what the walk does not read is named in
//! [`Way::unread`], never passed over in silence. The same configuration and request give the same answer.

mod chain;
mod cluster;
mod configuration;
mod endpoint;
mod headers;
mod http;
mod listener;
mod load;
mod reports;
mod request;
mod seen;
mod share;
mod socket;
mod tcp;
mod text;
mod time;
mod way;

pub use chain::{ChainTaken, Connection};
pub use cluster::{ClusterWay, Limits, Outliers, RetryBudget};
pub use configuration::{Broken, Configuration};
pub use endpoint::EndpointWay;
pub use headers::{HeaderChange, HeaderOperation};
pub use http::action::{Action, DestinationWay, Forward, Mirror, Retry};
pub use http::condition::{Condition, Subject};
pub use http::cors::Cors;
pub use http::domain::DomainRule;
pub use http::fault::{Abort, Delay, Fault};
pub use http::{HttpWay, RouteTaken, RouteTried, VirtualHostTaken};
pub use listener::{Found, ListenerTaken};
pub use reports::{Log, Reports, Traced};
pub use request::{Destination, Request, TlsOffer};
pub use seen::{Cause, Seen, SeenShare};
pub use share::Share;
pub use socket::{AcceptedName, ClientCertificate, DownstreamSocket, TlsSettings, UpstreamSocket};
pub use tcp::{TcpDestination, TcpWay, TunnelWay};
pub use text::{How, Wanted};
pub use way::{Handling, Mode, Way, arrive, mode, walk};

#[cfg(test)]
mod tests;
