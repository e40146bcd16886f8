//! A model of the gateway, written for clarity: what must become of a frame, from the
//! topology alone.
//!
//! It shares no code with the packet path, and none with the agent's tables: headers
//! are read into owned values, checksums are summed anew, everything is looked up by
//! its name in plain maps. Only the ring is the agent's, which has tests of its own.
//! The fuzzer compares gateways with it, frame by frame.

mod answers;
mod errors;
mod extensions;
mod guard;
mod hairpin;
mod hash;
mod inbound;
mod inside;
mod ip;
mod neighbours;
mod outbound;
mod parse;
mod past;
mod quoted;
mod site;
mod sums;
mod tunnel;
mod vlan;
mod wire;

use gateway_common::Reason;
use lingyun::{
    config::{Gateway, Topology},
    reachability::Reachability,
};

use crate::cases::Program;
use past::Past;
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
        /// Which way it goes, and whose traffic it is.
        way: Way,
        /// Bytes that count: without a tunnel's headers, and without a VLAN's tag.
        bytes: usize,
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

/// Which way a packet goes, and whose traffic it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the public network to an instance.
    In(Owner),
    /// From an instance to the public network.
    Out(Owner),
    /// From an instance to one of our own public addresses, and so to an instance.
    Hairpin {
        /// As whom the sender appears.
        from: Owner,
        /// Who is asked.
        to: Owner,
    },
    /// From an instance to another, as they are.
    Inside {
        /// VNI of the sender's VPC.
        from: u32,
        /// VNI of the receiver's.
        to: u32,
    },
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
    past: Past,
    /// Senders that were told that their packet cannot go on.
    errors_told: u32,
    memory: guard::Memory,
}

impl Oracle {
    /// The gateway `gateway` of a topology, in these surroundings.
    pub fn new(topology: Topology, gateway: Gateway, reach: Reachability) -> Self {
        Self {
            site: Site::new(topology, gateway, reach),
            past: Past::default(),
            errors_told: 0,
            memory: guard::Memory::default(),
        }
    }

    /// Backends have changed: `before` they were others, and the file names those in
    /// `file` now. What the gateway was made with has those that are leaving, too.
    pub fn with_past(mut self, before: &Topology, file: &Topology) -> Self {
        self.past = Past::new(before, &self.site.topology);
        self.site.share_among(file);
        self
    }

    /// Forgets what it remembers.
    pub fn reset(&mut self) {
        self.past.reset();
        self.errors_told = 0;
        self.memory = guard::Memory::default();
    }

    /// What must become of a frame that arrives at a program by the interface with
    /// this index, with `seen` where the gateway may choose.
    pub fn fate(&mut self, program: Program, device: u32, frame: &[u8], seen: &Seen<'_>) -> Fate {
        let result = match program {
            Program::Public => self.public_network(device, frame, seen),
            Program::Underlay => self.underlay_side(frame, seen),
            Program::SingleArm if self.site.is_tagged() => match vlan::is_tagged(frame) {
                true => self.public_network(device, frame, seen),
                false => self.underlay_side(frame, seen),
            },
            Program::SingleArm => match self.underlay_side(frame, seen) {
                Err(reason) if is_no_tunnel(reason) => self.public_network(device, frame, seen),
                result => result,
            },
        };
        result.unwrap_or_else(Fate::Ends)
    }

    /// A frame from the public network, which may be in VLANs.
    fn public_network(
        &mut self,
        device: u32,
        frame: &[u8],
        seen: &Seen<'_>,
    ) -> Result<Fate, Reason> {
        match self.site.is_tagged() {
            true => self.tagged_side(device, frame, seen),
            false => self.public_side((device, None), frame, seen),
        }
    }
}

/// Whether a frame turned out to be none of the underlay's tunnels.
fn is_no_tunnel(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotIp | Reason::L2Multicast | Reason::NotOurs | Reason::NotVxlan
    )
}
