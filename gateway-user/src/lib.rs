//! Lingyun's agent. Data walks through it in one direction:
//! topology file -> [`config`] -> [`model`] -> [`diff`] -> [`datapath`] -> maps.
//!
//! `model` and `diff` are pure; only `datapath` touches aya.

pub mod agent;
pub mod cli;
pub mod config;
pub mod datapath;
pub mod diff;
pub mod metrics;
pub mod model;
pub mod netlink;
pub mod reachability;
pub mod ring;
pub mod server;
pub mod status;
