//! Lingyun's lab and test tools.

pub mod bench;
pub mod capture;
pub mod cases;
pub mod conversation;
pub mod docs;
pub mod fuzz;
pub mod harness;
pub mod journey;
pub mod lab;
pub mod listen;
pub mod oracle;
pub mod order;
pub mod packet;
pub mod peer;
pub mod run;
pub mod tracking;
pub mod verifier;
