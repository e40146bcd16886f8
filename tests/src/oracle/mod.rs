//! A model of the gateway, written for clarity: what must become of a frame, from the
//! topology alone.
//!
//! It shares no code with the packet path, and none with the agent's tables: headers
//! are read into owned values, checksums are summed anew, everything is looked up by
//! its name in plain maps. Only the ring is the agent's, which has tests of its own.
//! The fuzzer compares gateways with it, frame by frame.

mod answers;
mod errors;
mod hash;
mod inbound;
mod ip;
mod outbound;
mod parse;
mod quoted;
mod site;
mod sums;
mod tunnel;
mod wire;

use gateway_common::Reason;
use lingyun::{
    config::{Gateway, Topology},
    reachability::Reachability,
};

use crate::cases::Program;
use site::Site;

/// What must become of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It ends here, passed to the kernel or dropped.
    Ends(Reason),
    /// This frame goes back to where it came from.
    Answered(Reason, Vec<u8>),
    /// It is sent on.
    Sent {
        /// Kernel's index of the interface that it leaves by.
        device: u32,
        /// The frame that leaves.
        frame: Vec<u8>,
        /// Whose traffic it is.
        owner: Owner,
        /// Which way it goes.
        way: Way,
    },
}

/// Whose traffic a packet is counted as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// A backend of a load balancer: the indices of both.
    Backend(usize, usize),
    /// A floating IP's, by its index.
    Floating(usize),
}

/// Which way a packet goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// To an instance.
    In,
    /// To the public network.
    Out,
}

/// What a gateway did with a frame: the oracle looks at it only where a gateway may
/// choose.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'f> {
    /// Whether it sent something back.
    pub answered: bool,
    /// The frame afterwards.
    pub frame: &'f [u8],
}

/// A gateway as it should be, and what it remembers.
#[derive(Debug)]
pub struct Oracle {
    site: Site,
    /// Senders that were told that their packet cannot go on.
    errors_told: u32,
}

impl Oracle {
    /// The gateway `gateway` of a topology, in these surroundings.
    pub fn new(topology: Topology, gateway: Gateway, reach: Reachability) -> Self {
        Self {
            site: Site::new(topology, gateway, reach),
            errors_told: 0,
        }
    }

    /// Forgets what it remembers.
    pub fn reset(&mut self) {
        self.errors_told = 0;
    }

    /// What must become of a frame that arrives at a program by the interface with
    /// this index, with `seen` where the gateway may choose.
    pub fn fate(&mut self, program: Program, device: u32, frame: &[u8], seen: &Seen<'_>) -> Fate {
        let result = match program {
            Program::Public => self.public_side(device, frame, seen),
            Program::Underlay => self.underlay_side(frame, seen),
            Program::SingleArm => match self.underlay_side(frame, seen) {
                Err(reason) if is_no_tunnel(reason) => self.public_side(device, frame, seen),
                result => result,
            },
        };
        result.unwrap_or_else(Fate::Ends)
    }
}

/// Whether a frame turned out to be none of the underlay's tunnels.
fn is_no_tunnel(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotIp | Reason::L2Multicast | Reason::NotOurs | Reason::NotVxlan
    )
}
