//! What is measured: a frame, what varies in it, and the program that gets it.

mod guard;

use std::net::{IpAddr, Ipv4Addr};

use lingyun::{
    config::{self, InstanceId, LoadBalancer, Mac, Protocol},
    model::{self, Tables},
};

use crate::{
    cases::{
        Program,
        site::{self, BASTION, CLIENT, FLOATING, HOST_A, HOST_B, NODE, Site, VIP, WEB_2},
    },
    packet::Frame,
};

/// Offset of the IPv4 header in a plain frame, and behind a VXLAN push.
const IP: usize = 14;
const INNER_IP: usize = 64;

/// Plain frames: the shortest of Ethernet. Tunnelled ones: what the generator restores.
const PLAIN: usize = 64;
const TUNNELLED: usize = 128;

/// What a candidate does with the frame's length; it must pay this floor at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Leaves it.
    Same,
    /// Leaves it and redirects.
    InPlace,
    /// Pushes 50 bytes and redirects.
    Push,
    /// Pops 50 bytes and redirects.
    Pop,
    /// Pushes 50 bytes and goes back where it came from.
    PushBack,
    /// Drops it.
    Drop,
}

impl Shape {
    /// Floors that a case of this shape is held against, the least first.
    pub(super) const fn floors(self) -> &'static [&'static str] {
        match self {
            Self::Same | Self::Drop => &["floor_tx"],
            Self::InPlace => &["floor_tx", "floor_redirect"],
            Self::Push => &["floor_tx", "floor_push", "floor_push_redirect"],
            Self::PushBack => &["floor_tx", "floor_push"],
            Self::Pop => &["floor_tx", "floor_pop", "floor_pop_redirect"],
        }
    }

    /// The floor that does the same with the frame.
    pub(super) const fn floor(self) -> Option<&'static str> {
        match self {
            Self::Same | Self::Drop => None,
            Self::InPlace => Some("floor_redirect"),
            Self::Push => Some("floor_push_redirect"),
            Self::PushBack => Some("floor_push"),
            Self::Pop => Some("floor_pop_redirect"),
        }
    }
}

/// A frame and how flows differ in it.
#[derive(Clone, Debug)]
pub(super) struct Sample {
    pub frame: Vec<u8>,
    /// Offsets of the address, of the port, of a second place for the port, and of
    /// the checksum that covers both.
    pub address_at: usize,
    pub port_at: usize,
    pub second_port_at: usize,
    pub checksum_at: usize,
    /// Addresses that the varying one is taken from; any address if empty.
    pub addresses: Vec<Ipv4Addr>,
}

/// One row of the result.
#[derive(Clone, Debug)]
pub(super) struct Case {
    pub name: &'static str,
    pub flows: usize,
    pub program: Program,
    pub site: Scale,
    pub shape: Shape,
    pub sample: Sample,
}

/// How much the tables hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scale {
    /// The site of the fixtures: a handful of everything.
    Small,
    /// Ten thousand VIPs with a backend each besides.
    ManyVips,
    /// A thousand VIPs with ten backends each besides.
    ManyRings,
    /// The site of the fixtures with everything that the guard can look at: lists of ten
    /// thousand ranges, limits that nothing exceeds, a challenge that is always on.
    Guarded,
    /// The site of the fixtures where one interface is all that the gateway has.
    OneArm,
}

/// Backends of the large sites.
const BACKENDS: u32 = 10_000;

impl Scale {
    pub(super) const ALL: [Self; 5] = [
        Self::Small,
        Self::ManyVips,
        Self::ManyRings,
        Self::Guarded,
        Self::OneArm,
    ];

    pub(super) fn tables(self) -> Tables {
        match self {
            Self::Small => Site::Usual.tables(),
            Self::Guarded => guard::tables(),
            Self::OneArm => Site::OneArm.tables(),
            _ => large(self.vips()),
        }
    }

    /// VIPs besides the fixtures'.
    const fn vips(self) -> u32 {
        match self {
            Self::Small | Self::Guarded | Self::OneArm => 0,
            Self::ManyVips => BACKENDS,
            Self::ManyRings => BACKENDS / 10,
        }
    }
}

/// Address `number` of a range.
fn nth(base: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(base.to_bits() + number)
}

/// VIPs from the range for benchmarks (RFC 2544, appendix C.2.2).
fn vip(number: u32) -> Ipv4Addr {
    nth(Ipv4Addr::new(198, 18, 0, 0), number)
}

/// All backends, dealt to so many VIPs.
fn large(vips: u32) -> Tables {
    let mut topology = site::topology();
    topology.vpcs[0].subnets.push(config::Subnet {
        name: "many".into(),
        cidr: "172.20.0.0/16".parse().expect("a prefix"),
        router: IpAddr::V4(Ipv4Addr::new(172, 20, 255, 254)),
    });
    let first = topology.vpcs[0].instances.len();
    let mut backends = Vec::new();
    for number in 0..BACKENDS {
        let ip = nth(Ipv4Addr::new(172, 20, 0, 0), number);
        let [_, _, a, b] = ip.octets();
        topology.vpcs[0].instances.push(config::Instance {
            name: format!("many-{number}"),
            ip: IpAddr::V4(ip),
            ip6: None,
            mac: Mac([0x02, 0xbb, 0, 0, a, b]),
            host: number as usize % 2,
        });
        let instance = first + number as usize;
        backends.push(config::Backend {
            instance: InstanceId { vpc: 0, instance },
            port: 8_443,
            weight: 1,
        });
    }
    let shares = backends.chunks((BACKENDS / vips) as usize);
    topology
        .load_balancers
        .extend(shares.zip(0..).map(|(share, number)| LoadBalancer {
            name: format!("many-{number}"),
            vip: IpAddr::V4(vip(number)),
            protocol: Protocol::Tcp,
            port: 443,
            backends: share.to_vec(),
            affinity: config::Affinity::Flow,
            udp_tracking: false,
        }));
    model::build(&topology, &topology.gateways[0], &site::reachability())
}

/// A frame from the border whose client varies.
pub(super) fn inbound(frame: &Frame) -> Sample {
    let frame = frame.clone().pad_to(PLAIN).bytes();
    Sample {
        checksum_at: checksum_at(&frame, IP),
        frame,
        address_at: IP + 12,
        port_at: IP + 20,
        second_port_at: IP + 20,
        addresses: Vec::new(),
    }
}

/// A tunnelled frame whose client, the inner destination, varies; so does the outer
/// source port, as the sender's hash would.
fn outbound(frame: &Frame) -> Sample {
    let mut bytes = frame.bytes();
    assert!(
        bytes.len() <= TUNNELLED,
        "the generator restores {TUNNELLED} bytes"
    );
    bytes.resize(TUNNELLED, 0);
    Sample {
        checksum_at: checksum_at(&bytes, INNER_IP),
        frame: bytes,
        address_at: INNER_IP + 16,
        port_at: INNER_IP + 22,
        second_port_at: IP + 20,
        addresses: Vec::new(),
    }
}

/// Where layer 4 has its checksum, behind an IPv4 header without options.
fn checksum_at(frame: &[u8], ip: usize) -> usize {
    match frame[ip + 9] {
        6 => ip + 20 + 16,
        17 => ip + 20 + 6,
        protocol => panic!("no case has IP protocol {protocol}"),
    }
}

/// All cases.
pub(super) fn all() -> Vec<Case> {
    let tcp = |to, port| inbound(&site::from_border().ipv4(CLIENT, to).tcp(40_000, port));
    let udp = inbound(&site::from_border().ipv4(CLIENT, VIP).udp(40_000, 53));
    // Lengths that fill the tunnelled frame: 50 of tunnel, 14 of Ethernet, 20 of IP.
    let from = |host, instance| site::from_instance(host, instance).ipv4(instance, CLIENT);
    let reverse = outbound(&from(HOST_B, WEB_2).tcp(8_443, 40_000).payload_of(24));
    let floating = outbound(&from(HOST_A, BASTION).tcp(5_000, 40_000).payload_of(24));
    // One destination, from many ports.
    let inside = |to, port| {
        let frame = site::from_instance(HOST_A, BASTION).ipv4(BASTION, to);
        let mut sample = outbound(&frame.tcp(5_000, port).payload_of(24));
        sample.port_at = INNER_IP + 20;
        sample.addresses = vec![to];
        sample
    };
    let case = |name, flows, program, shape, sample: &Sample| Case {
        name,
        flows,
        program,
        site: Scale::Small,
        shape,
        sample: sample.clone(),
    };
    let public =
        |name, flows, sample: &Sample| case(name, flows, Program::Public, Shape::Push, sample);
    let underlay = |name, sample: &Sample| case(name, FLOWS, Program::Underlay, Shape::Pop, sample);
    let vip_tcp = tcp(VIP, 443);
    let mut cases = vec![
        public("VIP TCP", 1, &vip_tcp),
        public("VIP TCP", FLOWS, &vip_tcp),
        public("VIP TCP", 1 << 20, &vip_tcp),
        public("VIP UDP", FLOWS, &udp),
        public("floating IP in", FLOWS, &tcp(FLOATING, 22)),
        underlay("reverse NAT", &reverse),
        underlay("floating IP out", &floating),
        case(
            "route inside",
            FLOWS,
            Program::Underlay,
            Shape::InPlace,
            &inside(WEB_2, 80),
        ),
        case(
            "hairpin to a VIP",
            FLOWS,
            Program::Underlay,
            Shape::InPlace,
            &inside(VIP, 443),
        ),
        case(
            "foreign, passed",
            FLOWS,
            Program::Public,
            Shape::Same,
            &tcp(NODE, 22),
        ),
    ];
    cases.push(Case {
        site: Scale::OneArm,
        ..case(
            "VIP TCP, one interface",
            FLOWS,
            Program::SingleArm,
            Shape::PushBack,
            &vip_tcp,
        )
    });
    for (name, site) in [
        ("VIP TCP, 10k VIPs of 1", Scale::ManyVips),
        ("VIP TCP, 1k VIPs of 10", Scale::ManyRings),
    ] {
        let mut sample = vip_tcp.clone();
        sample.address_at = IP + 16;
        sample.addresses = (0..site.vips()).map(vip).collect();
        cases.push(Case {
            site,
            ..public(name, FLOWS, &sample)
        });
    }
    cases.extend(guard::cases(&vip_tcp, case));
    cases
}

/// Flows where their number is not the point.
const FLOWS: usize = 1 << 16;
