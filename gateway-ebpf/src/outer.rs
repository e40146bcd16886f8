//! What VXLAN puts in front of a frame, over IPv4 and over IPv6, as a type parameter.

mod sum;
mod v4;
mod v6;

use core::fmt::Debug;

use gateway_common::{Reason, Tunnel};

use crate::{
    family::Family,
    headers::Ethernet,
    packet::{Packet, Tables},
    stages::{parse::Flow, vxlan::Opened},
};

pub use v4::OverV4;
pub use v6::OverV6;

/// The outer headers over one family of underlay.
pub trait Outer: Copy + Debug + 'static {
    /// The underlay's family.
    type Family: Family;

    /// Bytes of all outer headers.
    const LEN: usize;

    /// Where the inner IP header lies.
    const INNER_IP: usize = Self::LEN + Ethernet::LEN;

    /// Whether an IP packet in a frame of the family's EtherType is for a VTEP of ours.
    fn is_for_us<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool;

    /// Reads the headers of a frame whose EtherType is the family's, down to the UDP
    /// ports; the VNI is read but not judged.
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason>;

    /// Checks that the frame is as long as its outer IP header says, and long enough.
    fn check_length<P: Packet>(packet: &P) -> Result<(), Reason>;

    /// Writes all outer headers into the front of the frame.
    ///
    /// DSCP and ECN are copied from the inner packet (RFC 2983, uniform; RFC 6040,
    /// section 4.1). A VTEP must not fragment (RFC 7348, section 4.3).
    fn write<P: Packet>(
        packet: &mut P,
        tunnel: &Tunnel,
        tos: u8,
        source_port: u16,
        vni: u32,
    ) -> Result<(), Reason>;

    /// Makes the outer headers fit an inner packet that was replaced: its length, DSCP
    /// and ECN.
    fn refit<P: Packet>(packet: &mut P, tos: u8) -> Result<(), Reason>;

    /// Whether [`seal`](Outer::seal) has all that it needs for the packet of the flow, at
    /// `at` before the outer headers are written.
    fn can_seal<F: Family, P: Packet>(
        packet: &P,
        at: usize,
        tunnel: &Tunnel,
        flow: &Flow<F>,
    ) -> bool;

    /// Sets the UDP checksum that the tunnel wants from the inner packet's own ones
    /// ("local checksum offload", as Linux calls it): what they cover sums up to what is
    /// known, so the payload is not read. Only after [`can_seal`](Outer::can_seal), which
    /// must be asked before: of a frame that it knows the length of, the compiler would
    /// leave out the checks by which the verifier sees that headers are inside.
    fn seal<F: Family, P: Packet>(
        packet: &mut P,
        tunnel: &Tunnel,
        flow: &Flow<F>,
    ) -> Result<(), Reason>;

    /// Sets the UDP checksum that the tunnel wants and [`seal`](Outer::seal) could not,
    /// by reading the whole frame: [`Reason::UnderlaySum`] if that is too long.
    fn seal_by_sum<P: Packet>(packet: &mut P, tunnel: &Tunnel) -> Result<(), Reason>;

    /// Sends a frame back to the VTEP that it came from.
    fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason>;
}
