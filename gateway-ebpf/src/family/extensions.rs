//! IPv6 extension headers (RFC 8200, section 4).

use gateway_common::Reason;

use super::{Family, V6};
use crate::{
    headers::{Extension, Ipv6},
    packet::Packet,
    stages::parse::Flow,
};

/// Longest chain: each header that may come before layer 4 and that a translation
/// survives, in the order of RFC 8200, section 4.1, destination options twice. (An
/// authentication header covers the addresses, so a translated one is void.)
const MOST: usize = 5;

/// Bytes of the longest chain; RFC 8504, section 5.3, lets a node set such limits.
const LONGEST: u16 = 256;

/// A hop-by-hop header has its place before all others.
const FIRST: usize = 0;

/// Follows the chain of the packet at `at` to its layer 4, or to the end of a fragment
/// header behind which layer 4 is in another packet.
#[inline(always)]
pub(super) fn follow<P: Packet>(packet: &P, at: usize, flow: &mut Flow<V6>) -> Result<(), Reason> {
    let mut place = FIRST;
    while place < MOST {
        if !Ipv6::is_extension(flow.protocol) || !flow.has_l4() {
            return Ok(());
        }
        let header = packet.need::<Extension>(at + flow.l4())?;
        // The frame's padding does not make up for what the packet lacks.
        if flow.l4() + Extension::LEN > flow.length as usize {
            return Err(Reason::Truncated);
        }
        let length = match flow.protocol {
            Ipv6::HOP_BY_HOP if place == FIRST => length(header),
            Ipv6::DESTINATION_OPTIONS => length(header),
            // One that is used up is ignored, of whatever type (RFC 8200, section 4.4).
            Ipv6::ROUTING if segments_left(header) == 0 => length(header),
            Ipv6::ROUTING => return Err(Reason::RoutingHeader),
            Ipv6::FRAGMENT if flow.fragment_header == 0 => {
                flow.fragment_header = flow.l4() as u16;
                flow.identification = header.identification;
                flow.fragment = as_ipv4(header.word);
                Extension::LEN as u16
            }
            _ => return Err(Reason::ExtensionHeader),
        };
        flow.extensions += length;
        if flow.extensions > LONGEST {
            return Err(Reason::ExtensionHeader);
        }
        if flow.l4() > flow.length as usize {
            return Err(Reason::Truncated);
        }
        flow.protocol = header.next_header;
        place += 1;
    }
    match Ipv6::is_extension(flow.protocol) && flow.has_l4() {
        true => Err(Reason::ExtensionHeader),
        false => Ok(()),
    }
}

/// Bytes of a header that counts its units.
#[inline(always)]
const fn length(header: &Extension) -> u16 {
    (header.length as u16 + 1) * 8
}

#[inline(always)]
const fn segments_left(header: &Extension) -> u8 {
    header.word.to_ne_bytes()[1]
}

/// Offset and "more fragments" as an IPv4 header has them.
#[inline(always)]
const fn as_ipv4(word: u16) -> u16 {
    let word = u16::from_be(word);
    (word >> 3 | (word & 1) << 13).to_be()
}

const _: () = assert!(V6::LEN + LONGEST as usize + Extension::LEN < u16::MAX as usize);
