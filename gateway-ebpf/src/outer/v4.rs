//! VXLAN over IPv4 (RFC 7348, section 5).

use gateway_common::{Reason, Tunnel};

use super::Outer;
use crate::{
    checksum,
    family::{Family, V4},
    headers::{Ethernet, Ipv4, OuterV4, Udp, Vxlan, WordsV4},
    packet::{Packet, Tables},
    stages::{parse::Flow, vxlan::Opened},
};

/// VXLAN over IPv4: 50 bytes.
#[derive(Clone, Copy, Debug)]
pub struct OverV4;

impl Outer for OverV4 {
    type Family = V4;

    const LEN: usize = OuterV4::LEN;

    #[inline(always)]
    fn is_for_us<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
        packet.view::<Ipv4>(Ethernet::LEN).is_some_and(|ip| {
            ip.destination == tables.anycast_vtep(0) || ip.destination == tables.own_vtep(0)
        })
    }

    #[inline(always)]
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason> {
        let ip = packet.need::<Ipv4>(Ethernet::LEN)?;
        if !Self::is_for_us(packet, tables) {
            return Err(Reason::NotOurs);
        }
        if ip.protocol != Ipv4::UDP {
            return Err(Reason::NotVxlan);
        }
        if ip.version_ihl != Ipv4::VERSION_IHL {
            return Err(match (ip.version_ihl >> 4, ip.version_ihl & 15) {
                (4, 0..5) => Reason::IpHeaderLength,
                (4, _) => Reason::IpOptions,
                _ => Reason::IpVersion,
            });
        }
        if ip.fragment & Ipv4::FRAGMENT_MASK != 0 {
            return Err(Reason::Fragment);
        }
        let udp = packet.need::<Udp>(Ethernet::LEN + Ipv4::LEN)?;
        if udp.destination != Vxlan::PORT {
            return Err(Reason::NotVxlan);
        }
        let outer = packet.need::<OuterV4>(0)?;
        Ok(Opened {
            source: outer.ip.source,
            vni: outer.vxlan.vni,
            source_port: outer.udp.source,
        })
    }

    #[inline(always)]
    fn check_length<P: Packet>(packet: &P) -> Result<(), Reason> {
        let length = u16::from_be(packet.need::<Ipv4>(Ethernet::LEN)?.length) as usize;
        if length > packet.len() - Ethernet::LEN || length < OuterV4::LEN {
            return Err(Reason::Truncated);
        }
        Ok(())
    }

    #[inline(always)]
    fn write<P: Packet>(
        packet: &mut P,
        tunnel: &Tunnel,
        tos: u8,
        source_port: u16,
        vni: u32,
    ) -> Result<(), Reason> {
        let length = (packet.len() - Ethernet::LEN) as u16;
        let (ip_length, udp_length) = (length.to_be(), (length - Ipv4::LEN as u16).to_be());
        let sum = checksum::add(tunnel.checksum, ip_length);
        let sum = checksum::add(sum, u16::from_ne_bytes([0, tos]));
        // Word by word: a whole array would be copied by a call.
        let outer = packet.need_mut::<WordsV4>(0)?;
        outer.words[0] = tunnel.headers[0];
        outer.words[1] = tunnel.headers[1] | u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 0, tos]);
        outer.words[2] = tunnel.headers[2] | first(ip_length);
        outer.words[3] = tunnel.headers[3] | first(!sum);
        outer.end = tunnel.headers[4] as u16;
        outer.udp.source = source_port;
        outer.udp.destination = Vxlan::PORT;
        outer.udp.length = udp_length;
        outer.udp.checksum = 0;
        outer.vxlan.flags = Vxlan::FLAGS;
        outer.vxlan.vni = vni;
        Ok(())
    }

    /// The UDP checksum is optional over IPv4 and should be 0 (RFC 7348, section 5).
    #[inline(always)]
    fn can_seal<F: Family, P: Packet>(_: &P, _: usize, _: &Tunnel, _: &Flow<F>) -> bool {
        true
    }

    #[inline(always)]
    fn seal<F: Family, P: Packet>(_: &mut P, _: &Tunnel, _: &Flow<F>) -> Result<(), Reason> {
        Ok(())
    }

    #[inline(always)]
    fn seal_by_sum<P: Packet>(_: &mut P, _: &Tunnel) -> Result<(), Reason> {
        Ok(())
    }

    #[inline(always)]
    fn refit<P: Packet>(packet: &mut P, tos: u8) -> Result<(), Reason> {
        let length = (packet.len() - Ethernet::LEN) as u16;
        let outer = packet.need_mut::<OuterV4>(0)?;
        let ip = &mut outer.ip;
        let old = [u16::from_ne_bytes([ip.version_ihl, ip.tos]), ip.length];
        let new = [u16::from_ne_bytes([ip.version_ihl, tos]), length.to_be()];
        (ip.tos, ip.length) = (tos, new[1]);
        ip.checksum = checksum::update(ip.checksum, checksum::delta(&old, &new));
        outer.udp.length = (length - Ipv4::LEN as u16).to_be();
        Ok(())
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason> {
        packet.need_mut::<Ethernet>(0)?.swap_macs();
        V4::turn_round(packet, Ethernet::LEN, Vxlan::TTL)?;
        // The payload changes, and over IPv4 the checksum is optional (RFC 7348, section 5).
        packet.need_mut::<Udp>(Ethernet::LEN + Ipv4::LEN)?.checksum = 0;
        Ok(())
    }
}

/// A word that begins with two bytes and goes on with zeroes.
#[inline(always)]
const fn first(bytes: u16) -> u64 {
    let [a, b] = bytes.to_ne_bytes();
    u64::from_ne_bytes([a, b, 0, 0, 0, 0, 0, 0])
}
