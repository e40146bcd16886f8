//! Lingyun's lab and test tools.

pub mod cases;
pub mod harness;
pub mod lab;
pub mod packet;
