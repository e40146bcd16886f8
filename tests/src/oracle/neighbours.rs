//! Neighbour discovery (RFC 4861): the gateway says where its addresses are.

use std::net::{IpAddr, Ipv6Addr};

use gateway_common::Reason;
use lingyun::config::InstanceId;

use super::{
    Fate, Oracle,
    ip::{Own, Packet, octets},
    parse, sums,
    tunnel::Tunnelled,
    wire::{Ethernet, Mac, array, protocol},
};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// What a hop limit is that no router has touched.
const UNTOUCHED: u8 = 255;

/// Bytes of a solicitation, without and with options. More are not looked at.
const LENGTHS: std::ops::RangeInclusive<usize> = 24..=64;

/// Flags of an advertisement.
const ROUTER: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// A valid solicitation.
struct Question {
    asker: Ipv6Addr,
    mac: Mac,
    target: Ipv6Addr,
}

/// Type of the discovery message that a packet is, if it is one.
fn kind(packet: &Packet) -> Option<u8> {
    let is_discovery = |kind: &u8| (133..=137).contains(kind);
    let first = packet.body.first().copied().filter(is_discovery);
    first.filter(|_| packet.protocol == protocol::ICMPV6 && packet.extensions.is_empty())
}

/// Whether a packet, which is understood, takes part in neighbour discovery.
pub(super) fn is_discovery(packet: &Packet) -> bool {
    matches!(packet.own, Own::V6 { .. }) && kind(packet).is_some()
}

impl Oracle {
    /// IPv6 to a group: nothing but solicitations of our addresses concerns us.
    pub(super) fn group_from_public(
        &self,
        arrival: (u32, Option<u16>),
        frame: Ethernet,
    ) -> Result<Fate, Reason> {
        let Some(packet) = Packet::read(frame.kind, &frame.body) else {
            return Err(Reason::L2Multicast);
        };
        if packet.protocol != protocol::ICMPV6 {
            return Err(Reason::L2Multicast);
        }
        if packet.body.len() < 8 {
            return Err(Reason::Truncated);
        }
        self.solicited(arrival, frame, &packet, Reason::L2Multicast)
    }

    /// Discovery for one of our addresses alone.
    pub(super) fn discovery_from_public(
        &self,
        arrival: (u32, Option<u16>),
        frame: Ethernet,
        packet: &Packet,
    ) -> Result<Fate, Reason> {
        self.solicited(arrival, frame, packet, Reason::NeighbourInvalid)
    }

    /// Answers a solicitation of an address of ours; `otherwise` if it is none.
    fn solicited(
        &self,
        arrival: (u32, Option<u16>),
        frame: Ethernet,
        packet: &Packet,
        otherwise: Reason,
    ) -> Result<Fate, Reason> {
        if kind(packet) != Some(SOLICITATION) {
            return Err(otherwise);
        }
        let target = target(packet)?;
        if !self.site.addresses.contains_key(&IpAddr::V6(target)) {
            return Err(otherwise);
        }
        let question = question(&frame, packet)?;
        let mac = self.site.public_mac(arrival).ok_or(otherwise)?;
        let answer = advertisement(frame, &question, mac, OVERRIDE);
        Ok(Fate::Answered(Reason::NeighbourReply, answer.bytes()))
    }

    /// Discovery inside: instances find their virtual router.
    pub(super) fn discovery_from_instance(
        &self,
        tunnelled: Tunnelled,
        packet: &Packet,
    ) -> Result<Fate, Reason> {
        let sender = match packet.source {
            // It makes such addresses up by itself, or has none yet.
            IpAddr::V6(ip) if ip.is_unspecified() || ip.is_unicast_link_local() => {
                self.sender_by_mac(&tunnelled)?
            }
            ip => self.sender(&tunnelled, ip)?,
        };
        let mac = self.site.topology.instance(sender).mac.0;
        if tunnelled.inner.source != mac {
            return Err(Reason::SpoofedMac);
        }
        if kind(packet) != Some(SOLICITATION) {
            return Err(Reason::InnerNeighbourOther);
        }
        let target = IpAddr::V6(target(packet)?);
        if !self.site.routers.contains(&(sender.vpc, target)) {
            return Err(Reason::InnerNeighbourOther);
        }
        let question = question(&tunnelled.inner, packet)?;
        if question.mac != mac {
            return Err(Reason::SpoofedMac);
        }
        let router = self.site.topology.vpcs[sender.vpc].router_mac.0;
        let inner = tunnelled.inner.clone();
        let answer = advertisement(inner, &question, router, ROUTER | OVERRIDE);
        Ok(Fate::Answered(
            Reason::InnerNeighbourReply,
            tunnelled.turn_round_refitted(&answer, 0)?,
        ))
    }

    /// The instance with the MAC that a tunnel's frame is from, among those with IPv6.
    fn sender_by_mac(&self, from: &Tunnelled) -> Result<InstanceId, Reason> {
        let vpc = self.site.vpcs.get(&from.vxlan.vni);
        let vpc = *vpc.ok_or(Reason::UnknownVni)?;
        let instances = self.site.topology.vpcs[vpc].instances.iter();
        let mut ips = instances
            .filter(|instance| instance.mac.0 == from.inner.source)
            .flat_map(|instance| instance.ips());
        let ip = ips.find(IpAddr::is_ipv6).ok_or(Reason::UnknownSource)?;
        self.sender(from, ip)
    }
}

fn target(packet: &Packet) -> Result<Ipv6Addr, Reason> {
    if packet.body.len() < *LENGTHS.start() {
        return Err(Reason::Truncated);
    }
    Ok(array::<16>(&packet.body, 8).into())
}

/// Reads a solicitation as RFC 4861, section 7.1.1, tells to judge it.
fn question(frame: &Ethernet, packet: &Packet) -> Result<Question, Reason> {
    let invalid = Err(Reason::NeighbourInvalid);
    parse::plain_header(packet)?;
    let length = packet.length - 40;
    let Some(message) = packet.body.get(..length) else {
        return Err(Reason::Truncated);
    };
    let pseudo = pseudo(packet, length);
    if packet.ttl != UNTOUCHED
        || !LENGTHS.contains(&length)
        || !length.is_multiple_of(8)
        || message[1] != 0
        || !sums::is_right(&[&pseudo, message])
    {
        return invalid;
    }
    let mut mac = None;
    let mut options = &message[24..];
    while let [kind, blocks, ..] = *options {
        let length = usize::from(blocks) * 8;
        if length == 0 || length > options.len() {
            return invalid;
        }
        match (kind, blocks) {
            // "Source link-layer address" (section 4.6.1).
            (1, 1) => mac = Some(array::<6>(options, 2)),
            (1, _) => return invalid,
            _ => {}
        }
        options = &options[length..];
    }
    let (IpAddr::V6(asker), IpAddr::V6(to)) = (packet.source, packet.destination) else {
        return invalid;
    };
    let to_solicited_nodes = to.octets()[..13] == [0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff];
    if asker.is_unspecified() && (mac.is_some() || !to_solicited_nodes) {
        return invalid;
    }
    Ok(Question {
        asker,
        mac: mac.unwrap_or(frame.source),
        target: target(packet)?,
    })
}

/// What the checksum of ICMPv6 covers beside the message (RFC 8200, section 8.1).
fn pseudo(packet: &Packet, length: usize) -> Vec<u8> {
    let mut pseudo = [octets(packet.source), octets(packet.destination)].concat();
    pseudo.extend((length as u32).to_be_bytes());
    pseudo.extend([0, 0, 0, protocol::ICMPV6]);
    pseudo
}

/// "The target is at `mac`" (RFC 4861, section 7.2.4). Who asks without an address is
/// told with all others.
fn advertisement(mut frame: Ethernet, question: &Question, mac: Mac, flags: u8) -> Ethernet {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let (to, to_mac, flags) = match question.asker.is_unspecified() {
        true => (all_nodes, [0x33, 0x33, 0, 0, 0, 1], flags),
        false => (question.asker, question.mac, flags | SOLICITED),
    };
    let mut message = vec![ADVERTISEMENT, 0, 0, 0, flags, 0, 0, 0];
    message.extend(question.target.octets());
    // "Target link-layer address" (section 4.6.1).
    message.extend([2, 1]);
    message.extend(mac);
    let mut packet = Packet {
        version: 6,
        source: question.target.into(),
        destination: to.into(),
        tos: 0,
        ttl: UNTOUCHED,
        protocol: protocol::ICMPV6,
        length: 40 + message.len(),
        own: Own::V6 {
            flow_label: 0,
            fragment: 0,
        },
        extensions: Vec::new(),
        next: protocol::ICMPV6,
        body: Vec::new(),
    };
    let sum = sums::right_of(&[&pseudo(&packet, message.len()), &message]);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    packet.body = message;
    frame.destination = to_mac;
    frame.source = mac;
    frame.body = packet.bytes();
    frame
}
