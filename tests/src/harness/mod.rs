//! Runs cases: on the library, and in the kernel.

mod host;
mod judge;
mod kernel;

use std::collections::BTreeMap;

use gateway_common::{Counter, Reason, ReasonCount};

use crate::cases::{Case, Step};

pub use host::{Host, HostTables};
pub(crate) use kernel::make_device;
pub use kernel::{Kernel, act, is_guest, object_path, send, unavailable};

/// Where a packet went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// To the node's kernel.
    Pass,
    /// Nowhere.
    Drop,
    /// Back out of the interface that it came in by.
    Transmit,
    /// Out of the device with this index.
    Redirect(u32),
}

/// What a run did.
#[derive(Clone, Debug)]
pub struct Observed {
    /// Where the packet went.
    pub action: Action,
    /// The frame afterwards.
    pub output: Vec<u8>,
    /// Counters that moved, by index, and by how much.
    pub counters: BTreeMap<u32, Counter>,
    /// Counters of routed packets that moved, by index of the VPC, and by how much.
    pub routed: BTreeMap<u32, Counter>,
    /// Reasons that were counted, and by how much.
    pub reasons: BTreeMap<Reason, ReasonCount>,
}

/// Something that a packet can be sent through.
pub trait Runner {
    /// Sends one packet. `device` is the one that a redirect should go to; a runner
    /// that cannot see where a redirect goes lets no other one succeed.
    fn run(&mut self, step: &Step, device: Option<u32>) -> anyhow::Result<Observed>;

    /// Whether this runner can send a packet at all.
    fn can_send(&self, step: &Step) -> bool;
}

/// Runs a case and says, if it fails, which packet did and how.
pub fn check(case: &Case, runner: &mut dyn Runner) -> Result<(), String> {
    judge::check(case, runner)
}
