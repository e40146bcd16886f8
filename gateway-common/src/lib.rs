//! The ABI between Lingyun's XDP program and its agent.
//!
//! Everything here lies in a BPF map or in the program's read-only data, so both
//! sides must agree on every byte. There is no logic beyond packing a key into
//! the word that the map holds.
//!
//! Conventions:
//! - Addresses, ports and VNIs are kept **as they lie in the packet** (network
//!   byte order in memory) and are read and compared as native words, so that
//!   the program never swaps bytes. The constructors take the usual Rust types.
//! - Addresses take 16 bytes; an IPv4 address fills the first word, the rest is 0.
//! - No `bool`, enum or `Option` lies in a map value: a torn or foreign value
//!   must never be undefined behaviour.
//! - Index 0 of every table means "none" and is never handed out.
#![no_std]

mod guard;
mod keys;
mod program;
mod reason;
mod snat;
mod values;

pub use guard::*;
pub use keys::*;
pub use program::*;
pub use reason::*;
pub use snat::*;
pub use values::*;

/// Version of everything in this crate. Pins live below a path that carries it,
/// so an agent never adopts maps or links of another layout.
pub const ABI_VERSION: u32 = 5;

/// Names of the maps in the BPF object.
pub mod map {
    /// Public (address, protocol, port) -> service, one cache line a bucket.
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// Maglev rings of all services, one word a slot.
    pub const RING: &str = "RING";
    /// [`Track`](super::Track)s by slot of `RING`.
    pub const TRACKS: &str = "TRACKS";
    /// [`Backend`](super::Backend) by index.
    pub const BACKENDS: &str = "BACKENDS";
    /// [`Tunnel`](super::Tunnel) by index.
    pub const TUNNELS: &str = "TUNNELS";
    /// (VNI, inner address) -> instance or virtual router.
    pub const INSTANCE_KEYS: &str = "INSTANCE_KEYS";
    /// [`Instance`](super::Instance) by index.
    pub const INSTANCES: &str = "INSTANCES";
    /// (instance, protocol, port) -> source NAT.
    pub const REVERSE: &str = "REVERSE";
    /// [`SourceNat`](super::SourceNat) by index.
    pub const SOURCE_NATS: &str = "SOURCE_NATS";
    /// [`NextHop`](super::NextHop) on the public side, chosen by flow hash.
    pub const UPLINKS: &str = "UPLINKS";
    /// [`Interface`](super::Interface) the program is attached to.
    pub const INTERFACES: &str = "INTERFACES";
    /// Devices that packets are redirected to.
    pub const PORTS: &str = "PORTS";
    /// Per-CPU [`Counter`](super::Counter) by backend index.
    pub const COUNTERS: &str = "COUNTERS";
    /// Flows that began in a tracked slot: [`FlowKey`](super::FlowKey) to
    /// [`Moved`](super::Moved).
    pub const MOVED: &str = "MOVED";
    /// First packets of such flows: [`FlowKey`](super::FlowKey) to
    /// [`Begun`](super::Begun). Apart, so that floods of first packets push out no flow.
    pub const BEGUN: &str = "BEGUN";
    /// Per-CPU count of each [`TrackEvent`](super::TrackEvent).
    pub const TRACK_EVENTS: &str = "TRACK_EVENTS";
    /// Per-CPU [`ReasonCount`](super::ReasonCount) by [`Reason`](super::Reason).
    pub const REASONS: &str = "REASONS";
    /// IPv6 addresses, outside and inside, one cache line a bucket.
    pub const ADDRESSES: &str = "ADDRESSES";
    /// Programs by [`Step`](super::Step).
    pub const STEPS: &str = "STEPS";
    /// Per-CPU [`Limiter`](super::Limiter) of ICMP errors.
    pub const LIMITER: &str = "LIMITER";
    /// Per-CPU [`Note`](super::Note)s from a program to the step that goes on.
    pub const NOTES: &str = "NOTES";
    /// Which addresses may be public ones of ours, one bit a hash.
    pub const PUBLIC_FILTER: &str = "PUBLIC_FILTER";
    /// Longest-prefix match: [`Range`](super::Range)s that are inside for a VPC.
    pub const INSIDE_RANGES: &str = "INSIDE_RANGES";
    /// Per-CPU [`Counter`](super::Counter) of routed packets by index of the VPC.
    pub const ROUTED: &str = "ROUTED";
    /// Source prefixes that the guard knows, longest match.
    pub const PREFIXES: &str = "PREFIXES";
    /// Bits that tell which sources [`PREFIXES`] has a say about.
    pub const HINTS: &str = "HINTS";
    /// Endpoint -> its [`Guard`](super::Guard), one cache line a bucket.
    pub const GUARDED: &str = "GUARDED";
    /// [`Guard`](super::Guard) by index.
    pub const GUARDS: &str = "GUARDS";
    /// [`GuardState`](super::GuardState) by the same index.
    pub const GUARD_STATES: &str = "GUARD_STATES";
    /// [`Meter`](super::Meter)s that sources share by hash.
    pub const METERS: &str = "METERS";
    /// Sources that answered a challenge, and until when they are known.
    pub const VERIFIED: &str = "VERIFIED";
    /// The [`Clock`](super::Clock).
    pub const CLOCK: &str = "CLOCK";
    /// [`SnatAddress`](super::SnatAddress) by index.
    pub const SNAT_ADDRESSES: &str = "SNAT_ADDRESSES";
    /// [`SnatBucket`](super::SnatBucket)s: by address, class and port within the share.
    pub const SNAT_PORTS: &str = "SNAT_PORTS";
    /// [`SnatAccount`](super::SnatAccount) by index.
    pub const SNAT_ACCOUNTS: &str = "SNAT_ACCOUNTS";
    /// Index into `TUNNELS`, towards the gateway that owns a share; 0 where none does.
    pub const SNAT_SHARES: &str = "SNAT_SHARES";
    /// Tick at which a [`SnatPeer`](super::SnatPeer) was last sent to.
    pub const SNAT_PEERS: &str = "SNAT_PEERS";
    /// Name of the read-only [`Config`](super::Config).
    pub const CONFIG: &str = "CONFIG";
}

/// Slots of the uplink table for one family: the flow hash picks one, the agent fills
/// them with the usable next hops in turn. IPv4's come first, then IPv6's.
pub const UPLINK_SLOTS: u32 = 16;

/// Slots of the uplink table for both families.
pub const ALL_UPLINK_SLOTS: u32 = 2 * UPLINK_SLOTS;

/// Most interfaces that one gateway can own; a VLAN on an interface counts as one.
pub const MAX_INTERFACES: u32 = 8;

/// Words of `PUBLIC_FILTER`: 262144 bits, so that of 10,000 public addresses' worth of
/// hashes 4 % of the strangers look like ours.
pub const FILTER_WORDS: u32 = 4096;

/// Devices in the redirect map.
pub const MAX_PORTS: u32 = 64;

/// Bytes that a VXLAN push adds over an IPv4 underlay:
/// Ethernet 14 + IPv4 20 + UDP 8 + VXLAN 8 (RFC 7348, section 5).
pub const VXLAN_OVERHEAD_V4: u32 = 50;

/// The same over an IPv6 underlay, whose header takes 40 bytes.
pub const VXLAN_OVERHEAD_V6: u32 = 70;

/// The VXLAN port (RFC 7348, section 8, assigned by IANA).
pub const VXLAN_PORT: u16 = 4789;
