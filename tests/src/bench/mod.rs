//! Measurements that a sceptic can repeat.
//!
//! [`program`] measures the XDP program alone, in nanoseconds a packet, by
//! `BPF_PROG_TEST_RUN` with a generator in front (`gateway-ebpf/src/bench/`).
//! [`instructions`] counts what the same cases take on emulated machines.
//! [`wire`] measures packets a second through real veths, beside what others do there.
//! [`control`] measures the agent with a large site.
//! All benches write one format, [`report`].

pub mod all;
mod cases;
pub mod control;
pub mod document;
mod flows;
mod generator;
pub mod instructions;
pub mod interrupt;
mod plot;
pub mod program;
mod progress;
pub mod report;
mod subject;
mod table;
mod targets;
pub mod wire;
