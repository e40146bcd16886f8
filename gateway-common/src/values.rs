//! Table values: one cache line each, with all that the agent can compute ahead.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IP address in a table: 16 bytes as they lie in the packet, read as words.
/// IPv4 fills the first word and leaves the others 0.
pub type Address = [u32; 4];

/// Two MACs as they lie in an Ethernet header, destination first, read as words:
/// LLVM copies and compares byte arrays byte by byte here.
pub type Macs = [u32; 3];

/// Packs two MACs.
pub const fn macs(destination: [u8; 6], source: [u8; 6]) -> Macs {
    let ([a, b, c, d, e, f], [u, v, w, x, y, z]) = (destination, source);
    [
        u32::from_ne_bytes([a, b, c, d]),
        u32::from_ne_bytes([e, f, u, v]),
        u32::from_ne_bytes([w, x, y, z]),
    ]
}

/// Where a packet for a service or a floating IP goes: the DNAT rewrite, the VXLAN
/// network behind it, and on a second cache line the way to its host.
#[repr(C, align(128))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Backend {
    /// New destination address.
    pub address: Address,
    /// Inner Ethernet destination (the instance), then source (the virtual router).
    pub macs: Macs,
    /// New destination port as it lies in the packet; not used for a floating IP.
    pub port: u16,
    /// See `FLAG_*`.
    pub flags: u16,
    /// Last word of the VXLAN header.
    pub vni: u32,
    /// Index into `COUNTERS`.
    pub counter: u32,
    /// What the rewrite adds to the IPv4 header checksum (see `checksum` in gateway-ebpf).
    pub l3_delta: u16,
    /// What the rewrite adds to the TCP or UDP checksum: addresses and ports.
    pub l4_delta: u16,
    /// Zero.
    pub reserved: [u8; 20],
    /// To its host, and without a way if the record holds no backend. A copy: looking it
    /// up would cost more than all that it holds.
    pub tunnel: Tunnel,
}

impl Backend {
    /// The record holds a backend.
    pub const FLAG_VALID: u16 = 1;
    /// Ports stay as they are (floating IP).
    pub const FLAG_KEEP_PORT: u16 = 2;
}

/// How to reach one tunnel endpoint: the outer headers, as far as they are the
/// same for every packet.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Tunnel {
    /// Ethernet and IP header as they lie in the packet, lengths, TOS and checksum 0:
    /// 34 bytes over IPv4, 54 over IPv6. The last six are in `headers_end`.
    pub headers: [u64; 6],
    /// See `headers`.
    pub headers_end: [u16; 3],
    /// Longest inner IP packet in bytes that fits after the push; 0 with port 0.
    pub mtu: u16,
    /// Index into `PORTS`; 0 while the next hop is not resolved.
    pub port: u32,
    /// See `FLAG_*`.
    pub flags: u16,
    /// Folded one's complement sum of what never changes: over IPv4, of the IP header in
    /// `headers`; over IPv6, of the pseudo header with length 0, the UDP destination port
    /// and the flags of VXLAN.
    pub checksum: u16,
}

impl Tunnel {
    /// Over IPv6: the outer UDP header has a checksum. Without it, it has 0.
    pub const FLAG_UDP_CHECKSUM: u16 = 1;
}

/// An instance (VM) at one of its addresses, or the virtual router of a subnet.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Instance {
    /// VTEP of the host it lives on; frames from elsewhere are spoofed.
    pub host: Address,
    /// MACs that its frames to the gateway carry: to the virtual router, from it.
    /// A router's own record has its MAC in both places.
    pub macs: Macs,
    /// Index into `TUNNELS`, towards its host.
    pub tunnel: u32,
    /// Last word of the VXLAN header.
    pub vni: u32,
    /// `SOURCE_NATS` index of its floating IP, or 0.
    pub floating: u32,
    /// See `FLAG_*`.
    pub flags: u32,
    /// The ranges that may be inside: what it sends there is looked at closer.
    pub inside: Hull,
    /// Index of its VPC, from 1 on.
    pub network: u32,
    /// Its own address.
    pub address: Address,
    /// The virtual router's address in its subnet: who tells it of errors.
    pub router: Address,
    /// `SNAT_ADDRESSES` index of the address that it shares with others, or 0.
    pub snat: u32,
    /// Index into `SNAT_ACCOUNTS` of what its VPC uses there.
    pub snat_account: u32,
    /// Hash of VNI and address: a mapping of an earlier instance with this index is
    /// not this one's. See [`SnatOwner`](crate::SnatOwner).
    pub snat_tag: u32,
    /// Folded one's complement sum of its address.
    pub sum: u32,
    /// Zero.
    pub reserved: [u32; 4],
}

/// Two IPv4 prefixes (address, mask, address, mask) or one IPv6 prefix of at most 64
/// bits (half of address, half of mask), which together hold all ranges that are
/// inside for an instance. They may hold more.
///
/// An unused IPv4 pair is `!0, 0`, an unused IPv6 one `!0, !0, 0, 0`: nothing matches.
pub type Hull = [u32; 4];

impl Instance {
    /// The record holds an instance or router.
    pub const FLAG_VALID: u32 = 1;
}

/// The reverse translation of a service or a floating IP.
#[repr(C, align(32))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct SourceNat {
    /// New source address: the public one.
    pub address: Address,
    /// New source port as it lies in the packet; not used for a floating IP.
    pub port: u16,
    /// See [`Backend::FLAG_VALID`], [`Backend::FLAG_KEEP_PORT`].
    pub flags: u16,
    /// Index into `COUNTERS`.
    pub counter: u32,
    /// What the rewrite adds to the IPv4 header checksum.
    pub l3_delta: u16,
    /// What the rewrite adds to the TCP or UDP checksum.
    pub l4_delta: u16,
    /// Zero.
    pub reserved: [u8; 4],
}

/// A next hop on the public side.
#[repr(C, align(32))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct NextHop {
    /// Next hop's MAC, then our MAC.
    pub macs: Macs,
    /// Longest IP packet in bytes.
    pub mtu: u16,
    /// Its VLAN: the identifier as it lies in a tag; 0 is none.
    pub vlan: u16,
    /// Index into `PORTS`; 0 while the next hop is not resolved.
    pub port: u32,
    /// Zero.
    pub reserved: [u8; 12],
}

/// An interface that the program is attached to, or a VLAN of ours on it.
#[repr(C, align(64))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Interface {
    /// Kernel's index; 0 ends the list.
    pub ifindex: u32,
    /// Its MAC.
    pub mac: [u8; 6],
    /// The VLAN's identifier as it lies in a tag; 0 is none.
    pub vlan: u16,
    /// Zero.
    pub reserved: [u8; 4],
    /// Its first IPv4 address, from which it tells of errors; 0 without one.
    pub v4: Address,
    /// The same for IPv6.
    pub v6: Address,
    /// Zero.
    pub reserved2: [u8; 16],
}

/// How many errors one CPU may still tell senders of (a token bucket).
#[repr(C, align(16))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Limiter {
    /// Jiffies when it was filled last.
    pub filled: u64,
    /// What is in it; see [`ErrorLimit`].
    pub level: u64,
}

/// How a [`Limiter`] fills. Its unit is chosen so that a jiffy adds a whole number.
#[repr(C, align(8))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ErrorLimit {
    /// What a jiffy adds.
    pub rate: u32,
    /// What an error takes.
    pub cost: u32,
    /// What it holds at most.
    pub most: u32,
    /// Zero.
    pub reserved: u32,
}

/// Traffic of one backend on one CPU.
#[repr(C, align(32))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Counter {
    /// Packets from the public side to the instance.
    pub in_packets: u64,
    /// Their bytes, Ethernet header included, before the push.
    pub in_bytes: u64,
    /// Packets from the instance to the public side.
    pub out_packets: u64,
    /// Their bytes, Ethernet header included, after the pop.
    pub out_bytes: u64,
}

/// How often one reason ended a packet's way on one CPU.
#[repr(C, align(16))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct ReasonCount {
    /// Packets.
    pub packets: u64,
    /// Bytes as they came in.
    pub bytes: u64,
}

/// What is fixed while a program is loaded. It lies in read-only data, so the
/// verifier folds it into the code.
#[repr(C, align(16))]
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout,
)]
pub struct Config {
    /// Seed of the flow hash, shared by all gateways and known to nobody else.
    pub seed: [u64; 2],
    /// The VTEP that all gateways share.
    pub anycast_vtep: Address,
    /// This gateway's own VTEP.
    pub own_vtep: Address,
    /// Buckets of `ENDPOINTS` less one.
    pub endpoints_mask: u32,
    /// Buckets of `INSTANCE_KEYS` less one.
    pub instances_mask: u32,
    /// Buckets of `REVERSE` less one.
    pub reverse_mask: u32,
    /// Buckets of `ADDRESSES` less one.
    pub addresses_mask: u32,
    /// How many ICMP errors each CPU may send.
    pub errors: ErrorLimit,
    /// 1: the public side is in VLANs, see [`Interface::vlan`].
    pub tagged: u32,
    /// 1: frames may come in several buffers.
    pub jumbo: u32,
    /// What the guard looks at, see [`GuardBits`](crate::GuardBits); 0 is nothing.
    pub guard: u32,
    /// Buckets of `GUARDED` less one.
    pub guarded_mask: u32,
    /// Entries of `METERS` less one.
    pub meters_mask: u32,
    /// Largest TCP segment that a SYN over IPv4 may ask for; 0: any.
    pub mss: u32,
    /// The only entry of `PORTS`, where one interface is all that the gateway has: what
    /// leaves by it goes back where it came from. 0: there are several.
    pub only_port: u32,
    /// See [`SnatSetting`](crate::SnatSetting).
    pub snat: [u32; 4],
    /// Zero.
    pub reserved: u32,
}

/// What happens to flows of tracked slots. The discriminant is the index of its counter.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrackEvent {
    /// A first packet is remembered for a moment.
    Begun,
    /// A flow is remembered for as long as it may last.
    Remembered,
    /// A packet goes to another backend than a new flow's would.
    Kept,
}

impl TrackEvent {
    /// How many there are.
    pub const COUNT: usize = 3;
}
