//! Lingyun's lab and test tools.

pub mod bench;
pub mod capture;
pub mod cases;
pub mod harness;
pub mod journey;
pub mod lab;
pub mod listen;
pub mod order;
pub mod packet;
pub mod peer;
pub mod run;
