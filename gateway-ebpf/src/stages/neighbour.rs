//! Neighbour discovery over IPv6 (RFC 4861), as far as the gateway takes part in it:
//! solicitations for its addresses are answered, outside and inside VXLAN.

use gateway_common::{Macs, Reason};

use super::{arrival, parse, source, vlan, vxlan::Opened};
use crate::{
    IP,
    checksum::{fold_wide, wide},
    family::{Family, V6},
    headers::{Advertisement, Block, Ethernet, Icmp, Ipv6, Solicitation},
    outer::Outer,
    packet::{Exit, Packet, Tables},
};

/// Hop limit that no router lets through: the neighbour is one (RFC 4861, section 3.1).
const NEIGHBOURS: u8 = 255;

/// Longest solicitation in [`Block`]s: itself, and five more for options. A link-layer
/// address takes one, a nonce (RFC 7527) another.
const MOST_BLOCKS: usize = Solicitation::LEN / Block::LEN + 5;

/// Option "source link-layer address" (RFC 4861, section 4.6.1).
const SOURCE_MAC: u8 = 1;

/// Option "target link-layer address" of one block, before its MAC.
const TARGET_MAC: u64 = u64::from_ne_bytes([2, 1, 0, 0, 0, 0, 0, 0]);

/// Bytes of the IP packet that answers.
const LENGTH: usize = Ipv6::LEN + Advertisement::LEN;

/// No address: the asker is about to take one and looks whether it is free (RFC 4862,
/// section 5.4).
const UNSPECIFIED: [u64; 2] = [0; 2];

/// All nodes on the link: ff02::1, and its MAC (RFC 2464, section 7).
const ALL_NODES: [u64; 2] = [
    u64::from_ne_bytes([0xff, 2, 0, 0, 0, 0, 0, 0]),
    u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, 1]),
];
const ALL_NODES_MAC: Mac = u64::from_ne_bytes([0x33, 0x33, 0, 0, 0, 1, 0, 0]);

/// A MAC in the first six bytes of a word: the compiler makes worse code of arrays.
type Mac = u64;

/// Where a frame to a group goes: a solicitation is one; all else is the kernel's.
#[inline(always)]
pub fn or_kernel<F: Family, P: Packet>(packet: &P, reason: Reason) -> Exit {
    let icmp = |ip: &Ipv6| ip.next_header == Ipv6::ICMP;
    if F::ICMP_FINDS_NEIGHBOURS
        && reason == Reason::L2Multicast
        && packet.view::<Ipv6>(IP).is_some_and(icmp)
    {
        return Exit::Continue(gateway_common::Step::PublicIcmp);
    }
    reason.into()
}

/// Answers a solicitation of a public address of ours, and refuses other neighbour
/// discovery for it. Nothing if the frame is none.
#[inline(always)]
pub fn outside<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Option<Reason>, Reason> {
    let to_group = packet.need::<Ethernet>(0)?.macs[0] & Ethernet::GROUP != 0;
    let is_ours = |address| V6::endpoint_at(tables, address).is_some();
    let destination = packet.need::<Ipv6>(IP)?.destination;
    let others = match to_group {
        true => Reason::L2Multicast,
        false if is_ours(destination) => Reason::NeighbourInvalid,
        false => Reason::NotOurs,
    };
    match discovery(packet, IP)? {
        None if to_group => return Err(others),
        None => return Ok(None),
        Some(Icmp::SOLICITATION) => {}
        Some(_) => return Err(others),
    }
    if !is_ours(packet.need::<Solicitation>(IP + Ipv6::LEN)?.target) {
        return Err(others);
    }
    let asked = read(packet, IP)?;
    let vlan = vlan::of_arrival(tables);
    let interface = arrival::interface(tables, packet.ingress(), vlan);
    let [a, b, c, d, e, f] = interface.ok_or(others)?.mac;
    let mac = u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]);
    advertise(packet, IP, &asked, mac, Advertisement::OVERRIDE)?;
    Ok(Some(Reason::NeighbourReply))
}

/// Answers an instance's solicitation of its virtual router, and refuses all other
/// neighbour discovery. Nothing if the inner packet is none.
#[inline(always)]
pub fn inside<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<Option<Reason>, Reason> {
    let Some(kind) = discovery(packet, O::INNER_IP)? else {
        return Ok(None);
    };
    let ethernet = packet.need::<Ethernet>(O::LEN)?.macs;
    let asker = packet.need::<Ipv6>(O::INNER_IP)?.source;
    let sender = match asker == UNSPECIFIED || is_link_local(asker) {
        true => source::with_mac(tables, outer, sender_of(ethernet))?,
        false => source::instance::<O, V6, T>(tables, outer, asker)?,
    };
    if !source::is_from(ethernet, sender.instance) {
        return Err(Reason::SpoofedMac);
    }
    if kind != Icmp::SOLICITATION {
        return Err(Reason::InnerNeighbourOther);
    }
    let target = packet.need::<Solicitation>(O::INNER_IP + Ipv6::LEN)?.target;
    let router = source::router::<V6, T>(tables, outer.vni, target);
    let router = sender_of(router.ok_or(Reason::InnerNeighbourOther)?.macs);
    let asked = read(packet, O::INNER_IP)?;
    if asked.mac != sender_of(ethernet) {
        return Err(Reason::SpoofedMac);
    }
    let flags = Advertisement::ROUTER | Advertisement::OVERRIDE;
    advertise(packet, O::INNER_IP, &asked, router, flags)?;
    O::refit(packet, 0)?;
    O::turn_round(packet)?;
    Ok(Some(Reason::InnerNeighbourReply))
}

/// fe80::/10 (RFC 4291, section 2.5.6).
#[inline(always)]
const fn is_link_local([first, _]: [u64; 2]) -> bool {
    u16::from_be(first as u16) & 0xffc0 == 0xfe80
}

/// Type of the neighbour discovery in the IP packet at `at`, if it is such.
#[inline(always)]
fn discovery<P: Packet>(packet: &P, at: usize) -> Result<Option<u8>, Reason> {
    if packet.need::<Ipv6>(at)?.next_header != Ipv6::ICMP {
        return Ok(None);
    }
    let kind = packet.need::<Icmp>(at + Ipv6::LEN)?.kind;
    Ok(Icmp::is_discovery(kind).then_some(kind))
}

/// A valid solicitation.
struct Asked {
    /// Who asks; [`UNSPECIFIED`] when it looks for a duplicate.
    asker: [u64; 2],
    /// Where the answer goes.
    mac: Mac,
    /// Which address is meant.
    target: [u64; 2],
}

/// Reads the solicitation in the IP packet at `at`, as RFC 4861, section 7.1.1, tells
/// to judge it.
#[inline(always)]
fn read<P: Packet>(packet: &P, at: usize) -> Result<Asked, Reason> {
    let ip = packet.need::<Ipv6>(at)?;
    let message = packet.need::<Solicitation>(at + Ipv6::LEN)?;
    if u32::from_be(ip.version_class_flow) >> 28 != 6 {
        return Err(Reason::IpVersion);
    }
    let length = u16::from_be(ip.payload_length) as usize;
    if length > packet.len() - at - Ipv6::LEN {
        return Err(Reason::Truncated);
    }
    if ip.hop_limit != NEIGHBOURS
        || message.code != 0
        // Options, like the message, take multiples of eight bytes.
        || !length.is_multiple_of(Block::LEN)
        || !(Solicitation::LEN..=MOST_BLOCKS * Block::LEN).contains(&length)
        || sum(packet, at, ip, length)? != 0xffff
    {
        return Err(Reason::NeighbourInvalid);
    }
    let (asker, option) = (ip.source, source_mac(packet, at + Ipv6::LEN, length)?);
    if asker == UNSPECIFIED && (option != 0 || !is_to_solicited_nodes(ip)) {
        return Err(Reason::NeighbourInvalid);
    }
    Ok(Asked {
        asker,
        mac: match option {
            0 => sender_of(packet.need::<Ethernet>(at - Ethernet::LEN)?.macs),
            option => option >> 16,
        },
        target: message.target,
    })
}

/// Folded sum of the message behind `ip`, pseudo header and checksum included: all ones
/// if it is right.
#[inline(always)]
fn sum<P: Packet>(packet: &P, at: usize, ip: &Ipv6, length: usize) -> Result<u16, Reason> {
    let ([a, b], [c, d]) = (ip.source, ip.destination);
    let mut sum = parse::pseudo(Ipv6::ICMP, length as u16);
    sum += wide(a) + wide(b) + wide(c) + wide(d);
    let mut block = 0;
    while block < MOST_BLOCKS && block * Block::LEN < length {
        let bytes = packet.need::<Block>(at + Ipv6::LEN + block * Block::LEN)?;
        sum += wide(bytes.word);
        block += 1;
    }
    Ok(fold_wide(sum))
}

/// The option with the asker's MAC of the message at `at`, or 0.
#[inline(always)]
fn source_mac<P: Packet>(packet: &P, at: usize, length: usize) -> Result<u64, Reason> {
    let mut found = 0;
    let mut option = Solicitation::LEN / Block::LEN;
    let mut round = option;
    while round < MOST_BLOCKS && option * Block::LEN < length {
        // The mask is for the verifier: `length` bounds it further.
        let word = packet.need::<Block>(at + (option & 0xf) * Block::LEN)?.word;
        let [kind, blocks, ..] = word.to_ne_bytes();
        if kind == SOURCE_MAC && blocks == 1 {
            found = word;
        } else if blocks == 0 || kind == SOURCE_MAC {
            return Err(Reason::NeighbourInvalid);
        }
        option += blocks as usize;
        round += 1;
    }
    match option * Block::LEN == length {
        true => Ok(found),
        false => Err(Reason::NeighbourInvalid),
    }
}

/// Whether a packet goes to a solicited-node address, ff02::1:ff00:0/104.
#[inline(always)]
fn is_to_solicited_nodes(ip: &Ipv6) -> bool {
    const LOW: u64 = u64::from_ne_bytes([0, 0, 0, 1, 0xff, 0, 0, 0]);
    const MASK: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    let [a, b] = ip.destination;
    a == ALL_NODES[0] && b & MASK == LOW
}

/// The source in a pair of MACs.
#[inline(always)]
const fn sender_of([_, b, c]: Macs) -> Mac {
    (b >> 16) as u64 | (c as u64) << 16
}

/// A pair of MACs.
#[inline(always)]
const fn pair(to: Mac, from: Mac) -> Macs {
    let middle = (to >> 32) as u32 | (from as u32) << 16;
    [to as u32, middle, (from >> 16) as u32]
}

/// Turns the solicitation in the frame, with its IP header at `at`, into the
/// advertisement that answers it (RFC 4861, section 7.2.4).
#[inline(always)]
fn advertise<P: Packet>(
    packet: &mut P,
    at: usize,
    asked: &Asked,
    mac: Mac,
    flags: u32,
) -> Result<(), Reason> {
    let [a, b] = asked.target;
    let ([c, d], to, flags) = match asked.asker == UNSPECIFIED {
        true => (ALL_NODES, ALL_NODES_MAC, flags),
        false => (asked.asker, asked.mac, flags | Advertisement::SOLICITED),
    };
    let option = TARGET_MAC | mac << 16;
    let kind = u16::from_ne_bytes([Icmp::ADVERTISEMENT, 0]);
    // The target is the source, too.
    let sum = parse::pseudo(Ipv6::ICMP, Advertisement::LEN as u16)
        + 2 * (wide(a) + wide(b))
        + wide(c)
        + wide(d);
    let sum = sum + kind as u64 + flags as u64 + wide(option);

    packet.resize(at + LENGTH)?;
    packet
        .need_mut::<Ethernet>(at - Ethernet::LEN)?
        .set_macs(&pair(to, mac));
    let ends = ([a, b], [c, d]);
    V6::write(packet, at, ends, (Ipv6::ICMP, 0), Advertisement::LEN)?;
    packet.need_mut::<Ipv6>(at)?.hop_limit = NEIGHBOURS;
    let message = packet.need_mut::<Advertisement>(at + Ipv6::LEN)?;
    message.kind = Icmp::ADVERTISEMENT;
    message.code = 0;
    message.checksum = !fold_wide(sum);
    message.flags = flags;
    (message.target[0], message.target[1]) = (a, b);
    message.option = option;
    Ok(())
}
