//! Egress NAT: the table of ports, which the program itself writes, and what the agent
//! tells about addresses, shares and tenants.
//!
//! The unit is a mapping, not a session (RFC 4787, section 4.1): an instance's port
//! has one public port whatever it talks to. A port's place in `SNAT_PORTS` follows
//! from its number, and the places where an instance's port may lie follow from a
//! hash, so one table serves both directions.

use core::sync::atomic::AtomicU64;

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// Lowest public port that is handed out (RFC 4787, REQ-3: well-known ports are not
/// for others).
pub const SNAT_FIRST_PORT: u32 = 1024;

/// Most shares that a port space can be split into. The first one also holds the
/// ports that are never handed out, and should not be made of them alone.
pub const SNAT_MAX_SHARES: u32 = 16;

/// Ports in a bucket.
pub const SNAT_SLOTS: usize = 4;

/// One cache line of `SNAT_PORTS`: four neighbouring ports. Laid out like
/// [`Bucket`](crate::Bucket).
///
/// Whoever swaps a free or expired state for [`SnatState::CLAIMED`] owns the slot and
/// writes the owner, then the state: nobody else writes meanwhile.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct SnatBucket {
    /// [`SnatOwner`]s; 0 where nobody ever was.
    pub owners: [AtomicU64; SNAT_SLOTS],
    /// [`SnatState`]s; 0 is free.
    pub states: [AtomicU64; SNAT_SLOTS],
}

const _: () = assert!(size_of::<SnatBucket>() == size_of::<crate::Bucket>());

/// What is mapped: an instance's port or echo identifier.
///
/// Layout (bits): 0..16 port as it lies in the packet, 16..40 instance index, 40..63
/// the instance's tag, 63 valid. The protocol is told by the place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatOwner(pub u64);

impl SnatOwner {
    const VALID: u64 = 1 << 63;

    /// Bits of a tag.
    pub const TAG: u32 = 0x7f_ffff;

    /// `port` as it lies in the packet; `tag` see [`Instance::snat_tag`](crate::Instance).
    #[inline(always)]
    pub const fn new(instance: u32, tag: u32, port: u16) -> Self {
        let instance = (instance & 0xff_ffff) as u64;
        let tag = (tag & Self::TAG) as u64;
        Self(Self::VALID | port as u64 | instance << 16 | tag << 40)
    }

    /// Whether somebody is or was here.
    #[inline(always)]
    pub const fn is_valid(self) -> bool {
        self.0 & Self::VALID != 0
    }

    /// Inner port as it lies in the packet.
    #[inline(always)]
    pub const fn port(self) -> u16 {
        self.0 as u16
    }

    /// Index into `INSTANCES`.
    #[inline(always)]
    pub const fn instance(self) -> u32 {
        (self.0 >> 16) as u32 & 0xff_ffff
    }

    /// Tells instances apart that had the same index.
    #[inline(always)]
    pub const fn tag(self) -> u32 {
        (self.0 >> 40) as u32 & Self::TAG
    }

    /// Whether both are of one instance.
    #[inline(always)]
    pub const fn is_neighbour(self, other: Self) -> bool {
        (self.0 ^ other.0) >> 16 == 0
    }
}

/// How a mapping fares.
///
/// Layout (bits): 0..32 when it was last used, in ticks; 32..40 phase; 40..56 the
/// account that pays for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatState(pub u64);

impl SnatState {
    /// Nobody's.
    pub const FREE: u8 = 0;
    /// Somebody is about to write the slot.
    pub const CLAIMED: u8 = 1;
    /// UDP and echo: in use.
    pub const ACTIVE: u8 = 2;
    /// TCP: the instance sent something.
    pub const OPENING: u8 = 3;
    /// TCP: and was answered.
    pub const ANSWERED: u8 = 4;
    /// TCP: and answered that.
    pub const ESTABLISHED: u8 = 5;
    /// TCP: both sides have finished, or one has reset.
    pub const CLOSING: u8 = 6;
    /// The phases above.
    pub const PHASE: u8 = 0x0f;
    /// Set besides when the instance has finished.
    pub const FIN_OUT: u8 = 0x10;
    /// Set besides when the other side has.
    pub const FIN_IN: u8 = 0x20;

    /// Packs a state.
    #[inline(always)]
    pub const fn new(phase: u8, tick: u32, account: u32) -> Self {
        Self(tick as u64 | (phase as u64) << 32 | ((account & 0xffff) as u64) << 40)
    }

    /// Phase with its flags.
    #[inline(always)]
    pub const fn phase(self) -> u8 {
        (self.0 >> 32) as u8
    }

    /// When it was last used.
    #[inline(always)]
    pub const fn tick(self) -> u32 {
        self.0 as u32
    }

    /// Index into `SNAT_ACCOUNTS`.
    #[inline(always)]
    pub const fn account(self) -> u32 {
        (self.0 >> 40) as u32 & 0xffff
    }
}

/// What a mapping is for: each has the whole port space of an address to itself.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SnatClass {
    /// TCP ports.
    Tcp,
    /// UDP ports.
    Udp,
    /// Identifiers of echo requests.
    Echo,
}

impl SnatClass {
    /// All of them, in the order in which an address has them in `SNAT_PORTS`.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Echo];

    /// Name, for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Echo => "echo",
        }
    }
}

/// A public address that instances share, one cache line.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SnatAddress {
    /// The address.
    pub address: Address,
    /// Its first bucket in `SNAT_PORTS`.
    pub first: u32,
    /// Buckets at the start of each class that are never handed out.
    pub skipped: u32,
    /// Ticks that an unused UDP mapping lives.
    pub udp: u32,
    /// Ticks that an unused echo mapping lives.
    pub echo: u32,
    /// Ticks that an idle TCP mapping lives once it is established.
    pub established: u32,
    /// Ticks that it lives before and after that.
    pub transitory: u32,
    /// Ticks that an expired port rests before another instance gets it.
    pub hold: u32,
    /// Folded one's complement sum of the address.
    pub sum: u32,
    /// Index into `COUNTERS`.
    pub counter: u32,
    /// See `FLAG_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: [u32; 2],
}

impl SnatAddress {
    /// The record holds an address.
    pub const FLAG_VALID: u32 = 1;
    /// Only addresses that an instance's port sent to may answer.
    pub const FLAG_FILTER_ADDRESS: u32 = 2;
    /// Only addresses and ports that it sent to may.
    pub const FLAG_FILTER_PORT: u32 = 4;
    /// UDP from outside keeps a mapping alive, too.
    pub const FLAG_REFRESH_INBOUND: u32 = 8;
    /// Either filter.
    pub const FILTERS: u32 = Self::FLAG_FILTER_ADDRESS | Self::FLAG_FILTER_PORT;
}

/// What one tenant uses of one pool. A cache line: CPUs count here.
#[repr(C, align(64))]
#[derive(Debug, Default)]
pub struct SnatAccount {
    /// Mappings: live ones, and expired ones that nobody took yet.
    pub used: AtomicU64,
    /// Most that it may have; 0 is no limit.
    pub quota: AtomicU64,
    /// Packets dropped because no port was left.
    pub exhausted: AtomicU64,
    /// Packets dropped because of the quota.
    pub over_quota: AtomicU64,
    /// The agent's.
    pub reserved: [u64; 4],
}

/// Somebody outside to whom a mapped port has sent. Kept only where a pool filters.
///
/// Whole words: a compiler that merges stores of smaller fields makes one that lies
/// across two words of the stack, which the verifier refuses.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SnatPeer {
    /// The [`SnatOwner`].
    pub owner: u64,
    /// Address outside.
    pub address: [u64; 2],
    /// [`SnatClass`] in the upper half; below it the port outside as it lies in the
    /// packet, or 0 where it does not matter.
    pub class_port: u64,
}

/// Words of [`Config::snat`](crate::Config).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnatSetting;

impl SnatSetting {
    /// This gateway's share of every port space.
    pub const SHARE: usize = 0;
    /// How far to shift a port right to get the share it is in.
    pub const SHARE_SHIFT: usize = 1;
    /// How far to shift jiffies right to get ticks of about a second.
    pub const TICK_SHIFT: usize = 2;
    /// Last word of the VXLAN header with which gateways hand packets over; 0 if they
    /// do not.
    pub const HANDOVER: usize = 3;
}
