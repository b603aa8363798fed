//! Whether Envoy is ready, by its statistics (Istio: pilot/cmd/pilot-agent/status/ready/probe.go).

/// What must be asked for.
pub(crate) const FILTER: &str = "^(cluster_manager.cds.update_success|cluster_manager.cds.update_rejected|\
    listener_manager.lds.update_success|listener_manager.lds.update_rejected|server.state|listener_manager.workers_started)$";

/// Statistics of listeners that are not the mesh's: Envoy's admin interface, and the two of the bootstrap.
const OWN: &[&str] = &["listener.admin.", "listener.agent.", "listener.stats."];

/// Why it is not ready yet, or that it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotReady {
    #[error(
        "config not fully received from XDS server: cds updates: {cds} successful, {cds_rejected} rejected; \
         lds updates: {lds} successful, {lds_rejected} rejected"
    )]
    Config { cds: u64, cds_rejected: u64, lds: u64, lds_rejected: u64 },
    #[error("server is not live, current state is: {0}")]
    State(&'static str),
    #[error("workers have not yet started")]
    Workers,
}

/// Reads the statistics, one `name: value` a line.
pub(crate) fn ready(stats: &str) -> Result<(), NotReady> {
    let of = |name: &str| {
        stats.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse::<u64>().ok())
    };
    let count = |name: &str| of(name).unwrap_or(0);
    let (cds, lds) =
        (count("cluster_manager.cds.update_success"), count("listener_manager.lds.update_success"));
    if cds == 0 || lds == 0 {
        return Err(NotReady::Config {
            cds,
            cds_rejected: count("cluster_manager.cds.update_rejected"),
            lds,
            lds_rejected: count("listener_manager.lds.update_rejected"),
        });
    }
    match of("server.state") {
        Some(0) => {}
        Some(1) => return Err(NotReady::State("DRAINING")),
        Some(2) => return Err(NotReady::State("PRE_INITIALIZING")),
        Some(3) => return Err(NotReady::State("INITIALIZING")),
        _ => return Err(NotReady::State("UNKNOWN")),
    }
    if count("listener_manager.workers_started") == 1 { Ok(()) } else { Err(NotReady::Workers) }
}

/// Open connections of clients on listeners of the mesh, by their statistics: not those for health, metrics and administration.
pub(crate) fn active_connections(stats: &str) -> u64 {
    // One of each worker besides the whole.
    let is_own = |name: &str| OWN.iter().any(|own| name.starts_with(own)) || name.contains(".worker_");
    stats
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| {
            name.starts_with("listener.") && name.ends_with(".downstream_cx_active") && !is_own(name)
        })
        .filter_map(|(_, value)| value.trim().parse::<u64>().ok())
        .sum()
}
