//! What the stages need from the world: a packet, the tables, and a way to end.
//!
//! The kernel's glue and the host's tests implement these traits; the stages
//! never name either.

use gateway_common::{
    Backend, Begun, Bucket, Clock, ErrorLimit, FlowKey, Guard, Instance, Interface, Limiter, Moved,
    NextHop, Note, PrefixKey, Range, Reason, SnatAccount, SnatAddress, SnatBucket, SnatPeer,
    SourceNat, Step, TrackEvent, Tunnel, WideBucket,
};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::word::Word;

/// A header that can be looked at in place, at any alignment.
pub trait Header: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned {}
impl<T: FromBytes + IntoBytes + Immutable + KnownLayout + Unaligned> Header for T {}

/// A frame, from its Ethernet header on.
///
/// A view borrows the packet, and [`push`](Packet::push) and [`pop`](Packet::pop)
/// take `&mut self`: no view can outlive a move of the frame's head.
pub trait Packet {
    /// Bytes in the frame.
    fn len(&self) -> usize;

    /// Whether the frame has no bytes at all.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Kernel's index of the interface that the frame came in by.
    fn ingress(&self) -> u32;

    /// The header at `offset`, if the frame has all of it.
    fn view<T: Header>(&self, offset: usize) -> Option<&T>;

    /// The same, to change it.
    fn view_mut<T: Header>(&mut self, offset: usize) -> Option<&mut T>;

    /// Makes room for `bytes` in front of the frame; their content is undefined.
    fn push(&mut self, bytes: usize) -> Result<(), Reason>;

    /// Takes `bytes` off the front of the frame.
    fn pop(&mut self, bytes: usize) -> Result<(), Reason>;

    /// Cuts the frame's end off, so that `length` bytes are left.
    fn truncate(&mut self, length: usize) -> Result<(), Reason>;

    /// Adds zeroes at the frame's end.
    fn lengthen(&mut self, bytes: usize) -> Result<(), Reason>;

    /// Makes the frame `length` bytes long.
    #[inline(always)]
    fn resize(&mut self, length: usize) -> Result<(), Reason> {
        let now = self.len();
        if length < now {
            return self.truncate(length);
        }
        if length > now {
            return self.lengthen(length - now);
        }
        Ok(())
    }

    /// The same offset. Where one comes from the packet, LLVM may compute the pointer that
    /// is checked in another way than the one that is used, and the verifier then sees no
    /// check: of what this returns it knows too little for that.
    #[inline(always)]
    fn settled(&self, offset: usize) -> usize {
        offset
    }

    /// The header at `offset`, or the frame is truncated.
    #[inline(always)]
    fn need<T: Header>(&self, offset: usize) -> Result<&T, Reason> {
        self.view(offset).ok_or(Reason::Truncated)
    }

    /// The same, to change it.
    #[inline(always)]
    fn need_mut<T: Header>(&mut self, offset: usize) -> Result<&mut T, Reason> {
        self.view_mut(offset).ok_or(Reason::Truncated)
    }
}

/// What packets leave behind at a [`Guard`]: [`GuardState`](gateway_common::GuardState)
/// as the program changes it.
#[derive(Debug, Default)]
#[repr(C, align(64))]
pub struct GuardWords {
    /// Level of the packets.
    pub packets: Word,
    /// Level of the new flows.
    pub flows: Word,
    /// Level of the SYNs.
    pub syns: Word,
    /// When the challenge was switched on last.
    pub since: Word,
    /// When it ends.
    pub until: Word,
    /// Zero.
    pub reserved: [Word; 3],
}

/// What the agent wrote, and what it reads back.
///
/// Every reader returns `None` for an index beyond the table.
pub trait Tables {
    /// The kernel's clock, in jiffies.
    fn now(&self) -> u64;
    /// Seed of the flow hash.
    fn seed(&self) -> [u64; 2];
    /// Largest TCP segment that a SYN over IPv4 may ask for; 0: any.
    fn mss(&self) -> u32;
    /// The port by which all packets come and go, if there is but one; else 0.
    fn only_port(&self) -> u32;
    /// A word of the VTEP that all gateways share (read one by one: over IPv4 only
    /// the first is needed).
    fn anycast_vtep(&self, word: usize) -> u32;
    /// A word of this gateway's own VTEP.
    fn own_vtep(&self, word: usize) -> u32;
    /// A bucket of public endpoints. This and the three below take any number and
    /// use as many of its low bits as the table has buckets.
    fn endpoints(&self, place: u32) -> Option<&Bucket>;
    /// A bucket of (VNI, inner address).
    fn instance_keys(&self, place: u32) -> Option<&Bucket>;
    /// A bucket of (instance, protocol, port).
    fn reverse(&self, place: u32) -> Option<&Bucket>;
    /// A bucket of IPv6 addresses.
    fn addresses(&self, place: u32) -> Option<&WideBucket>;
    /// A ring slot, packed.
    fn ring(&self, slot: u32) -> Option<u64>;
    /// What is known of a tracked slot, packed.
    fn track(&self, slot: u32) -> Option<u64>;
    /// Marks a tracked slot: a packet goes to another backend than the current one.
    fn mark(&self, slot: u32, mark: u32);
    /// A remembered flow.
    fn moved(&self, flow: &FlowKey) -> Option<Moved>;
    /// Remembers a flow.
    fn remember(&self, flow: &FlowKey, moved: Moved);
    /// A flow of which the first packet came.
    fn begun(&self, flow: &FlowKey) -> Option<Begun>;
    /// Remembers a flow's first packet.
    fn begin(&self, flow: &FlowKey, begun: Begun);
    /// Counts what happens to a flow of a tracked slot.
    fn count_track(&self, event: TrackEvent);
    /// A backend.
    fn backend(&self, index: u32) -> Option<&Backend>;
    /// A tunnel.
    fn tunnel(&self, index: u32) -> Option<&Tunnel>;
    /// An instance.
    fn instance(&self, index: u32) -> Option<&Instance>;
    /// A reverse translation.
    fn source_nat(&self, index: u32) -> Option<&SourceNat>;
    /// A next hop on the public side.
    fn uplink(&self, slot: u32) -> Option<&NextHop>;
    /// An interface of ours.
    fn interface(&self, slot: u32) -> Option<&Interface>;
    /// How many errors may be sent.
    fn error_limit(&self) -> ErrorLimit;
    /// What this CPU has left of them, to be changed by `use_it`.
    fn limiter<R>(&self, use_it: impl FnOnce(&mut Limiter) -> R) -> Option<R>;
    /// A word of the filter of public addresses, see [`crate::stages::hairpin`].
    fn public_filter(&self, word: u32) -> u64;
    /// Whether an address is in a range that is inside for a VPC.
    fn is_inside(&self, address: Range) -> bool;
    /// Whether the public side is in VLANs.
    fn tagged(&self) -> bool;
    /// Counts a packet from an instance of one VPC to an instance of the same or another.
    fn count_routed(&self, from: u32, to: u32, bytes: usize);
    /// What the guard looks at, see [`GuardBits`](gateway_common::GuardBits).
    fn guard(&self) -> u32;
    /// A word of the bits that tell which sources the lists have a say about.
    fn guard_hint(&self, word: u32) -> Option<u64>;
    /// What the longest listed prefix of a source says.
    fn guard_prefix(&self, key: &PrefixKey) -> Option<u32>;
    /// A bucket of guarded endpoints; takes any number.
    fn guarded(&self, place: u32) -> Option<&Bucket>;
    /// A guard; 0 is each source's.
    fn guard_limits(&self, index: u32) -> Option<&Guard>;
    /// What packets left behind at it.
    fn guard_state(&self, index: u32) -> Option<&GuardWords>;
    /// A meter that sources share; takes any number.
    fn meter(&self, place: u32) -> Option<&[Word; 2]>;
    /// Until when a source is known, if it ever was.
    fn verified(&self, source: u64) -> Option<u64>;
    /// Makes a source known.
    fn verify(&self, source: u64, until: u64);
    /// The agent's idea of time.
    fn clock(&self) -> Option<&Clock>;
    /// Counts a packet towards an instance.
    fn count_in(&self, counter: u32, bytes: usize);
    /// Counts a packet from an instance.
    fn count_out(&self, counter: u32, bytes: usize);
    /// Counts a packet that ended with a reason.
    fn count_reason(&self, reason: Reason, bytes: usize);
    /// One of the [`SnatSetting`](gateway_common::SnatSetting)s.
    fn snat(&self, setting: usize) -> u32;
    /// A public address that instances share.
    fn snat_address(&self, index: u32) -> Option<&SnatAddress>;
    /// Four ports of such an address.
    fn snat_ports(&self, place: u32) -> Option<&SnatBucket>;
    /// What a tenant uses of a pool.
    fn snat_account(&self, index: u32) -> Option<&SnatAccount>;
    /// The tunnel towards the gateway that owns a share.
    fn snat_share(&self, share: u32) -> Option<u32>;
    /// When somebody outside was last sent to.
    fn snat_peer(&self, peer: &SnatPeer) -> Option<u32>;
    /// Remembers that somebody outside is sent to.
    fn set_snat_peer(&self, peer: &SnatPeer, tick: u32);
    /// Notes a word for the step that goes on.
    fn note(&self, note: Note, word: u32);
    /// What the program before this step noted.
    fn noted(&self, note: Note) -> u32;
}

/// Why a list of stages ends early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// The packet's way ends here.
    End(Reason),
    /// Another program goes on, from the packet as it came in.
    Continue(Step),
    /// The packet cannot go on for this reason and its sender is told; with the longest
    /// IP packet in bytes that would have fitted, or 0.
    Refuse(Reason, u32),
}

impl From<Reason> for Exit {
    #[inline(always)]
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::TtlExceeded => Self::Refuse(reason, 0),
            reason => Self::End(reason),
        }
    }
}

/// How a packet leaves a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Out of the device at this index of `PORTS`.
    Redirect(u32),
    /// Back out of the device that it came in by, which costs less.
    Transmit,
    /// Ended here; the reason tells whether it was passed, answered or dropped.
    End(Reason),
    /// The step's program goes on.
    Continue(Step),
}
