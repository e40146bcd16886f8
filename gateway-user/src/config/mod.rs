//! From a topology file to a [`Topology`] that is known to be sound.

mod topology;

pub use topology::*;
