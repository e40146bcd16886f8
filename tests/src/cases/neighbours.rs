//! Neighbour discovery (RFC 4861), outside and inside VXLAN.

use std::net::Ipv6Addr;

use gateway_common::Reason;

use super::{
    Case, case,
    cuts::every,
    public,
    site::{
        self, ANYCAST, BORDER_MAC, HOST_A, HOST_B, OTHER, OTHER_ROUTER_MAC, PUBLIC_MAC, ROUTER_MAC,
        SHOP, SPINE_MAC, UNDERLAY_MAC, from_border, from_host, mac_of,
    },
    site6::{BORDER, CLIENT, FLOATING, NODE, ROUTER, VIP, WEB_1, WEB_2},
    underlay,
};
use crate::packet::{Frame, Mac, eth};

const ROUTER_FLAG: u8 = 0x80;
const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: Mac = [0x33, 0x33, 0, 0, 0, 1];

/// The group of an address, and its MAC (RFC 4291, section 2.7.1; RFC 2464, section 7).
fn group(target: Ipv6Addr) -> (Ipv6Addr, Mac) {
    let [.., a, b, c] = target.octets();
    let group = Ipv6Addr::new(
        0xff02,
        0,
        0,
        0,
        0,
        1,
        0xff00 | u16::from(a),
        u16::from_be_bytes([b, c]),
    );
    (group, [0x33, 0x33, 0xff, a, b, c])
}

/// The border router asks its link.
fn ask(target: Ipv6Addr) -> Frame {
    let (group, mac) = group(target);
    eth(BORDER_MAC, mac).ipv6(BORDER, group).hop_limit(255)
}

/// What it gets.
fn answer(target: Ipv6Addr) -> Frame {
    eth(PUBLIC_MAC, BORDER_MAC)
        .ipv6(target, BORDER)
        .hop_limit(255)
        .advertisement(target, PUBLIC_MAC, SOLICITED | OVERRIDE)
}

pub(super) fn cases() -> Vec<Case> {
    [outside(), invalid(), inside(), cuts()].concat()
}

fn outside() -> Vec<Case> {
    let asked = |target| public(ask(target).solicitation(target, Some(BORDER_MAC)));
    let reachable = || from_border().ipv6(BORDER, VIP).hop_limit(255);
    vec![
        case(
            "a_solicitation_of_a_vip_and_a_floating_ip_is_answered",
            [VIP, FLOATING].map(|ip| asked(ip).answered(Reason::NeighbourReply, answer(ip))),
        ),
        case(
            "a_neighbour_asks_the_address_itself_whether_it_is_there",
            [None, Some(BORDER_MAC)].map(|mac| {
                public(reachable().solicitation(VIP, mac))
                    .answered(Reason::NeighbourReply, answer(VIP))
            }),
        ),
        case(
            "padding_and_other_options_do_not_matter",
            [
                // A nonce (RFC 3971), then the MAC.
                [14, 1, 1, 2, 3, 4, 5, 6, 1, 1, 2, 0, 0, 0, 1, 1],
                [1, 1, 2, 0, 0, 0, 1, 1, 14, 1, 1, 2, 3, 4, 5, 6],
            ]
            .into_iter()
            .flat_map(|options| {
                let frame = ask(VIP).neighbour(135, 0, VIP, &options);
                [frame.clone().pad_to(128), frame]
            })
            .map(|frame| public(frame).answered(Reason::NeighbourReply, answer(VIP))),
        ),
        case(
            "who_looks_for_a_duplicate_is_told_with_all_others",
            [public({
                let (group, mac) = group(VIP);
                let asker = eth(BORDER_MAC, mac).ipv6(Ipv6Addr::UNSPECIFIED, group);
                asker.hop_limit(255).solicitation(VIP, None)
            })
            .answered(
                Reason::NeighbourReply,
                eth(PUBLIC_MAC, ALL_NODES_MAC)
                    .ipv6(VIP, ALL_NODES)
                    .hop_limit(255)
                    .advertisement(VIP, PUBLIC_MAC, OVERRIDE),
            )],
        ),
        case(
            "discovery_of_others_is_the_kernels",
            [
                asked(NODE).passed(Reason::L2Multicast),
                asked(CLIENT).passed(Reason::L2Multicast),
                public(ask(VIP).advertisement(VIP, BORDER_MAC, 0)).passed(Reason::L2Multicast),
                public(ask(VIP).echo_request(1, 1)).passed(Reason::L2Multicast),
                public(ask(VIP).udp(546, 547)).passed(Reason::L2Multicast),
                public(
                    from_border()
                        .ipv6(BORDER, NODE)
                        .hop_limit(255)
                        .solicitation(NODE, None),
                )
                .passed(Reason::NotOurs),
                underlay(ask(VIP).solicitation(VIP, Some(BORDER_MAC))).passed(Reason::NotIp),
            ],
        ),
        case(
            "discovery_for_one_of_our_addresses_goes_no_further",
            [
                public(reachable().advertisement(BORDER, BORDER_MAC, 0)),
                public(reachable().neighbour(137, 0, CLIENT, &[])),
                public(reachable().solicitation(NODE, None)),
                public(
                    from_border()
                        .ipv6(CLIENT, FLOATING)
                        .hop_limit(255)
                        .advertisement(CLIENT, BORDER_MAC, 0),
                ),
            ]
            .map(|arrival| arrival.dropped(Reason::NeighbourInvalid)),
        ),
    ]
}

/// What RFC 4861, section 7.1.1, tells to discard.
fn invalid() -> Vec<Case> {
    let valid = || ask(VIP).solicitation(VIP, Some(BORDER_MAC));
    let with = |options: &[u8]| ask(VIP).neighbour(135, 0, VIP, options);
    let unspecified = |to: Ipv6Addr, mac| {
        let frame = eth(BORDER_MAC, group(VIP).1).ipv6(Ipv6Addr::UNSPECIFIED, to);
        frame.hop_limit(255).solicitation(VIP, mac)
    };
    let mut wrong_sum = valid().bytes();
    wrong_sum[14 + 40 + 2] ^= 1;
    let frames = [
        valid().hop_limit(254),
        valid().neighbour_code(1),
        // Options of no length, of a half, beyond the end; a MAC that is no MAC.
        with(&[1, 0, 0, 0, 0, 0, 0, 0]),
        with(&[1, 1, 2, 0]),
        with(&[14, 2, 0, 0, 0, 0, 0, 0]),
        with(&[1, 2, 2, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0]),
        with(&[0; 48]),
        unspecified(group(VIP).0, Some(BORDER_MAC)),
        unspecified(ALL_NODES, None),
        eth(BORDER_MAC, group(VIP).1)
            .payload(&wrong_sum[14..])
            .ethertype(0x86dd),
    ];
    vec![
        case(
            "an_invalid_solicitation_is_dropped",
            frames.map(|frame| public(frame).dropped(Reason::NeighbourInvalid)),
        ),
        case(
            "a_solicitation_of_another_version_is_dropped",
            [public(valid().version6(4)).dropped(Reason::IpVersion)],
        ),
    ]
}

fn inside() -> Vec<Case> {
    let web_1 = mac_of(SHOP, site::WEB_1);
    let link_local = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11);
    let from = |host, vni, mac| from_host(host, vni).eth(mac, group(ROUTER).1);
    let asks = |asker: Ipv6Addr| {
        let ip = from(HOST_A, SHOP, web_1).ipv6(asker, group(ROUTER).0);
        ip.hop_limit(255)
    };
    let back = |vtep, vni, router: Mac, to: (Ipv6Addr, Mac)| {
        let tunnel = eth(UNDERLAY_MAC, SPINE_MAC).vxlan(ANYCAST, vtep, vni);
        tunnel.eth(router, to.1).ipv6(ROUTER, to.0).hop_limit(255)
    };
    let flags = ROUTER_FLAG | OVERRIDE;
    let told = |to: Ipv6Addr| {
        back(HOST_A, SHOP, ROUTER_MAC, (to, web_1)).advertisement(
            ROUTER,
            ROUTER_MAC,
            flags | SOLICITED,
        )
    };
    let other = mac_of(OTHER, site::WEB_1);
    let refuse = |frame: Frame, reason| underlay(frame).dropped(reason);
    let asked = |frame: Frame| frame.solicitation(ROUTER, Some(web_1));
    vec![
        case(
            "an_instance_finds_its_virtual_router",
            [WEB_1, link_local].map(|asker| {
                underlay(asked(asks(asker))).answered(Reason::InnerNeighbourReply, told(asker))
            }),
        ),
        case(
            "the_other_tenants_router_has_another_mac_over_ipv6_too",
            [underlay(
                from(HOST_B, OTHER, other)
                    .ipv6(WEB_1, group(ROUTER).0)
                    .hop_limit(255)
                    .solicitation(ROUTER, Some(other)),
            )
            .answered(
                Reason::InnerNeighbourReply,
                back(HOST_B, OTHER, OTHER_ROUTER_MAC, (WEB_1, other)).advertisement(
                    ROUTER,
                    OTHER_ROUTER_MAC,
                    flags | SOLICITED,
                ),
            )],
        ),
        case(
            "an_instance_cannot_take_its_virtual_routers_address",
            [
                underlay(asks(Ipv6Addr::UNSPECIFIED).solicitation(ROUTER, None)).answered(
                    Reason::InnerNeighbourReply,
                    back(HOST_A, SHOP, ROUTER_MAC, (ALL_NODES, ALL_NODES_MAC))
                        .advertisement(ROUTER, ROUTER_MAC, flags),
                ),
            ],
        ),
        case(
            "discovery_inside_for_anything_else_is_dropped",
            [
                asks(WEB_1).solicitation(WEB_2, Some(web_1)),
                asks(WEB_1).solicitation(VIP, Some(web_1)),
                asks(WEB_1).advertisement(WEB_1, web_1, 0),
                asks(link_local).neighbour(133, 0, Ipv6Addr::UNSPECIFIED, &[]),
            ]
            .map(|frame| refuse(frame, Reason::InnerNeighbourOther)),
        ),
        case(
            "discovery_inside_from_somebody_else_is_dropped",
            [
                refuse(
                    asked(from(HOST_B, SHOP, web_1).ipv6(WEB_1, ALL_NODES)),
                    Reason::SpoofedVtep,
                ),
                refuse(
                    asked(from(HOST_B, SHOP, web_1).ipv6(link_local, ALL_NODES)),
                    Reason::SpoofedVtep,
                ),
                refuse(
                    asked(from(HOST_A, 5_003, web_1).ipv6(link_local, ALL_NODES)),
                    Reason::UnknownVni,
                ),
                refuse(
                    asked(from(HOST_A, SHOP, other).ipv6(link_local, ALL_NODES)),
                    Reason::UnknownSource,
                ),
                refuse(asked(asks(VIP)), Reason::UnknownSource),
                refuse(
                    asked(from(HOST_A, SHOP, other).ipv6(WEB_1, ALL_NODES)),
                    Reason::SpoofedMac,
                ),
                refuse(
                    asks(WEB_1).solicitation(ROUTER, Some(other)),
                    Reason::SpoofedMac,
                ),
            ],
        ),
        case(
            "an_invalid_solicitation_inside_is_dropped",
            [
                asked(asks(WEB_1).hop_limit(64)),
                asked(asks(WEB_1)).neighbour_code(1),
            ]
            .map(|frame| refuse(frame, Reason::NeighbourInvalid)),
        ),
    ]
}

fn cuts() -> Vec<Case> {
    // Until it is known to be ICMPv6, a frame to a group is somebody else's.
    let reason = |length| match length {
        14..54 => Reason::L2Multicast,
        _ => Reason::Truncated,
    };
    vec![every(
        "cut_solicitation",
        public,
        ask(VIP).solicitation(VIP, Some(BORDER_MAC)),
        reason,
    )]
}
