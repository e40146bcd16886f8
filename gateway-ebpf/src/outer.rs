//! What VXLAN puts in front of a frame, over IPv4 and over IPv6, as a type parameter.

use core::fmt::Debug;

use gateway_common::{Reason, Tunnel};

use crate::{
    checksum,
    family::{Family, V4, V6},
    headers::{Ethernet, Ipv4, Ipv6, OuterV4, OuterV6, Udp, Vxlan},
    packet::{Packet, Tables},
    stages::vxlan::Opened,
};

/// The outer headers over one family of underlay.
pub trait Outer: Copy + Debug + 'static {
    /// The underlay's family.
    type Family: Family;

    /// Bytes of all outer headers.
    const LEN: usize;

    /// Where the inner IP header lies.
    const INNER_IP: usize = Self::LEN + Ethernet::LEN;

    /// Reads the headers of a frame whose EtherType is the family's, down to the UDP
    /// ports; the VNI is read but not judged.
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason>;

    /// Checks that the frame is as long as its outer IP header says, and long enough.
    fn check_length<P: Packet>(packet: &P) -> Result<(), Reason>;

    /// Writes all outer headers into the front of the frame.
    ///
    /// DSCP and ECN are copied from the inner packet (RFC 2983, uniform; RFC 6040,
    /// section 4.1). A VTEP must not fragment (RFC 7348, section 4.3).
    fn write<P: Packet>(
        packet: &mut P,
        tunnel: &Tunnel,
        tos: u8,
        source_port: u16,
        vni: u32,
    ) -> Result<(), Reason>;

    /// Makes the outer headers fit an inner packet that was replaced: its length, DSCP
    /// and ECN.
    fn refit<P: Packet>(packet: &mut P, tos: u8) -> Result<(), Reason>;

    /// Sends a frame back to the VTEP that it came from.
    fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason>;
}

/// VXLAN over IPv4: 50 bytes.
#[derive(Clone, Copy, Debug)]
pub struct OverV4;

impl Outer for OverV4 {
    type Family = V4;

    const LEN: usize = OuterV4::LEN;

    #[inline(always)]
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason> {
        let ip = packet.need::<Ipv4>(Ethernet::LEN)?;
        if ip.destination != tables.anycast_vtep(0) && ip.destination != tables.own_vtep(0) {
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

    /// With don't-fragment set the ID may be 0 (RFC 6864, section 4.1).
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
        let tos_word = u16::from_ne_bytes([0, tos]);
        let sum = tunnel.checksum as u32 + ip_length as u32 + tos_word as u32;
        // Field by field: a whole header would be put together on the stack and copied.
        let outer = packet.need_mut::<OuterV4>(0)?;
        outer.ethernet.set_macs(&tunnel.macs);
        outer.ethernet.kind = tunnel.kind;
        outer.ip.version_ihl = Ipv4::VERSION_IHL;
        outer.ip.tos = tos;
        outer.ip.length = ip_length;
        outer.ip.id = 0;
        outer.ip.fragment = Ipv4::DONT_FRAGMENT;
        outer.ip.ttl = Vxlan::TTL;
        outer.ip.protocol = Ipv4::UDP;
        outer.ip.checksum = !checksum::fold(sum);
        outer.ip.source = tunnel.source[0];
        outer.ip.destination = tunnel.destination[0];
        outer.udp.source = source_port;
        outer.udp.destination = Vxlan::PORT;
        outer.udp.length = udp_length;
        outer.udp.checksum = 0;
        outer.vxlan.flags = Vxlan::FLAGS;
        outer.vxlan.vni = vni;
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

/// VXLAN over IPv6: 70 bytes. The UDP checksum is 0, which tunnels may send and
/// accept (RFC 6935, RFC 6936).
#[derive(Clone, Copy, Debug)]
pub struct OverV6;

impl Outer for OverV6 {
    type Family = V6;

    const LEN: usize = OuterV6::LEN;

    #[inline(always)]
    fn open<P: Packet, T: Tables>(packet: &P, tables: &T) -> Result<Opened<Self>, Reason> {
        let ip = packet.need::<Ipv6>(Ethernet::LEN)?;
        let word = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        let anycast = [
            word(tables.anycast_vtep(0), tables.anycast_vtep(1)),
            word(tables.anycast_vtep(2), tables.anycast_vtep(3)),
        ];
        let own = [
            word(tables.own_vtep(0), tables.own_vtep(1)),
            word(tables.own_vtep(2), tables.own_vtep(3)),
        ];
        let [a, b] = ip.destination;
        if [a, b] != anycast && [a, b] != own {
            return Err(Reason::NotOurs);
        }
        if ip.next_header != Ipv4::UDP {
            return Err(Reason::NotVxlan);
        }
        if u32::from_be(ip.version_class_flow) >> 28 != 6 {
            return Err(Reason::IpVersion);
        }
        let udp = packet.need::<Udp>(Ethernet::LEN + Ipv6::LEN)?;
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
        let [a, b] = V6::address(&tunnel.source);
        let [c, d] = V6::address(&tunnel.destination);
        let outer = packet.need_mut::<OuterV6>(0)?;
        outer.ethernet.set_macs(&tunnel.macs);
        outer.ethernet.kind = tunnel.kind;
        outer.ip.version_class_flow = (6 << 28 | (tos as u32) << 20).to_be();
        outer.ip.payload_length = length;
        outer.ip.next_header = Ipv4::UDP;
        outer.ip.hop_limit = Vxlan::TTL;
        (outer.ip.source[0], outer.ip.source[1]) = (a, b);
        (outer.ip.destination[0], outer.ip.destination[1]) = (c, d);
        outer.udp.source = source_port;
        outer.udp.destination = Vxlan::PORT;
        outer.udp.length = length;
        outer.udp.checksum = 0;
        outer.vxlan.flags = Vxlan::FLAGS;
        outer.vxlan.vni = vni;
        Ok(())
    }

    #[inline(always)]
    fn refit<P: Packet>(packet: &mut P, tos: u8) -> Result<(), Reason> {
        let length = ((packet.len() - Ethernet::LEN - Ipv6::LEN) as u16).to_be();
        let outer = packet.need_mut::<OuterV6>(0)?;
        outer.ip.version_class_flow = (6 << 28 | (tos as u32) << 20).to_be();
        outer.ip.payload_length = length;
        outer.udp.length = length;
        Ok(())
    }

    #[inline(always)]
    fn turn_round<P: Packet>(packet: &mut P) -> Result<(), Reason> {
        packet.need_mut::<Ethernet>(0)?.swap_macs();
        V6::turn_round(packet, Ethernet::LEN, Vxlan::TTL)?;
        packet.need_mut::<Udp>(Ethernet::LEN + Ipv6::LEN)?.checksum = 0;
        Ok(())
    }
}
