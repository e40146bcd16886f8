//! Packets of conversations: the same one as the instance, the gateway and the rest of
//! the world see it.

use std::net::Ipv4Addr;

use super::site::Vm;
use crate::{
    cases::site::{ANYCAST, CLIENT, SPINE_MAC, UNDERLAY_MAC, from_border, to_border, to_host},
    packet::{Frame, eth},
};

/// What is left of a quoted packet's time to live.
const QUOTED_TTL: u8 = 57;

/// What a packet is above its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP with these flags.
    Tcp(u8),
    /// UDP.
    Udp,
    /// UDP without a checksum.
    PlainUdp,
    /// An echo request out, a reply back. The far port is the sequence number.
    Echo,
    /// An echo request from outside.
    EchoIn,
    /// Another protocol.
    Other(u8),
}

/// Finished.
pub const FIN: u8 = 1;
/// Opening.
pub const SYN: u8 = 2;
/// Reset.
pub const RST: u8 = 4;
/// Acknowledging.
pub const ACK: u8 = 16;

/// A packet between an instance and somebody far away, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// What it is.
    pub kind: Kind,
    /// Who is far away.
    pub far: Ipv4Addr,
    /// Port there.
    pub far_port: u16,
    /// The instance's port, or echo identifier.
    pub near: u16,
    /// Bytes that follow.
    pub payload: usize,
    /// Time to live.
    pub ttl: u8,
}

/// A UDP datagram.
pub const fn udp(near: u16, far_port: u16) -> Packet {
    packet(Kind::Udp, near, far_port)
}

/// A TCP segment.
pub const fn tcp(flags: u8, near: u16, far_port: u16) -> Packet {
    packet(Kind::Tcp(flags), near, far_port)
}

/// An echo message.
pub const fn echo(id: u16, sequence: u16) -> Packet {
    packet(Kind::Echo, id, sequence)
}

/// Any packet.
pub const fn packet(kind: Kind, near: u16, far_port: u16) -> Packet {
    Packet {
        kind,
        far: CLIENT,
        far_port,
        near,
        payload: 21,
        ttl: 64,
    }
}

impl Packet {
    /// The same with somebody else.
    pub const fn with(self, far: Ipv4Addr) -> Self {
        Self { far, ..self }
    }

    /// The same with so many bytes.
    pub const fn payload(self, payload: usize) -> Self {
        Self { payload, ..self }
    }

    /// All above an IP header, of a packet that the instance sent or of the answer.
    pub fn rest(self, frame: Frame, outward: bool, near: u16) -> Frame {
        let (source, destination) = match outward {
            true => (near, self.far_port),
            false => (self.far_port, near),
        };
        let frame = match self.kind {
            Kind::Tcp(flags) => frame.tcp(source, destination).tcp_flags(flags),
            Kind::Udp => frame.udp(source, destination),
            Kind::PlainUdp => frame.udp(source, destination).udp_checksum(0),
            Kind::Echo if outward => frame.echo_request(near, self.far_port),
            Kind::Echo => frame.echo_reply(near, self.far_port),
            Kind::EchoIn => frame.echo_request(near, self.far_port),
            Kind::Other(protocol) => frame.protocol(protocol),
        };
        frame.payload_of(self.payload)
    }

    /// As the instance sends it, in its tunnel.
    pub fn sent(self, vm: Vm) -> Frame {
        self.rest(self.from(vm), true, self.near)
    }

    /// What the instance sends there, up to the IP header.
    pub fn from(self, vm: Vm) -> Frame {
        eth(SPINE_MAC, UNDERLAY_MAC)
            .vxlan(vm.host, ANYCAST, vm.vni)
            .eth(vm.mac(), vm.router_mac())
            .ipv4(vm.ip, self.far)
            .ttl(self.ttl)
    }

    /// As it leaves for the border router, behind this address and port.
    pub fn left(self, address: Ipv4Addr, port: u16) -> Frame {
        let frame = to_border().ipv4(address, self.far).ttl(self.ttl - 1);
        self.rest(frame, true, port)
    }

    /// Somewhere outside on its way, from this address and port: as errors quote it.
    pub fn on_its_way(self, address: Ipv4Addr, port: u16) -> Frame {
        let frame = to_border().ipv4(address, self.far).ttl(QUOTED_TTL);
        self.rest(frame, true, port)
    }

    /// The answer on its way to this address and port.
    pub fn on_its_way_back(self, address: Ipv4Addr, port: u16) -> Frame {
        let frame = to_border().ipv4(self.far, address).ttl(QUOTED_TTL);
        self.rest(frame, false, port)
    }

    /// As somebody answers.
    pub fn answer(self, address: Ipv4Addr, port: u16) -> Frame {
        let frame = from_border().ipv4(self.far, address).ttl(self.ttl);
        self.rest(frame, false, port)
    }

    /// The answer as it reaches the instance.
    pub fn delivered(self, vm: Vm) -> Frame {
        let frame = to_host(vm.host, vm.vni)
            .eth(vm.router_mac(), vm.mac())
            .ipv4(self.far, vm.ip)
            .ttl(self.ttl - 1);
        self.rest(frame, false, self.near)
    }

    /// The answer as one gateway hands it to another.
    pub fn handed(self, (from, to): (Ipv4Addr, Ipv4Addr), address: Ipv4Addr, port: u16) -> Frame {
        let frame = eth(UNDERLAY_MAC, SPINE_MAC)
            .vxlan(from, to, super::site::HANDOVER)
            .id(0);
        let inner = self.answer(address, port);
        frame.wrapping(inner)
    }
}
