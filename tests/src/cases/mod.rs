//! The case list: every path and every refusal of the packet path, once.
//!
//! `tests/stages.rs` runs it on the library, `tests/fixtures.rs` in the kernel.
//! See docs/testing.md for how to read and add one.

mod answers;
mod cuts;
mod floating;
mod flood;
mod guard;
mod guest;
mod hairpin;
mod icmp_errors;
mod inside;
mod ipv6;
mod ipv6_headers;
mod ipv6_inside;
mod ipv6_underlay;
mod jumbo;
mod limits;
mod malformed;
mod neighbours;
mod passed;
mod refusals;
mod segments;
mod service;
mod single_arm;
pub mod site;
pub mod site6;
mod tunnel;
mod vlan;

use gateway_common::{Outcome, Reason};

use crate::packet::Frame;
use site::Site;

/// One thing shown, in one or more packets.
#[derive(Clone, Debug)]
pub struct Case {
    /// What is shown.
    pub name: String,
    /// Where it plays.
    pub site: Site,
    /// The packets, in order.
    pub steps: Vec<Step>,
    /// What must hold for the outputs taken together.
    pub together: Together,
    /// Why the kernel runner cannot show it.
    pub host_only: Option<&'static str>,
}

/// What must hold for the outputs of all steps of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Together {
    /// Nothing more than for each.
    Nothing,
    /// One backend, one outer source port.
    OneFlow,
    /// Every backend, and nearly as many outer source ports as packets.
    Spread,
}

/// Which of the three programs a packet arrives at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Program {
    /// For interfaces that face the public network.
    Public,
    /// For interfaces that face the underlay.
    Underlay,
    /// For an interface that is both.
    SingleArm,
}

/// One packet and what must become of it.
#[derive(Clone, Debug)]
pub struct Step {
    /// Where it arrives.
    pub program: Program,
    /// Free bytes in front of it; only the host runner can set them.
    pub headroom: usize,
    /// Bytes of it in the first buffer; only the host runner can choose.
    pub first_buffer: usize,
    /// The frame.
    pub input: Vec<u8>,
    /// What must become of it.
    pub expect: Expect,
}

/// What must become of a packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The kernel gets it, unchanged.
    Passed(Reason),
    /// It is gone.
    Dropped(Reason),
    /// It is sent back as this frame.
    Answered(Reason, Vec<u8>),
    /// It leaves by the underlay as one of these frames; the outer UDP source port
    /// is only checked for its range. With each, the counter that it moves.
    Encapsulated(Vec<(&'static str, Vec<u8>)>),
    /// It leaves by the public interface as this frame, and moves this counter.
    Decapsulated(&'static str, Vec<u8>),
    /// It leaves by the underlay as this frame, outer source port included, and counts
    /// as routed from one VPC to another, by their indices from 1 on.
    Routed(u32, u32, Vec<u8>),
    /// The same, with the counters of whose packet it is and of whom it is for.
    Hairpinned(&'static str, &'static str, Vec<u8>),
}

impl Expect {
    /// The reason that the packet's way ends with, if it ends.
    pub fn reason(&self) -> Option<Reason> {
        match *self {
            Self::Passed(reason) | Self::Dropped(reason) | Self::Answered(reason, _) => {
                Some(reason)
            }
            Self::Encapsulated(_)
            | Self::Decapsulated(..)
            | Self::Routed(..)
            | Self::Hairpinned(..) => None,
        }
    }
}

/// Reasons that no case can reach, and why.
pub const UNREACHABLE: &[(Reason, &str)] = &[];

/// All cases.
pub fn all() -> Vec<Case> {
    [
        service::cases(),
        floating::cases(),
        answers::cases(),
        passed::cases(),
        malformed::cases(),
        tunnel::cases(),
        guest::cases(),
        inside::cases(),
        hairpin::cases(),
        vlan::cases(),
        jumbo::cases(),
        limits::cases(),
        refusals::cases(),
        segments::cases(),
        icmp_errors::cases(),
        single_arm::cases(),
        cuts::cases(),
        guard::cases(),
        flood::cases(),
        ipv6::cases(),
        ipv6_headers::cases(),
        ipv6_inside::cases(),
        ipv6_underlay::cases(),
        neighbours::cases(),
    ]
    .concat()
}

/// A case at the usual site.
fn case(name: impl Into<String>, steps: impl IntoIterator<Item = Step>) -> Case {
    Case {
        name: name.into(),
        site: Site::default(),
        steps: steps.into_iter().collect(),
        together: Together::Nothing,
        host_only: None,
    }
}

impl Case {
    fn at(self, site: Site) -> Self {
        Self { site, ..self }
    }

    fn together(self, together: Together) -> Self {
        Self { together, ..self }
    }

    fn host_only(self, why: &'static str) -> Self {
        Self {
            host_only: Some(why),
            ..self
        }
    }
}

/// A frame that arrives at a program; becomes a [`Step`] by saying what must become of it.
struct Arrival {
    program: Program,
    headroom: usize,
    first_buffer: usize,
    input: Vec<u8>,
}

/// Bytes of a frame in its first buffer: what a test run in the kernel puts there, a page
/// less head room, tail room and a little.
const FIRST_BUFFER: usize = 3_520;

fn arrive(program: Program, frame: Frame) -> Arrival {
    Arrival {
        program,
        headroom: 256,
        first_buffer: FIRST_BUFFER,
        input: frame.bytes(),
    }
}

/// The frame comes from the public network.
fn public(frame: Frame) -> Arrival {
    arrive(Program::Public, frame)
}

/// The frame comes from the underlay.
fn underlay(frame: Frame) -> Arrival {
    arrive(Program::Underlay, frame)
}

/// The frame comes from an interface that is both.
fn single_arm(frame: Frame) -> Arrival {
    arrive(Program::SingleArm, frame)
}

impl Arrival {
    fn headroom(self, headroom: usize) -> Self {
        Self { headroom, ..self }
    }

    fn first_buffer(self, first_buffer: usize) -> Self {
        Self {
            first_buffer,
            ..self
        }
    }

    fn expect(self, expect: Expect) -> Step {
        let Self {
            program,
            headroom,
            first_buffer,
            input,
        } = self;
        Step {
            program,
            headroom,
            first_buffer,
            input,
            expect,
        }
    }

    fn passed(self, reason: Reason) -> Step {
        assert_eq!(
            reason.outcome(),
            Outcome::Passed,
            "{reason:?} does not pass packets"
        );
        self.expect(Expect::Passed(reason))
    }

    fn dropped(self, reason: Reason) -> Step {
        assert_eq!(
            reason.outcome(),
            Outcome::Dropped,
            "{reason:?} does not drop packets"
        );
        self.expect(Expect::Dropped(reason))
    }

    fn answered(self, reason: Reason, frame: Frame) -> Step {
        assert_eq!(
            reason.outcome(),
            Outcome::Answered,
            "{reason:?} does not answer packets"
        );
        self.expect(Expect::Answered(reason, frame.bytes()))
    }

    /// Encapsulated to the one backend that there is.
    fn reaches(self, counter: &'static str, frame: Frame) -> Step {
        self.reaches_one_of([(counter, frame)])
    }

    /// Encapsulated to one of several backends.
    fn reaches_one_of(self, any: impl IntoIterator<Item = (&'static str, Frame)>) -> Step {
        let any = any
            .into_iter()
            .map(|(counter, frame)| (counter, frame.bytes()));
        self.expect(Expect::Encapsulated(any.collect()))
    }

    /// To another instance, from one VPC to another.
    fn routed(self, (from, to): (u32, u32), frame: Frame) -> Step {
        self.expect(Expect::Routed(from, to, frame.bytes()))
    }

    /// To one of our own public addresses.
    fn comes_back(self, from: &'static str, to: &'static str, frame: Frame) -> Step {
        self.expect(Expect::Hairpinned(from, to, frame.bytes()))
    }

    /// Decapsulated to the border router.
    fn leaves(self, counter: &'static str, frame: Frame) -> Step {
        self.expect(Expect::Decapsulated(counter, frame.bytes()))
    }
}
