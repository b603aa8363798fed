//! Who serves a service: slices, pods, nodes and WorkloadEntries joined.
