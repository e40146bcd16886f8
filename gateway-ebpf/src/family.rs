//! IPv4 and IPv6 as a type parameter: what differs between them, and nothing else.
//!
//! The stages are written once over [`Family`]; each family gets its own code at
//! compile time, so IPv4 pays nothing for IPv6.

mod errors;
mod extensions;
mod v4;
mod v6;

use core::fmt::Debug;

use gateway_common::{Address, Endpoint, Hull, Reason, Reference};

use crate::{
    packet::{Packet, Tables},
    stages::parse::Flow,
};

pub use errors::Errors;
pub use v4::V4;
pub use v6::V6;

/// Which end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Where it comes from.
    Source,
    /// Where it goes.
    Destination,
}

impl Side {
    /// The other end.
    #[inline(always)]
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Destination,
            Self::Destination => Self::Source,
        }
    }
}

/// TTL or hop limit of the packets that we begin.
pub const OWN_TTL: u8 = 64;

/// An IP version.
pub trait Family: Copy + Debug + Eq + 'static {
    /// An address as it lies in the packet, in native words.
    type Address: Copy + Debug + Eq;

    /// Its number.
    const VERSION: u8;
    /// EtherType as it lies in the packet.
    const KIND: u16;
    /// Bytes of the header without options or extension headers.
    const LEN: usize;
    /// Protocol number of its ICMP.
    const ICMP: u8;
    /// Its ICMP's type "echo request".
    const ECHO_REQUEST: u8;
    /// Its ICMP's type "echo reply".
    const ECHO_REPLY: u8;
    /// Whether its ICMP checksum covers the addresses (RFC 4443, section 2.3).
    const ICMP_COVERS_ADDRESSES: bool;
    /// Whether it finds its neighbours by its ICMP (RFC 4861).
    const ICMP_FINDS_NEIGHBOURS: bool;
    /// Whether instances may share public addresses: of IPv6's there are enough.
    const IS_SHARED: bool;
    /// First slot of its next hops on the public side.
    const UPLINKS: u32;

    /// An address from a table.
    fn address(words: &Address) -> Self::Address;

    /// The same the other way.
    fn words(address: Self::Address) -> Address;

    /// An address in two words.
    fn wide(address: Self::Address) -> [u64; 2];

    /// What the IP header at `at` tells of a flow: the frame has the whole packet, but the
    /// packet may be shorter than it needs to be.
    fn header<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason>;

    /// The flow of the packet at `at`, every length checked.
    fn parse<P: Packet>(packet: &P, at: usize) -> Result<Flow<Self>, Reason>;

    /// Destination of the packet at `at` if its header tells one, whatever else may
    /// be wrong with it.
    fn destination<P: Packet>(packet: &P, at: usize) -> Option<Self::Address>;

    /// What the gateway owns at a public address.
    fn endpoint_at<T: Tables>(tables: &T, address: Self::Address) -> Option<Endpoint>;

    /// What the gateway owns at an address, protocol and port (as it lies in the
    /// packet), or else at the address alone.
    fn endpoint<T: Tables>(
        tables: &T,
        address: Self::Address,
        protocol: u8,
        port: u16,
    ) -> Option<Endpoint>;

    /// Who has an inner address in a VPC; `vni` is the last word of the VXLAN header.
    fn inner<T: Tables>(tables: &T, vni: u32, address: Self::Address) -> Option<Reference>;

    /// Whether an address may be inside.
    fn is_inside(hull: &Hull, address: Self::Address) -> bool;

    /// Whether no router forwards to an address, so that nobody but the link's has it.
    fn is_never_routed(address: Self::Address) -> bool;

    /// An address as a number whose low bits differ where addresses do, for the filter
    /// of public addresses.
    fn spread(address: Self::Address) -> u32;

    /// The seeded flow hash; `ends` holds ports and protocol.
    fn hash(seed: &[u64; 2], source: Self::Address, destination: Self::Address, ends: u64) -> u64;

    /// Sets one address and the TTL or hop limit of the packet at `at`. `delta` is
    /// what both add to the IPv4 header checksum.
    fn rewrite<P: Packet>(
        packet: &mut P,
        at: usize,
        side: Side,
        address: &Address,
        ttl: u8,
        delta: u16,
    ) -> Result<(), Reason>;

    /// Writes the header of a packet that we begin at `at`, in front of `payload` bytes of
    /// `protocol`, with DSCP and ECN `tos`.
    fn write<P: Packet>(
        packet: &mut P,
        at: usize,
        source_destination: (Self::Address, Self::Address),
        protocol_tos: (u8, u8),
        payload: usize,
    ) -> Result<(), Reason>;

    /// Folded sum of the flow's whole packet at `at`, if its own checksums tell: they
    /// make layer 4 and its pseudo header sum up to nothing.
    ///
    /// Not for fragments, nor with extension headers.
    fn sum_by_checksums<P: Packet>(packet: &P, at: usize, flow: &Flow<Self>)
    -> Result<u16, Reason>;

    /// Swaps source and destination of the packet at `at` and sets its TTL: an answer.
    fn turn_round<P: Packet>(packet: &mut P, at: usize, ttl: u8) -> Result<(), Reason>;
}
