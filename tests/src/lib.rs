//! Lingyun's lab and test tools.

pub mod packet;
