//! Frames that a gateway forwards or answers: what changes start from.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use lingyun::config::{InstanceId, Protocol, Topology};

use super::{Arrival, setting::Setting};
use crate::{
    cases::{
        self, Program,
        site::{BORDER, BORDER_MAC, CLIENT, PUBLIC_MAC, SPINE_MAC, UNDERLAY_MAC},
        site6,
    },
    packet::{Frame, Mac, eth},
};

/// A router somewhere on the Internet.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 7);

/// The same over IPv6.
const ROUTER_6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xff, 0, 0, 0, 0, 7);

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
    let tunnel = eth(SPINE_MAC, UNDERLAY_MAC);
    let host = topology.hosts[instance.host].vtep;
    let tunnel = match (host, topology.anycast_vtep) {
        (IpAddr::V4(host), IpAddr::V4(anycast)) => tunnel.vxlan(host, anycast, vpc.vni),
        (IpAddr::V6(host), IpAddr::V6(anycast)) => {
            let udp = tunnel.ipv6(host, anycast).udp(50_000, 4_789);
            let udp = if topology.udp_checksum {
                udp
            } else {
                udp.udp_checksum(0)
            };
            udp.vxlan_header(vpc.vni)
        }
        _ => unreachable!("VTEPs are of one family"),
    };
    tunnel.eth(instance.mac.0, vpc.router_mac.0)
}

/// An IP header, of the family of both addresses.
fn ip(frame: Frame, from: IpAddr, to: IpAddr) -> Frame {
    match (from, to) {
        (IpAddr::V4(from), IpAddr::V4(to)) => frame.ipv4(from, to),
        (IpAddr::V6(from), IpAddr::V6(to)) => frame.ipv6(from, to),
        _ => unreachable!("{from} and {to} are of two families"),
    }
}

/// Somebody on the Internet, of a family.
fn client(like: IpAddr) -> IpAddr {
    match like {
        IpAddr::V4(_) => CLIENT.into(),
        IpAddr::V6(_) => site6::CLIENT.into(),
    }
}

/// "Who has `target`?"
fn ask(frame: Frame, asker: (Mac, IpAddr), target: IpAddr) -> Frame {
    match (asker.1, target) {
        (IpAddr::V4(ip), IpAddr::V4(target)) => frame.arp_request((asker.0, ip), target),
        (IpAddr::V6(ip), IpAddr::V6(target)) => {
            let packet = frame.ipv6(ip, target).hop_limit(255);
            packet.solicitation(target, Some(asker.0))
        }
        _ => unreachable!("both are of one family"),
    }
}

/// The border router asks for a public address; over IPv6 the group of all nodes, too.
fn border_asks(target: IpAddr) -> Vec<(Program, Frame)> {
    let border = match target {
        IpAddr::V4(_) => BORDER.into(),
        IpAddr::V6(_) => site6::BORDER.into(),
    };
    let mut frames = vec![(Program::Public, ask(public(), (BORDER_MAC, border), target))];
    if let IpAddr::V6(target) = target {
        let group = eth(BORDER_MAC, [0x33, 0x33, 0xff, 0, 0, 1]);
        let nodes = "ff02::1:ff00:1".parse().expect("an address");
        for (asker, mac) in [
            (site6::BORDER, Some(BORDER_MAC)),
            (Ipv6Addr::UNSPECIFIED, None),
        ] {
            let packet = group.clone().ipv6(asker, nodes).hop_limit(255);
            frames.push((Program::Public, packet.solicitation(target, mac)));
        }
    }
    frames
}

fn segment(frame: Frame, protocol: Protocol, ports: (u16, u16)) -> Frame {
    match protocol {
        Protocol::Tcp => frame.tcp(ports.0, ports.1).payload_of(7),
        Protocol::Udp => frame.udp(ports.0, ports.1).payload_of(8),
    }
}

/// An instance's address of a family.
fn inside_ip(topology: &Topology, id: InstanceId, like: IpAddr) -> IpAddr {
    let ip = topology.instance(id).ip_like(like);
    ip.expect("nothing translates between families")
}

/// Clients' requests, and every backend's answer.
fn services(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for service in &topology.load_balancers {
        let (vip, client) = (service.vip, client(service.vip));
        let to_vip = || ip(public(), client, vip);
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
        if vip.is_ipv6() {
            let chain = to_vip().options6(0, 1).routing(0).fragment6(0, false, 7);
            let request = segment(chain, service.protocol, (PORT, service.port));
            frames.push((Program::Public, request));
        }
        frames.extend(border_asks(vip));
        for backend in &service.backends {
            let id = backend.instance;
            let answer = ip(from(topology, id), inside_ip(topology, id, vip), client);
            let answer = segment(answer, service.protocol, (backend.port, PORT));
            frames.push((Program::Underlay, answer));
        }
    }
    frames
}

/// ICMP errors: routers outside speak of what instances sent, instances of what they got.
fn errors(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    let mut say = |number: usize, id: InstanceId, public_ip: IpAddr, quoted: [Frame; 2], length| {
        let (kinds, router): (_, IpAddr) = match public_ip {
            IpAddr::V4(_) => ([(3, 1), (3, 4), (11, 0), (12, 0)], ROUTER.into()),
            IpAddr::V6(_) => ([(1, 4), (2, 0), (3, 0), (4, 1)], ROUTER_6.into()),
        };
        let (kind, code) = kinds[number % kinds.len()];
        let own = inside_ip(topology, id, public_ip);
        let [left, got] = quoted;
        let outside = ip(public(), router, public_ip).icmp(kind, code);
        frames.push((Program::Public, outside.quote(&left, length)));
        let inside = ip(from(topology, id), own, client(public_ip)).icmp(kind, code);
        frames.push((Program::Underlay, inside.quote(&got, length)));
    };
    for (number, service) in topology.load_balancers.iter().enumerate() {
        let (vip, client) = (service.vip, client(service.vip));
        let least = if vip.is_ipv4() { 28 } else { 48 };
        for backend in &service.backends {
            let id = backend.instance;
            let left = ip(public(), vip, client);
            let left = segment(left, service.protocol, (service.port, PORT));
            let got = ip(public(), client, inside_ip(topology, id, vip));
            let got = segment(got, service.protocol, (PORT, backend.port));
            say(number, id, vip, [left, got], [least, 64][number % 2]);
        }
    }
    for (number, floating) in topology.floating_ips.iter().enumerate() {
        let (id, public_ip) = (floating.instance, floating.ip);
        let left = ip(public(), public_ip, client(public_ip));
        let got = ip(
            public(),
            client(public_ip),
            inside_ip(topology, id, public_ip),
        );
        let long = match public_ip {
            IpAddr::V4(_) => left.clone().ttl(1).options(&[1; 8]),
            IpAddr::V6(_) => left.clone().hop_limit(1),
        };
        let quotes = [
            [
                left.clone().udp(PORT, 33_434),
                got.clone().udp(PORT, 33_434),
            ],
            [left.echo_request(7, 1), got.clone().echo_request(7, 1)],
            [long.tcp(22, PORT), got.tcp(PORT, 22).payload_of(5)],
        ];
        for quoted in quotes {
            say(number, id, public_ip, quoted, 60);
        }
    }
    frames
}

/// All kinds of traffic, both ways.
fn floating(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for floating in &topology.floating_ips {
        let (id, client) = (floating.instance, client(floating.ip));
        let to = ip(public(), client, floating.ip);
        let back = ip(
            from(topology, id),
            inside_ip(topology, id, floating.ip),
            client,
        );
        frames.extend(border_asks(floating.ip));
        for (program, frame) in [(Program::Public, to), (Program::Underlay, back)] {
            let ip = || frame.clone();
            frames.extend([
                (program, ip().tcp(PORT, 22).payload_of(5)),
                (program, ip().tcp(PORT, 22).syn()),
                (program, ip().udp(PORT, 123).payload_of(6)),
                (program, ip().udp(PORT, 123).udp_checksum(0).payload_of(6)),
                (program, ip().echo_request(7, 1).payload_of(32)),
            ]);
            let rarer = match floating.ip {
                IpAddr::V4(_) => [
                    ip().protocol(47).payload_of(40),
                    ip().first_fragment().udp(PORT, 53).payload_of(16),
                    ip().last_fragment(3).protocol(17).payload_of(16),
                ],
                IpAddr::V6(_) => [
                    ip().next_header(47).payload_of(41),
                    ip().fragment6(0, true, 7).udp(PORT, 53).payload_of(16),
                    ip().fragment6(3, false, 7).then(17).payload_of(16),
                ],
            };
            frames.extend(rarer.map(|frame| (program, frame)));
        }
    }
    frames
}

/// Instances ask for their router, and talk to each other and to public addresses.
fn inside(topology: &Topology) -> Vec<(Program, Frame)> {
    let mut frames = Vec::new();
    for (id, own) in topology.instance_ips() {
        let (vpc, instance) = (&topology.vpcs[id.vpc], topology.instance(id));
        let is_like = |other: &IpAddr| other.is_ipv6() == own.is_ipv6();
        let routers = vpc.subnets.iter().map(|subnet| subnet.router);
        for router in routers.filter(is_like) {
            let asks = ask(from(topology, id), (instance.mac.0, own), router);
            let ping = ip(from(topology, id), own, router).echo_request(7, 1);
            frames.extend([(Program::Underlay, asks), (Program::Underlay, ping)]);
            if let IpAddr::V6(router) = router {
                let asker = "fe80::5".parse().expect("an address");
                let packet = from(topology, id).ipv6(asker, router).hop_limit(255);
                frames.push((Program::Underlay, packet.solicitation(router, None)));
            }
        }
        // Those of a peer, and those of a VPC that is none.
        let others = topology.instance_ips().map(|(_, other)| other);
        let public = topology.load_balancers.iter().map(|service| service.vip);
        let floating = topology.floating_ips.iter().map(|floating| floating.ip);
        for service in &topology.load_balancers {
            if is_like(&service.vip) {
                let to = ip(from(topology, id), own, service.vip);
                let ask = segment(to, service.protocol, (PORT, service.port));
                frames.push((Program::Underlay, ask));
            }
        }
        for other in others.chain(public).chain(floating).filter(is_like) {
            let to = || ip(from(topology, id), own, other);
            frames.push((Program::Underlay, to().tcp(PORT, 443)));
            frames.push((Program::Underlay, to().echo_request(7, 1)));
        }
    }
    frames
}
