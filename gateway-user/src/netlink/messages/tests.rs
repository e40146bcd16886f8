use rtnetlink::packet_route::route::{RouteNextHop, RouteProtocol};

use super::{super::picture::tests, *};

fn route_to(prefix: &str) -> RouteMessage {
    let prefix: IpNet = prefix.parse().unwrap();
    let mut route = RouteMessage::default();
    route.header.address_family = match prefix {
        IpNet::V4(_) => AddressFamily::Inet,
        IpNet::V6(_) => AddressFamily::Inet6,
    };
    route.header.destination_prefix_length = prefix.prefix_len();
    route.header.table = RouteHeader::RT_TABLE_MAIN;
    route.header.protocol = RouteProtocol::Bird;
    route.header.kind = RouteType::Unicast;
    if prefix.prefix_len() > 0 {
        let address = RouteAddress::from(prefix.network());
        route.attributes.push(RouteAttribute::Destination(address));
    }
    route
}

fn router(address: &str) -> RouteAttribute {
    RouteAttribute::Gateway(RouteAddress::from(tests::ip(address)))
}

fn stale(message: RouteNetlinkMessage) -> Stale {
    let mut picture = tests::picture();
    let hop = Hop {
        ifindex: tests::PUBLIC,
        gateway: Some(tests::ip("192.0.2.9")),
        alive: true,
    };
    picture.outward = vec![Route {
        v6: false,
        prefix_len: 0,
        metric: 0,
        hops: vec![hop],
    }];
    stale_after(&message, &picture, &tests::wanted())
}

#[test]
fn only_routes_that_can_matter_are_followed() {
    use RouteNetlinkMessage::{DelRoute, NewRoute};
    assert_eq!(
        stale(NewRoute(route_to("10.0.1.0/24"))),
        Stale::ROUTES,
        "holds an endpoint"
    );
    assert_eq!(
        stale(DelRoute(route_to("10.0.0.0/8"))),
        Stale::ROUTES,
        "holds one, too"
    );
    assert_eq!(
        stale(NewRoute(route_to("0.0.0.0/0"))),
        Stale::ROUTES,
        "the way out"
    );
    assert!(
        !stale(NewRoute(route_to("198.51.100.0/24"))).any(),
        "one of a full table"
    );
    assert!(!stale(NewRoute(route_to("2001:db8::/32"))).any());
    let mut other_table = route_to("0.0.0.0/0");
    other_table.attributes.push(RouteAttribute::Table(1001));
    // It holds the endpoint: a rule may point at that table.
    assert_eq!(stale(NewRoute(other_table)), Stale::ROUTES);
}

#[test]
fn links_and_needed_neighbours_are_followed() {
    let mut link = LinkMessage::default();
    link.header.index = 77;
    assert!(
        !stale(RouteNetlinkMessage::NewLink(link.clone())).any(),
        "somebody else's"
    );
    link.attributes
        .push(LinkAttribute::IfName("underlay".into()));
    assert_eq!(
        stale(RouteNetlinkMessage::NewLink(link)),
        Stale::ALL,
        "ours, made anew"
    );

    let mut entry = NeighbourMessage::default();
    entry.header.ifindex = tests::PUBLIC;
    let at = |ip: [u8; 4]| NeighbourAttribute::Destination(NeighbourAddress::Inet(ip.into()));
    entry.attributes = vec![at([192, 0, 2, 9])];
    let removed = RouteNetlinkMessage::DelNeighbour(entry.clone());
    assert_eq!(stale(removed), Stale::NEIGHBOURS);
    entry.attributes = vec![at([192, 0, 2, 77])];
    assert!(
        !stale(RouteNetlinkMessage::NewNeighbour(entry)).any(),
        "no next hop"
    );
}

#[test]
fn a_multipath_route_offers_every_way() {
    let mut message = route_to("10.0.1.0/24");
    let way = |ifindex, address, flags| {
        let mut hop = RouteNextHop::default();
        hop.interface_index = ifindex;
        hop.flags = flags;
        hop.attributes = vec![router(address)];
        hop
    };
    message.attributes.push(RouteAttribute::MultiPath(vec![
        way(3, "10.0.11.1", RouteNextHopFlags::empty()),
        way(4, "10.0.12.1", RouteNextHopFlags::Linkdown),
    ]));
    let hop = |ifindex, address, alive| Hop {
        ifindex,
        gateway: Some(tests::ip(address)),
        alive,
    };
    assert_eq!(
        hops(&message),
        [hop(3, "10.0.11.1", true), hop(4, "10.0.12.1", false)]
    );
}

#[test]
fn a_route_by_object_alone_is_opaque() {
    let mut message = route_to("0.0.0.0/0");
    message.attributes.push(RouteAttribute::NhId(7));
    assert!(is_opaque(&message));
    message
        .attributes
        .extend([RouteAttribute::Oif(2), router("192.0.2.9")]);
    assert!(!is_opaque(&message), "the kernel spelled it out");
    assert_eq!(route(&message).unwrap().hops.len(), 1);
    message.header.kind = RouteType::BlackHole;
    assert_eq!(route(&message), None);
}

#[test]
fn a_failed_neighbour_has_no_mac() {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = 2;
    message.attributes = vec![
        NeighbourAttribute::Destination(NeighbourAddress::Inet([192, 0, 2, 9].into())),
        NeighbourAttribute::LinkLayerAddress(vec![2, 0, 0, 0, 0, 9]),
        NeighbourAttribute::ExtFlags(NeighbourExtFlags::Managed),
    ];
    for (nud, state, has_mac) in [
        (Nud::Reachable, NeighbourState::Reachable, true),
        (Nud::Delay, NeighbourState::Stale, true),
        (Nud::Probe, NeighbourState::Stale, true),
        (Nud::Noarp, NeighbourState::Permanent, true),
        (Nud::Failed, NeighbourState::Failed, false),
        (Nud::Incomplete, NeighbourState::Incomplete, false),
        (Nud::None, NeighbourState::Incomplete, false),
    ] {
        message.header.state = nud;
        let (key, entry) = neighbour(&message).unwrap();
        assert_eq!(key, (2, tests::ip("192.0.2.9")));
        assert_eq!(
            (entry.state, entry.mac.is_some()),
            (state, has_mac),
            "{nud:?}"
        );
        assert!(entry.managed);
    }
}

#[test]
fn only_addresses_that_can_be_answered_to_are_an_interfaces_own() {
    let of = |attributes: &[AddressAttribute], scope| {
        let mut message = AddressMessage::default();
        (message.header.index, message.header.scope) = (2, scope);
        message.attributes = attributes.into();
        address(&message)
    };
    let ip = |text| AddressAttribute::Address(tests::ip(text));
    let local = |text| AddressAttribute::Local(tests::ip(text));
    let universe = AddressScope::Universe;
    let own = Some((2, tests::ip("192.0.2.10")));
    assert_eq!(of(&[ip("192.0.2.10"), local("192.0.2.10")], universe), own);
    let point_to_point = [ip("192.0.2.9"), local("192.0.2.10")];
    assert_eq!(of(&point_to_point, universe), own, "not the other end");
    assert_eq!(of(&[ip("fe80::1")], AddressScope::Link), None);
    for unfit in [AddressFlags::Tentative, AddressFlags::Deprecated] {
        let flags = AddressAttribute::Flags(unfit | AddressFlags::Permanent);
        assert_eq!(of(&[ip("2001:db8::1"), flags], universe), None);
    }
    let flags = AddressAttribute::Flags(AddressFlags::Permanent);
    assert!(of(&[ip("2001:db8::1"), flags], universe).is_some());
}
