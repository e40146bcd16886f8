//! From bytes to a flow, with every length checked.

use gateway_common::Reason;

use crate::{
    hash,
    headers::{Ethernet, Icmp, Ipv4, Tcp, Udp},
    packet::{Packet, Tables},
};

/// What the later stages need of an IP packet. Words as they lie in the packet.
#[derive(Clone, Copy, Debug)]
pub struct Flow {
    /// Source address.
    pub source: u32,
    /// Destination address.
    pub destination: u32,
    /// Source port in the lower half of memory, then destination port; 0 without ports.
    pub ports: u32,
    /// IP protocol number.
    pub protocol: u8,
    /// Time to live.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// "More fragments" and the fragment offset.
    pub fragment: u16,
}

impl Flow {
    /// Source port as it lies in the packet.
    #[inline(always)]
    pub const fn source_port(&self) -> u16 {
        self.ports as u16
    }

    /// Destination port as it lies in the packet.
    #[inline(always)]
    pub const fn destination_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    /// Whether the packet is a fragment, the first one included.
    #[inline(always)]
    pub const fn is_fragment(&self) -> bool {
        self.fragment != 0
    }

    /// Whether the packet starts with its layer-4 header.
    #[inline(always)]
    pub const fn has_l4(&self) -> bool {
        self.fragment & Ipv4::OFFSET_MASK == 0
    }

    /// The seeded flow hash.
    #[inline(always)]
    pub fn hash<T: Tables>(&self, tables: &T) -> u64 {
        hash::flow(
            &tables.seed(),
            self.source as u64 | (self.destination as u64) << 32,
            self.ports as u64 | (self.protocol as u64) << 32,
        )
    }
}

/// EtherType of the frame at `at`.
#[inline(always)]
pub fn ethernet<P: Packet>(packet: &P, at: usize) -> Result<u16, Reason> {
    Ok(packet.need::<Ethernet>(at)?.kind)
}

/// Why a frame with this EtherType is left to the kernel.
#[inline(always)]
pub fn not_ip(kind: u16) -> Reason {
    match kind {
        Ethernet::VLAN | Ethernet::QINQ => Reason::VlanTagged,
        _ => Reason::NotIp,
    }
}

/// Refuses Ethernet broadcast and multicast.
#[inline(always)]
pub fn unicast<P: Packet>(packet: &P) -> Result<(), Reason> {
    if packet.need::<Ethernet>(0)?.macs[0] & Ethernet::GROUP != 0 {
        return Err(Reason::L2Multicast);
    }
    Ok(())
}

/// The flow of the IPv4 packet at `at`.
#[inline(always)]
pub fn ipv4<P: Packet>(packet: &P, at: usize) -> Result<Flow, Reason> {
    let ip = packet.need::<Ipv4>(at)?;
    let mut flow = Flow {
        source: ip.source,
        destination: ip.destination,
        ports: 0,
        protocol: ip.protocol,
        ttl: ip.ttl,
        tos: ip.tos,
        fragment: ip.fragment & Ipv4::FRAGMENT_MASK,
    };
    let length = u16::from_be(ip.length) as usize;
    if ip.version_ihl != Ipv4::VERSION_IHL {
        if ip.version_ihl >> 4 != 4 {
            return Err(Reason::IpVersion);
        }
        if ip.version_ihl & 15 < 5 {
            return Err(Reason::IpHeaderLength);
        }
        return Err(Reason::IpOptions);
    }
    if length > packet.len() - at {
        return Err(Reason::Truncated);
    }
    let l4 = at + Ipv4::LEN;
    let needed = if !flow.has_l4() {
        0
    } else if flow.protocol == Ipv4::TCP {
        let tcp = packet.need::<Tcp>(l4)?;
        flow.ports = tcp.source as u32 | (tcp.destination as u32) << 16;
        Tcp::LEN
    } else if flow.protocol == Ipv4::UDP {
        let udp = packet.need::<Udp>(l4)?;
        flow.ports = udp.source as u32 | (udp.destination as u32) << 16;
        Udp::LEN
    } else if flow.protocol == Ipv4::ICMP {
        packet.need::<Icmp>(l4)?;
        Icmp::LEN
    } else {
        0
    };
    if length < Ipv4::LEN + needed {
        return Err(Reason::Truncated);
    }
    Ok(flow)
}
