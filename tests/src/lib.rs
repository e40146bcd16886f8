//! Lingyun's lab and test tools.

pub mod cases;
pub mod harness;
pub mod lab;
pub mod packet;
pub mod capture;
pub mod journey;
pub mod listen;
pub mod order;
pub mod peer;
