//! What Meltemi asks the API server for, and what the chart lets it: the same.

fn main() {}
