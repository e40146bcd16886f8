//! From the bytes of a frame to what a reader wants to know of it.

use std::net::{Ipv4Addr, SocketAddrV4};

use etherparse::{LinkSlice, NetSlice, SlicedPacket, TcpSlice, TransportSlice, UdpSlice};
use gateway_common::VXLAN_PORT;
use lingyun::config::Mac;
use serde::Serialize;

use crate::capture::{Frame, State};

/// Bytes of the VXLAN header (RFC 7348, section 5).
const VXLAN_HEADER: usize = 8;

/// Both addresses of an Ethernet header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Macs {
    /// Sender.
    pub source: Mac,
    /// Receiver.
    pub destination: Mac,
}

/// What VXLAN put around a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outer {
    /// MACs of the underlay hop.
    pub macs: Macs,
    /// Sender's tunnel endpoint.
    pub source: Ipv4Addr,
    /// Receiver's tunnel endpoint.
    pub destination: Ipv4Addr,
    /// Time to live.
    pub ttl: u8,
    /// UDP source port: the flow's hash.
    pub source_port: u16,
    /// VXLAN network.
    pub vni: u32,
}

/// All headers of a TCP packet that a journey shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Headers {
    /// The tunnel, if it is in one.
    pub outer: Option<Outer>,
    /// MACs around the IP packet: the inner ones in a tunnel.
    pub macs: Macs,
    /// Source.
    pub source: SocketAddrV4,
    /// Destination.
    pub destination: SocketAddrV4,
    /// Time to live.
    pub ttl: u8,
}

/// A TCP segment in a frame.
#[derive(Clone, Debug)]
pub(super) struct Segment<'f> {
    pub(super) frame: &'f Frame,
    pub(super) headers: Headers,
    /// Sequence number of its first byte, or of its SYN.
    pub(super) sequence: u32,
    pub(super) is_syn: bool,
    pub(super) payload: &'f [u8],
    /// Checksums that are wrong, in words.
    pub(super) wrong: Vec<String>,
}

impl<'f> Segment<'f> {
    /// Reads a frame; nothing if it is no TCP over IPv4, bare or in VXLAN.
    pub(super) fn read(frame: &'f Frame) -> Option<Self> {
        let packet = SlicedPacket::from_ethernet(&frame.bytes).ok()?;
        let mut wrong = Vec::new();
        let NetSlice::Ipv4(ip) = packet.net.as_ref()? else {
            return None;
        };
        match packet.transport.as_ref()? {
            TransportSlice::Udp(udp) if udp.destination_port() == VXLAN_PORT => {
                let (vxlan, inner) = udp.payload().split_at_checked(VXLAN_HEADER)?;
                let [flags, _, _, _, a, b, c, _] = *vxlan else {
                    return None;
                };
                // The I flag: there is a VNI.
                if flags & 0x08 == 0 {
                    return None;
                }
                let header = ip.header();
                let outer = Outer {
                    macs: macs(&packet)?,
                    source: header.source_addr(),
                    destination: header.destination_addr(),
                    ttl: header.ttl(),
                    source_port: udp.source_port(),
                    vni: u32::from_be_bytes([0, a, b, c]),
                };
                check_ip(ip, "outer ", &mut wrong);
                check_udp(ip, udp, &mut wrong);
                let inner = SlicedPacket::from_ethernet(inner).ok()?;
                Self::of(frame, &inner, Some(outer), wrong)
            }
            TransportSlice::Tcp(_) => Self::of(frame, &packet, None, wrong),
            _ => None,
        }
    }

    fn of(
        frame: &'f Frame,
        packet: &SlicedPacket<'f>,
        outer: Option<Outer>,
        mut wrong: Vec<String>,
    ) -> Option<Self> {
        let NetSlice::Ipv4(ip) = packet.net.as_ref()? else {
            return None;
        };
        let TransportSlice::Tcp(tcp) = packet.transport.as_ref()? else {
            return None;
        };
        let inner = if outer.is_some() { "inner " } else { "" };
        check_ip(ip, inner, &mut wrong);
        check_tcp(frame.state, ip, tcp, &mut wrong);
        let header = ip.header();
        let headers = Headers {
            outer,
            macs: macs(packet)?,
            source: SocketAddrV4::new(header.source_addr(), tcp.source_port()),
            destination: SocketAddrV4::new(header.destination_addr(), tcp.destination_port()),
            ttl: header.ttl(),
        };
        Some(Self {
            frame,
            headers,
            sequence: tcp.sequence_number(),
            is_syn: tcp.syn(),
            payload: tcp.payload(),
            wrong,
        })
    }
}

fn macs(packet: &SlicedPacket<'_>) -> Option<Macs> {
    match packet.link.as_ref()? {
        LinkSlice::Ethernet2(ethernet) => Some(Macs {
            source: Mac(ethernet.source()),
            destination: Mac(ethernet.destination()),
        }),
        _ => None,
    }
}

fn check_ip(ip: &etherparse::Ipv4Slice<'_>, which: &str, wrong: &mut Vec<String>) {
    let header = ip.header();
    let expected = header.to_header().calc_header_checksum();
    if header.header_checksum() != expected {
        wrong.push(format!(
            "{which}IP header checksum is {:#06x} and should be {expected:#06x}",
            header.header_checksum()
        ));
    }
}

fn check_udp(ip: &etherparse::Ipv4Slice<'_>, udp: &UdpSlice<'_>, wrong: &mut Vec<String>) {
    // 0 is "none", as RFC 7348 recommends for VXLAN over IPv4.
    if udp.checksum() == 0 {
        return;
    }
    let ip = ip.header();
    let expected =
        udp.to_header()
            .calc_checksum_ipv4_raw(ip.source(), ip.destination(), udp.payload());
    if expected != Ok(udp.checksum()) {
        wrong.push(format!(
            "outer UDP checksum {:#06x} is wrong",
            udp.checksum()
        ));
    }
}

fn check_tcp(
    state: State,
    ip: &etherparse::Ipv4Slice<'_>,
    tcp: &TcpSlice<'_>,
    wrong: &mut Vec<String>,
) {
    let ip = ip.header();
    match (state, tcp.calc_checksum_ipv4(ip.source(), ip.destination())) {
        (State::Joined, _) => {}
        (_, Ok(expected)) if expected == tcp.checksum() => {}
        (State::NoChecksum, _) => wrong.push(
            "TCP checksum was left to a device that does not exist: turn the sender's offload \
             off (`ethtool -K DEVICE tx off`)"
                .to_owned(),
        ),
        (State::Whole, expected) => wrong.push(format!(
            "TCP checksum is {:#06x} and should be {:#06x}",
            tcp.checksum(),
            expected.unwrap_or_default()
        )),
    }
}
