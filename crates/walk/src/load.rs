//! How Envoy shares requests among priorities, by how many of their endpoints are healthy.
//!
//! Envoy's documentation: "Priority levels" and "Panic threshold". Knows counts only.

/// The endpoints of one priority, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Priority {
    pub(crate) healthy: u32,
    pub(crate) degraded: u32,
    pub(crate) all: u32,
}

/// What one priority gets.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Load {
    /// Percent of all requests that go to its healthy endpoints (in panic: to all of its endpoints).
    pub(crate) healthy: f64,
    /// Percent that go to its degraded ones.
    pub(crate) degraded: f64,
    /// So few are healthy that health is not looked at.
    pub(crate) panic: bool,
}

/// The load of each priority; `factor` is the overprovisioning factor (140: seven of ten healthy endpoints still take all), `threshold`
/// the panic threshold in percent.
pub(crate) fn loads(priorities: &[Priority], factor: u32, threshold: f64) -> Vec<Load> {
    let available = |count: u32, all: u32| match all {
        0 => 0.0,
        _ => (f64::from(factor) * f64::from(count) / f64::from(all)).floor().min(100.0),
    };
    let healthy: Vec<f64> = priorities.iter().map(|of| available(of.healthy, of.all)).collect();
    let degraded: Vec<f64> = priorities.iter().map(|of| available(of.degraded, of.all)).collect();
    let total = healthy.iter().chain(&degraded).sum::<f64>().min(100.0);
    let is_in_panic = |of: &Priority| {
        let share =
            if of.all == 0 { 0.0 } else { 100.0 * f64::from(of.healthy + of.degraded) / f64::from(of.all) };
        total < 100.0 && share < threshold
    };
    let mut loads: Vec<Load> = priorities
        .iter()
        .map(|of| Load { panic: threshold > 0.0 && is_in_panic(of), ..Load::default() })
        .collect();
    let everything: u32 = priorities.iter().map(|of| of.all).sum();
    if loads.iter().all(|load| load.panic) {
        for (load, of) in loads.iter_mut().zip(priorities) {
            load.healthy =
                if everything == 0 { 0.0 } else { 100.0 * f64::from(of.all) / f64::from(everything) };
        }
        return loads;
    }
    if total == 0.0 {
        return loads;
    }
    let mut left = 100.0;
    for (load, available) in loads.iter_mut().zip(healthy) {
        load.healthy = f64::min(left, (available * 100.0 / total).floor());
        left -= load.healthy;
    }
    for (load, available) in loads.iter_mut().zip(degraded) {
        load.degraded = f64::min(left, (available * 100.0 / total).floor());
        left -= load.degraded;
    }
    // What rounding left over goes to the first that takes any.
    if let Some(first) = loads.iter_mut().find(|load| load.healthy + load.degraded > 0.0) {
        if first.healthy > 0.0 { first.healthy += left } else { first.degraded += left }
    }
    loads
}

#[cfg(test)]
mod tests {
    use super::{Load, Priority, loads};

    fn of(healthy: u32, all: u32) -> Priority {
        Priority { healthy, degraded: 0, all }
    }

    fn shares(priorities: &[Priority]) -> Vec<(f64, bool)> {
        loads(priorities, 140, 50.0).into_iter().map(|load| (load.healthy, load.panic)).collect()
    }

    /// The table of Envoy's documentation ("Priority levels": 100 %, 72 %, 71 %, 50 %, 0 % of P=0 healthy, P=1 healthy).
    #[test]
    fn the_next_priority_takes_over_as_the_first_fails() {
        for (healthy, first) in [(100, 100.0), (72, 100.0), (71, 99.0), (50, 70.0), (25, 35.0), (0, 0.0)] {
            let panic = healthy == 25;
            let found = shares(&[of(healthy, 100), of(100, 100)]);
            assert_eq!(found[0].0, first, "{healthy} % healthy");
            assert_eq!(found[1].0, 100.0 - first, "{healthy} % healthy");
            assert!(!found[1].1 && (!panic || !found[0].1), "enough is available elsewhere: no panic");
        }
    }

    /// The same documentation, "Panic threshold": 25 % and 25 % healthy are scaled up, and both panic.
    #[test]
    fn where_too_little_is_healthy_in_all_health_is_not_looked_at() {
        assert_eq!(shares(&[of(1, 4), of(1, 4)]), [(50.0, true), (50.0, true)]);
        assert_eq!(shares(&[of(0, 2)]), [(100.0, true)]);
        assert_eq!(shares(&[of(0, 0)]), [(0.0, true)]);
        let never = loads(&[of(0, 2)], 140, 0.0);
        assert_eq!(never, [Load::default()]);
    }

    #[test]
    fn degraded_endpoints_take_what_healthy_ones_leave() {
        let found = loads(&[Priority { healthy: 1, degraded: 1, all: 2 }], 140, 50.0);
        assert_eq!((found[0].healthy, found[0].degraded), (70.0, 30.0));
    }
}
