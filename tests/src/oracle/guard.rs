//! The guard as its manual describes it (docs/guard.md), one packet after the other in
//! no time at all: limits never recover, and a challenge that is on stays on.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::Hasher,
    net::IpAddr,
};

use gateway_common::Reason;
use ipnet::IpNet;
use lingyun::config::{Bogons, Challenge, Guarded, Rate, ServiceGuard};
use siphasher::sip::SipHasher13;

use super::{
    Fate, Oracle,
    ip::{Own, Packet, octets},
    sums,
    wire::{Ethernet, protocol, word},
};

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// Ranges of RFC 6890 that nobody sends from.
const MARTIANS: &str = "0.0.0.0/8 127.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 \
    ::/128 ::1/128 ::ffff:0:0/96 fe80::/10 ff00::/8";

/// Ranges that are not routed on the Internet (RFC 6890, RFC 9637, RFC 9602).
const PRIVATE: &str = "10.0.0.0/8 100.64.0.0/10 172.16.0.0/12 192.0.0.0/24 192.0.2.0/24 \
    192.168.0.0/16 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 64:ff9b:1::/48 100::/64 \
    2001:2::/48 2001:db8::/32 3fff::/20 5f00::/16 fc00::/7";

/// What a gateway remembers of the packets before.
#[derive(Debug, Default)]
pub(super) struct Memory {
    packets: BTreeMap<Guarded, u32>,
    flows: BTreeMap<Guarded, u32>,
    known: BTreeSet<IpAddr>,
}

/// What a list says of a prefix.
#[derive(Clone, Copy)]
enum Verdict {
    Allowed,
    Refused(Reason),
}

impl Oracle {
    /// Looks at a packet for one of our addresses, which `to` stands for. A frame, if
    /// the guard answers it; nothing, if the packet may go on.
    pub(super) fn guard(
        &mut self,
        device: u32,
        frame: &Ethernet,
        packet: &Packet,
        to: Option<Guarded>,
    ) -> Result<Option<Fate>, Reason> {
        let guard = &self.site.topology.guard;
        if is_neighbour_discovery(packet) {
            return Ok(None);
        }
        if guard.malformed {
            well_formed(packet)?;
        }
        match self.listed(device, packet.source) {
            Some(Verdict::Allowed) => return Ok(None),
            Some(Verdict::Refused(reason)) => return Err(reason),
            None => {}
        }
        let source = guard.source;
        assert!(
            source.packets.is_none() && source.new_flows.is_none(),
            "limits of sources are not modelled: which ones share a meter is the gateway's"
        );
        let service = to.and_then(|to| Some((to, *guard.services.get(&to)?)));
        let Some((to, service)) = service else {
            return Ok(None);
        };
        if !take(&mut self.memory.packets, to, service.rates.packets) {
            return Err(Reason::RateService);
        }
        match flags(packet).map(|flags| flags & (SYN | ACK | RST)) {
            Some(SYN) => self.start(frame, packet, to, service),
            Some(RST) => self.returned(packet, service).map(|()| None),
            // Together they are malformed, which may have been let in.
            Some(flags) if flags & (SYN | ACK) == SYN => self.start(frame, packet, to, service),
            _ => Ok(None),
        }
    }

    /// A new flow: challenged, limited, or let in.
    fn start(
        &mut self,
        frame: &Ethernet,
        packet: &Packet,
        to: Guarded,
        service: ServiceGuard,
    ) -> Result<Option<Fate>, Reason> {
        match service.challenge {
            Some(Challenge::Above { .. }) => panic!("challenges that end are not modelled"),
            Some(Challenge::Always) if !self.memory.known.contains(&source(packet)) => {
                let answer = self.challenge(frame, packet);
                return Ok(Some(Fate::Answered(Reason::ChallengeSent, answer)));
            }
            _ => {}
        }
        match take(&mut self.memory.flows, to, service.rates.new_flows) {
            true => Ok(None),
            false => Err(Reason::FlowsService),
        }
    }

    /// A reset is traffic like any other unless it has a challenge's number, of this or
    /// the last epoch. Here the epoch is always 0.
    fn returned(&mut self, packet: &Packet, service: ServiceGuard) -> Result<(), Reason> {
        let sequence = number(packet, 4);
        let is_answer = [0, u64::MAX].into_iter().any(|epoch| {
            let (number, _) = self.numbers(packet, epoch);
            number == sequence & 0x7fff_ffff
        });
        if service.challenge.is_none() || !is_answer {
            return Ok(());
        }
        self.memory.known.insert(source(packet));
        Err(Reason::ChallengePassed)
    }

    /// The SYN-ACK that acknowledges nothing: to the sender, from where it sent to.
    fn challenge(&self, frame: &Ethernet, packet: &Packet) -> Vec<u8> {
        let (number, sequence) = self.numbers(packet, 0);
        let syn = self::number(packet, 4);
        // Of two numbers the one that lies before the SYN's own.
        let upper = number | 1 << 31;
        let lies_before = |number: u32| (syn.wrapping_sub(number)) < 1 << 31;
        let acknowledged = if lies_before(number) { number } else { upper };
        let mut segment = [&packet.body[2..4], &packet.body[..2]].concat();
        segment.extend(sequence.to_be_bytes());
        segment.extend(acknowledged.to_be_bytes());
        segment.extend([5 << 4, SYN | ACK, 0, 0, 0, 0, 0, 0]);
        let mut answer = Packet {
            source: packet.destination,
            destination: packet.source,
            tos: 0,
            ttl: 64,
            length: packet.header_length() - packet.extensions.len() + segment.len(),
            own: match packet.own {
                Own::V4 { header_words, .. } => Own::V4 {
                    header_words,
                    id: 0,
                    fragment: 0x4000,
                    checksum: 0,
                },
                Own::V6 { .. } => Own::V6 {
                    flow_label: 0,
                    fragment: 0,
                },
            },
            extensions: Vec::new(),
            next: protocol::TCP,
            body: Vec::new(),
            ..packet.clone()
        };
        let ends = [octets(answer.source), octets(answer.destination)].concat();
        let pseudo = [ends, vec![0, protocol::TCP, 0, segment.len() as u8]].concat();
        let checksum = sums::right(&[pseudo, segment.clone()].concat());
        segment[16..18].copy_from_slice(&checksum.to_be_bytes());
        answer.body = segment;
        answer.seal();
        let mut bytes = Ethernet {
            destination: frame.source,
            source: frame.destination,
            kind: frame.kind,
            body: answer.bytes(),
        }
        .bytes();
        pad(&mut bytes, &frame.bytes());
        bytes
    }

    /// The numbers of a flow's challenge in an epoch: 31 bits to acknowledge, and a
    /// sequence number.
    fn numbers(&self, packet: &Packet, epoch: u64) -> (u32, u32) {
        let [a, b] = self.site.topology.seed;
        let mut hasher = SipHasher13::new_with_keys(a, b);
        for address in [packet.source, packet.destination] {
            let mut bytes = octets(address);
            bytes.resize(16, 0);
            hasher.write(&bytes);
        }
        hasher.write(&packet.body[..4]);
        hasher.write(&[0, 0, 0, 0xc1]);
        hasher.write(&epoch.to_le_bytes()[..7]);
        let hash = hasher.finish();
        (hash as u32 & 0x7fff_ffff, (hash >> 32) as u32)
    }

    /// What the longest prefix says that holds a source. Of equal ones, an interface's
    /// says more than everybody's, and that more than what is known of all addresses.
    fn listed(&self, device: u32, source: IpAddr) -> Option<Verdict> {
        let guard = &self.site.topology.guard;
        let mut lists: Vec<(IpNet, Verdict)> = Vec::new();
        let bogons = |text: &str| {
            let nets = text
                .split_whitespace()
                .map(|net| net.parse().expect("a range"));
            nets.map(|net| (net, Verdict::Refused(Reason::Bogon)))
                .collect::<Vec<_>>()
        };
        if guard.bogons != Bogons::None {
            lists.extend(bogons(MARTIANS));
            let own = Verdict::Refused(Reason::OwnSource);
            lists.extend(self.site.addresses.keys().map(|&ip| (ip.into(), own)));
        }
        if guard.bogons == Bogons::Strict {
            lists.extend(bogons(PRIVATE));
        }
        let own = guard.interfaces.iter().filter(|own| {
            let name = self.site.public_name(device);
            own.gateway == self.site.gateway_name()
                && own
                    .interface
                    .as_deref()
                    .is_none_or(|only| name.is_some_and(|name| name == only))
        });
        for list in std::iter::once(&guard.lists).chain(own.map(|own| &own.lists)) {
            let denied = Verdict::Refused(Reason::DenyListed);
            lists.extend(list.allow.iter().map(|net| (*net, Verdict::Allowed)));
            lists.extend(list.deny.iter().map(|net| (*net, denied)));
        }
        // The last one of the longest.
        lists
            .into_iter()
            .filter(|(net, _)| net.contains(&source))
            .max_by_key(|(net, _)| net.prefix_len())
            .map(|(_, verdict)| verdict)
    }
}

/// Network cards make frames 60 bytes long; nothing of the SYN shows behind its answer.
fn pad(answer: &mut Vec<u8>, request: &[u8]) {
    const SHORTEST: usize = 60;
    let whole = answer.len();
    answer.extend(&request[whole.min(request.len())..]);
    answer.truncate(whole.max(SHORTEST));
    if answer.len() == SHORTEST {
        answer[whole..].fill(0);
    }
}

/// One more of at most so many.
fn take(taken: &mut BTreeMap<Guarded, u32>, what: Guarded, limit: Option<Rate>) -> bool {
    let Some(limit) = limit else { return true };
    let taken = taken.entry(what).or_default();
    let has_room = *taken < limit.count;
    *taken += u32::from(has_room);
    has_room
}

/// A source as it is known: an address, or the first half of an IPv6 one.
fn source(packet: &Packet) -> IpAddr {
    match packet.source {
        IpAddr::V4(_) => packet.source,
        IpAddr::V6(ip) => IpAddr::from((ip.to_bits() >> 64 << 64).to_be_bytes()),
    }
}

fn number(packet: &Packet, at: usize) -> u32 {
    u32::from(word(&packet.body, at)) << 16 | u32::from(word(&packet.body, at + 2))
}

/// The flags of a packet that starts with a TCP header.
fn flags(packet: &Packet) -> Option<u8> {
    let has_header = packet.protocol == protocol::TCP && packet.ports().is_some();
    has_header.then(|| packet.body[13])
}

fn is_neighbour_discovery(packet: &Packet) -> bool {
    packet.source.is_ipv6() && packet.protocol == protocol::ICMPV6 && packet.ttl == 255
}

fn well_formed(packet: &Packet) -> Result<(), Reason> {
    let ports = packet.ports();
    let is_tcp = packet.protocol == protocol::TCP;
    if ports.is_some_and(|(from, to)| to == 0 || is_tcp && from == 0) {
        return Err(Reason::PortZero);
    }
    match flags(packet) {
        Some(flags) if flags & SYN != 0 && flags & (FIN | RST) != 0 => Err(Reason::TcpSynFin),
        Some(flags) if flags & (SYN | FIN | RST | ACK) == 0 => Err(Reason::TcpNull),
        Some(flags) if flags & (SYN | FIN | RST | ACK) == FIN => Err(Reason::TcpXmas),
        _ => Ok(()),
    }
}
