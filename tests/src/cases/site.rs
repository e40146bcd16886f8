//! The site that all cases play at: who is where, and what is known of the way there.

mod guard;

use std::net::{IpAddr, Ipv4Addr};

use gateway_common::{EndpointKey, InstanceKey, Reference, vni_word};
use lingyun::{
    config::{
        Affinity, Backend, Drain, FloatingIp, Gateway, Host, Instance, InstanceId, LoadBalancer,
        Mac, Protocol, Snat, Subnet, Topology, Vpc,
    },
    model::{self, Label, Tables},
    reachability::{Interface, NeighbourState, NextHop, Reachability, Vlan},
};

use super::site6;
use crate::packet::{self, Frame, eth};

const fn ip(a: u8, b: u8, c: u8, d: u8) -> Ipv4Addr {
    Ipv4Addr::new(a, b, c, d)
}

/// Somebody on the Internet.
pub const CLIENT: Ipv4Addr = ip(198, 51, 100, 10);
/// Load balancers of the shop: tcp/443, tcp/81, tcp/82, udp/53.
pub const VIP: Ipv4Addr = ip(203, 0, 113, 10);
/// Floating IP of the shop's bastion.
pub const FLOATING: Ipv4Addr = ip(203, 0, 113, 20);
/// Floating IP of the other tenant's instance with the bastion's address.
pub const OTHER_FLOATING: Ipv4Addr = ip(203, 0, 113, 21);
/// A load balancer of the other tenant: tcp/443.
pub const OTHER_VIP: Ipv4Addr = ip(203, 0, 113, 30);
/// The node's own public address: the kernel's business.
pub const NODE: Ipv4Addr = ip(192, 0, 2, 10);
/// The border router.
pub const BORDER: Ipv4Addr = ip(192, 0, 2, 9);

/// The VTEP that all gateways share.
pub const ANYCAST: Ipv4Addr = ip(10, 0, 0, 100);
/// This gateway's own VTEP.
pub const OWN_VTEP: Ipv4Addr = ip(10, 0, 0, 11);
/// Host of web-1, dns and bastion.
pub const HOST_A: Ipv4Addr = ip(10, 0, 1, 2);
/// Host of web-2 and of the other tenant's instances.
pub const HOST_B: Ipv4Addr = ip(10, 0, 2, 2);
/// Host of lost; its next hop has no MAC yet.
pub const HOST_C: Ipv4Addr = ip(10, 0, 3, 2);

/// VNI of the shop.
pub const SHOP: u32 = 5_001;
/// VNI of the other tenant, who uses the same private addresses.
pub const OTHER: u32 = 5_002;
/// Virtual router of both tenants.
pub const ROUTER: Ipv4Addr = ip(172, 16, 1, 1);
/// Serves tcp/443 on 8443; the other tenant has one with this address, too.
pub const WEB_1: Ipv4Addr = ip(172, 16, 1, 11);
/// Serves tcp/443 on 8443.
pub const WEB_2: Ipv4Addr = ip(172, 16, 1, 12);
/// Serves udp/53 on 5353.
pub const DNS: Ipv4Addr = ip(172, 16, 1, 13);
/// Has a floating IP; the other tenant has one with this address, too.
pub const BASTION: Ipv4Addr = ip(172, 16, 1, 20);
/// In the shop's second subnet, at the site with peerings; its host is B.
pub const APP: Ipv4Addr = ip(172, 16, 2, 5);
/// VNI of the office, a peer of the shop at the site with peerings.
pub const OFFICE: u32 = 5_003;
/// VNI of the branch, a peer of the office alone.
pub const BRANCH: u32 = 5_004;
/// In the office; its host is A.
pub const DESK: Ipv4Addr = ip(10, 20, 1, 5);
/// In the branch; its host is B.
pub const TILL: Ipv4Addr = ip(10, 30, 1, 5);
/// Lives on the host that cannot be reached.
pub const LOST: Ipv4Addr = ip(172, 16, 1, 30);

/// Border router's MAC.
pub const BORDER_MAC: packet::Mac = [0x02, 0, 0, 0, 1, 1];
/// MAC of our public interface.
pub const PUBLIC_MAC: packet::Mac = [0x02, 0, 0, 0, 1, 2];
/// MAC of our interface in the underlay.
pub const UNDERLAY_MAC: packet::Mac = [0x02, 0, 0, 0, 2, 1];
/// MAC of the underlay's router.
pub const SPINE_MAC: packet::Mac = [0x02, 0, 0, 0, 2, 2];
/// MAC of the shop's virtual router.
pub const ROUTER_MAC: packet::Mac = [0x02, 0x5e, 0, 0, 0, 1];
/// MAC of the other tenant's virtual router.
pub const OTHER_ROUTER_MAC: packet::Mac = [0x02, 0x5e, 0, 0, 0, 2];

/// MAC of the office's virtual router.
pub const OFFICE_ROUTER_MAC: packet::Mac = [0x02, 0x5e, 0, 0, 0, 3];
/// MAC of the branch's virtual router.
pub const BRANCH_ROUTER_MAC: packet::Mac = [0x02, 0x5e, 0, 0, 0, 4];
/// MAC of the device on the second VLAN, at the site with VLANs.
pub const SECOND_MAC: packet::Mac = [0x02, 0, 0, 0, 1, 3];

/// MTU of all interfaces at the site with jumbo frames.
pub const JUMBO_MTU: usize = 9_000;

/// The public network's VLAN at the site with VLANs; the border router is there.
pub const VLAN: u16 = 100;
/// The second one.
pub const SECOND_VLAN: u16 = 200;

/// MAC of an instance: its VPC and the last byte of its address.
pub const fn mac_of(vni: u32, ip: Ipv4Addr) -> packet::Mac {
    [0x02, 0xaa, 0, 0, (vni - 5_000) as u8, ip.octets()[3]]
}

/// The kernel's index of the public interface: loopback, so that a test run in
/// the kernel arrives by it.
pub const PUBLIC_INDEX: u32 = 1;
/// The kernel's index of the interface in the underlay; the kernel runner makes it.
pub const UNDERLAY_INDEX: u32 = 100;

/// Longest IP packet on the public side.
pub const PUBLIC_MTU: usize = 1_500;
/// Largest TCP segment that a SYN may ask for.
pub const MSS: u16 = 1_410;
/// Longest inner IP packet that fits into the underlay's 1600 bytes.
pub const TUNNEL_MTU: usize = 1_550;

/// What is special about the site in a case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Site {
    /// All is well, except that host C cannot be reached.
    #[default]
    Usual,
    /// The border router's MAC is not known.
    NoUplink,
    /// The gateway may send no ICMP errors, and leaves SYNs as they are.
    NoErrors,
    /// The shop has a second subnet, and VPCs are peered.
    Peered,
    /// The public side is in two VLANs.
    Tagged,
    /// The MTU is that of jumbo frames, and VPCs are peered.
    Jumbo,
    /// The underlay is IPv6.
    OverIpv6,
    /// The same, with UDP checksums, and the MTU of jumbo frames.
    OverIpv6Summed,
    /// Two public endpoints and one instance point to records that do not exist.
    Inconsistent,
    /// Lists, martians, TCP flags, and guards of services.
    Guarded,
    /// Private and documentation ranges cannot be sources, and the public interface has
    /// lists of its own.
    Strict,
    /// Each source has limits.
    Limited,
    /// One interface is all that the gateway has.
    OneArm,
}

impl Site {
    /// All sites.
    pub const ALL: [Self; 13] = [
        Self::Usual,
        Self::NoUplink,
        Self::NoErrors,
        Self::Peered,
        Self::Tagged,
        Self::Jumbo,
        Self::OverIpv6,
        Self::OverIpv6Summed,
        Self::Inconsistent,
        Self::Guarded,
        Self::Strict,
        Self::Limited,
        Self::OneArm,
    ];

    /// The topology and what netlink would say there.
    pub fn surroundings(self) -> (Topology, Reachability) {
        let (mut topology, mut reach) = (topology(), reachability());
        match self {
            Self::NoUplink => {
                reach.uplinks[0].mac = None;
                reach.uplinks_v6[0].mac = None;
            }
            Self::NoErrors => {
                topology.icmp_errors_per_second = 0;
                topology.tcp_mss = 0;
            }
            Self::Peered => peer(&mut topology),
            Self::Tagged => tag(&mut topology, &mut reach),
            Self::Jumbo => peer(&mut topology),
            Self::OverIpv6 | Self::OverIpv6Summed => {
                site6::over_v6(&mut topology, self);
                site6::reachability_over_v6(&mut reach);
            }
            Self::Guarded | Self::Strict | Self::Limited => topology.guard = guard::of(self),
            Self::OneArm => {
                topology.gateways[0].underlay = topology.gateways[0].public.clone();
                for hop in reach.tunnels.values_mut().flatten() {
                    hop.interface = "public".into();
                }
            }
            Self::Usual | Self::Inconsistent => {}
        }
        if matches!(self, Self::Jumbo | Self::OverIpv6Summed) {
            for interface in reach.interfaces.values_mut() {
                interface.mtu = JUMBO_MTU as u32;
            }
        }
        (topology, reach)
    }

    /// What the agent would write.
    pub fn tables(self) -> Tables {
        let (topology, reach) = self.surroundings();
        let mut tables = model::build(&topology, &topology.gateways[0], &reach);
        if self == Self::Inconsistent {
            corrupt(&mut tables);
        }
        tables
    }
}

/// Adds the second subnet, the office, the branch and the peerings.
fn peer(topology: &mut Topology) {
    let cidr = |text: &str| text.parse().expect("a prefix");
    let shop = &mut topology.vpcs[0];
    let second = cidr("172.16.2.0/24");
    shop.cidrs.push(second);
    shop.subnets.push(Subnet {
        name: "zone-2".into(),
        cidr: second,
        router: ip(172, 16, 2, 1).into(),
    });
    shop.instances.push(Instance {
        name: "app".into(),
        ip: APP.into(),
        ip6: None,
        mac: Mac(mac_of(SHOP, APP)),
        host: 1,
    });
    for (name, vni, router_mac, range, member) in [
        (
            "office",
            OFFICE,
            OFFICE_ROUTER_MAC,
            "10.20.0.0/16",
            ("desk", DESK, 0),
        ),
        (
            "branch",
            BRANCH,
            BRANCH_ROUTER_MAC,
            "10.30.0.0/16",
            ("till", TILL, 1),
        ),
    ] {
        let mut new = vpc(name, vni, router_mac, &[member]);
        new.cidrs = vec![cidr(range)];
        new.subnets[0].cidr = cidr(range);
        topology.vpcs.push(new);
    }
    site6::peer(&mut topology.vpcs[2]);
    topology.peerings = vec![[0, 2], [3, 2]];
}

/// Puts the public side into VLANs; the border router is in the first.
fn tag(topology: &mut Topology, reach: &mut Reachability) {
    topology.gateways[0].public_vlans = vec![VLAN, SECOND_VLAN];
    for (id, mac, v4) in [
        (VLAN, PUBLIC_MAC, Some(NODE)),
        (SECOND_VLAN, SECOND_MAC, None),
    ] {
        let vlan = Vlan {
            parent: "public".into(),
            id,
            mac: Mac(mac),
            mtu: PUBLIC_MTU as u32,
            up: true,
            v4,
            v6: None,
        };
        reach.vlans.insert(format!("public.{id}"), vlan);
    }
    reach.uplinks[0].interface = format!("public.{VLAN}");
}

/// Index beyond every table.
const NOWHERE: u32 = 0x00ff_ffff;

fn corrupt(tables: &mut Tables) {
    let key = |ip| EndpointKey::address_v4(model::word(ip)).0;
    let floating = gateway_common::Endpoint::floating(NOWHERE).0;
    tables.endpoints.insert(key(FLOATING), floating);
    let vip = EndpointKey::v4(model::word(VIP), 6, 443_u16.to_be()).0;
    tables
        .endpoints
        .insert(vip, gateway_common::Endpoint::service(NOWHERE, 1_021).0);
    let bastion = InstanceKey::v4(vni_word(SHOP), model::word(BASTION)).0;
    tables
        .instance_keys
        .insert(bastion, Reference::new(Reference::INSTANCE, NOWHERE).0);
}

/// Name of a counter: `web/web-1` for a backend, `floating/203.0.113.20`.
pub fn counter(tables: &Tables, name: &str) -> u32 {
    let topology = topology();
    let label = |label: &Label| match *label {
        Label::None => String::new(),
        Label::Backend {
            load_balancer,
            backend,
            ..
        } => {
            let service = &topology.load_balancers[load_balancer];
            let instance = topology.instance(service.backends[backend].instance);
            format!("{}/{}", service.name, instance.name)
        }
        Label::Snat(index) => {
            let (_, ip) = tables.snat.owners[index as usize].expect("an address in use");
            format!("snat/{ip}")
        }
        Label::Floating(index) => format!("floating/{}", topology.floating_ips[index].ip),
    };
    let found = tables
        .labels
        .iter()
        .position(|candidate| label(candidate) == name);
    found.unwrap_or_else(|| panic!("no counter is called `{name}`")) as u32
}

/// A frame from the border router.
pub fn from_border() -> Frame {
    eth(BORDER_MAC, PUBLIC_MAC)
}

/// A frame to the border router.
pub fn to_border() -> Frame {
    eth(PUBLIC_MAC, BORDER_MAC)
}

/// A tunnel from a host, as it arrives.
pub fn from_host(host: Ipv4Addr, vni: u32) -> Frame {
    eth(SPINE_MAC, UNDERLAY_MAC).vxlan(host, ANYCAST, vni)
}

/// A tunnel to a host, as the gateway sends it. The UDP source port is up to it.
pub fn to_host(host: Ipv4Addr, vni: u32) -> Frame {
    eth(UNDERLAY_MAC, SPINE_MAC).vxlan(ANYCAST, host, vni).id(0)
}

/// What an instance of the shop sends to its virtual router, as it arrives.
pub fn from_instance(host: Ipv4Addr, instance: Ipv4Addr) -> Frame {
    from_host(host, SHOP).eth(mac_of(SHOP, instance), ROUTER_MAC)
}

/// What an instance of the shop gets from its virtual router, as the gateway sends it.
pub fn to_instance(host: Ipv4Addr, instance: Ipv4Addr) -> Frame {
    to_host(host, SHOP).eth(ROUTER_MAC, mac_of(SHOP, instance))
}

fn vpc(name: &str, vni: u32, router_mac: packet::Mac, members: &[(&str, Ipv4Addr, usize)]) -> Vpc {
    let cidr = "172.16.1.0/24".parse().expect("a prefix");
    Vpc {
        name: name.into(),
        vni,
        cidrs: vec![cidr],
        router_mac: Mac(router_mac),
        subnets: vec![Subnet {
            name: "zone-1".into(),
            cidr,
            router: ROUTER.into(),
        }],
        instances: members
            .iter()
            .map(|&(name, ip, host)| Instance {
                name: name.into(),
                ip: ip.into(),
                ip6: None,
                mac: Mac(mac_of(vni, ip)),
                host,
            })
            .collect(),
    }
}

pub(super) fn service(
    name: &str,
    vip: IpAddr,
    (protocol, port): (Protocol, u16),
    backends: &[(InstanceId, u16, u16)],
) -> LoadBalancer {
    LoadBalancer {
        name: name.into(),
        vip,
        protocol,
        port,
        backends: backends
            .iter()
            .map(|&(instance, port, weight)| Backend {
                instance,
                port,
                weight,
            })
            .collect(),
        affinity: Affinity::Flow,
        udp_tracking: false,
    }
}

/// The site's topology.
pub fn topology() -> Topology {
    let [a, b, c] = [0, 1, 2];
    let [shop, other] = [0, 1];
    let id = |vpc, instance| InstanceId { vpc, instance };
    let host = |name: &str, vtep: Ipv4Addr| Host {
        name: name.into(),
        vtep: vtep.into(),
    };
    let mut topology = Topology {
        anycast_vtep: ANYCAST.into(),
        underlay_mtu: 1600,
        peerings: vec![],
        udp_checksum: false,
        seed: [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
        // No run sends so many in a second that some are held back.
        icmp_errors_per_second: 1_000_000,
        tcp_mss: MSS.into(),
        gateways: vec![Gateway {
            name: "gw1".into(),
            public: vec!["public".into()],
            public_vlans: vec![],
            underlay: vec!["underlay".into()],
            vtep: OWN_VTEP.into(),
        }],
        hosts: vec![
            host("host-a", HOST_A),
            host("host-b", HOST_B),
            host("host-c", HOST_C),
        ],
        vpcs: vec![
            vpc(
                "shop",
                SHOP,
                ROUTER_MAC,
                &[
                    ("web-1", WEB_1, a),
                    ("web-2", WEB_2, b),
                    ("dns", DNS, a),
                    ("bastion", BASTION, a),
                    ("lost", LOST, c),
                ],
            ),
            vpc(
                "other",
                OTHER,
                OTHER_ROUTER_MAC,
                &[("web-1", WEB_1, b), ("bastion", BASTION, b)],
            ),
        ],
        load_balancers: vec![
            service(
                "web",
                VIP.into(),
                (Protocol::Tcp, 443),
                &[(id(shop, 0), 8_443, 1), (id(shop, 1), 8_443, 1)],
            ),
            service(
                "names",
                VIP.into(),
                (Protocol::Udp, 53),
                &[(id(shop, 2), 5_353, 1)],
            ),
            service(
                "lost",
                VIP.into(),
                (Protocol::Tcp, 81),
                &[(id(shop, 4), 80, 1)],
            ),
            service(
                "drained",
                VIP.into(),
                (Protocol::Tcp, 82),
                &[(id(shop, 0), 82, 0)],
            ),
            service(
                "other",
                OTHER_VIP.into(),
                (Protocol::Tcp, 443),
                &[(id(other, 0), 8_443, 1)],
            ),
        ],
        guard: Default::default(),
        floating_ips: vec![
            FloatingIp {
                ip: FLOATING.into(),
                instance: id(shop, 3),
            },
            FloatingIp {
                ip: OTHER_FLOATING.into(),
                instance: id(other, 1),
            },
        ],
        drain: Drain::default(),
        snat: Snat::default(),
    };
    site6::add(&mut topology);
    topology
}

/// What netlink would say at the site.
pub fn reachability() -> Reachability {
    let interface = |ifindex, mac, mtu, v4| Interface {
        ifindex,
        mac: Mac(mac),
        mtu,
        up: true,
        v4,
        v6: None,
    };
    let hop = |interface: &str, address: IpAddr, mac: Option<packet::Mac>| NextHop {
        interface: interface.into(),
        address,
        mac: mac.map(Mac),
        state: mac.map_or(NeighbourState::Incomplete, |_| NeighbourState::Reachable),
    };
    let spine = ip(10, 0, 11, 1).into();
    Reachability {
        interfaces: [
            (
                "public".into(),
                interface(PUBLIC_INDEX, PUBLIC_MAC, PUBLIC_MTU as u32, Some(NODE)),
            ),
            (
                "underlay".into(),
                interface(UNDERLAY_INDEX, UNDERLAY_MAC, 1_600, None),
            ),
        ]
        .into(),
        vlans: [].into(),
        tunnels: [
            (HOST_A.into(), vec![hop("underlay", spine, Some(SPINE_MAC))]),
            (HOST_B.into(), vec![hop("underlay", spine, Some(SPINE_MAC))]),
            (
                HOST_C.into(),
                vec![hop("underlay", ip(10, 0, 12, 1).into(), None)],
            ),
        ]
        .into(),
        uplinks: vec![hop("public", BORDER.into(), Some(BORDER_MAC))],
        uplinks_v6: vec![hop("public", site6::BORDER.into(), Some(BORDER_MAC))],
    }
}
