//! Which packets a gateway can handle, and what it says of the others.

use gateway_common::Reason;

use super::{
    ip::{Own, Packet},
    wire::{Ethernet, ethertype},
};

/// The frame, if it has a whole Ethernet header.
pub(super) fn frame(bytes: &[u8]) -> Result<Ethernet, Reason> {
    Ethernet::read(bytes).ok_or(Reason::Truncated)
}

/// Why a frame with this EtherType is none of the gateway's business.
pub(super) fn other_ethertype(kind: u16) -> Reason {
    match kind {
        ethertype::VLAN | ethertype::QINQ => Reason::VlanTagged,
        _ => Reason::NotIp,
    }
}

/// The packet in a frame of IPv4 or IPv6, whatever its header says.
pub(super) fn header(frame: &Ethernet) -> Result<Packet, Reason> {
    Packet::read(frame.kind, &frame.body).ok_or(Reason::Truncated)
}

/// Refuses IP headers of any other form than 20 bytes of IPv4, or 40 of IPv6 and a
/// short chain of extension headers, and packets that are not all there: as long as
/// they say, with a whole layer-4 header.
pub(super) fn understood(packet: Packet) -> Result<Packet, Reason> {
    plain_header(&packet)?;
    if packet.length > packet.header_length() + packet.body.len() {
        return Err(Reason::Truncated);
    }
    let packet = packet.unfold()?;
    // The frame's padding does not make up for what the packet lacks.
    if packet.length < packet.header_length() + packet.least_body() {
        return Err(Reason::Truncated);
    }
    Ok(packet)
}

/// Refuses IP headers of another version or length.
pub(super) fn plain_header(packet: &Packet) -> Result<(), Reason> {
    match (packet.own, packet.version) {
        (Own::V4 { header_words, .. }, 4) => match header_words {
            5 => Ok(()),
            6.. => Err(Reason::IpOptions),
            _ => Err(Reason::IpHeaderLength),
        },
        (Own::V6 { .. }, 6) => Ok(()),
        _ => Err(Reason::IpVersion),
    }
}

/// Whether a header tells for whom the packet is, whatever else is wrong with it.
pub(super) fn says_for_whom(packet: &Packet) -> bool {
    matches!(plain_header(packet), Ok(()) | Err(Reason::IpOptions))
}
