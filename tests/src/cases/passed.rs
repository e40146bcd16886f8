//! What is not ours: the node's own traffic reaches its kernel, unchanged.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, case, public,
    site::{
        ANYCAST, BORDER, BORDER_MAC, CLIENT, FLOATING, HOST_A, NODE, OWN_VTEP, SHOP, SPINE_MAC,
        UNDERLAY_MAC, VIP, WEB_1, from_border, from_host, from_instance,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

const LLDP: u16 = 0x88cc;

pub(super) fn cases() -> Vec<Case> {
    let spine = Ipv4Addr::new(10, 0, 11, 1);
    let link = Ipv4Addr::new(10, 0, 11, 2);
    let node = || from_border().ipv4(CLIENT, NODE);
    let from_spine = || eth(SPINE_MAC, UNDERLAY_MAC);
    let multicast = |mac: [u8; 6]| eth(BORDER_MAC, mac);
    vec![
        case(
            "the_nodes_own_traffic_passes",
            [
                public(node().tcp(40_000, 22).payload(b"ssh")).passed(Reason::NotOurs),
                public(
                    from_border()
                        .ipv4(BORDER, NODE)
                        .ttl(1)
                        .tcp(40_000, 179)
                        .payload(b"bgp"),
                )
                .passed(Reason::NotOurs),
                public(node().echo_request(1, 1)).passed(Reason::NotOurs),
                public(node().udp(40_000, 4_789)).passed(Reason::NotOurs),
                public(node().protocol(protocol::GRE).payload(b"x")).passed(Reason::NotOurs),
            ],
        ),
        case(
            "what_we_would_refuse_passes_when_it_is_not_for_us",
            [
                public(node().options(&[1, 1, 1, 0]).tcp(40_000, 22)).passed(Reason::NotOurs),
                public(node().ttl(0).tcp(40_000, 22)).passed(Reason::NotOurs),
                public(node().first_fragment().udp(40_000, 53).payload_of(16))
                    .passed(Reason::NotOurs),
                public(
                    node()
                        .middle_fragment(3)
                        .protocol(protocol::TCP)
                        .payload_of(16),
                )
                .passed(Reason::NotOurs),
                // The smallest first fragment (RFC 791) ends inside a TCP header.
                public(
                    node()
                        .first_fragment()
                        .protocol(protocol::TCP)
                        .payload_of(8),
                )
                .passed(Reason::NotOurs),
                public(node().total_length(1_000).tcp(40_000, 22)).passed(Reason::NotOurs),
                public(node().payload_of(2_000)).passed(Reason::NotOurs),
            ],
        ),
        case(
            "other_ethertypes_pass",
            [
                public(from_border().ethertype(LLDP).payload_of(60)).passed(Reason::NotIp),
                public(from_border().ethertype(46).payload_of(46)).passed(Reason::NotIp),
                underlay(from_spine().ethertype(LLDP).payload_of(60)).passed(Reason::NotIp),
            ],
        ),
        case(
            "tagged_frames_pass_even_for_our_addresses",
            [
                public(from_border().vlan(7).ipv4(CLIENT, VIP).tcp(40_000, 443))
                    .passed(Reason::VlanTagged),
                public(
                    from_border()
                        .service_vlan(7)
                        .vlan(8)
                        .ipv4(CLIENT, VIP)
                        .tcp(40_000, 443),
                )
                .passed(Reason::VlanTagged),
                public(from_border().vlan(7).arp_request((BORDER_MAC, BORDER), VIP))
                    .passed(Reason::VlanTagged),
                underlay(from_spine().vlan(7).vxlan(HOST_A, ANYCAST, SHOP))
                    .passed(Reason::VlanTagged),
                underlay(from_spine().service_vlan(7).vxlan(HOST_A, ANYCAST, SHOP))
                    .passed(Reason::VlanTagged),
            ],
        ),
        case(
            "broadcast_and_multicast_pass_even_for_our_addresses",
            [[0xff; 6], [1, 0, 0x5e, 0, 0, 5], [3, 0, 0, 0, 0, 1]]
                .into_iter()
                .flat_map(|mac| {
                    let tunnel: fn(Frame) -> Frame = |frame| {
                        frame
                            .vxlan(HOST_A, ANYCAST, SHOP)
                            .eth([2; 6], [2; 6])
                            .ipv4(WEB_1, CLIENT)
                    };
                    [
                        public(multicast(mac).ipv4(CLIENT, VIP).tcp(40_000, 443))
                            .passed(Reason::L2Multicast),
                        public(multicast(mac).ipv4(CLIENT, FLOATING).udp(67, 68))
                            .passed(Reason::L2Multicast),
                        public(
                            multicast(mac)
                                .ipv4(BORDER, Ipv4Addr::new(224, 0, 0, 5))
                                .udp(1, 2),
                        )
                        .passed(Reason::L2Multicast),
                        underlay(tunnel(eth(SPINE_MAC, mac)).tcp(8_443, 40_000))
                            .passed(Reason::L2Multicast),
                    ]
                }),
        ),
        case(
            "vxlan_for_another_address_passes",
            [
                underlay(
                    from_spine()
                        .vxlan(HOST_A, link, SHOP)
                        .eth([2; 6], [2; 6])
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                )
                .passed(Reason::NotOurs),
                underlay(from_spine().ipv4(CLIENT, VIP).tcp(40_000, 443)).passed(Reason::NotOurs),
                underlay(from_spine().ipv4(spine, link).ttl(1).tcp(40_000, 179))
                    .passed(Reason::NotOurs),
            ],
        ),
        case(
            "vxlan_on_the_public_side_is_never_opened",
            [
                public(
                    from_border()
                        .vxlan(HOST_A, ANYCAST, SHOP)
                        .eth([2; 6], [2; 6])
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                )
                .passed(Reason::NotOurs),
                public(
                    from_instance(HOST_A, WEB_1)
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                )
                .passed(Reason::NotOurs),
            ],
        ),
        case(
            "a_vtep_address_is_the_nodes_own_for_all_but_vxlan",
            [ANYCAST, OWN_VTEP].into_iter().flat_map(|vtep| {
                let to_vtep = || from_spine().ipv4(spine, vtep);
                [
                    underlay(to_vtep().tcp(40_000, 179).payload(b"bgp")).passed(Reason::NotVxlan),
                    underlay(to_vtep().ttl(255).udp(49_152, 3_784).payload_of(24))
                        .passed(Reason::NotVxlan),
                    underlay(to_vtep().udp(4_789, 40_000).payload_of(24)).passed(Reason::NotVxlan),
                    underlay(to_vtep().echo_request(1, 1).payload_of(56)).passed(Reason::NotVxlan),
                    underlay(to_vtep().first_fragment().tcp(1, 2)).passed(Reason::NotVxlan),
                    underlay(to_vtep().protocol(protocol::ESP).payload_of(24))
                        .passed(Reason::NotVxlan),
                ]
            }),
        ),
        case(
            "a_tunnel_between_others_passes",
            [underlay(
                eth(SPINE_MAC, UNDERLAY_MAC)
                    .vxlan(HOST_A, Ipv4Addr::new(10, 0, 2, 2), SHOP)
                    .eth([2; 6], [2; 6])
                    .arp_request(([2; 6], WEB_1), VIP),
            )
            .passed(Reason::NotOurs)],
        ),
        case(
            "an_empty_tunnel_to_us_is_not_the_kernels",
            [underlay(from_host(HOST_A, SHOP)).dropped(Reason::Truncated)],
        ),
    ]
}
