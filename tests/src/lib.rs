//! The integration tests of Rollcall live in `it/`, its benchmarks in `benches/`.
