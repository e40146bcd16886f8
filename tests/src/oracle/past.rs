//! Backends have changed a moment ago: whose flow is it?
//!
//! Where a flow would have had another backend before, it stays with that one if it is
//! older than the change. Nobody can know that of a flow, but a TCP connection says when
//! it begins, and all others are taken for older.

use std::{collections::BTreeMap, net::IpAddr};

use lingyun::config::{Affinity, LoadBalancer, Protocol, Topology};

use super::{hash, ip::Packet, site, wire::array};

/// How far behind its first packet a TCP connection's second one may be, in bytes.
const FIRST_FLIGHT: u32 = 1 << 20;

/// A flow of a service: the service's index, and who sends.
type Flow = (usize, IpAddr, u16);

/// What is known of a flow.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// Its first packet had this number and went to this backend.
    First(u32, usize),
    /// It has this backend.
    Whole(usize),
}

/// Which packets of a flow are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packets {
    /// What a client sends.
    Own,
    /// What an ICMP error quotes: nothing begins with it.
    Quoted,
}

/// How services were before, and the flows that were heard of since.
#[derive(Debug, Default)]
pub(super) struct Past {
    /// For each service, the backend that every slot of its ring had: an index into the
    /// backends that are served now, if it is among them.
    before: Vec<Vec<Option<usize>>>,
    known: BTreeMap<Flow, Known>,
}

impl Past {
    /// What is served now (`served`) was served otherwise `before`.
    pub(super) fn new(before: &Topology, served: &Topology) -> Self {
        let services = served.load_balancers.iter();
        let before = services.map(|now| ring_before(before, served, now).unwrap_or_default());
        Self {
            before: before.collect(),
            known: BTreeMap::new(),
        }
    }

    /// Forgets all flows.
    pub(super) fn reset(&mut self) {
        self.known.clear();
    }

    /// The backend of a packet of a service: an index into its backends. `new` is the
    /// one that a new flow gets, the hash decides about the slot.
    pub(super) fn backend(
        &mut self,
        (number, service): (usize, &LoadBalancer),
        packet: &Packet,
        packets: Packets,
        (hash, new): (u64, Option<usize>),
    ) -> Option<usize> {
        let is_tracked = service.protocol == Protocol::Tcp || service.udp_tracking;
        let ring = self.before.get(number).filter(|_| is_tracked);
        let before = ring.and_then(|ring| *ring.get(hash::slot(hash, ring.len()))?);
        let Some(before) = before.filter(|&before| Some(before) != new) else {
            return new;
        };
        let (port, _) = packet.ports()?;
        let flow = (number, packet.source, port);
        match (packets, service.protocol) {
            (Packets::Quoted, _) => match self.known.get(&flow) {
                None => Some(before),
                Some(&(Known::First(_, backend) | Known::Whole(backend))) => Some(backend),
            },
            (Packets::Own, Protocol::Tcp) => self.connection(flow, packet, before, new),
            (Packets::Own, Protocol::Udp) => Some(self.datagram(flow, before)),
        }
    }

    fn connection(
        &mut self,
        flow: Flow,
        packet: &Packet,
        before: usize,
        new: Option<usize>,
    ) -> Option<usize> {
        const SYN: u8 = 0x02;
        const ACK: u8 = 0x10;
        let number = u32::from_be_bytes(array(&packet.body, 4));
        let is_first = packet.body[13] & (SYN | ACK) == SYN;
        match (self.known.get(&flow).copied(), is_first) {
            (Some(Known::Whole(backend)), _) => Some(backend),
            (Some(Known::First(first, backend)), true) if first == number => Some(backend),
            (_, true) => {
                let backend = new?;
                self.known.insert(flow, Known::First(number, backend));
                Some(backend)
            }
            (Some(Known::First(first, backend)), false)
                if (1..FIRST_FLIGHT).contains(&number.wrapping_sub(first)) =>
            {
                self.known.insert(flow, Known::Whole(backend));
                Some(backend)
            }
            _ => Some(before),
        }
    }

    fn datagram(&mut self, flow: Flow, before: usize) -> usize {
        let (backend, known) = match self.known.get(&flow) {
            None => (before, Known::First(0, before)),
            Some(&(Known::First(_, backend) | Known::Whole(backend))) => {
                (backend, Known::Whole(backend))
            }
        };
        self.known.insert(flow, known);
        backend
    }
}

/// The ring that a service had before, in terms of the backends that it has now.
fn ring_before(
    before: &Topology,
    served: &Topology,
    now: &LoadBalancer,
) -> Option<Vec<Option<usize>>> {
    let listener = |service: &LoadBalancer| (service.vip, service.protocol, service.port);
    let mut services = before.load_balancers.iter();
    let then = services.find(|then| listener(then) == listener(now))?;
    // Who has the address and the port is the same backend.
    let found = then.backends.iter().map(|backend| {
        let who = (before.instance(backend.instance).ip, backend.port);
        let mut now = now.backends.iter();
        now.position(|now| (served.instance(now.instance).ip, now.port) == who)
    });
    let found: Vec<_> = found.collect();
    let ring = site::ring_of(before, then).into_iter();
    Some(ring.map(|backend| found[backend]).collect())
}

/// The hash that decides about a flow's slot.
pub(super) fn slot_hash(service: &LoadBalancer, seed: [u64; 2], packet: &Packet) -> u64 {
    match service.affinity {
        Affinity::Flow => hash::flow(seed, packet),
        Affinity::SourceIp => hash::client(seed, packet),
    }
}
