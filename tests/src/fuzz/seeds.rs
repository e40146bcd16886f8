//! Frames that a gateway forwards or answers: what changes start from.

use std::net::{IpAddr, Ipv4Addr};

use lingyun::config::{InstanceId, Protocol, Topology};

use super::{Arrival, setting::Setting};
use crate::{
    cases::{
        self, Program,
        site::{BORDER, BORDER_MAC, CLIENT, PUBLIC_MAC, SPINE_MAC, UNDERLAY_MAC},
    },
    packet::{Frame, eth},
};

/// A client's port.
const PORT: u16 = 40_000;

/// The frames of all fixtures, and what everybody at a site says to everybody else.
pub(super) fn of(setting: &Setting) -> Vec<Arrival> {
    let topology = &setting.topology;
    let frames = [
        services(topology),
        floating(topology),
        inside(topology),
        errors(topology),
    ]
    .concat();
    let vlans = &setting.gateway().public_vlans;
    let said = frames.into_iter().enumerate();
    let said = said.map(|(number, (program, frame))| {
        let mut frame = frame.bytes();
        // Where the public network is in VLANs: in one of them, now and then in another.
        if program == Program::Public && !vlans.is_empty() {
            let control = vlans.get(number % (vlans.len() + 1)).unwrap_or(&77);
            frame.splice(12..12, [[0x81, 0], control.to_be_bytes()].concat());
        }
        Arrival { program, frame }
    });
    let steps = cases::all().into_iter().flat_map(|case| case.steps);
    let fixtures = steps.map(|step| Arrival {
        program: step.program,
        frame: step.input,
    });
    match setting.seed {
        // The fixtures' site: its frames are among the fixtures, and rarer ones too.
        None => fixtures.chain(said).collect(),
        Some(_) => said.collect(),
    }
}

/// From the border router.
fn public() -> Frame {
    eth(BORDER_MAC, PUBLIC_MAC)
}

/// From an instance to its virtual router, in a tunnel from its host.
fn from(topology: &Topology, id: InstanceId) -> Frame {
    let (vpc, instance) = (&topology.vpcs[id.vpc], topology.instance(id));
    let host = v4(topology.hosts[instance.host].vtep);
    eth(SPINE_MAC, UNDERLAY_MAC)
        .vxlan(host, v4(topology.anycast_vtep), vpc.vni)
        .eth(instance.mac.0, vpc.router_mac.0)
}

fn segment(frame: Frame, protocol: Protocol, ports: (u16, u16)) -> Frame {
    match protocol {
        Protocol::Tcp => frame.tcp(ports.0, ports.1).payload_of(7),
        Protocol::Udp => frame.udp(ports.0, ports.1).payload_of(8),
    }
}

/// Clients' requests, and every backend's answer.
fn services(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for service in &topology.load_balancers {
        let vip = v4(service.vip);
        let to_vip = || public().ipv4(CLIENT, vip);
        let request = segment(to_vip(), service.protocol, (PORT, service.port));
        if service.protocol == Protocol::Tcp {
            let opens = to_vip().tcp(PORT, service.port).syn();
            frames.push((Program::Public, opens.clone()));
            frames.push((
                Program::Public,
                opens.tcp_options(&[2, 4, 5, 0xb4]).payload_of(9),
            ));
            let resets = request.clone().tcp_flags(4);
            frames.push((Program::Public, resets));
        }
        frames.push((Program::Public, request));
        if service.protocol == Protocol::Tcp {
            // Connections from several ports, since each falls into another slot.
            for port in PORT..PORT + 8 {
                let segment = || to_vip().tcp(port, service.port);
                frames.push((Program::Public, segment().syn().sequence(99)));
                frames.push((Program::Public, segment().sequence(100)));
            }
        }
        frames.push((Program::Public, to_vip().echo_request(7, 1).payload_of(32)));
        let ask = public().arp_request((BORDER_MAC, BORDER), vip);
        frames.push((Program::Public, ask));
        for backend in &service.backends {
            let id = backend.instance;
            let answer = from(topology, id).ipv4(v4(topology.instance(id).ip), CLIENT);
            let answer = segment(answer, service.protocol, (backend.port, PORT));
            frames.push((Program::Underlay, answer));
        }
    }
    frames
}

/// ICMP errors: routers outside speak of what instances sent, instances of what they got.
fn errors(topology: &Topology) -> Vec<(Program, Frame)> {
    const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 7);
    let kinds = [(3, 1), (3, 4), (11, 0), (12, 0)];
    let mut frames = Vec::new();
    let mut say = |number: usize, id: InstanceId, public_ip, quoted: [Frame; 2], length| {
        let (kind, code) = kinds[number % kinds.len()];
        let ip = v4(topology.instance(id).ip);
        let [left, got] = quoted;
        let outside = public().ipv4(ROUTER, public_ip).icmp(kind, code);
        frames.push((Program::Public, outside.quote(&left, length)));
        let inside = from(topology, id).ipv4(ip, CLIENT).icmp(kind, code);
        frames.push((Program::Underlay, inside.quote(&got, length)));
    };
    for (number, service) in topology.load_balancers.iter().enumerate() {
        let vip = v4(service.vip);
        for backend in &service.backends {
            let id = backend.instance;
            let left = public().ipv4(vip, CLIENT);
            let left = segment(left, service.protocol, (service.port, PORT));
            let got = public().ipv4(CLIENT, v4(topology.instance(id).ip));
            let got = segment(got, service.protocol, (PORT, backend.port));
            say(number, id, vip, [left, got], [28, 64][number % 2]);
        }
    }
    for (number, floating) in topology.floating_ips.iter().enumerate() {
        let (id, ip) = (floating.instance, v4(floating.ip));
        let left = public().ipv4(ip, CLIENT).ttl(1);
        let got = public().ipv4(CLIENT, v4(topology.instance(id).ip));
        let quotes = [
            [
                left.clone().udp(PORT, 33_434),
                got.clone().udp(PORT, 33_434),
            ],
            [
                left.clone().echo_request(7, 1),
                got.clone().echo_request(7, 1),
            ],
            [
                left.options(&[1; 8]).tcp(22, PORT),
                got.tcp(PORT, 22).payload_of(5),
            ],
        ];
        for quoted in quotes {
            say(number, id, ip, quoted, 60);
        }
    }
    frames
}

/// All kinds of traffic, both ways.
fn floating(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for floating in &topology.floating_ips {
        let id = floating.instance;
        let to = public().ipv4(CLIENT, v4(floating.ip));
        let back = from(topology, id).ipv4(v4(topology.instance(id).ip), CLIENT);
        let ask = public().arp_request((BORDER_MAC, BORDER), v4(floating.ip));
        frames.push((Program::Public, ask));
        for (program, frame) in [(Program::Public, to), (Program::Underlay, back)] {
            let ip = || frame.clone();
            frames.extend([
                (program, ip().tcp(PORT, 22).payload_of(5)),
                (program, ip().tcp(PORT, 22).syn()),
                (program, ip().udp(PORT, 123).payload_of(6)),
                (program, ip().echo_request(7, 1).payload_of(32)),
                (program, ip().protocol(47).payload_of(40)),
                (program, ip().first_fragment().udp(PORT, 53).payload_of(16)),
                (program, ip().last_fragment(3).protocol(17).payload_of(16)),
            ]);
        }
    }
    frames
}

/// Instances ask for their router, and talk to each other and to public addresses.
fn inside(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for (id, instance) in topology.instances() {
        let vpc = &topology.vpcs[id.vpc];
        let ip = v4(instance.ip);
        for subnet in &vpc.subnets {
            let router = v4(subnet.router);
            let arp = from(topology, id).arp_request((instance.mac.0, ip), router);
            let ping = from(topology, id).ipv4(ip, router).echo_request(7, 1);
            frames.extend([(Program::Underlay, arp), (Program::Underlay, ping)]);
        }
        // Those of a peer, and those of a VPC that is none.
        let others = topology.instances().map(|(_, other)| other.ip);
        let public = topology.load_balancers.iter().map(|service| service.vip);
        let floating = topology.floating_ips.iter().map(|floating| floating.ip);
        for service in &topology.load_balancers {
            let to = from(topology, id).ipv4(ip, v4(service.vip));
            let ask = segment(to, service.protocol, (PORT, service.port));
            frames.push((Program::Underlay, ask));
        }
        for other in others.chain(public).chain(floating) {
            let to = || from(topology, id).ipv4(ip, v4(other));
            frames.push((Program::Underlay, to().tcp(PORT, 443)));
            frames.push((Program::Underlay, to().echo_request(7, 1)));
        }
    }
    frames
}

fn v4(address: IpAddr) -> Ipv4Addr {
    match address {
        IpAddr::V4(address) => address,
        IpAddr::V6(_) => Ipv4Addr::UNSPECIFIED,
    }
}
