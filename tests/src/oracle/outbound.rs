//! From an instance to the public network.

use std::net::IpAddr;

use gateway_common::Reason;
use lingyun::config::InstanceId;

use super::{
    Fate, Oracle, Owner, Seen, Way, errors::Trouble, ip::Packet, neighbours, parse, quoted::Quoted,
    tunnel::Tunnelled, vlan, wire::ethertype,
};

/// As whom an instance appears.
pub(super) struct Appearance {
    pub(super) owner: Owner,
    pub(super) address: IpAddr,
    /// Its port, if it is not the same.
    pub(super) port: Option<u16>,
}

impl Oracle {
    /// A frame from the underlay.
    pub(super) fn underlay_side(&mut self, bytes: &[u8], seen: &Seen<'_>) -> Result<Fate, Reason> {
        let tunnelled = self.open(bytes)?;
        match tunnelled.inner.kind {
            ethertype::IPV4 | ethertype::IPV6 => {}
            ethertype::ARP => return self.arp_from_instance(tunnelled),
            _ => return Err(Reason::InnerNotIp),
        }
        let packet = parse::header(&tunnelled.inner)?;
        let packet = parse::understood(packet)?;
        if neighbours::is_discovery(&packet) {
            return self.discovery_from_instance(tunnelled, &packet);
        }
        let sender = self.sender(&tunnelled, packet.source)?;
        let (vpc, instance) = (
            &self.site.topology.vpcs[sender.vpc],
            self.site.topology.instance(sender),
        );
        if tunnelled.inner.destination != vpc.router_mac.0 {
            return Err(Reason::InnerNotForRouter);
        }
        if tunnelled.inner.source != instance.mac.0 {
            return Err(Reason::SpoofedMac);
        }
        let to_router = self
            .site
            .routers
            .contains(&(sender.vpc, packet.destination));
        if to_router && packet.is_icmp() && !packet.is_fragment() {
            return self.answer_inside(tunnelled, packet);
        }
        let ours = self.site.addresses.get(&packet.destination).copied();
        let router = (self.site.topology)
            .subnet_with(sender.vpc, packet.source)
            .router;
        let (asked, from) = (packet.clone(), &tunnelled);
        let result = match ours {
            _ if never_routed(packet.destination)
                || self.site.is_inside(sender.vpc, packet.destination) =>
            {
                self.send_inside(from, asked, sender)?
            }
            _ if packet.is_icmp_error() && !packet.is_fragment() => {
                self.error_out(from, asked, sender)?
            }
            Some(address) if self.is_for_gateway(&packet, address) => {
                return self.answer_inside(tunnelled, packet);
            }
            Some(address) => self.send_back_in(from, asked, sender, address)?,
            None => {
                let appearance = self.appearance(sender, &packet)?;
                self.send_out(from, asked, &appearance, |packet| {
                    if let Some(port) = appearance.port {
                        packet.set_source_port(port);
                    }
                })?
            }
        };
        match result {
            Ok(fate) => Ok(fate),
            Err(trouble) => Ok(self.refuse_inside(tunnelled, router, &packet, trouble, seen)),
        }
    }

    /// An instance says what happened to a packet that it got: it is told to whom that
    /// packet came from, as if about the packet that they sent.
    fn error_out(
        &self,
        tunnelled: &Tunnelled,
        packet: Packet,
        sender: InstanceId,
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let quoted = Quoted::read(&packet)?;
        if (quoted.source, quoted.destination) != (packet.destination, packet.source) {
            return Err(Reason::IcmpMismatch);
        }
        let appearance = self.appearance(sender, &quoted.forward())?;
        self.send_out(tunnelled, packet, &appearance, |packet| {
            quoted.to(packet, appearance.address, appearance.port);
        })
    }

    /// The instance that a tunnel's frame is from: the address says who, and it must
    /// come from where that one lives.
    pub(super) fn sender(&self, from: &Tunnelled, address: IpAddr) -> Result<InstanceId, Reason> {
        let vpc = *self
            .site
            .vpcs
            .get(&from.vxlan.vni)
            .ok_or(Reason::UnknownVni)?;
        let id = *self
            .site
            .instances
            .get(&(vpc, address))
            .ok_or(Reason::UnknownSource)?;
        let host = &self.site.topology.hosts[self.site.topology.instance(id).host];
        if from.outer_packet.source != host.vtep {
            return Err(Reason::SpoofedVtep);
        }
        Ok(id)
    }

    /// As whom a packet of an instance leaves: as the service that it answers for, or
    /// as its floating IP. Never as itself.
    pub(super) fn appearance(
        &self,
        sender: InstanceId,
        packet: &Packet,
    ) -> Result<Appearance, Reason> {
        if let Some((port, _)) = packet.ports() {
            let sends = (sender, packet.source.is_ipv6(), packet.protocol, port);
            if let Some(&(service, position)) = self.site.serving.get(&sends) {
                if packet.is_fragment() {
                    return Err(Reason::Fragment);
                }
                let listener = &self.site.topology.load_balancers[service];
                return Ok(Appearance {
                    owner: Owner::Backend(service, position),
                    address: listener.vip,
                    port: Some(listener.port),
                });
            }
        }
        let known = (sender, packet.source.is_ipv6());
        let index = self.site.floating.get(&known);
        let index = *index.ok_or(Reason::NoReverse)?;
        Ok(Appearance {
            owner: Owner::Floating(index),
            address: self.site.topology.floating_ips[index].ip,
            port: None,
        })
    }

    /// Sends a packet to the public network: source translated, and what else `adapt` does.
    fn send_out(
        &self,
        tunnelled: &Tunnelled,
        mut packet: Packet,
        appearance: &Appearance,
        adapt: impl FnOnce(&mut Packet),
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let mut frame = tunnelled.inner.clone();
        if packet.ttl <= 1 {
            return Ok(Err(Trouble::Expired));
        }
        let link = self.site.to_public(&packet, tunnelled.vxlan.source_port);
        let link = link.ok_or(Reason::NoNextHop)?;
        if frame.body.len() > link.mtu {
            return Ok(Err(Trouble::TooBig(link.mtu)));
        }
        packet.change(|packet| {
            packet.ttl -= 1;
            packet.source = appearance.address;
            packet.lower_mss(self.site.topology.tcp_mss as usize);
            adapt(packet);
        });
        frame.destination = link.next_hop;
        frame.source = link.our_mac;
        frame.body = packet.bytes();
        let bytes = frame.bytes();
        Ok(Ok(Fate::Sent {
            device: link.device,
            bytes: bytes.len(),
            frame: match link.vlan {
                Some(vlan) => vlan::with_tag(&bytes, vlan),
                None => bytes,
            },
            way: Way::Out(appearance.owner),
        }))
    }
}

/// Whether no router forwards what goes to an IPv6 address: link-local, once
/// site-local, multicast (RFC 4291, section 2.4).
fn never_routed(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.segments()[0] >= 0xfe80)
}
