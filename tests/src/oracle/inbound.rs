//! From the public network to an instance.

use gateway_common::Reason;
use lingyun::config::{Guarded, InstanceId};

use super::{
    Fate, Oracle, Owner, Seen, Way,
    errors::Trouble,
    hash,
    ip::Packet,
    neighbours, parse,
    past::{self, Packets},
    quoted::Quoted,
    site::{self, Address},
    wire::{Ethernet, ethertype},
};

/// Who gets a packet, and as what.
pub(super) struct Receiver {
    pub(super) owner: Owner,
    pub(super) instance: InstanceId,
    /// The port there, if it is not the same.
    pub(super) port: Option<u16>,
}

impl Oracle {
    /// A frame from the public network, by an interface or a VLAN on it, which is taken
    /// off already.
    pub(super) fn public_side(
        &mut self,
        arrival: (u32, Option<u16>),
        bytes: &[u8],
        seen: &Seen<'_>,
    ) -> Result<Fate, Reason> {
        let frame = parse::frame(bytes)?;
        match frame.kind {
            ethertype::IPV4 if frame.is_for_many() => return Err(Reason::L2Multicast),
            ethertype::IPV6 if frame.is_for_many() => {
                return self.group_from_public(arrival, frame);
            }
            ethertype::IPV4 | ethertype::IPV6 => {}
            ethertype::ARP => return self.arp_from_public(arrival, frame),
            kind => return Err(parse::other_ethertype(kind)),
        }
        let packet = parse::header(&frame)?;
        let address = self.site.addresses.get(&packet.destination).copied();
        if parse::says_for_whom(&packet) && address.is_none() {
            return Err(Reason::NotOurs);
        }
        let packet = parse::understood(packet)?;
        let address = address.expect("a packet that is understood says for whom it is");
        let service = self.service_of(&packet);
        let guarded = match (service, address) {
            // Where nobody serves there is nothing to guard.
            (Some(service), _) if self.site.rings[service].is_empty() => None,
            (Some(service), _) => Some(Guarded::LoadBalancer(service)),
            (None, Address::Floating(index)) => Some(Guarded::FloatingIp(index)),
            (None, Address::Gateway) => None,
        };
        if let Some(answered) = self.guard(arrival.0, &frame, &packet, guarded)? {
            return Ok(answered);
        }
        if neighbours::is_discovery(&packet) {
            return self.discovery_from_public(arrival, frame, &packet);
        }
        let plain = frame.clone();
        let result = if packet.is_icmp_error() && !packet.is_fragment() {
            self.error_in(frame, packet.clone(), address)?
        } else {
            let hash = hash::flow(self.site.topology.seed, &packet);
            let Some(receiver) = self.receiver(&packet, address, Packets::Own)? else {
                return self.ask_gateway(frame, packet);
            };
            self.deliver(frame, packet.clone(), &receiver, hash, |packet| {
                if let Some(port) = receiver.port {
                    packet.set_destination_port(port);
                }
            })?
        };
        match result {
            Ok(fate) => Ok(fate),
            Err(trouble) => Ok(self.refuse_outside(arrival, plain, &packet, trouble, seen)),
        }
    }

    /// Who gets the packets of a flow; nobody but the gateway itself, if there is none.
    pub(super) fn receiver(
        &mut self,
        packet: &Packet,
        address: Address,
        packets: Packets,
    ) -> Result<Option<Receiver>, Reason> {
        Ok(match (self.service_of(packet), address) {
            (Some(service), _) => Some(self.backend(service, packet, packets)?),
            (None, Address::Floating(index)) => Some(Receiver {
                owner: Owner::Floating(index),
                instance: self.site.topology.floating_ips[index].instance,
                port: None,
            }),
            (None, Address::Gateway) => None,
        })
    }

    /// Somebody outside says what happened to a packet that left here: it is told to
    /// whoever gets the packets of that flow, as if about the packet that they sent.
    fn error_in(
        &mut self,
        frame: Ethernet,
        packet: Packet,
        address: Address,
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let quoted = Quoted::read(&packet)?;
        if quoted.source != packet.destination {
            return Err(Reason::IcmpMismatch);
        }
        let forward = quoted.forward();
        let hash = hash::flow(self.site.topology.seed, &forward);
        let receiver = self.receiver(&forward, address, Packets::Quoted)?;
        let receiver = receiver.ok_or(match quoted.is_later_fragment {
            true => Reason::IcmpQuote,
            false => Reason::NoService,
        })?;
        let instance = self.site.topology.instance(receiver.instance);
        let instance = site::address_like(instance, packet.destination);
        self.deliver(frame, packet, &receiver, hash, |packet| {
            quoted.from(packet, instance, receiver.port);
        })
    }

    /// The load balancer that listens where a packet goes.
    pub(super) fn service_of(&self, packet: &Packet) -> Option<usize> {
        let (_, port) = packet.ports()?;
        let listener = (packet.destination, packet.protocol, port);
        self.site.services.get(&listener).copied()
    }

    /// An address where nobody is but the gateway itself.
    fn ask_gateway(&self, mut frame: Ethernet, packet: Packet) -> Result<Fate, Reason> {
        if packet.is_fragment() {
            return Err(Reason::Fragment);
        }
        if !packet.is_icmp() {
            return Err(Reason::NoService);
        }
        frame.body = self.echo_reply(packet)?.bytes();
        std::mem::swap(&mut frame.source, &mut frame.destination);
        Ok(Fate::Answered(Reason::EchoReply, frame.bytes()))
    }

    /// The backend of a load balancer for a flow.
    fn backend(
        &mut self,
        number: usize,
        packet: &Packet,
        packets: Packets,
    ) -> Result<Receiver, Reason> {
        if packet.is_fragment() {
            // The others would not find their way.
            return Err(Reason::Fragment);
        }
        let service = &self.site.topology.load_balancers[number];
        let hash = past::slot_hash(service, self.site.topology.seed, packet);
        let ring = &self.site.rings[number];
        let new = ring.get(hash::slot(hash, ring.len())).copied();
        let position = (self.past)
            .backend((number, service), packet, packets, (hash, new))
            .ok_or(Reason::NoBackend)?;
        let backend = service.backends[position];
        Ok(Receiver {
            owner: Owner::Backend(number, position),
            instance: backend.instance,
            port: Some(backend.port),
        })
    }

    /// Sends a packet to an instance: destination translated, and what else `adapt` does,
    /// in a tunnel to its host.
    fn deliver(
        &self,
        mut frame: Ethernet,
        mut packet: Packet,
        receiver: &Receiver,
        hash: u64,
        adapt: impl FnOnce(&mut Packet),
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let instance = self.site.topology.instance(receiver.instance);
        let vpc = &self.site.topology.vpcs[receiver.instance.vpc];
        let bytes = frame.bytes().len();
        if packet.ttl <= 1 {
            return Ok(Err(Trouble::Expired));
        }
        let link = self.site.to_host(instance.host).ok_or(Reason::NoNextHop)?;
        // Padding of short frames rides along.
        let longest = link.mtu - self.overhead();
        if frame.body.len() > longest {
            return Ok(Err(Trouble::TooBig(longest)));
        }
        packet.change(|packet| {
            packet.ttl -= 1;
            packet.destination = site::address_like(instance, packet.destination);
            packet.lower_mss(self.site.topology.tcp_mss as usize);
            adapt(packet);
        });
        frame.destination = instance.mac.0;
        frame.source = vpc.router_mac.0;
        frame.body = packet.bytes();
        Ok(Ok(Fate::Sent {
            device: link.device,
            frame: self.encapsulate(
                &frame,
                &packet,
                vpc.vni,
                (instance.host, link),
                hash::source_port(hash),
            )?,
            way: Way::In(receiver.owner),
            bytes,
        }))
    }
}
