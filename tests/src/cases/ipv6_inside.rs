//! IPv6 inside: routes, hairpins, and what the guard makes of extension headers.

use std::net::Ipv6Addr;

use gateway_common::Reason;

use super::{
    Case, case, public,
    site::{
        self, HOST_A, HOST_B, OFFICE, OFFICE_ROUTER_MAC, OTHER, OTHER_ROUTER_MAC, ROUTER_MAC, SHOP,
        SPINE_MAC, Site, UNDERLAY_MAC, from_border, from_host, from_instance, mac_of, to_host,
        to_instance,
    },
    site6::{
        ANYCAST, BASTION, BORDER, CLIENT, DESK, DNS, FLOATING, HOSTS, VIP, WEB_1, WEB_2,
        from_instance_over_v6,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

const FLOATING_COUNTER: &str = "floating/2001:db8:1::20";

/// Index of the shop and of the office, as counters have it.
const SHOP_NUMBER: u32 = 1;
const OFFICE_NUMBER: u32 = 3;

/// What may follow an IPv6 header.
const KINDS: [fn(Frame) -> Frame; 6] = [
    |ip| ip.tcp(8_443, 80).payload_of(7),
    |ip| ip.echo_request(1, 2).payload_of(56),
    |ip| ip.options6(protocol::DESTINATION_OPTIONS, 2).tcp(1, 2),
    |ip| ip.fragment6(0, true, 9).udp(1, 2).payload_of(1_000),
    |ip| ip.udp(1, 2).udp_checksum(0).payload_of(3),
    |ip| ip.next_header(protocol::GRE).payload_of(41),
];

pub(super) fn cases() -> Vec<Case> {
    [routes(), hairpins(), guarded()].concat()
}

fn routes() -> Vec<Case> {
    let web_1 = || from_instance(HOST_A, site::WEB_1);
    let desk = mac_of(OFFICE, site::DESK);
    let from_desk = || from_host(HOST_A, OFFICE).eth(desk, OFFICE_ROUTER_MAC);
    let nowhere = |last| Ipv6Addr::new(0xfd00, last, 0, 0, 0, 0, 0, 0x77);
    vec![
        case(
            "ipv6_is_routed_inside_a_vpc",
            KINDS.map(|rest| {
                let got = to_instance(HOST_B, site::WEB_2).ipv6(WEB_1, WEB_2);
                underlay(rest(web_1().ipv6(WEB_1, WEB_2)))
                    .routed((SHOP_NUMBER, SHOP_NUMBER), rest(got.hop_limit(63)))
            }),
        ),
        case(
            "ipv6_is_routed_between_peers",
            KINDS.into_iter().flat_map(|rest| {
                let there = to_host(HOST_A, OFFICE).eth(OFFICE_ROUTER_MAC, desk);
                let back = to_instance(HOST_A, site::WEB_1);
                [
                    underlay(rest(web_1().ipv6(WEB_1, DESK))).routed(
                        (SHOP_NUMBER, OFFICE_NUMBER),
                        rest(there.ipv6(WEB_1, DESK).hop_limit(63)),
                    ),
                    underlay(rest(from_desk().ipv6(DESK, WEB_1))).routed(
                        (OFFICE_NUMBER, SHOP_NUMBER),
                        rest(back.ipv6(DESK, WEB_1).hop_limit(63)),
                    ),
                ]
            }),
        )
        .at(Site::Peered),
        case(
            "ipv6_for_nobody_inside_never_leaves",
            [
                // In a range of the VPC, in a peer's, where no router forwards to.
                nowhere(1),
                nowhere(0x20),
                BORDER,
                Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1),
            ]
            .map(|to| underlay(web_1().ipv6(WEB_1, to).tcp(8_443, 80)))
            .map(|step| step.dropped(Reason::InsideRoute)),
        )
        .at(Site::Peered),
        case(
            "ipv6_of_no_peer_does_not_reach_a_vpc",
            [underlay(
                from_host(HOST_B, OTHER)
                    .eth(mac_of(OTHER, site::WEB_1), OTHER_ROUTER_MAC)
                    .ipv6(WEB_1, DESK)
                    .tcp(1, 2),
            )
            .dropped(Reason::NoReverse)],
        )
        .at(Site::Peered),
        case(
            "ipv6_routed_over_ipv6_has_a_right_udp_checksum_if_wanted",
            KINDS.map(|rest| {
                let tunnel = eth(UNDERLAY_MAC, SPINE_MAC).ipv6(ANYCAST, HOSTS[1]);
                let got = tunnel.udp(50_000, 4_789).vxlan_header(SHOP);
                let got = got.eth(ROUTER_MAC, mac_of(SHOP, site::WEB_2));
                let sent = from_instance_over_v6(HOSTS[0], site::WEB_1);
                underlay(rest(sent.ipv6(WEB_1, WEB_2))).routed(
                    (SHOP_NUMBER, SHOP_NUMBER),
                    rest(got.ipv6(WEB_1, WEB_2).hop_limit(63)),
                )
            }),
        )
        .at(Site::OverIpv6Summed),
    ]
}

fn hairpins() -> Vec<Case> {
    let bastion = || from_instance(HOST_A, site::BASTION);
    let chains: [fn(Frame) -> Frame; 2] =
        [|ip| ip, |ip| ip.options6(protocol::DESTINATION_OPTIONS, 1)];
    let both = |chain: fn(Frame) -> Frame| {
        let ask = chain(bastion().ipv6(BASTION, VIP)).udp(40_000, 53);
        let asked = to_instance(HOST_A, site::DNS).ipv6(FLOATING, DNS);
        let tell = from_instance(HOST_A, site::DNS).ipv6(DNS, FLOATING);
        let told = to_instance(HOST_A, site::BASTION).ipv6(VIP, BASTION);
        [
            underlay(ask.payload_of(31)).comes_back(
                FLOATING_COUNTER,
                "names6/dns",
                chain(asked.hop_limit(63)).udp(40_000, 5_353).payload_of(31),
            ),
            underlay(chain(tell).udp(5_353, 40_000).payload_of(33)).comes_back(
                "names6/dns",
                FLOATING_COUNTER,
                chain(told.hop_limit(63)).udp(53, 40_000).payload_of(33),
            ),
        ]
    };
    vec![
        case(
            "ipv6_to_an_own_public_address_takes_a_hairpin",
            chains.into_iter().flat_map(both),
        ),
        case(
            "ipv6_pings_of_a_vip_from_inside_are_answered",
            [
                underlay(bastion().ipv6(BASTION, VIP).echo_request(1, 2)).answered(
                    Reason::InnerEchoReply,
                    from_host_back(site::BASTION)
                        .ipv6(VIP, BASTION)
                        .echo_reply(1, 2),
                ),
                underlay(bastion().ipv6(BASTION, VIP).tcp(1, 2)).dropped(Reason::NoService),
            ],
        ),
    ]
}

/// A tunnel turned round: to where it came from, with all else as it was.
fn from_host_back(instance: std::net::Ipv4Addr) -> Frame {
    eth(UNDERLAY_MAC, SPINE_MAC)
        .vxlan(site::ANYCAST, HOST_A, SHOP)
        .eth(ROUTER_MAC, mac_of(SHOP, instance))
}

fn guarded() -> Vec<Case> {
    let to_vip = || {
        let ip = from_border().ipv6(CLIENT, VIP);
        ip.options6(protocol::DESTINATION_OPTIONS, 1)
    };
    let got = to_instance(HOST_A, site::DNS)
        .ipv6(CLIENT, DNS)
        .hop_limit(63);
    vec![
        case(
            "extension_headers_do_not_lead_round_the_lists",
            [public(to_vip().udp(40_000, 53)).dropped(Reason::Bogon)],
        )
        .at(Site::Strict),
        case(
            "extension_headers_do_not_lead_round_the_guard",
            [
                public(to_vip().tcp(40_000, 443).tcp_flags(0x03)).dropped(Reason::TcpSynFin),
                public(to_vip().udp(40_000, 53).payload_of(9)).reaches(
                    "names6/dns",
                    got.options6(protocol::DESTINATION_OPTIONS, 1)
                        .udp(40_000, 5_353)
                        .payload_of(9),
                ),
                public(to_vip().routing(1).udp(40_000, 53)).dropped(Reason::RoutingHeader),
            ],
        )
        .at(Site::Guarded),
    ]
}
