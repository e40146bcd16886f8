//! From an instance to one of our own public addresses: as if it had gone out and come
//! in again, less the hop.

use gateway_common::Reason;
use lingyun::config::InstanceId;

use super::{
    Fate, Oracle, Way,
    errors::Trouble,
    ip::Packet,
    past::Packets,
    site::{self, Address},
    tunnel::Tunnelled,
};

impl Oracle {
    /// Translates both ends.
    pub(super) fn send_back_in(
        &mut self,
        tunnelled: &Tunnelled,
        packet: Packet,
        sender: InstanceId,
        address: Address,
    ) -> Result<Result<Fate, Trouble>, Reason> {
        let appearance = self.appearance(sender, &packet)?;
        let appear = |packet: &mut Packet| {
            packet.source = appearance.address;
            if let Some(port) = appearance.port {
                packet.set_source_port(port);
            }
        };
        // Who is asked sees what the world would see.
        let mut seen = packet.clone();
        seen.change(appear);
        let receiver = self.receiver(&seen, address, Packets::Own)?;
        let receiver = receiver.expect("what is the gateway's own was answered before");
        let way = Way::Hairpin {
            from: appearance.owner,
            to: receiver.owner,
        };
        let instance = receiver.instance;
        self.through_another_tunnel(tunnelled, packet, instance, way, |packet| {
            packet.change(appear);
            packet.change(|packet| {
                let instance = self.site.topology.instance(instance);
                packet.destination = site::address_like(instance, packet.destination);
                if let Some(port) = receiver.port {
                    packet.set_destination_port(port);
                }
            });
        })
    }

    /// Whether nobody but the gateway itself is asked.
    pub(super) fn is_for_gateway(&self, packet: &Packet, address: Address) -> bool {
        matches!(address, Address::Gateway) && self.service_of(packet).is_none()
    }

    /// An instance asks the gateway: pings are answered, in the tunnel that they came by.
    pub(super) fn answer_inside(
        &mut self,
        tunnelled: Tunnelled,
        packet: Packet,
    ) -> Result<Fate, Reason> {
        if packet.is_fragment() {
            return Err(Reason::Fragment);
        }
        if !packet.is_icmp() {
            return Err(Reason::NoService);
        }
        let mut inner = tunnelled.inner.clone();
        inner.body = self.echo_reply(packet)?.bytes();
        std::mem::swap(&mut inner.source, &mut inner.destination);
        let answer = tunnelled.turn_round(&inner)?;
        Ok(Fate::Answered(Reason::InnerEchoReply, answer))
    }
}
