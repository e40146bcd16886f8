//! What a gateway answers by itself: ARP and ping.

use std::net::IpAddr;

use gateway_common::Reason;

use super::{
    Fate, Oracle,
    ip::{Own, Packet},
    sums,
    tunnel::Tunnelled,
    wire::{Arp, Ethernet, Mac, word},
};

impl Oracle {
    /// ARP outside: the gateway answers for the public addresses that it owns; all
    /// else is the kernel's.
    pub(super) fn arp_from_public(
        &self,
        arrival: (u32, Option<u16>),
        frame: Ethernet,
    ) -> Result<Fate, Reason> {
        let arp = Arp::read(&frame.body).ok_or(Reason::Truncated)?;
        let asked = IpAddr::from(arp.target.1);
        if !arp.is_request() || !self.site.addresses.contains_key(&asked) {
            return Err(Reason::NotIp);
        }
        let mac = self.site.public_mac(arrival).ok_or(Reason::NotIp)?;
        Ok(Fate::Answered(
            Reason::ArpReply,
            reply(frame, arp, mac).bytes(),
        ))
    }

    /// ARP inside: instances find their virtual router.
    pub(super) fn arp_from_instance(&self, tunnelled: Tunnelled) -> Result<Fate, Reason> {
        let arp = Arp::read(&tunnelled.inner.body).ok_or(Reason::Truncated)?;
        let sender = self.sender(&tunnelled, arp.sender.1.into())?;
        let mac = self.site.topology.instance(sender).mac.0;
        if tunnelled.inner.source != mac || arp.sender.0 != mac {
            return Err(Reason::SpoofedMac);
        }
        let asked = IpAddr::from(arp.target.1);
        if !arp.is_request() || !self.site.routers.contains(&(sender.vpc, asked)) {
            return Err(Reason::InnerArpOther);
        }
        let router = self.site.topology.vpcs[sender.vpc].router_mac.0;
        let answer = reply(tunnelled.inner.clone(), arp, router);
        Ok(Fate::Answered(
            Reason::InnerArpReply,
            tunnelled.turn_round(&answer)?,
        ))
    }

    /// The reply to an echo request. Only the gateway's own addresses are asked.
    pub(super) fn echo_reply(&self, mut packet: Packet) -> Result<Packet, Reason> {
        let (request, reply) = match packet.own {
            Own::V4 { .. } => (8, 0),
            Own::V6 { .. } => (128, 129),
        };
        if packet.body[..2] != [request, 0] {
            return Err(Reason::NoService);
        }
        packet.change(|packet| {
            packet.body[0] = reply;
            packet.ttl = 64;
            std::mem::swap(&mut packet.source, &mut packet.destination);
        });
        // A reply may be nothing but zeroes, of which all ones are the checksum.
        let checksum = sums::nonzero(word(&packet.body, 2));
        packet.body[2..4].copy_from_slice(&checksum.to_be_bytes());
        Ok(packet)
    }
}

/// "I am at `mac`", told to who asked.
fn reply(mut frame: Ethernet, arp: Arp, mac: Mac) -> Ethernet {
    let answer = Arp {
        operation: 2,
        sender: (mac, arp.target.1),
        target: arp.sender,
        ..arp
    };
    frame.destination = answer.target.0;
    frame.source = mac;
    frame.body = answer.bytes();
    frame
}
