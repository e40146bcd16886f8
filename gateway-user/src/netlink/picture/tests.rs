use super::*;

pub(crate) const PUBLIC: u32 = 2;
pub(crate) const UNDERLAY: u32 = 3;
const ELSEWHERE: u32 = 9;

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn hop(ifindex: u32, gateway: &str) -> Hop {
    Hop {
        ifindex,
        gateway: Some(ip(gateway)),
        alive: true,
    }
}

fn default_route(metric: u32, hops: &[Hop]) -> Route {
    Route {
        v6: false,
        prefix_len: 0,
        metric,
        hops: hops.into(),
    }
}

pub(crate) fn wanted() -> Wanted {
    Wanted {
        public: ["public".into()].into(),
        public_vlans: [].into(),
        underlay: ["underlay".into()].into(),
        endpoints: [ip("10.0.1.2")].into(),
        outward_v4: true,
        outward_v6: false,
    }
}

/// Both interfaces up, no route anywhere, the usual neighbours resolved.
pub(crate) fn picture() -> Picture {
    let link = |name: &str| Link {
        vlan: None,
        name: name.into(),
        mac: Mac([2, 0, 0, 0, 0, 1]),
        mtu: 1500,
        up: true,
    };
    let neighbour = Neighbour {
        mac: Some(Mac([2, 0, 0, 0, 0, 9])),
        state: NeighbourState::Reachable,
        managed: true,
    };
    Picture {
        links: [(PUBLIC, link("public")), (UNDERLAY, link("underlay"))].into(),
        neighbours: [
            ((PUBLIC, ip("192.0.2.9")), neighbour),
            ((UNDERLAY, ip("10.0.11.1")), neighbour),
        ]
        .into(),
        ..Picture::default()
    }
}

fn tunnel(picture: &Picture) -> Vec<String> {
    names(&picture.reachability(&wanted()).tunnels[&ip("10.0.1.2")])
}

fn uplinks(picture: &Picture) -> Vec<String> {
    names(&picture.reachability(&wanted()).uplinks)
}

fn names(hops: &[NextHop]) -> Vec<String> {
    hops.iter().map(|hop| hop.address.to_string()).collect()
}

#[test]
fn without_routes_there_are_no_next_hops() {
    let reach = picture().reachability(&wanted());
    assert_eq!(reach.interfaces["underlay"].ifindex, UNDERLAY);
    assert!(reach.tunnels[&ip("10.0.1.2")].is_empty() && reach.uplinks.is_empty());
}

#[test]
fn an_on_link_endpoint_is_its_own_next_hop() {
    let mut picture = picture();
    let on_link = Hop {
        ifindex: UNDERLAY,
        gateway: None,
        alive: true,
    };
    picture.endpoints.insert(ip("10.0.1.2"), vec![on_link]);
    assert_eq!(tunnel(&picture), ["10.0.1.2"]);
}

#[test]
fn next_hops_come_in_one_order_whatever_the_kernels_is() {
    let mut picture = picture();
    let hops = [hop(UNDERLAY, "10.0.11.5"), hop(UNDERLAY, "10.0.11.1")];
    picture.endpoints.insert(ip("10.0.1.2"), hops.into());
    assert_eq!(tunnel(&picture), ["10.0.11.1", "10.0.11.5"]);
    let unresolved = &picture.reachability(&wanted()).tunnels[&ip("10.0.1.2")][1];
    assert!(!unresolved.is_usable());
    assert_eq!(unresolved.state, NeighbourState::Incomplete);
}

#[test]
fn what_the_kernel_would_not_use_is_no_next_hop() {
    let mut picture = picture();
    let dead = Hop {
        alive: false,
        ..hop(UNDERLAY, "10.0.11.5")
    };
    picture
        .endpoints
        .insert(ip("10.0.1.2"), vec![dead, hop(UNDERLAY, "10.0.11.1")]);
    assert_eq!(tunnel(&picture), ["10.0.11.1"]);
    picture.links.get_mut(&UNDERLAY).unwrap().up = false;
    assert!(tunnel(&picture).is_empty());
}

#[test]
fn tunnels_stay_on_the_underlay_and_uplinks_on_the_public_side() {
    let mut picture = picture();
    picture
        .endpoints
        .insert(ip("10.0.1.2"), vec![hop(PUBLIC, "192.0.2.9")]);
    assert!(
        tunnel(&picture).is_empty(),
        "tenants' traffic must not leak"
    );
    picture.outward = vec![default_route(0, &[hop(UNDERLAY, "10.0.11.1")])];
    assert!(uplinks(&picture).is_empty());
    assert!(picture.needed(&wanted()).is_empty());
}

#[test]
fn the_default_route_with_the_lowest_metric_leads_out() {
    let mut picture = picture();
    picture.outward = vec![
        default_route(200, &[hop(PUBLIC, "192.0.2.200")]),
        default_route(100, &[hop(PUBLIC, "192.0.2.9"), hop(PUBLIC, "192.0.2.1")]),
        // A management network's; the node does not own that interface.
        default_route(0, &[hop(ELSEWHERE, "198.18.0.1")]),
    ];
    assert_eq!(uplinks(&picture), ["192.0.2.1", "192.0.2.9"]);
    picture.outward[1]
        .hops
        .iter_mut()
        .for_each(|hop| hop.alive = false);
    assert_eq!(uplinks(&picture), ["192.0.2.200"], "the next best");
}

#[test]
fn without_a_default_route_the_most_general_ones_lead_out() {
    let mut picture = picture();
    let route = |prefix_len, gateway| Route {
        prefix_len,
        ..default_route(0, &[hop(PUBLIC, gateway)])
    };
    picture.outward = vec![
        route(24, "192.0.2.3"),
        route(1, "192.0.2.9"),
        route(1, "192.0.2.1"),
        // The interface's own network leads to no router.
        Route {
            hops: vec![Hop {
                ifindex: PUBLIC,
                gateway: None,
                alive: true,
            }],
            ..route(0, "192.0.2.9")
        },
    ];
    assert_eq!(uplinks(&picture), ["192.0.2.1", "192.0.2.9"]);
    assert_eq!(picture.outward_len(&wanted()), 1);
}

#[test]
fn a_public_address_makes_its_family_wanted() {
    let mut topology = Topology {
        anycast_vtep: ip("10.0.0.100"),
        underlay_mtu: 1600,
        peerings: vec![],
        udp_checksum: false,
        seed: [0; 2],
        icmp_errors_per_second: 1_000,
        tcp_mss: 0,
        gateways: ["gw1", "gw2"]
            .map(|name| Gateway {
                name: name.into(),
                public: vec!["public".into()],
                public_vlans: vec![],
                underlay: vec!["underlay".into()],
                vtep: ip(if name == "gw1" {
                    "10.0.0.11"
                } else {
                    "10.0.0.12"
                }),
            })
            .into(),
        hosts: vec![crate::config::Host {
            name: "a".into(),
            vtep: ip("10.0.1.2"),
        }],
        vpcs: vec![],
        load_balancers: vec![],
        guard: Default::default(),
        floating_ips: vec![],
        drain: crate::config::Drain::default(),
        snat: Default::default(),
    };
    let wanted = Wanted::new(&topology, &topology.gateways[0]);
    assert_eq!(
        wanted.endpoints,
        [ip("10.0.0.12"), ip("10.0.1.2")].into(),
        "not its own"
    );
    assert!(
        !wanted.outward_v4 && !wanted.outward_v6,
        "nothing public, no way out needed"
    );
    topology.floating_ips.push(crate::config::FloatingIp {
        ip: ip("203.0.113.20"),
        instance: crate::config::InstanceId {
            vpc: 0,
            instance: 0,
        },
    });
    let wanted = Wanted::new(&topology, &topology.gateways[0]);
    assert!(wanted.outward_v4 && !wanted.outward_v6);
}
