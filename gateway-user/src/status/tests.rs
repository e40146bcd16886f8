use std::collections::BTreeMap;

use gateway_common::{Counter, Reason, ReasonCount, SnatAddress};

use super::*;
use crate::{
    config::{self, Gateway, Host, InstanceId, Subnet, Topology, Vpc},
    datapath::{AccountUse, AddressUse, Usage},
    model::{self, Condition, Label, Tables},
    netlink::Announcement,
    reachability::{self, NeighbourState, Reachability},
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn topology() -> Topology {
    let instance = |name: &str, last: u8| config::Instance {
        name: name.into(),
        ip: [172, 16, 1, last].into(),
        ip6: None,
        mac: Mac([2, 0xaa, 0, 0, 1, last]),
        host: 0,
    };
    let backend = |instance, weight| config::Backend {
        instance: InstanceId { vpc: 0, instance },
        port: 443,
        weight,
    };
    let gateway = |name: &str, last| Gateway {
        name: name.into(),
        public: vec!["public".into()],
        public_vlans: vec![],
        underlay: vec!["underlay".into()],
        vtep: [10, 0, 0, last].into(),
    };
    Topology {
        anycast_vtep: ip("10.0.0.100"),
        underlay_mtu: 1600,
        peerings: vec![],
        udp_checksum: false,
        seed: [0; 2],
        icmp_errors_per_second: 1_000,
        tcp_mss: 0,
        gateways: vec![gateway("gw1", 11), gateway("gw2", 12)],
        hosts: vec![
            Host {
                name: "host-a".into(),
                vtep: ip("10.0.1.2"),
            },
            Host {
                name: "host-b".into(),
                vtep: ip("10.0.2.2"),
            },
        ],
        vpcs: vec![Vpc {
            name: "shop".into(),
            vni: 5001,
            cidrs: vec!["172.16.1.0/24".parse().unwrap()],
            router_mac: Mac([2, 0, 0, 0, 0, 1]),
            subnets: vec![Subnet {
                name: "zone-1".into(),
                cidr: "172.16.1.0/24".parse().unwrap(),
                router: ip("172.16.1.1"),
            }],
            instances: vec![
                instance("haproxy-1", 11),
                instance("haproxy-2", 12),
                instance("bastion", 20),
            ],
        }],
        load_balancers: vec![config::LoadBalancer {
            name: "orders".into(),
            vip: ip("203.0.113.10"),
            protocol: Protocol::Tcp,
            port: 443,
            backends: vec![backend(0, 1), backend(1, 3)],
            affinity: config::Affinity::Flow,
            udp_tracking: false,
        }],
        guard: Default::default(),
        floating_ips: vec![config::FloatingIp {
            ip: ip("203.0.113.20"),
            instance: InstanceId {
                vpc: 0,
                instance: 2,
            },
        }],
        drain: config::Drain::default(),
        snat: config::Snat {
            pools: vec![config::SnatPool {
                name: "out".into(),
                vpcs: vec![0],
                subnets: vec![],
                ips: vec![[203, 0, 113, 40].into()],
                quota: Some(4_000),
                timeouts: config::SnatTimeouts::DEFAULT,
                filtering: config::Filtering::EndpointIndependent,
                refresh_inbound: false,
            }],
            shares: vec![Some(0), Some(1), None, None],
            handover_vni: 0xff_ffff,
        },
    }
}

fn reachability() -> Reachability {
    let interface = |last| reachability::Interface {
        ifindex: 2,
        mac: Mac([2, 0, 0, 0, 1, last]),
        mtu: 1500,
        up: true,
        v4: None,
        v6: None,
    };
    let hop = |interface: &str, address, mac: Option<u8>| NextHop {
        interface: interface.into(),
        address: ip(address),
        mac: mac.map(|last| Mac([2, 0, 0, 0, 0, last])),
        state: mac.map_or(NeighbourState::Failed, |_| NeighbourState::Reachable),
    };
    Reachability {
        interfaces: BTreeMap::from([
            ("public".into(), interface(1)),
            ("underlay".into(), interface(2)),
        ]),
        vlans: BTreeMap::new(),
        tunnels: BTreeMap::from([
            (ip("10.0.1.2"), vec![hop("underlay", "10.0.11.1", Some(1))]),
            (ip("10.0.0.12"), vec![hop("underlay", "10.0.11.1", None)]),
        ]),
        uplinks: vec![hop("public", "192.0.2.9", Some(9))],
        uplinks_v6: vec![],
    }
}

/// Nearly all TCP ports of the pool's address in use.
fn usage() -> Usage {
    let ports = |used, resting| AddressUse {
        used,
        resting,
        ports: 15_360,
    };
    Usage {
        addresses: vec![
            Default::default(),
            [ports(12_000, 2_000), ports(50, 0), ports(0, 0)],
        ],
        accounts: vec![
            AccountUse::default(),
            AccountUse {
                used: 14_050,
                exhausted: 17,
                over_quota: 4,
            },
        ],
        freed: 1,
    }
}

/// A node with something in every part, numbers up to the longest.
pub(crate) fn sample() -> Status {
    let topology = topology();
    let backend = |backend, slots| Label::Backend {
        load_balancer: 0,
        backend,
        slots,
        ring: 100,
        condition: match backend {
            0 => Condition::Draining,
            _ => Condition::Serving,
        },
    };
    let tables = Tables {
        labels: vec![
            Label::None,
            backend(0, 25),
            backend(1, 75),
            Label::Floating(0),
            Label::Snat(1),
        ],
        snat: model::Snat {
            addresses: vec![
                SnatAddress::default(),
                SnatAddress {
                    counter: 4,
                    ..SnatAddress::default()
                },
            ],
            owners: vec![None, Some((0, [203, 0, 113, 40].into()))],
            accounts: vec![None, Some(model::Account { pool: 0, vpc: 0 })],
            ..model::Snat::default()
        },
        tracked: vec![12],
        ..Tables::default()
    };
    let counter = |n| Counter {
        in_packets: n,
        in_bytes: n * 99,
        out_packets: n,
        out_bytes: n * 999,
    };
    let count = |reason: &Reason| match reason.name() {
        "no_reverse" => ReasonCount {
            packets: 12,
            bytes: 1_234,
        },
        "not_ours" => ReasonCount {
            packets: 987_654_321,
            bytes: 98_765_432_100,
        },
        "arp_reply" => ReasonCount {
            packets: 3,
            bytes: 180,
        },
        _ => ReasonCount::default(),
    };
    let reasons: Vec<_> = Reason::ALL
        .iter()
        .map(|reason| (*reason, count(reason)))
        .collect();
    let announced = |table, address| Announcement {
        table,
        address: ip(address),
    };
    Status::new(Moment {
        challenging: &[],
        gateway: &topology.gateways[0],
        reachability: &reachability(),
        tables: &tables,
        counters: &[0, 1_000, 123_456_789, 7, 99].map(|n| Traffic::from(&counter(n))),
        routed: &[0, 55, 0].map(|n| Traffic::from(&counter(n))),
        snat: &usage(),
        reasons: &reasons,
        attached: &[
            ("public".into(), Mode::Native),
            ("underlay".into(), Mode::Generic),
        ],
        announced: vec![
            announced(100, "203.0.113.10"),
            announced(100, "203.0.113.20"),
            announced(101, "10.0.0.100"),
        ],
        not_ready: vec![
            "there is no route to any host by underlay, and this sentence is so long that it \
             needs a second line"
                .into(),
        ],
        updates: Updates {
            count: 3,
            failures: 0,
            writes: 20,
            seconds: 0.5,
            last_seconds: 0.25,
            mismatches: 1,
            loads: 2,
            start_model_seconds: 1.5,
            start_load_seconds: 2.5,
        },
        reload: Reload {
            ok: false,
            at: 1_700_000_000.5,
            message: "site.yaml:3: `vip` is missing".into(),
            count: 4,
            failures: 5,
        },
        tracking: Tracking {
            begun: 60,
            remembered: 50,
            kept: 40,
        },
        uptime_seconds: 12_345.0,
        topology: &topology,
    })
}

#[test]
fn counters_find_their_owners() {
    let status = sample();
    let orders = &status.load_balancers[0];
    assert_eq!(orders.backends[0].traffic.in_packets, 1_000);
    assert_eq!(orders.backends[1].traffic.out_bytes, 123_456_789 * 999);
    assert_eq!(
        orders.traffic.in_packets,
        1_000 + 123_456_789,
        "the sum of its backends"
    );
    assert_eq!(status.floating_ips[0].traffic.in_packets, 7);
    assert!((orders.backends[1].share - 0.75).abs() < 1e-9);
}

#[test]
fn tunnels_are_hosts_and_the_other_gateways() {
    let names: Vec<_> = sample()
        .tunnels
        .into_iter()
        .map(|tunnel| tunnel.name)
        .collect();
    assert_eq!(names, ["host-a", "host-b", "gw2"]);
}

#[test]
fn json_says_the_same() {
    let status = sample();
    let json = serde_json::to_string(&status).unwrap();
    assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
}

#[test]
fn an_interface_on_both_sides_is_single_arm() {
    let mut gateway = topology().gateways.remove(0);
    gateway.underlay = gateway.public.clone();
    assert_eq!(role(&gateway, "public"), Role::SingleArm);
    assert_eq!(interface_names(&gateway), ["public"]);
}
