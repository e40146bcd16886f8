//! Measurements that a sceptic can repeat.
//!
//! [`program`] measures the XDP program alone, in nanoseconds a packet, by
//! `BPF_PROG_TEST_RUN` with a generator in front (`gateway-ebpf/src/bench.rs`).
//! [`instructions`] counts what the same cases take on emulated machines.
//! All benches write one format, [`report`].

mod cases;
mod generator;
pub mod instructions;
pub mod program;
pub mod report;
mod subject;
mod table;
