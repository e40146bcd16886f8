//! The journey of one order through the lab, told from captured frames.
//!
//! [`trace`] finds the customer's connection among all frames, picks the segment that
//! carries the request and the one that carries the answer, and follows both across
//! every device, through NAT, tunnels and the second connection behind HAProxy. What
//! it finds are [`Row`]s: one for each form that the packet took, with the devices
//! that saw it in this form. [`Journey::check`] holds them against the story's table,
//! [`Journey::render`] shows them to people.
//!
//! `decode` reads bytes, `stream` puts TCP streams together, `trace` follows, `leg`
//! names the hops, [`story`] judges, `render` draws.

mod decode;
mod expectation;
pub mod lab;
mod leg;
mod render;
mod row;
pub mod story;
mod stream;
#[cfg(test)]
mod tests;
mod trace;

pub use decode::{Headers, Macs, Outer};
pub use expectation::{Client, Database, Expectation, Gateway, Service};
pub use render::render_claims;
pub use row::{Change, Hop, Row, Sighting};
use serde::Serialize;
pub use story::Claim;
pub use trace::trace;

/// The way of a request and its answer.
#[derive(Clone, Debug, Serialize)]
pub struct Journey {
    /// What was followed on the way there, in words.
    pub request_is: String,
    /// What was followed on the way back, in words; none if no answer was seen.
    pub answer_is: Option<String>,
    /// From the customer to the Controller, in order of time.
    pub request: Vec<Row>,
    /// From the Controller to the database and back; empty if nobody asked for it.
    pub database: Vec<Row>,
    /// From the Controller to the customer, in order of time.
    pub answer: Vec<Row>,
    /// Every checksum of every frame of the connections.
    pub checksums: Checksums,
    /// What was expected.
    #[serde(skip)]
    pub expectation: Expectation,
}

/// What computing all checksums again gave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Checksums {
    /// Frames whose every checksum is right.
    pub right: usize,
    /// Frames that the kernel joined on arrival: right as far as they have one.
    pub joined: usize,
    /// Wrong ones: where and what, the first of each kind and place.
    pub wrong: Vec<String>,
}
