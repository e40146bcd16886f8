//! Frames that nobody thought of, against a model of the gateway.
//!
//! [`Mutator`] makes them from the fixtures' frames, [`Rig`] sends each to a gateway
//! (the packet path on the host, or the program in the kernel) and asks the
//! [oracle](crate::oracle) what should have become of it; [`minimise`] makes a finding
//! small. `tests/stages.rs` and `tests/fixtures.rs` run it for a moment in every test
//! run, [`run`] as long as one likes (`cargo xtask fuzz`).

mod corpus;
mod coverage;
mod minimise;
mod mutate;
mod rig;
pub mod run;
mod subject;
mod words;

pub use corpus::{History, corpus, load, parse_arrival, save};
pub use coverage::Coverage;
pub use minimise::minimise;
pub use mutate::Mutator;
pub use rig::{Disagreement, Rig};
pub use subject::{HostSubject, KernelSubject, Subject};

use crate::cases::Program;

/// A frame and where it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The program that sees it first.
    pub program: Program,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A test run in the kernel refuses less than an Ethernet header.
pub const SHORTEST: usize = 14;
