//! VXLAN over IPv6.

use gateway_common::{Reason, Tunnel};

use super::{Outer, sum};
use crate::{
    family::{Family, V6},
    headers::{Ethernet, Ipv4, Ipv6, OuterV6, Udp, Vxlan, WordsV6},
    packet::{Packet, Tables},
    stages::{parse::Flow, vxlan::Opened},
};

/// Where the outer UDP header lies.
const UDP: usize = Ethernet::LEN + Ipv6::LEN;

/// VXLAN over IPv6: 70 bytes. The UDP checksum is 0, which tunnels may send and
/// accept (RFC 6935, RFC 6936), or right where the tunnel wants one.
#[derive(Clone, Copy, Debug)]
pub struct OverV6;

impl Outer for OverV6 {
    type Family = V6;

    const LEN: usize = OuterV6::LEN;

    #[inline(always)]
    fn is_for_us<P: Packet, T: Tables>(packet: &P, tables: &T) -> bool {
        let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        let anycast = [
            pair(tables.anycast_vtep(0), tables.anycast_vtep(1)),
            pair(tables.anycast_vtep(2), tables.anycast_vtep(3)),
        ];
        let own = [
            pair(tables.own_vtep(0), tables.own_vtep(1)),
            pair(tables.own_vtep(2), tables.own_vtep(3)),
        ];
        packet.view::<Ipv6>(Ethernet::LEN).is_some_and(|ip| {
            let [a, b] = ip.destination;
            [a, b] == anycast || [a, b] == own
        })
    }

    #[inline(always)]
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason> {
        let ip = packet.need::<Ipv6>(Ethernet::LEN)?;
        if !Self::is_for_us(packet, tables) {
            return Err(Reason::NotOurs);
        }
        if ip.next_header != Ipv4::UDP {
            return Err(Reason::NotVxlan);
        }
        if u32::from_be(ip.version_class_flow) >> 28 != 6 {
            return Err(Reason::IpVersion);
        }
        let udp = packet.need::<Udp>(UDP)?;
        if udp.destination != Vxlan::PORT {
            return Err(Reason::NotVxlan);
        }
        let outer = packet.need::<OuterV6>(0)?;
        Ok(Opened {
            source: outer.ip.source,
            vni: outer.vxlan.vni,
            source_port: outer.udp.source,
        })
    }

    #[inline(always)]
    fn check_length<P: Packet>(packet: &P) -> Result<(), Reason> {
        let payload = u16::from_be(packet.need::<Ipv6>(Ethernet::LEN)?.payload_length) as usize;
        let length = Ipv6::LEN + payload;
        if length > packet.len() - Ethernet::LEN || length < OuterV6::LEN {
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
        let length = ((packet.len() - Ethernet::LEN - Ipv6::LEN) as u16).to_be();
        let outer = packet.need_mut::<WordsV6>(0)?;
        let [a, b] = (((tos as u16) << 4) | 6 << 12).to_be_bytes();
        outer.words[0] = tunnel.headers[0];
        outer.words[1] = tunnel.headers[1] | u64::from_ne_bytes([0, 0, 0, 0, 0, 0, a, b]);
        let [a, b] = length.to_ne_bytes();
        outer.words[2] = tunnel.headers[2] | u64::from_ne_bytes([0, 0, a, b, 0, 0, 0, 0]);
        outer.words[3] = tunnel.headers[3];
        outer.words[4] = tunnel.headers[4];
        outer.words[5] = tunnel.headers[5];
        outer.end[0] = tunnel.headers_end[0];
        outer.end[1] = tunnel.headers_end[1];
        outer.end[2] = tunnel.headers_end[2];
        outer.udp.source = source_port;
        outer.udp.destination = Vxlan::PORT;
        outer.udp.length = length;
        outer.udp.checksum = 0;
        outer.vxlan.flags = Vxlan::FLAGS;
        outer.vxlan.vni = vni;
        Ok(())
    }

    #[inline(always)]
    fn can_seal<F: Family, P: Packet>(
        packet: &P,
        at: usize,
        tunnel: &Tunnel,
        flow: &Flow<F>,
    ) -> bool {
        !wants_checksum(tunnel) || sum::is_known(packet, at, flow)
    }

    #[inline(always)]
    fn seal<F: Family, P: Packet>(
        packet: &mut P,
        tunnel: &Tunnel,
        flow: &Flow<F>,
    ) -> Result<(), Reason> {
        if !wants_checksum(tunnel) {
            return Ok(());
        }
        let inner = F::sum_by_checksums(packet, Self::INNER_IP, flow)?;
        let outer = packet.need::<OuterV6>(0)?;
        // The length is in the pseudo header, too.
        let mut sum = tunnel.checksum as u64 + 2 * outer.udp.length as u64;
        sum += outer.udp.source as u64 + outer.vxlan.vni as u64 + inner as u64;
        let ethernet = packet.need::<Ethernet>(Self::LEN)?;
        let [a, b, c] = ethernet.macs;
        sum += a as u64 + b as u64 + c as u64 + ethernet.kind as u64;
        packet.need_mut::<Udp>(UDP)?.checksum = sum::udp(sum);
        Ok(())
    }

    #[inline(always)]
    fn seal_by_sum<P: Packet>(packet: &mut P, tunnel: &Tunnel) -> Result<(), Reason> {
        if !wants_checksum(tunnel) || packet.need::<Udp>(UDP)?.checksum != 0 {
            return Ok(());
        }
        sum::read(packet)
    }

    #[inline(always)]
    fn refit<P: Packet>(packet: &mut P, tos: u8) -> Result<(), Reason> {
        let length = ((packet.len() - UDP) as u16).to_be();
        let outer = packet.need_mut::<OuterV6>(0)?;
        outer.ip.version_class_flow = (6 << 28 | (tos as u32) << 20).to_be();
        outer.ip.payload_length = length;
        outer.udp.length = length;
        Ok(())
    }

    /// The answer has a checksum if the question had one: who sends none takes none.
    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason> {
        packet.need_mut::<Ethernet>(0)?.swap_macs();
        V6::turn_round(packet, Ethernet::LEN, Vxlan::TTL)?;
        let udp = packet.need_mut::<Udp>(UDP)?;
        let had_checksum = udp.checksum != 0;
        udp.checksum = 0;
        match had_checksum {
            true => sum::read(packet),
            false => Ok(()),
        }
    }
}

#[inline(always)]
const fn wants_checksum(tunnel: &Tunnel) -> bool {
    tunnel.flags & Tunnel::FLAG_UDP_CHECKSUM != 0
}
