mod changes;

use std::net::IpAddr;

use gateway_common::{
    Backend, Endpoint, EndpointKey, Reference, ReverseKey, RingSlot, UPLINK_SLOTS, macs,
};
use zerocopy::IntoBytes;

use super::*;
use crate::{
    config::{self, FloatingIp, Host, InstanceId, LoadBalancer, Mac, Subnet, Vpc},
    reachability,
};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// One VPC, two hosts, three instances, one service on two of them, one floating IP.
fn topology() -> Topology {
    let instance = |name: &str, ip: &str, mac: u8, host| config::Instance {
        name: name.into(),
        ip: ip.parse().unwrap(),
        ip6: None,
        mac: Mac([2, 0xaa, 0, 0, 1, mac]),
        host,
    };
    Topology {
        anycast_vtep: ip("10.0.0.100"),
        underlay_mtu: 1600,
        peerings: vec![],
        udp_checksum: false,
        seed: [1, 2],
        icmp_errors_per_second: 1_000,
        tcp_mss: 0,
        gateways: vec![Gateway {
            name: "gw1".into(),
            public: vec!["eth0".into()],
            public_vlans: vec![],
            underlay: vec!["eth1".into()],
            vtep: ip("10.0.0.11"),
        }],
        hosts: vec![
            Host {
                name: "a".into(),
                vtep: ip("10.0.1.2"),
            },
            Host {
                name: "b".into(),
                vtep: ip("10.0.2.2"),
            },
        ],
        vpcs: vec![Vpc {
            name: "shop".into(),
            vni: 5001,
            cidrs: vec!["172.16.1.0/24".parse().unwrap()],
            router_mac: Mac([2, 0, 0x5e, 0, 0, 1]),
            subnets: vec![Subnet {
                name: "zone-1".into(),
                cidr: "172.16.1.0/24".parse().unwrap(),
                router: ip("172.16.1.1"),
            }],
            instances: vec![
                instance("web-1", "172.16.1.11", 11, 0),
                instance("web-2", "172.16.1.12", 12, 1),
                instance("bastion", "172.16.1.20", 20, 1),
            ],
        }],
        load_balancers: vec![LoadBalancer {
            name: "web".into(),
            vip: ip("203.0.113.10"),
            protocol: Protocol::Tcp,
            port: 443,
            backends: vec![
                config::Backend {
                    instance: id(0),
                    port: 8443,
                    weight: 1,
                },
                config::Backend {
                    instance: id(1),
                    port: 8443,
                    weight: 3,
                },
            ],
            affinity: config::Affinity::Flow,
            udp_tracking: false,
        }],
        guard: Default::default(),
        floating_ips: vec![FloatingIp {
            ip: ip("203.0.113.20"),
            instance: id(2),
        }],
        drain: config::Drain::default(),
        snat: Default::default(),
    }
}

/// Last byte of an instance's own MAC.
fn last_byte(instance: &gateway_common::Instance) -> u8 {
    instance.macs[2].to_ne_bytes()[3]
}

const fn id(instance: usize) -> InstanceId {
    InstanceId { vpc: 0, instance }
}

fn reach() -> Reachability {
    let interface = |ifindex, last, mtu| reachability::Interface {
        ifindex,
        mac: Mac([2, 0, 0, 0, 0, last]),
        mtu,
        up: true,
        v4: None,
        v6: None,
    };
    let hop = |interface: &str, address: &str, mac| reachability::NextHop {
        interface: interface.into(),
        address: address.parse().unwrap(),
        mac,
        state: reachability::NeighbourState::Reachable,
    };
    Reachability {
        interfaces: [
            ("eth0".into(), interface(7, 7, 1500)),
            ("eth1".into(), interface(8, 8, 1600)),
        ]
        .into(),
        vlans: BTreeMap::new(),
        tunnels: [
            (
                ip("10.0.1.2"),
                vec![hop("eth1", "10.0.11.1", Some(Mac([2, 0, 0, 0, 1, 1])))],
            ),
            (ip("10.0.2.2"), vec![hop("eth1", "10.0.11.1", None)]),
        ]
        .into(),
        uplinks: vec![
            hop("eth0", "192.0.2.1", Some(Mac([2, 0, 0, 0, 2, 1]))),
            hop("eth0", "192.0.2.5", Some(Mac([2, 0, 0, 0, 2, 2]))),
        ],
        uplinks_v6: vec![],
    }
}

fn tables() -> Tables {
    let topology = topology();
    build(&topology, &topology.gateways[0], &reach())
}

fn endpoint(tables: &Tables, key: EndpointKey) -> Endpoint {
    Endpoint(tables.endpoints[&key.0])
}

fn v4_word(text: &str) -> u32 {
    word(text.parse().unwrap())
}

#[test]
fn a_service_is_an_endpoint_a_ring_and_backends() {
    let tables = tables();
    let service = endpoint(
        &tables,
        EndpointKey::v4(v4_word("203.0.113.10"), 6, 443_u16.to_be()),
    );
    assert_eq!(service.kind(), Endpoint::SERVICE);
    let ring = &tables.ring[service.index() as usize..][..service.slots() as usize];
    let second = ring
        .iter()
        .filter(|&&slot| RingSlot(slot).current() == 2)
        .count();
    assert!(
        (766..=770).contains(&second),
        "3 of 4 parts of 1024 slots, not {second}"
    );
    assert!(ring.iter().all(|&slot| !RingSlot(slot).is_tracked()));

    let backend = tables.backends[2];
    assert_eq!(backend.address[0], v4_word("172.16.1.12"));
    assert_eq!(backend.port, 8443_u16.to_be());
    assert_eq!(
        backend.macs,
        macs([2, 0xaa, 0, 0, 1, 12], [2, 0, 0x5e, 0, 0, 1])
    );
    assert_eq!((backend.tunnel, backend.counter), (tables.tunnels[2], 2));
}

#[test]
fn the_reverse_of_a_service_undoes_it() {
    let tables = tables();
    let instance = tables
        .instances
        .iter()
        .position(|i| last_byte(i) == 12)
        .unwrap() as u32;
    let found = tables.reverse[&ReverseKey::new(instance, 6, 8443_u16.to_be()).0];
    let nat = tables.source_nats[Reference(found).index() as usize];
    assert_eq!(nat.address[0], v4_word("203.0.113.10"));
    assert_eq!(nat.port, 443_u16.to_be());
    assert_eq!(nat.counter, 2, "both ways of a backend share a counter");
    let both = gateway_ebpf::checksum::add(nat.l4_delta, tables.backends[2].l4_delta);
    assert_eq!(
        both, 0xffff,
        "there and back adds nothing (0 in one's complement)"
    );
}

#[test]
fn a_vip_is_an_address_and_a_floating_ip_keeps_ports() {
    let tables = tables();
    let vip = endpoint(&tables, EndpointKey::address_v4(v4_word("203.0.113.10")));
    assert_eq!(vip.kind(), Endpoint::ADDRESS);
    let floating = endpoint(&tables, EndpointKey::address_v4(v4_word("203.0.113.20")));
    assert_eq!(floating.kind(), Endpoint::FLOATING);
    let backend = tables.backends[floating.index() as usize];
    assert_ne!(backend.flags & Backend::FLAG_KEEP_PORT, 0);
    let bastion = tables
        .instances
        .iter()
        .find(|i| last_byte(i) == 20)
        .unwrap();
    let nat = tables.source_nats[bastion.floating as usize];
    assert_eq!(nat.address[0], v4_word("203.0.113.20"));
}

#[test]
fn next_hops_become_tunnels_and_uplinks() {
    let tables = tables();
    assert_eq!(tables.ports, [0, 7, 8]);
    let resolved = tables.tunnels[1];
    assert_eq!((resolved.port, resolved.mtu), (2, 1550));
    let (to, from) = ([2, 0, 0, 0, 1, 1], [2, 0, 0, 0, 0, 8]);
    let headers = resolved.headers.as_bytes();
    assert_eq!(headers[..12], [to, from].concat());
    assert_eq!(
        headers[12..18],
        [8, 0, 0x45, 0, 0, 0],
        "the length is the packet's"
    );
    assert_eq!(headers[26..34], [10, 0, 0, 100, 10, 0, 1, 2]);
    let unresolved = tables.tunnels[2];
    assert_eq!((unresolved.port, unresolved.mtu), (0, 0), "no packet fits");
    let last_bytes: Vec<_> = tables
        .uplinks
        .iter()
        .map(|uplink| uplink.macs[1].to_ne_bytes()[1])
        .collect();
    let (v4, v6) = last_bytes.split_at(UPLINK_SLOTS as usize);
    assert_eq!(v4, [1, 2].repeat(8), "two uplinks share the slots");
    assert_eq!(v6, [0; 16], "no way out for IPv6");
}

#[test]
fn without_next_hops_nothing_is_sent() {
    let topology = topology();
    let tables = build(&topology, &topology.gateways[0], &Reachability::default());
    assert!(tables.tunnels.iter().all(|tunnel| tunnel.port == 0));
    assert!(tables.uplinks.iter().all(|uplink| uplink.port == 0));
    assert_eq!(
        tables.endpoints.len(),
        3,
        "services do not depend on next hops"
    );
}

#[test]
fn a_link_that_is_down_is_not_used() {
    let topology = topology();
    let mut reach = reach();
    reach.interfaces.get_mut("eth1").unwrap().up = false;
    let tables = build(&topology, &topology.gateways[0], &reach);
    assert!(tables.tunnels.iter().all(|tunnel| tunnel.port == 0));
}

#[test]
fn a_service_whose_backends_all_drain_has_no_backend() {
    let mut topology = topology();
    for backend in &mut topology.load_balancers[0].backends {
        backend.weight = 0;
    }
    let tables = build(&topology, &topology.gateways[0], &reach());
    let key = EndpointKey::v4(v4_word("203.0.113.10"), 6, 443_u16.to_be());
    assert_eq!(endpoint(&tables, key), Endpoint::single(0));
    assert!(tables.ring.is_empty());
}

#[test]
fn one_backend_needs_no_ring() {
    let mut topology = topology();
    topology.load_balancers[0].backends[0].weight = 0;
    let tables = build(&topology, &topology.gateways[0], &reach());
    let key = EndpointKey::v4(v4_word("203.0.113.10"), 6, 443_u16.to_be());
    assert_eq!(
        endpoint(&tables, key),
        Endpoint::single(2),
        "the second one alone serves"
    );
    assert!(tables.ring.is_empty());
    let Label::Backend { slots, ring, .. } = tables.labels[2] else {
        panic!("a backend's label")
    };
    assert_eq!((slots, ring), (1, 1), "it has all of the share");
}

#[test]
fn backends_may_be_listed_in_any_order() {
    let mut swapped = topology();
    swapped.load_balancers[0].backends.reverse();
    let other = build(&swapped, &swapped.gateways[0], &reach());
    let serve = |tables: &Tables| -> Vec<u32> {
        tables
            .ring
            .iter()
            .map(|&slot| tables.backends[RingSlot(slot).current() as usize].address[0])
            .collect()
    };
    assert_eq!(serve(&tables()), serve(&other));
}
