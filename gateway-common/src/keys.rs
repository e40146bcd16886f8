//! Exact-match tables: buckets of one cache line, and the words they are keyed by.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::Address;

/// Entries in a bucket of one-word keys.
pub const BUCKET_SLOTS: usize = 4;

/// One cache line of an exact-match table: four keys, then their four values.
///
/// A slot is free when its key is 0. The agent stores the value first and the
/// key last, each with one aligned store; a reader therefore sees either the
/// whole entry or none. A freed slot keeps its value until a grace period ends.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Bucket {
    /// Packed keys, 0 when free.
    pub keys: [u64; BUCKET_SLOTS],
    /// Packed values; see [`Endpoint`], [`Reference`].
    pub values: [u64; BUCKET_SLOTS],
}

/// Entries in a bucket of IPv6 addresses.
pub const WIDE_SLOTS: usize = 2;

/// An IPv6 address within a scope, and what is known of it.
///
/// A slot is free when its value is 0. The agent stores the address first and the
/// value last; a freed slot keeps its address until a grace period ends.
#[repr(C, align(32))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WideSlot {
    /// The address.
    pub address: Address,
    /// [`WideSlot::PUBLIC`], or the last word of a VPC's VXLAN header.
    pub scope: u32,
    /// Zero.
    pub reserved: u32,
    /// [`Endpoint`] of a public address, [`Reference`] of an inner one; 0 when free.
    pub value: u64,
}

impl WideSlot {
    /// Scope of public addresses. No VXLAN header has it: its last byte is reserved.
    pub const PUBLIC: u32 = u32::from_ne_bytes([0, 0, 0, 1]);

    /// Set in the scope of a VPC's MACs, in the byte that a VXLAN header reserves.
    const LINK: u32 = u32::from_ne_bytes([0, 0, 0, 2]);

    /// Scope of the MACs of a VPC's instances: neighbour discovery speaks from
    /// addresses that are made up on the spot, and the MAC tells whose they are.
    /// `vni` is the last word of the VXLAN header.
    #[inline(always)]
    pub const fn link(vni: u32) -> u32 {
        vni & VNI_MASK | Self::LINK
    }

    /// A MAC in place of an address.
    pub const fn mac([a, b, c, d, e, f]: [u8; 6]) -> Address {
        let [low, high] = [[a, b, c, d], [e, f, 0, 0]];
        [u32::from_ne_bytes(low), u32::from_ne_bytes(high), 0, 0]
    }
}

/// One cache line of the table of IPv6 addresses.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct WideBucket {
    /// Its entries.
    pub slots: [WideSlot; WIDE_SLOTS],
}

/// Set in every valid key, so that no valid key is 0.
const VALID: u64 = 1 << 63;

/// Set in the key of a service on an IPv6 address.
const WIDE: u64 = 1 << 62;

/// Key of a public endpoint: address, protocol, port.
///
/// Layout (bits): 0..32 IPv4 address or number of an IPv6 address, 32..48 port,
/// 48..56 protocol, 62 IPv6, 63 valid. Protocol 0 with port 0 names an IPv4 address
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey(pub u64);

impl EndpointKey {
    /// `address` and `port` as they lie in the packet, `protocol` an IP protocol number.
    #[inline(always)]
    pub const fn v4(address: u32, protocol: u8, port: u16) -> Self {
        Self(VALID | address as u64 | (port as u64) << 32 | (protocol as u64) << 48)
    }

    /// The address itself, whatever the protocol and port.
    #[inline(always)]
    pub const fn address_v4(address: u32) -> Self {
        Self::v4(address, 0, 0)
    }

    /// The IPv4 address in the key, if it has one.
    #[inline(always)]
    pub const fn address(self) -> Option<u32> {
        match self.0 & WIDE {
            0 => Some(self.0 as u32),
            _ => None,
        }
    }

    /// A service on an IPv6 address, which [`WideBucket`]s turned into a number.
    #[inline(always)]
    pub const fn v6(number: u32, protocol: u8, port: u16) -> Self {
        Self(Self::v4(number, protocol, port).0 | WIDE)
    }
}

/// Key of an instance or virtual router: VNI and inner address.
///
/// Layout (bits): 0..32 IPv4 address, 32..56 VNI, 63 valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceKey(pub u64);

impl InstanceKey {
    /// `vni` is the last word of the VXLAN header as it lies in the packet; its
    /// reserved byte is ignored (RFC 7348, section 5). `address` likewise.
    #[inline(always)]
    pub const fn v4(vni: u32, address: u32) -> Self {
        Self(VALID | address as u64 | ((vni & VNI_MASK) as u64) << 32)
    }

    /// Present for every VNI that a VPC has; tells a foreign VNI from an unknown source.
    #[inline(always)]
    pub const fn vni(vni: u32) -> Self {
        Self::v4(vni, 0)
    }
}

/// The three VNI bytes of the VXLAN header's last word, as a native word.
pub const VNI_MASK: u32 = u32::from_ne_bytes([0xff, 0xff, 0xff, 0]);

/// The last word of a VXLAN header for a VNI, as it lies in the packet.
#[inline(always)]
pub const fn vni_word(vni: u32) -> u32 {
    (vni << 8).to_be()
}

/// Key of a stateless reverse translation: who sends, with which protocol and
/// source port. It serves both address families, since the instance stands for
/// VNI and address.
///
/// Layout (bits): 0..32 instance index, 32..48 port, 48..56 protocol, 63 valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReverseKey(pub u64);

impl ReverseKey {
    /// `port` as it lies in the packet.
    #[inline(always)]
    pub const fn new(instance: u32, protocol: u8, port: u16) -> Self {
        Self(VALID | instance as u64 | (port as u64) << 32 | (protocol as u64) << 48)
    }
}

/// An address, or with a prefix length a range, as a VPC sees it: the data of
/// `INSIDE_RANGES`.
#[repr(C, align(4))]
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Range {
    /// The VNI's three bytes as they lie in the packet, then the IP version.
    pub scope: u32,
    /// The address.
    pub address: Address,
}

impl Range {
    /// Bits of the scope, which every prefix has in full.
    pub const SCOPE_BITS: u32 = 32;

    /// `vni` is the last word of the VXLAN header, `version` 4 or 6.
    #[inline(always)]
    pub const fn new(vni: u32, version: u8, address: Address) -> Self {
        Self {
            scope: vni & VNI_MASK | u32::from_ne_bytes([0, 0, 0, version]),
            address,
        }
    }

    /// The five words, in the order in which they are matched.
    #[inline(always)]
    pub const fn words(self) -> [u32; 5] {
        let [a, b, c, d] = self.address;
        [self.scope, a, b, c, d]
    }
}

/// What an endpoint is, packed into a bucket's value.
///
/// Layout (bits): 0..4 kind, 4..8 flags, 8..32 slots of the ring, 32..64 index: the
/// ring's first slot, or a backend. One backend needs no ring. The entry of an IPv6
/// address itself has the address's number in place of the slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint(pub u64);

impl Endpoint {
    /// No entry at all.
    pub const NONE: Self = Self(0);

    /// The address is ours; nothing listens there by itself.
    pub const ADDRESS: u8 = 1;
    /// A load-balanced service: `index` is its ring's first slot.
    pub const SERVICE: u8 = 2;
    /// A floating IP: `index` is its only backend.
    pub const FLOATING: u8 = 3;
    /// A load-balanced service with but one slot: `index` is its only backend.
    pub const SINGLE: u8 = 4;
    /// A load-balanced service with the slot chosen by addresses alone.
    pub const BY_SOURCE: u8 = 5;
    /// Instances share the address: `index` is its [`SnatAddress`](crate::SnatAddress).
    pub const SNAT: u8 = 6;

    /// An address without a service of its own.
    pub const fn address() -> Self {
        Self(Self::ADDRESS as u64)
    }

    /// A service with one backend, or with none at all: 0.
    pub const fn single(backend: u32) -> Self {
        Self(Self::SINGLE as u64 | 1 << 8 | (backend as u64) << 32)
    }

    /// A service whose ring has `slots` slots from `first_slot`.
    pub const fn service(first_slot: u32, slots: u32) -> Self {
        Self(Self::SERVICE as u64 | ((slots & 0xff_ffff) as u64) << 8 | (first_slot as u64) << 32)
    }

    /// A floating IP.
    pub const fn floating(backend: u32) -> Self {
        Self(Self::FLOATING as u64 | (backend as u64) << 32)
    }

    /// The same service with the slot chosen by addresses alone, so that all flows of a
    /// client go together.
    pub const fn by_source(self) -> Self {
        match self.kind() {
            Self::SERVICE => Self(self.0 & !0xf | Self::BY_SOURCE as u64),
            _ => self,
        }
    }

    /// An address that instances share.
    pub const fn snat(address: u32) -> Self {
        Self(Self::SNAT as u64 | (address as u64) << 32)
    }

    /// The same entry for an IPv6 address that has this number.
    pub const fn numbered(self, number: u32) -> Self {
        Self(self.0 & !0xffff_ff00 | ((number & 0xff_ffff) as u64) << 8)
    }

    /// The endpoint has an entry in `GUARDED`.
    const GUARDED: u64 = 1 << 5;

    /// The same endpoint with an entry in `GUARDED`.
    pub const fn guarded(self) -> Self {
        Self(self.0 | Self::GUARDED)
    }

    /// Whether `GUARDED` has an entry.
    #[inline(always)]
    pub const fn is_guarded(self) -> bool {
        self.0 & Self::GUARDED != 0
    }

    /// Key in `GUARDED`: no two endpoints with backends of their own are equal.
    #[inline(always)]
    pub const fn guard_key(self) -> u64 {
        self.0 | VALID
    }

    /// One of the kinds above.
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        self.0 as u8 & 0xf
    }

    /// Slots of the ring.
    #[inline(always)]
    pub const fn slots(self) -> u32 {
        (self.0 as u32) >> 8
    }

    /// Number of an IPv6 address, which the keys of its services have.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        self.slots()
    }

    /// Ring base or backend index, by kind.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A typed index, packed into a bucket's value.
///
/// Layout (bits): 0..8 kind, 32..64 index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference(pub u64);

impl Reference {
    /// `index` is an [`Instance`](crate::Instance).
    pub const INSTANCE: u8 = 1;
    /// `index` is an [`Instance`](crate::Instance) record that stands for a virtual router.
    pub const ROUTER: u8 = 2;
    /// `index` is a [`SourceNat`](crate::SourceNat).
    pub const SOURCE_NAT: u8 = 3;
    /// The VNI exists; no index.
    pub const VNI: u8 = 4;
    /// `index` is an [`Instance`](crate::Instance) of a peered VPC: a destination, never
    /// a source.
    pub const PEER: u8 = 5;
    /// A gateway's own VTEP, in the network in which gateways hand packets over; no index.
    pub const GATEWAY: u8 = 6;

    /// Packs kind and index.
    pub const fn new(kind: u8, index: u32) -> Self {
        Self(kind as u64 | (index as u64) << 32)
    }

    /// One of the kinds above.
    #[inline(always)]
    pub const fn kind(self) -> u8 {
        self.0 as u8
    }

    /// Index into the table that the kind names.
    #[inline(always)]
    pub const fn index(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// One slot of a ring: who serves its flows now, and who did before.
///
/// Equal halves mean that the hash alone decides. Halves differ while the slot is
/// tracked: then older flows are looked up.
///
/// Layout (bits): 0..32 current, 32..63 previous, 63 tracked. The bit keeps a slot
/// tracked whose current backend is the previous one again: flows that came in
/// between stay where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingSlot(pub u64);

impl RingSlot {
    const TRACKED: u64 = 1 << 63;

    /// The hash alone decides.
    pub const fn settled(current: u32) -> Self {
        Self(current as u64 | (current as u64) << 32)
    }

    /// Flows that nothing is remembered of belong to `previous`; 0 is none.
    pub const fn tracked(current: u32, previous: u32) -> Self {
        Self(current as u64 | (previous as u64) << 32 | Self::TRACKED)
    }

    /// Backend of new flows; 0 when there is none.
    #[inline(always)]
    pub const fn current(self) -> u32 {
        self.0 as u32
    }

    /// Backend of flows that are older than the change; 0 when there is none.
    #[inline(always)]
    pub const fn previous(self) -> u32 {
        ((self.0 & !Self::TRACKED) >> 32) as u32
    }

    /// Whether flows of the slot are looked up.
    #[inline(always)]
    pub const fn is_tracked(self) -> bool {
        self.0 & Self::TRACKED != 0
    }
}

/// What program and agent tell each other of a ring slot while it is tracked.
///
/// Layout (bits): 0..32 epoch, 32..64 mark. The agent writes both before the slot is
/// tracked, and from then on the program writes the mark alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Track(pub u64);

impl Track {
    /// A slot that begins to be tracked.
    pub const fn begin(epoch: u32) -> Self {
        Self(epoch as u64)
    }

    /// Names the transition: what was remembered in another one is void. Not 0.
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        self.0 as u32
    }

    /// Changes while packets go to another backend than the current one.
    #[inline(always)]
    pub const fn mark(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// A flow from the public network, by its five-tuple as it lies in the packet. Words of
/// eight bytes alone: the compiler merges smaller stores to the stack into misaligned
/// ones, which the verifier refuses.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct FlowKey {
    /// The client. An IPv4 address fills the first half of the first word.
    pub source: [u64; 2],
    /// The public address.
    pub destination: [u64; 2],
    /// Layout (bits): 0..16 source port, 16..32 destination port, 32..40 protocol.
    pub ends: u64,
}

/// A flow of a tracked slot, remembered for as long as it may last.
///
/// Layout (bits): 0..32 index into `BACKENDS`, 32..64 epoch.
#[repr(transparent)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Moved(pub u64);

impl Moved {
    /// Packs both.
    #[inline(always)]
    pub const fn new(backend: u32, epoch: u32) -> Self {
        Self(backend as u64 | (epoch as u64) << 32)
    }

    /// Index into `BACKENDS`.
    #[inline(always)]
    pub const fn backend(self) -> u32 {
        self.0 as u32
    }

    /// The transition in which this is true, see [`Track`].
    #[inline(always)]
    pub const fn epoch(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The first packet of a flow of a tracked slot, remembered until the second comes.
#[repr(C)]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Begun {
    /// Where it went.
    pub moved: Moved,
    /// TCP's initial sequence number as a number; 0 for other protocols.
    pub sequence: u64,
}
