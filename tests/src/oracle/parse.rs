//! Which packets a gateway can handle, and what it says of the others.

use gateway_common::Reason;

use super::wire::{Ethernet, Packet, ethertype};

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

/// The header of an IPv4 packet, whatever it says.
pub(super) fn header(bytes: &[u8]) -> Result<Packet, Reason> {
    Packet::read(bytes).ok_or(Reason::Truncated)
}

/// Refuses IP headers of any other form than 20 bytes of IPv4.
pub(super) fn plain_header(packet: &Packet) -> Result<(), Reason> {
    match (packet.version, packet.header_words) {
        (4, 5) => Ok(()),
        (4, 6..) => Err(Reason::IpOptions),
        (4, _) => Err(Reason::IpHeaderLength),
        _ => Err(Reason::IpVersion),
    }
}

/// Refuses packets that are not all there: as long as they say, with a whole layer-4
/// header.
pub(super) fn complete(packet: &Packet) -> Result<(), Reason> {
    let there = Packet::HEADER + packet.body.len();
    let least = Packet::HEADER + packet.least_body();
    if packet.length > there || packet.length < least {
        return Err(Reason::Truncated);
    }
    Ok(())
}
