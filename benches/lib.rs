//! Benchmarks only: `cargo bench -p luxon-benches`.
