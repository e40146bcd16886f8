//! From bytes to a flow, with every length checked.

use gateway_common::Reason;

use crate::{
    family::Family,
    hash,
    headers::{Ethernet, Icmp, Ipv4, Tcp, Udp},
    packet::{Packet, Tables},
};

/// What the later stages need of an IP packet. Words as they lie in the packet.
#[derive(Clone, Copy, Debug)]
pub struct Flow<F: Family> {
    /// Source address.
    pub source: F::Address,
    /// Destination address.
    pub destination: F::Address,
    /// Source port in the lower half of memory, then destination port; 0 without ports.
    pub ports: u32,
    /// Bytes of the whole IP packet, as its header says.
    pub length: u16,
    /// IP protocol number of the layer above.
    pub protocol: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// DSCP and ECN.
    pub tos: u8,
    /// TCP's flags byte; 0 for other protocols.
    pub tcp_flags: u8,
    /// "More fragments" and the fragment offset, as IPv4 has them.
    pub fragment: u16,
    /// What the fragments of one packet share, as it lies in the packet: two bytes in
    /// IPv4, four in an IPv6 fragment header.
    pub identification: u32,
    /// Bytes of IPv6 extension headers between the header and layer 4; in a packet that an
    /// ICMP error quotes, of IPv4 options too.
    pub extensions: u16,
    /// Bytes from the start of the IPv6 header to its fragment header; 0 without one.
    pub fragment_header: u16,
}

impl<F: Family> Flow<F> {
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

    /// Whether the packet is one whole TCP segment or UDP datagram right behind its IP
    /// header. Nearly all are: what an entry program takes care of.
    #[inline(always)]
    pub const fn is_plain(&self) -> bool {
        !self.is_fragment()
            && self.extensions == 0
            && matches!(self.protocol, Ipv4::TCP | Ipv4::UDP)
    }

    /// Whether the packet starts with its layer-4 header.
    #[inline(always)]
    pub const fn has_l4(&self) -> bool {
        self.fragment & Ipv4::OFFSET_MASK == 0
    }

    /// Bytes from the start of the IP header to layer 4. Bounded, so that the
    /// verifier follows.
    #[inline(always)]
    pub const fn l4(&self) -> usize {
        F::LEN + (self.extensions & 0x1ff) as usize
    }

    /// The flow of the packets that go the other way.
    #[inline(always)]
    pub const fn reversed(&self) -> Self {
        Self {
            source: self.destination,
            destination: self.source,
            ports: self.ports.rotate_left(16),
            ..*self
        }
    }

    /// The source as the guard counts it, hashed: an IPv4 address, or the /64 of an
    /// IPv6 one, of which a host may have all.
    #[inline(always)]
    pub fn source_word<T: Tables>(&self, tables: &T) -> u64 {
        let [a, b, _, _] = F::words(self.source);
        hash::flow(&tables.seed(), a as u64 | (b as u64) << 32, F::KIND as u64)
    }

    /// The seeded flow hash.
    #[inline(always)]
    pub fn hash<T: Tables>(&self, tables: &T) -> u64 {
        F::hash(
            &tables.seed(),
            self.source,
            self.destination,
            self.ports as u64 | (self.protocol as u64) << 32,
        )
    }
}

/// What protocol and length add to the sum of the pseudo header of layer 4
/// (RFC 9293, section 3.1; RFC 8200, section 8.1).
#[inline(always)]
pub const fn pseudo(protocol: u8, length: u16) -> u64 {
    u16::from_ne_bytes([0, protocol]) as u64 + length.to_be() as u64
}

/// EtherType of the frame at `at`.
#[inline(always)]
pub fn ethernet<P: Packet>(packet: &P, at: usize) -> Result<u16, Reason> {
    Ok(packet.need::<Ethernet>(at)?.kind)
}

/// Tells the compiler what a step is for, so that it leaves out the rest: all others went
/// elsewhere.
#[inline(always)]
pub fn is_icmp<F: Family>(flow: &Flow<F>) -> Result<(), Reason> {
    match flow.protocol == F::ICMP {
        true => Ok(()),
        false => Err(Reason::Internal),
    }
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

/// The flow of the packet at `at` if it is [plain](Flow::is_plain) and nothing is wrong
/// with it. Whoever gets `None` leaves the packet to one that calls [`Family::parse`].
#[inline(always)]
pub fn plain<F: Family, P: Packet>(packet: &P, at: usize) -> Option<Flow<F>> {
    let mut flow = F::header(packet, at).ok()?;
    flow.is_plain().then_some(())?;
    // One view for both protocols: no frame of Ethernet is so short that a datagram would
    // not have it. A tunnelled one may be, and goes the longer way.
    let tcp = packet.view::<Tcp>(at + F::LEN)?;
    flow.ports = tcp.source as u32 | (tcp.destination as u32) << 16;
    let needed = match flow.protocol {
        Ipv4::TCP => {
            flow.tcp_flags = (tcp.offset_flags >> 8) as u8;
            Tcp::LEN
        }
        _ => Udp::LEN,
    };
    (flow.length as usize >= F::LEN + needed).then_some(flow)
}

/// Reads the ports of the packet at `at` into its flow, and checks that layer 4's
/// header is there.
#[inline(always)]
pub fn layer4<F: Family, P: Packet>(
    packet: &P,
    at: usize,
    flow: &mut Flow<F>,
) -> Result<(), Reason> {
    if !flow.has_l4() {
        return Ok(());
    }
    let l4 = at + flow.l4();
    let needed = if flow.protocol == Ipv4::TCP {
        let tcp = packet.need::<Tcp>(l4)?;
        flow.ports = tcp.source as u32 | (tcp.destination as u32) << 16;
        flow.tcp_flags = (tcp.offset_flags >> 8) as u8;
        Tcp::LEN
    } else if flow.protocol == Ipv4::UDP {
        let udp = packet.need::<Udp>(l4)?;
        flow.ports = udp.source as u32 | (udp.destination as u32) << 16;
        Udp::LEN
    } else if flow.protocol == F::ICMP {
        packet.need::<Icmp>(l4)?;
        Icmp::LEN
    } else {
        0
    };
    if (flow.length as usize) < flow.l4() + needed {
        return Err(Reason::Truncated);
    }
    Ok(())
}
