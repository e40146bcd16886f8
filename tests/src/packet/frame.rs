//! The builder: layers from the outside in, then what is special about the last one.

use std::net::{Ipv4Addr, Ipv6Addr};

use super::{
    ipv6::{Extension, Ipv6, Neighbour},
    layers::{Arp, Ethernet, Icmp, Ipv4, Layer, Mac, Tcp, Udp, Vlan, Vxlan},
};

/// A frame under construction.
///
/// Methods named after a header add it behind what is there; methods named after
/// a field change the last header that has this field. So a field of the outer
/// IP header of a tunnel is set before the inner `eth`.
#[derive(Clone, Debug)]
pub struct Frame {
    layers: Vec<Layer>,
    cut: Option<usize>,
}

/// Starts a frame with an Ethernet header.
pub fn eth(source: Mac, destination: Mac) -> Frame {
    Frame {
        layers: Vec::new(),
        cut: None,
    }
    .eth(source, destination)
}

/// Methods that change one field of the last header of a kind.
macro_rules! fields {
    ($( $(#[$doc:meta])* $method:ident($($arg:ident: $type:ty),*) => $layer:ident.$field:ident = $value:expr; )*) => {
        impl Frame { $(
            $(#[$doc])*
            pub fn $method(mut self, $($arg: $type),*) -> Self {
                let value = $value;
                for layer in self.layers.iter_mut().rev() {
                    if let Layer::$layer(header) = layer {
                        header.$field = value;
                        return self;
                    }
                }
                panic!(concat!("`", stringify!($method), "` needs an ", stringify!($layer), " header before it"));
            }
        )* }
    };
}

fields! {
    /// EtherType, whatever comes next.
    ethertype(kind: u16) => Ethernet.kind = Some(kind);
    /// Zeroes behind the frame up to this length, as network cards add them.
    pad_to(length: usize) => Ethernet.pad_to = length;
    /// Time to live.
    ttl(ttl: u8) => Ipv4.ttl = ttl;
    /// DSCP and ECN.
    tos(tos: u8) => Ipv4.tos = tos;
    /// Identification.
    id(id: u16) => Ipv4.id = id;
    /// IP version.
    version(version: u8) => Ipv4.version = version;
    /// Header length in words, whatever the options.
    header_words(words: u8) => Ipv4.header_words = Some(words);
    /// Total length, whatever the frame holds.
    total_length(length: u16) => Ipv4.total_length = Some(length);
    /// Header checksum, right or wrong.
    ip_checksum(checksum: u16) => Ipv4.checksum = Some(checksum);
    /// Options; a multiple of four bytes.
    options(options: &[u8]) => Ipv4.options = options.to_vec();
    /// Protocol number, whatever comes next.
    protocol(protocol: u8) => Ipv4.protocol = Some(protocol);
    /// Don't fragment.
    dont_fragment() => Ipv4.fragment = 0x4000;
    /// A first fragment: more follow.
    first_fragment() => Ipv4.fragment = 0x2000;
    /// A later fragment, `offset` in units of 8 bytes; more follow.
    middle_fragment(offset: u16) => Ipv4.fragment = 0x2000 | offset;
    /// The last fragment, `offset` in units of 8 bytes.
    last_fragment(offset: u16) => Ipv4.fragment = offset;
    /// IPv6's hop limit.
    hop_limit(limit: u8) => Ipv6.hop_limit = limit;
    /// IPv6's traffic class.
    class(class: u8) => Ipv6.class = class;
    /// IPv6's flow label.
    flow_label(label: u32) => Ipv6.flow_label = label;
    /// Version in an IPv6 header.
    version6(version: u8) => Ipv6.version = version;
    /// IPv6's payload length, whatever the frame holds.
    payload_length(length: u16) => Ipv6.payload_length = Some(length);
    /// What an IPv6 header says that comes next, whatever does.
    next_header(number: u8) => Ipv6.next_header = Some(number);
    /// What an extension header says that comes next, whatever does.
    then(number: u8) => Extension.next_header = Some(number);
    /// Code of a message of neighbour discovery.
    neighbour_code(code: u8) => Neighbour.code = code;
    /// Hardware and protocol types and lengths of an ARP message, right or wrong.
    arp_format(format: [u8; 6]) => Arp.format = format;
    /// The TCP segment opens a connection.
    syn() => Tcp.flags = 0x02;
    /// The segment's flags.
    tcp_flags(flags: u8) => Tcp.flags = flags;
    /// TCP window.
    window(window: u16) => Tcp.window = window;
    /// TCP acknowledgment number.
    acknowledgment(acknowledgment: u32) => Tcp.acknowledgment = acknowledgment;
    /// The TCP segment accepts a connection.
    syn_ack() => Tcp.flags = 0x12;
    /// TCP options; a multiple of four bytes.
    tcp_options(options: &[u8]) => Tcp.options = options.to_vec();
    /// TCP sequence number.
    sequence(sequence: u32) => Tcp.sequence = sequence;
    /// Next-hop MTU of an ICMP error (RFC 1191).
    mtu(mtu: u16) => Icmp.sequence = mtu;
    /// UDP checksum, right or wrong; 0 is "none".
    udp_checksum(checksum: u16) => Udp.checksum = Some(checksum);
    /// The whole flags word of a VXLAN header.
    vxlan_flags(flags: u32) => Vxlan.flags = flags;
    /// The reserved byte behind the VNI.
    vxlan_reserved(reserved: u8) => Vxlan.reserved = reserved;
}

impl Frame {
    /// Whether the last IP header is one of IPv6.
    fn is_ipv6(&self) -> bool {
        let mut ips = self.layers.iter().rev().filter_map(|layer| match layer {
            Layer::Ipv4(_) => Some(false),
            Layer::Ipv6(_) => Some(true),
            _ => None,
        });
        ips.next().unwrap_or(false)
    }

    fn with(mut self, layer: Layer) -> Self {
        self.layers.push(layer);
        self
    }

    /// Ethernet.
    pub fn eth(self, source: Mac, destination: Mac) -> Self {
        self.with(Layer::Ethernet(Ethernet {
            source,
            destination,
            kind: None,
            pad_to: 0,
        }))
    }

    /// An 802.1Q tag.
    pub fn vlan(self, id: u16) -> Self {
        self.with(Layer::Vlan(Vlan {
            tag: 0x8100,
            control: id,
        }))
    }

    /// An 802.1ad service tag.
    pub fn service_vlan(self, id: u16) -> Self {
        self.with(Layer::Vlan(Vlan {
            tag: 0x88a8,
            control: id,
        }))
    }

    /// "Who has `target`? Tell `sender`."
    pub fn arp_request(self, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Self {
        self.arp(1, sender, ([0; 6], target))
    }

    /// "`sender` is at that MAC", told to `target`.
    pub fn arp_reply(self, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Self {
        self.arp(2, sender, target)
    }

    /// Any ARP message for IPv4 over Ethernet.
    pub fn arp(self, operation: u16, sender: (Mac, Ipv4Addr), target: (Mac, Ipv4Addr)) -> Self {
        self.with(Layer::Arp(Arp {
            format: [0, 1, 8, 0, 6, 4],
            operation,
            sender,
            target,
        }))
    }

    /// IPv4 with TTL 64 and without options.
    pub fn ipv4(self, source: Ipv4Addr, destination: Ipv4Addr) -> Self {
        self.with(Layer::Ipv4(Ipv4::new(source, destination)))
    }

    /// IPv6 with hop limit 64.
    pub fn ipv6(self, source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        self.with(Layer::Ipv6(Ipv6::new(source, destination)))
    }

    /// An IPv6 header of options of a kind (hop-by-hop, destination), of so many times
    /// eight bytes of padding.
    pub fn options6(self, kind: u8, blocks: u8) -> Self {
        self.with(Layer::Extension(Extension::options(kind, blocks)))
    }

    /// An IPv6 routing header.
    pub fn routing(self, segments_left: u8) -> Self {
        self.with(Layer::Extension(Extension::routing(segments_left)))
    }

    /// An IPv6 fragment header; the offset in units of eight bytes.
    pub fn fragment6(self, offset: u16, more: bool, identification: u32) -> Self {
        let header = Extension::fragment(offset, more, identification);
        self.with(Layer::Extension(header))
    }

    /// "Who has `target`?", as IPv6 asks, with the option that tells the asker's MAC if
    /// there is one.
    pub fn solicitation(self, target: Ipv6Addr, asker: Option<Mac>) -> Self {
        let options = asker.map(|mac| Neighbour::link_layer(1, mac));
        self.neighbour(135, 0, target, &options.unwrap_or_default())
    }

    /// "`target` is at `mac`", as IPv6 answers. `flags` is the first byte of them.
    pub fn advertisement(self, target: Ipv6Addr, mac: Mac, flags: u8) -> Self {
        let option = Neighbour::link_layer(2, mac);
        self.neighbour(136, flags, target, &option)
    }

    /// Any message of neighbour discovery with a target.
    pub fn neighbour(self, kind: u8, flags: u8, target: Ipv6Addr, options: &[u8]) -> Self {
        self.with(Layer::Neighbour(Neighbour {
            kind,
            code: 0,
            flags: u32::from(flags) << 24,
            target,
            options: options.to_vec(),
        }))
    }

    /// A TCP segment with ACK set.
    pub fn tcp(self, source: u16, destination: u16) -> Self {
        self.with(Layer::Tcp(Tcp {
            source,
            destination,
            sequence: 0x0102_0304,
            acknowledgment: 0,
            flags: 0x10,
            window: 0xfff0,
            options: Vec::new(),
        }))
    }

    /// A UDP datagram.
    pub fn udp(self, source: u16, destination: u16) -> Self {
        self.with(Layer::Udp(Udp {
            source,
            destination,
            checksum: None,
        }))
    }

    /// An ICMP echo request.
    pub fn echo_request(self, id: u16, sequence: u16) -> Self {
        let kind = if self.is_ipv6() { 128 } else { 8 };
        self.with(Layer::Icmp(Icmp {
            kind,
            code: 0,
            id,
            sequence,
        }))
    }

    /// An ICMP echo reply.
    pub fn echo_reply(self, id: u16, sequence: u16) -> Self {
        let kind = if self.is_ipv6() { 129 } else { 0 };
        self.with(Layer::Icmp(Icmp {
            kind,
            code: 0,
            id,
            sequence,
        }))
    }

    /// Any ICMP message; the second word is 0.
    pub fn icmp(self, kind: u8, code: u8) -> Self {
        self.with(Layer::Icmp(Icmp {
            kind,
            code,
            id: 0,
            sequence: 0,
        }))
    }

    /// A tunnel between two VTEPs as RFC 7348 has it: IPv4 with don't-fragment,
    /// UDP without checksum, VXLAN with the I flag.
    pub fn vxlan(self, source: Ipv4Addr, destination: Ipv4Addr, vni: u32) -> Self {
        self.ipv4(source, destination)
            .dont_fragment()
            .udp(50_000, 4_789)
            .udp_checksum(0)
            .vxlan_header(vni)
    }

    /// The same over IPv6 (RFC 6935 allows a UDP checksum of 0 there).
    pub fn vxlan6(self, source: Ipv6Addr, destination: Ipv6Addr, vni: u32) -> Self {
        self.ipv6(source, destination)
            .udp(50_000, 4_789)
            .udp_checksum(0)
            .vxlan_header(vni)
    }

    /// A VXLAN header alone.
    pub fn vxlan_header(self, vni: u32) -> Self {
        self.with(Layer::Vxlan(Vxlan {
            flags: 0x0800_0000,
            vni,
            reserved: 0,
        }))
    }

    /// Bytes.
    pub fn payload(self, bytes: &[u8]) -> Self {
        self.with(Layer::Payload(bytes.to_vec()))
    }

    /// All layers of another frame, such as one that travels in a tunnel.
    pub fn wrapping(mut self, inner: Frame) -> Self {
        self.layers.extend(inner.layers);
        self
    }

    /// This many bytes that all differ from their neighbours.
    pub fn payload_of(self, length: usize) -> Self {
        self.with(Layer::Payload(
            (0..length).map(|i| (i * 7 + i / 256) as u8).collect(),
        ))
    }

    /// The first `length` bytes of another frame's IP packet, as ICMP errors quote it.
    pub fn quote(self, frame: &Self, length: usize) -> Self {
        const ETHERNET: usize = 14;
        let mut bytes = frame.bytes();
        bytes.drain(..ETHERNET);
        bytes.truncate(length);
        self.with(Layer::Payload(bytes))
    }

    /// Only the first `length` bytes of the frame, length fields as they were.
    pub fn cut(mut self, length: usize) -> Self {
        self.cut = Some(length);
        self
    }

    /// The frame's bytes, every length and checksum filled in.
    pub fn bytes(&self) -> Vec<u8> {
        let mut body = Vec::new();
        for (at, layer) in self.layers.iter().enumerate().rev() {
            let ip = self.layers[..at]
                .iter()
                .rev()
                .find_map(|layer| match layer {
                    Layer::Ipv4(ip) => Some(ip.ends()),
                    Layer::Ipv6(ip) => Some(ip.ends()),
                    _ => None,
                });
            body = layer.wrap(body, self.layers.get(at + 1), ip.as_ref());
        }
        body.truncate(self.cut.unwrap_or(body.len()));
        body
    }
}
