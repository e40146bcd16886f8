//! The guard of the public side: what it lets in, and what it remembers of it.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// What the guard looks at: bits of [`Config::guard`](crate::Config::guard). All that
/// is not set is removed from the program when it is loaded.
pub struct GuardBits;

impl GuardBits {
    /// Source prefixes: deny and allow lists, bogons, our own addresses.
    pub const LISTS: u32 = 1;
    /// TCP flags and ports that no connection has.
    pub const MALFORMED: u32 = 2;
    /// Packets of each source.
    pub const SOURCE_PACKETS: u32 = 4;
    /// New flows of each source.
    pub const SOURCE_FLOWS: u32 = 8;
    /// Some endpoints have a [`Guard`] of their own.
    pub const SERVICES: u32 = 16;
    /// Lists differ between interfaces.
    pub const BY_INTERFACE: u32 = 32;
}

/// A prefix of sources, as the trie of lists has it.
#[repr(C, align(8))]
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    FromBytes,
    IntoBytes,
    Immutable,
    KnownLayout,
)]
pub struct PrefixKey {
    /// Bits that count: those of `scope`, then those of the address.
    pub length: u32,
    /// Interface and family, see [`PrefixKey::scope`].
    pub scope: u32,
    /// The address.
    pub address: Address,
}

impl PrefixKey {
    /// Bits of the scope, which count always.
    pub const SCOPE_BITS: u32 = 32;

    /// Scope of an interface (kernel's index), or of all (0), and a family.
    #[inline(always)]
    pub const fn scope(interface: u32, is_v6: bool) -> u32 {
        interface << 1 | is_v6 as u32
    }
}

/// What a list says of a source: values of the trie.
pub struct Listed;

impl Listed {
    /// Nothing.
    pub const NOT: u32 = 0;
    /// Let in, whatever the limits.
    pub const ALLOWED: u32 = 1;
    /// Refused.
    pub const DENIED: u32 = 2;
    /// Cannot come from outside.
    pub const BOGON: u32 = 3;
    /// One of our own public addresses.
    pub const OWN: u32 = 4;
}

/// Bits that tell whether the trie has a say: one for each value of the first 16 bits
/// of an IPv4 address, then one for each of bits 16 to 31 of an IPv6 address.
pub const HINTS: u32 = 2 << 16;

/// A rate as the generic cell rate algorithm wants it, in 2^-24 jiffies; a cost of 0 is
/// no limit.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Limit {
    /// Time between two packets at the highest rate.
    pub cost: u64,
    /// How far packets may be ahead of that rate.
    pub burst: u64,
}

/// What the guard of an endpoint allows; index 0 is for each source.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Guard {
    /// Packets.
    pub packets: Limit,
    /// New flows: TCP segments with SYN and without ACK.
    pub flows: Limit,
    /// More SYNs than this switch the challenge on.
    pub above: Limit,
    /// More SYNs of unknown sources than this keep it on.
    pub below: Limit,
    /// Jiffies that it stays on after the last time.
    pub hold: u64,
    /// Jiffies that a source is known for which answered a challenge.
    pub verified: u64,
    /// See `FLAG_*`.
    pub flags: u32,
    /// Zero.
    pub reserved: [u32; 11],
}

impl Guard {
    /// Unknown sources are challenged, above a rate.
    pub const FLAG_CHALLENGE: u32 = 1;
    /// They are challenged at any rate.
    pub const FLAG_ALWAYS: u32 = 2;
}

/// What packets leave behind at a [`Guard`].
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct GuardState {
    /// Level of the packets, as [`Limit`] counts.
    pub packets: u64,
    /// Level of the new flows.
    pub flows: u64,
    /// Level of the SYNs that may switch the challenge on or keep it on.
    pub syns: u64,
    /// Jiffies when the challenge was switched on last.
    pub since: u64,
    /// Jiffies when it ends.
    pub until: u64,
    /// Zero.
    pub reserved: [u64; 3],
}

/// Two words of a source's meter: level of its packets, level of its new flows.
pub type Meter = [u64; 2];

/// The agent's idea of time, for challenges that all gateways understand.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Clock {
    /// Jiffies, as the program that is asked for them left them here.
    pub now: u64,
    /// Jiffies from the kernel's zero back to 1970.
    pub offset: u64,
    /// Jiffies in an epoch of challenges; 0 stops the epochs.
    pub epoch: u64,
    /// Zero.
    pub reserved: u64,
}

/// Seconds in an epoch of challenges. An answer is good in its own and the next one.
pub const EPOCH_SECONDS: u64 = 64;
