//! From an instance to another, of its own VPC or of a peer.

use gateway_common::Reason;
use lingyun::config::InstanceId;

use super::{Fate, Oracle, Way, errors::Trouble, ip::Packet, tunnel::Tunnelled};

impl Oracle {
    /// Routes a packet for an address inside: one hop, nothing else changes.
    pub(super) fn send_inside(
        &self,
        tunnelled: &Tunnelled,
        packet: Packet,
        sender: InstanceId,
    ) -> Result<Result<Fate, Trouble>, Reason> {
        // A router that is asked for more than an echo.
        if (self.site.routers).contains(&(sender.vpc, packet.destination)) {
            return Err(Reason::NoService);
        }
        let neighbour = self.site.neighbour(sender.vpc, packet.destination);
        let receiver = neighbour.ok_or(Reason::InsideRoute)?;
        let [from, to] = [sender, receiver].map(|id| self.site.topology.vpcs[id.vpc].vni);
        let way = Way::Inside { from, to };
        self.through_another_tunnel(tunnelled, packet, receiver, way, |_| {})
    }

    /// Takes one hop off a packet, changes it, and sends it through the tunnel to an
    /// instance's host. The flow keeps its place among that tunnel's paths.
    pub(super) fn through_another_tunnel(
        &self,
        tunnelled: &Tunnelled,
        mut packet: Packet,
        receiver: InstanceId,
        way: Way,
        change: impl FnOnce(&mut Packet),
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let instance = self.site.topology.instance(receiver);
        let vpc = &self.site.topology.vpcs[receiver.vpc];
        let mut frame = tunnelled.inner.clone();
        if packet.ttl <= 1 {
            return Ok(Err(Trouble::Expired));
        }
        let link = self.site.to_host(instance.host).ok_or(Reason::NoNextHop)?;
        let longest = link.mtu - self.overhead();
        if frame.body.len() > longest {
            return Ok(Err(Trouble::TooBig(longest)));
        }
        packet.change(|packet| packet.ttl -= 1);
        change(&mut packet);
        frame.destination = instance.mac.0;
        frame.source = vpc.router_mac.0;
        frame.body = packet.bytes();
        Ok(Ok(Fate::Sent {
            device: link.device,
            bytes: frame.bytes().len(),
            frame: self.encapsulate(
                &frame,
                &packet,
                vpc.vni,
                (instance.host, link),
                tunnelled.vxlan.source_port,
            )?,
            way,
        }))
    }
}
