//! One step of a packet's way per file.

pub mod answer;
pub mod arrival;
pub mod balance;
pub mod endpoint;
pub mod guard;
pub mod hairpin;
pub mod icmp_error;
pub mod inside;
pub mod limit;
pub mod mss;
pub mod neighbour;
pub mod parse;
pub mod refuse;
pub mod reverse;
pub mod rewrite;
pub mod snat;
pub mod source;
pub mod track;
pub mod tunnel;
pub mod uplink;
pub mod vlan;
pub mod vxlan;
