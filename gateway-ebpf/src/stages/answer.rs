//! What the gateway answers by itself, outside and inside VXLAN: ARP and echo.

use gateway_common::{Reason, macs};

use super::{arrival, parse::Flow, source, vlan, vxlan::Opened};
use crate::{
    IP, checksum,
    family::{Family, OWN_TTL, V4},
    headers::{Arp, Ethernet, Icmp},
    outer::Outer,
    packet::{Packet, Tables},
};

/// Answers an ARP request for a public address of ours; other ARP is the kernel's.
#[inline(always)]
pub fn arp<P: Packet, T: Tables>(packet: &mut P, tables: &T) -> Result<Reason, Reason> {
    let Some(target) = arp_request(packet, IP)? else {
        return Err(Reason::NotIp);
    };
    if V4::endpoint_at(tables, target).is_none() {
        return Err(Reason::NotIp);
    }
    let vlan = vlan::of_arrival(tables);
    let interface = arrival::interface(tables, packet.ingress(), vlan);
    let mac = interface.ok_or(Reason::NotIp)?.mac;
    arp_reply(packet, 0, mac)?;
    Ok(Reason::ArpReply)
}

/// Answers an instance's ARP request for its virtual router.
#[inline(always)]
pub fn arp_inside<O: Outer, P: Packet, T: Tables>(
    packet: &mut P,
    tables: &T,
    outer: &Opened<O>,
) -> Result<Reason, Reason> {
    let ethernet = packet.need::<Ethernet>(O::LEN)?.macs;
    let arp = packet.need::<Arp>(O::INNER_IP)?;
    let asker = macs([0; 6], arp.sender_mac);
    let sender = source::instance::<O, V4, T>(tables, outer, arp.sender)?;
    if !source::is_from(ethernet, sender.instance) || !source::is_from(asker, sender.instance) {
        return Err(Reason::SpoofedMac);
    }
    let router = match arp_request(packet, O::INNER_IP)? {
        Some(target) => source::router::<V4, T>(tables, outer.vni, target),
        None => None,
    };
    let [a, b, _] = router.ok_or(Reason::InnerArpOther)?.macs;
    let ([m, n, o, p], [q, r, _, _]) = (a.to_ne_bytes(), b.to_ne_bytes());
    arp_reply(packet, O::LEN, [m, n, o, p, q, r])?;
    O::turn_round(packet)?;
    Ok(Reason::InnerArpReply)
}

/// Answers an echo request to an address of ours.
#[inline(always)]
pub fn echo<F: Family, P: Packet>(packet: &mut P, flow: &Flow<F>) -> Result<Reason, Reason> {
    echo_reply(packet, IP, flow)?;
    Ok(Reason::EchoReply)
}

/// Answers an instance that pings its virtual router.
#[inline(always)]
pub fn echo_inside<O: Outer, F: Family, P: Packet>(
    packet: &mut P,
    flow: &Flow<F>,
) -> Result<Reason, Reason> {
    echo_reply(packet, O::INNER_IP, flow)?;
    O::turn_round(packet)?;
    Ok(Reason::InnerEchoReply)
}

/// Target of the ARP request at `at`, if it is one.
#[inline(always)]
fn arp_request<P: Packet>(packet: &P, at: usize) -> Result<Option<u32>, Reason> {
    let arp = packet.need::<Arp>(at)?;
    let is_request = arp.format == Arp::FORMAT && arp.operation == Arp::REQUEST;
    Ok(is_request.then_some(arp.target))
}

/// Turns the request in the frame at `at` into a reply from `mac`.
#[inline(always)]
fn arp_reply<P: Packet>(packet: &mut P, at: usize, mac: [u8; 6]) -> Result<(), Reason> {
    let arp = packet.need_mut::<Arp>(at + Ethernet::LEN)?;
    let (asker, asked) = (arp.sender, arp.target);
    let asker_mac = arp.sender_mac;
    arp.operation = Arp::REPLY;
    (arp.sender, arp.sender_mac) = (asked, mac);
    (arp.target, arp.target_mac) = (asker, asker_mac);
    packet.need_mut::<Ethernet>(at)?.macs = macs(asker_mac, mac);
    Ok(())
}

/// Turns the echo request in the IP packet at `at` into its reply.
#[inline(always)]
fn echo_reply<F: Family, P: Packet>(
    packet: &mut P,
    at: usize,
    flow: &Flow<F>,
) -> Result<(), Reason> {
    let icmp = packet.need_mut::<Icmp>(at + flow.l4())?;
    if icmp.kind != F::ECHO_REQUEST || icmp.code != 0 {
        return Err(Reason::NoService);
    }
    icmp.kind = F::ECHO_REPLY;
    let request = u16::from_ne_bytes([F::ECHO_REQUEST, 0]);
    let reply = u16::from_ne_bytes([F::ECHO_REPLY, 0]);
    let delta = checksum::delta(&[request], &[reply]);
    icmp.checksum = checksum::update_nonzero(icmp.checksum, delta);
    F::turn_round(packet, at, OWN_TTL)?;
    packet.need_mut::<Ethernet>(at - Ethernet::LEN)?.swap_macs();
    Ok(())
}
