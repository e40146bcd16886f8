//! The site's IPv6 side: who has which address, and the same underlay over IPv6.

use std::net::{Ipv4Addr, Ipv6Addr};

use lingyun::{
    config::{FloatingIp, InstanceId, LoadBalancer, Protocol, Subnet, Topology, Vpc},
    reachability::Reachability,
};

use super::site::{
    HOST_A, HOST_B, HOST_C, ROUTER_MAC, SHOP, SPINE_MAC, Site, UNDERLAY_MAC, mac_of, service,
};
use crate::packet::{Frame, eth};

const fn ip(a: u16, b: u16, c: u16, last: u16) -> Ipv6Addr {
    Ipv6Addr::new(a, b, c, 0, 0, 0, 0, last)
}

/// Somebody on the Internet.
pub const CLIENT: Ipv6Addr = ip(0x2001, 0xdb8, 0xc, 0x10);
/// Load balancers of the shop: tcp/443, udp/53.
pub const VIP: Ipv6Addr = ip(0x2001, 0xdb8, 1, 0x10);
/// Floating IP of the shop's bastion.
pub const FLOATING: Ipv6Addr = ip(0x2001, 0xdb8, 1, 0x20);
/// The node's own public address: the kernel's business.
pub const NODE: Ipv6Addr = ip(0x2001, 0xdb8, 2, 0x10);
/// The border router's link-local address.
pub const BORDER: Ipv6Addr = ip(0xfe80, 0, 0, 9);
/// Virtual router of both tenants.
pub const ROUTER: Ipv6Addr = ip(0xfd00, 1, 0, 1);
/// The shop's and the other tenant's web-1.
pub const WEB_1: Ipv6Addr = ip(0xfd00, 1, 0, 0x11);
/// The shop's web-2.
pub const WEB_2: Ipv6Addr = ip(0xfd00, 1, 0, 0x12);
/// The shop's dns.
pub const DNS: Ipv6Addr = ip(0xfd00, 1, 0, 0x13);
/// In the office, at the site with peerings.
pub const DESK: Ipv6Addr = ip(0xfd00, 0x20, 0, 5);
/// The shop's and the other tenant's bastion.
pub const BASTION: Ipv6Addr = ip(0xfd00, 1, 0, 0x20);

/// The VTEP that all gateways share, over IPv6.
pub const ANYCAST: Ipv6Addr = ip(0xfd00, 0xee, 0, 0x100);
/// This gateway's own VTEP, over IPv6.
pub const OWN_VTEP: Ipv6Addr = ip(0xfd00, 0xee, 0, 0x11);
/// VTEPs of the three hosts, over IPv6.
pub const HOSTS: [Ipv6Addr; 3] = [
    ip(0xfd00, 0xee, 1, 2),
    ip(0xfd00, 0xee, 2, 2),
    ip(0xfd00, 0xee, 3, 2),
];

/// A tunnel to the first host over IPv6, as the gateway sends it to one of its
/// instances.
pub fn to_instance_over_v6(host: Ipv6Addr, v4: Ipv4Addr) -> Frame {
    eth(UNDERLAY_MAC, SPINE_MAC)
        .vxlan6(ANYCAST, host, SHOP)
        .eth(ROUTER_MAC, mac_of(SHOP, v4))
}

/// What an instance of the shop sends to its virtual router over IPv6, as it arrives.
pub fn from_instance_over_v6(host: Ipv6Addr, v4: Ipv4Addr) -> Frame {
    eth(SPINE_MAC, UNDERLAY_MAC)
        .vxlan6(host, ANYCAST, SHOP)
        .eth(mac_of(SHOP, v4), ROUTER_MAC)
}

/// Adds the IPv6 side to the site's topology.
pub(super) fn add(topology: &mut Topology) {
    let cidr = "fd00:1::/64".parse().expect("a prefix");
    for vpc in &mut topology.vpcs {
        vpc.cidrs.push(cidr);
        vpc.subnets.push(Subnet {
            name: "zone-1-v6".into(),
            cidr,
            router: ROUTER.into(),
        });
        let known = [
            ("web-1", WEB_1),
            ("web-2", WEB_2),
            ("dns", DNS),
            ("bastion", BASTION),
        ];
        for instance in &mut vpc.instances {
            let ip6 = known.iter().find(|(name, _)| *name == instance.name);
            instance.ip6 = ip6.map(|&(_, ip6)| ip6);
        }
    }
    let id = |instance| InstanceId { vpc: 0, instance };
    let services: [LoadBalancer; 2] = [
        service(
            "web6",
            VIP.into(),
            (Protocol::Tcp, 443),
            &[(id(0), 8_443, 1), (id(1), 8_443, 1)],
        ),
        service(
            "names6",
            VIP.into(),
            (Protocol::Udp, 53),
            &[(id(2), 5_353, 1)],
        ),
    ];
    topology.load_balancers.extend(services);
    topology.floating_ips.push(FloatingIp {
        ip: FLOATING.into(),
        instance: id(3),
    });
}

/// Gives the office an IPv6 subnet.
pub(super) fn peer(office: &mut Vpc) {
    let cidr = "fd00:20::/64".parse().expect("a prefix");
    office.cidrs.push(cidr);
    office.subnets.push(Subnet {
        name: "zone-1-v6".into(),
        cidr,
        router: ip(0xfd00, 0x20, 0, 1).into(),
    });
    office.instances[0].ip6 = Some(DESK);
}

/// The same site with an IPv6 underlay.
pub(super) fn over_v6(topology: &mut Topology, site: Site) {
    topology.anycast_vtep = ANYCAST.into();
    topology.udp_checksum = site == Site::OverIpv6Summed;
    topology.gateways[0].vtep = OWN_VTEP.into();
    for (host, vtep) in topology.hosts.iter_mut().zip(HOSTS) {
        host.vtep = vtep.into();
    }
}

/// What netlink would say with an IPv6 underlay.
pub(super) fn reachability_over_v6(reach: &mut Reachability) {
    for (v4, v6) in [HOST_A, HOST_B, HOST_C].into_iter().zip(HOSTS) {
        let hops = reach.tunnels.remove(&v4.into()).unwrap_or_default();
        reach.tunnels.insert(v6.into(), hops);
    }
}
