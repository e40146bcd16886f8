//! Header views. Multi-byte fields hold what lies in the packet (network byte
//! order), read as one native word; constants are written the same way.

use network_types::{eth::EtherType, ip::IpProto};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use gateway_common::{Macs, VXLAN_PORT};

macro_rules! header {
    ($(#[$meta:meta])* $name:ident { $( $(#[$field_meta:meta])* $field:ident: $type:ty, )* }) => {
        $(#[$meta])*
        #[repr(C, packed)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
        pub struct $name { $( $(#[$field_meta])* pub $field: $type, )* }

        impl $name {
            /// Bytes on the wire.
            pub const LEN: usize = size_of::<Self>();
        }
    };
}

header! {
    /// Ethernet II.
    Ethernet {
        /// Destination, then source.
        macs: Macs,
        /// EtherType.
        kind: u16,
    }
}

impl Ethernet {
    /// Stores both MACs word by word: an assignment of the array as a whole becomes
    /// a call of memcpy in the program.
    #[inline(always)]
    pub fn set_macs(&mut self, macs: &Macs) {
        self.macs[0] = macs[0];
        self.macs[1] = macs[1];
        self.macs[2] = macs[2];
    }

    /// Sends the frame back to where it came from.
    #[inline(always)]
    pub fn swap_macs(&mut self) {
        self.set_macs(&Self::swapped(self.macs));
    }

    /// A pair of MACs with source and destination in each other's place.
    #[inline(always)]
    pub const fn swapped([a, b, c]: Macs) -> Macs {
        // Six bytes each, so the halves of the words change places too.
        [b >> 16 | c << 16, c >> 16 | a << 16, a >> 16 | b << 16]
    }

    /// IPv4.
    pub const IPV4: u16 = EtherType::Ipv4 as u16;
    /// IPv6.
    pub const IPV6: u16 = EtherType::Ipv6 as u16;
    /// ARP.
    pub const ARP: u16 = EtherType::Arp as u16;
    /// 802.1Q.
    pub const VLAN: u16 = EtherType::Ieee8021q as u16;
    /// 802.1ad.
    pub const QINQ: u16 = EtherType::Ieee8021ad as u16;
    /// The group bit of the destination: broadcast or multicast (IEEE 802).
    pub const GROUP: u32 = u32::from_ne_bytes([1, 0, 0, 0]);
}

header! {
    /// Ethernet II with an 802.1Q tag.
    Tagged {
        /// Destination, then source.
        macs: Macs,
        /// EtherType of the tag.
        tag: u16,
        /// Priority, "drop eligible", VLAN identifier.
        control: u16,
        /// EtherType of what follows.
        kind: u16,
    }
}

impl Tagged {
    /// Bytes of the tag alone.
    pub const TAG: usize = Self::LEN - Ethernet::LEN;

    /// As [`Ethernet::set_macs`].
    #[inline(always)]
    pub fn set_macs(&mut self, macs: &Macs) {
        self.macs[0] = macs[0];
        self.macs[1] = macs[1];
        self.macs[2] = macs[2];
    }
}

header! {
    /// IPv4 without options (RFC 791, section 3.1).
    Ipv4 {
        /// Version and header length.
        version_ihl: u8,
        /// DSCP and ECN.
        tos: u8,
        /// Total length.
        length: u16,
        /// Identification.
        id: u16,
        /// Flags and fragment offset.
        fragment: u16,
        /// Time to live.
        ttl: u8,
        /// Protocol.
        protocol: u8,
        /// Header checksum.
        checksum: u16,
        /// Source address.
        source: u32,
        /// Destination address.
        destination: u32,
    }
}

impl Ipv4 {
    /// Version 4, five words.
    pub const VERSION_IHL: u8 = 0x45;
    /// More fragments, or an offset.
    pub const FRAGMENT_MASK: u16 = 0x3fffu16.to_be();
    /// The fragment's offset alone.
    pub const OFFSET_MASK: u16 = 0x1fffu16.to_be();
    /// Don't fragment.
    pub const DONT_FRAGMENT: u16 = 0x4000u16.to_be();
    /// ICMP.
    pub const ICMP: u8 = IpProto::Icmp as u8;
    /// TCP.
    pub const TCP: u8 = IpProto::Tcp as u8;
    /// UDP.
    pub const UDP: u8 = IpProto::Udp as u8;
}

header! {
    /// IPv6 (RFC 8200, section 3).
    Ipv6 {
        /// Version, traffic class, flow label.
        version_class_flow: u32,
        /// Bytes after this header.
        payload_length: u16,
        /// Protocol of what comes next.
        next_header: u8,
        /// Hop limit.
        hop_limit: u8,
        /// Source address.
        source: [u64; 2],
        /// Destination address.
        destination: [u64; 2],
    }
}

impl Ipv6 {
    /// ICMPv6.
    pub const ICMP: u8 = IpProto::Ipv6Icmp as u8;
    /// Longest payload for which lengths of whole packets fit into 16 bits.
    pub const LONGEST_PAYLOAD: usize = u16::MAX as usize - Self::LEN;

    /// Hop-by-hop options.
    pub const HOP_BY_HOP: u8 = IpProto::HopOpt as u8;
    /// Routing header.
    pub const ROUTING: u8 = IpProto::Ipv6Route as u8;
    /// Fragment header.
    pub const FRAGMENT: u8 = IpProto::Ipv6Frag as u8;
    /// Authentication header.
    pub const AUTHENTICATION: u8 = IpProto::Ah as u8;
    /// Destination options.
    pub const DESTINATION_OPTIONS: u8 = IpProto::Ipv6Opts as u8;

    /// Whether what comes next is an extension header.
    #[inline(always)]
    pub const fn is_extension(next_header: u8) -> bool {
        matches!(
            next_header,
            Self::HOP_BY_HOP
                | Self::ROUTING
                | Self::FRAGMENT
                | Self::AUTHENTICATION
                | Self::DESTINATION_OPTIONS
        )
    }
}

header! {
    /// An IPv6 extension header as far as all have it (RFC 8200, section 4).
    Extension {
        /// Protocol of what comes next.
        next_header: u8,
        /// Eight-byte units beyond the first; reserved in a fragment header.
        length: u8,
        /// Of a fragment header: offset in bytes, two reserved bits, "more fragments".
        /// Of a routing header: its type, then the segments left.
        word: u16,
        /// Identification of a fragment.
        identification: u32,
    }
}

header! {
    /// UDP (RFC 768).
    Udp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Length of header and payload.
        length: u16,
        /// Checksum; 0 is "none".
        checksum: u16,
    }
}

header! {
    /// TCP without options (RFC 9293, section 3.1).
    Tcp {
        /// Source port.
        source: u16,
        /// Destination port.
        destination: u16,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgment number.
        acknowledgment: u32,
        /// Header length and flags.
        offset_flags: u16,
        /// Window.
        window: u16,
        /// Checksum.
        checksum: u16,
        /// Urgent pointer.
        urgent: u16,
    }
}

impl Tcp {
    /// Flag: synchronize, the first packet of a connection in either direction.
    pub const SYN: u8 = 0x02;
    /// Flag: the acknowledgment number counts.
    pub const ACK: u8 = 0x10;
}

impl Tcp {
    /// Bytes of the header with its options, as it says.
    #[inline(always)]
    pub const fn length(&self) -> usize {
        (self.offset_flags as u8 >> 4) as usize * 4
    }
}

header! {
    /// TCP's option "maximum segment size" (RFC 9293, section 3.2).
    Mss {
        /// Kind.
        kind: u8,
        /// Bytes of the option.
        length: u8,
        /// The longest segment that its sender takes.
        size: u16,
    }
}

impl Mss {
    /// Whether it is this option.
    #[inline(always)]
    pub const fn is_one(&self) -> bool {
        self.kind == 2 && self.length == 4
    }
}

header! {
    /// The ICMP header that all messages share (RFC 792), with the echo fields.
    Icmp {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum.
        checksum: u16,
        /// Echo identifier.
        id: u16,
        /// Echo sequence number.
        sequence: u16,
    }
}

impl Icmp {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// ICMPv6's echo request (RFC 4443, section 4).
    pub const V6_ECHO_REQUEST: u8 = 128;
    /// ICMPv6's echo reply.
    pub const V6_ECHO_REPLY: u8 = 129;
    /// Neighbour solicitation.
    pub const SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const ADVERTISEMENT: u8 = 136;

    /// Whether a type of ICMPv6 is neighbour discovery's: solicitations and
    /// advertisements of routers and neighbours, and redirects (RFC 4861, section 4).
    #[inline(always)]
    pub const fn is_discovery(kind: u8) -> bool {
        matches!(kind, 133..=137)
    }
}

header! {
    /// A neighbour solicitation without options (RFC 4861, section 4.3).
    Solicitation {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum.
        checksum: u16,
        /// Reserved.
        reserved: u32,
        /// Target address.
        target: [u64; 2],
    }
}

header! {
    /// A neighbour advertisement with its one option (RFC 4861, section 4.4).
    Advertisement {
        /// Type.
        kind: u8,
        /// Code.
        code: u8,
        /// Checksum.
        checksum: u16,
        /// Flags and reserved bits.
        flags: u32,
        /// Target address.
        target: [u64; 2],
        /// Option "target link-layer address".
        option: u64,
    }
}

impl Advertisement {
    /// "I am a router."
    pub const ROUTER: u32 = 0x8000_0000u32.to_be();
    /// Answers a solicitation.
    pub const SOLICITED: u32 = 0x4000_0000u32.to_be();
    /// Holds in place of what was known before.
    pub const OVERRIDE: u32 = 0x2000_0000u32.to_be();
}

header! {
    /// Eight bytes: the unit in which options of neighbour discovery come, and
    /// extension headers.
    Block {
        /// As one word.
        word: u64,
    }
}

header! {
    /// ARP for IPv4 over Ethernet (RFC 826).
    Arp {
        /// Hardware type, protocol type, both lengths.
        format: [u8; 6],
        /// Operation.
        operation: u16,
        /// Sender hardware address.
        sender_mac: [u8; 6],
        /// Sender protocol address.
        sender: u32,
        /// Target hardware address.
        target_mac: [u8; 6],
        /// Target protocol address.
        target: u32,
    }
}

impl Arp {
    /// Ethernet, IPv4, 6 and 4 bytes.
    pub const FORMAT: [u8; 6] = [0, 1, 8, 0, 6, 4];
    /// Request.
    pub const REQUEST: u16 = 1u16.to_be();
    /// Reply.
    pub const REPLY: u16 = 2u16.to_be();
}

header! {
    /// VXLAN (RFC 7348, section 5).
    Vxlan {
        /// Flags and reserved bits.
        flags: u32,
        /// VNI and a reserved byte.
        vni: u32,
    }
}

impl Vxlan {
    /// The I flag alone: the VNI is valid.
    pub const FLAGS: u32 = 0x0800_0000u32.to_be();
    /// Destination port.
    pub const PORT: u16 = VXLAN_PORT.to_be();
    /// TTL or hop limit that we send with.
    pub const TTL: u8 = 64;
}

header! {
    /// All that VXLAN puts in front of a frame over an IPv4 underlay
    /// (RFC 7348, section 5).
    OuterV4 {
        /// Ethernet.
        ethernet: Ethernet,
        /// IPv4.
        ip: Ipv4,
        /// UDP.
        udp: Udp,
        /// VXLAN.
        vxlan: Vxlan,
    }
}

header! {
    /// The same with Ethernet and IP in words, as a [`Tunnel`](gateway_common::Tunnel)
    /// has them.
    WordsV4 {
        /// The first 32 bytes.
        words: [u64; 4],
        /// The last two before UDP.
        end: u16,
        /// UDP.
        udp: Udp,
        /// VXLAN.
        vxlan: Vxlan,
    }
}

header! {
    /// The same over an IPv6 underlay.
    OuterV6 {
        /// Ethernet.
        ethernet: Ethernet,
        /// IPv6.
        ip: Ipv6,
        /// UDP.
        udp: Udp,
        /// VXLAN.
        vxlan: Vxlan,
    }
}

header! {
    /// The same with Ethernet and IP in words.
    WordsV6 {
        /// The first 48 bytes.
        words: [u64; 6],
        /// The last six before UDP.
        end: [u16; 3],
        /// UDP.
        udp: Udp,
        /// VXLAN.
        vxlan: Vxlan,
    }
}
