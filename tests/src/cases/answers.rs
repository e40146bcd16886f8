//! What the gateway answers by itself: ARP and echo, outside and inside VXLAN.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, case, public,
    site::{
        ANYCAST, BORDER, BORDER_MAC, CLIENT, FLOATING, HOST_A, HOST_B, LOST, NODE, OTHER,
        OTHER_ROUTER_MAC, OWN_VTEP, PUBLIC_MAC, ROUTER, ROUTER_MAC, SHOP, SPINE_MAC, UNDERLAY_MAC,
        VIP, WEB_1, from_border, from_host, from_instance, mac_of, to_border,
    },
    underlay,
};
use crate::packet::{Frame, Mac, eth};

const BROADCAST: Mac = [0xff; 6];
const ASKER: (Mac, Ipv4Addr) = (BORDER_MAC, BORDER);

pub(super) fn cases() -> Vec<Case> {
    [arp(), echo(), arp_inside(), echo_inside()].concat()
}

fn arp() -> Vec<Case> {
    let ask = |target| eth(BORDER_MAC, BROADCAST).arp_request(ASKER, target);
    let reply = |ip| to_border().arp_reply((PUBLIC_MAC, ip), ASKER);
    vec![
        case(
            "arp_for_a_vip_and_a_floating_ip_is_answered",
            [
                public(ask(VIP)).answered(Reason::ArpReply, reply(VIP)),
                public(ask(FLOATING)).answered(Reason::ArpReply, reply(FLOATING)),
                public(ask(VIP).pad_to(60)).answered(Reason::ArpReply, reply(VIP).pad_to(60)),
                public(from_border().arp_request(ASKER, VIP))
                    .answered(Reason::ArpReply, reply(VIP)),
            ],
        ),
        case(
            "arp_for_other_addresses_is_the_kernels",
            [
                public(ask(NODE)).passed(Reason::NotIp),
                public(ask(CLIENT)).passed(Reason::NotIp),
                public(ask(Ipv4Addr::UNSPECIFIED)).passed(Reason::NotIp),
                underlay(ask(VIP)).passed(Reason::NotIp),
                underlay(ask(ANYCAST)).passed(Reason::NotIp),
            ],
        ),
        case(
            "arp_that_is_no_request_is_the_kernels",
            [
                public(from_border().arp_reply(ASKER, (PUBLIC_MAC, VIP))).passed(Reason::NotIp),
                public(from_border().arp(3, ASKER, (PUBLIC_MAC, VIP))).passed(Reason::NotIp),
                public(from_border().arp(0x0100, ASKER, (PUBLIC_MAC, VIP))).passed(Reason::NotIp),
            ],
        ),
        case(
            "arp_for_other_hardware_or_protocols_is_the_kernels",
            [
                [0, 6, 8, 0, 6, 4],
                [0, 1, 0x86, 0xdd, 6, 4],
                [0, 1, 8, 0, 8, 4],
                [0, 1, 8, 0, 6, 16],
            ]
            .map(|format| public(ask(VIP).arp_format(format)).passed(Reason::NotIp)),
        ),
    ]
}

fn echo() -> Vec<Case> {
    let ask = || from_border().ipv4(CLIENT, VIP);
    let reply = || to_border().ipv4(VIP, CLIENT);
    vec![
        case(
            "echo_to_a_vip_is_answered",
            [0, 1, 2, 55, 56, 1_400].map(|length| {
                public(ask().echo_request(7, 9).payload_of(length)).answered(
                    Reason::EchoReply,
                    reply().echo_reply(7, 9).payload_of(length),
                )
            }),
        ),
        case(
            "echo_to_a_vip_is_answered_whatever_ttl_and_tos",
            [(0, 0), (1, 3), (255, 0xb8)].map(|(ttl, tos)| {
                public(ask().ttl(ttl).tos(tos).echo_request(7, 9).payload(b"odd")).answered(
                    Reason::EchoReply,
                    reply().tos(tos).echo_reply(7, 9).payload(b"odd"),
                )
            }),
        ),
        case(
            "an_echo_of_nothing_but_zeroes_gets_a_checksum_that_is_not_0",
            [0, 1, 8].map(|length| {
                public(ask().echo_request(0, 0).payload(&[0; 8][..length])).answered(
                    Reason::EchoReply,
                    reply().echo_reply(0, 0).payload(&[0; 8][..length]),
                )
            }),
        ),
        case(
            "a_padded_echo_is_answered",
            [public(ask().echo_request(7, 9).pad_to(60))
                .answered(Reason::EchoReply, reply().echo_reply(7, 9).pad_to(60))],
        ),
    ]
}

fn arp_inside() -> Vec<Case> {
    let web_1 = (mac_of(SHOP, WEB_1), WEB_1);
    let from = |host, vni| from_host(host, vni).eth(web_1.0, BROADCAST);
    let ask = |target| from(HOST_A, SHOP).arp_request(web_1, target);
    let back = |vtep| {
        eth(UNDERLAY_MAC, SPINE_MAC)
            .vxlan(vtep, HOST_A, SHOP)
            .eth(ROUTER_MAC, web_1.0)
    };
    let reply = |frame: Frame| frame.arp_reply((ROUTER_MAC, ROUTER), web_1);
    let other = (mac_of(OTHER, WEB_1), WEB_1);
    let tunnel = |ttl| {
        eth(SPINE_MAC, UNDERLAY_MAC)
            .ipv4(HOST_A, ANYCAST)
            .ttl(ttl)
            .dont_fragment()
    };
    vec![
        case(
            "arp_for_the_virtual_router_is_answered_to_the_vtep_it_came_from",
            [
                underlay(ask(ROUTER)).answered(Reason::InnerArpReply, reply(back(ANYCAST))),
                underlay(ask(ROUTER).pad_to(60))
                    .answered(Reason::InnerArpReply, reply(back(ANYCAST).pad_to(60))),
            ],
        ),
        case(
            "arp_for_the_virtual_router_by_our_own_vtep_is_answered_from_there",
            [underlay(
                eth(SPINE_MAC, UNDERLAY_MAC)
                    .vxlan(HOST_A, OWN_VTEP, SHOP)
                    .eth(web_1.0, BROADCAST)
                    .arp_request(web_1, ROUTER),
            )
            .answered(Reason::InnerArpReply, reply(back(OWN_VTEP)))],
        ),
        case(
            "a_tunnel_that_is_turned_round_starts_with_a_new_ttl_and_no_udp_checksum",
            [1, 17, 255].map(|ttl| {
                underlay(
                    tunnel(ttl)
                        .udp(50_000, 4_789)
                        .vxlan_header(SHOP)
                        .eth(web_1.0, BROADCAST)
                        .arp_request(web_1, ROUTER),
                )
                .answered(Reason::InnerArpReply, reply(back(ANYCAST)))
            }),
        ),
        case(
            "the_other_tenants_router_has_another_mac",
            [underlay(
                from_host(HOST_B, OTHER)
                    .eth(other.0, BROADCAST)
                    .arp_request(other, ROUTER),
            )
            .answered(
                Reason::InnerArpReply,
                eth(UNDERLAY_MAC, SPINE_MAC)
                    .vxlan(ANYCAST, HOST_B, OTHER)
                    .eth(OTHER_ROUTER_MAC, other.0)
                    .arp_reply((OTHER_ROUTER_MAC, ROUTER), other),
            )],
        ),
        case(
            "arp_inside_for_anything_else_is_dropped",
            [
                underlay(ask(LOST)).dropped(Reason::InnerArpOther),
                underlay(ask(VIP)).dropped(Reason::InnerArpOther),
                underlay(ask(Ipv4Addr::UNSPECIFIED)).dropped(Reason::InnerArpOther),
                underlay(from(HOST_A, SHOP).arp_reply(web_1, (ROUTER_MAC, ROUTER)))
                    .dropped(Reason::InnerArpOther),
                underlay(ask(ROUTER).arp_format([0, 6, 8, 0, 6, 4])).dropped(Reason::InnerArpOther),
            ],
        ),
        case(
            "arp_inside_from_somebody_else_is_dropped",
            [
                underlay(from(HOST_B, SHOP).arp_request(web_1, ROUTER))
                    .dropped(Reason::SpoofedVtep),
                underlay(from(HOST_A, 5_003).arp_request(web_1, ROUTER))
                    .dropped(Reason::UnknownVni),
                underlay(from(HOST_A, SHOP).arp_request((web_1.0, Ipv4Addr::UNSPECIFIED), ROUTER))
                    .dropped(Reason::UnknownSource),
                underlay(from(HOST_A, SHOP).arp_request((web_1.0, ROUTER), ROUTER))
                    .dropped(Reason::UnknownSource),
                underlay(from(HOST_A, SHOP).arp_request((mac_of(SHOP, LOST), WEB_1), ROUTER))
                    .dropped(Reason::SpoofedMac),
                underlay(
                    from_host(HOST_A, SHOP)
                        .eth(mac_of(SHOP, LOST), BROADCAST)
                        .arp_request(web_1, ROUTER),
                )
                .dropped(Reason::SpoofedMac),
            ],
        ),
    ]
}

fn echo_inside() -> Vec<Case> {
    let ask = || from_instance(HOST_A, WEB_1).ipv4(WEB_1, ROUTER);
    let reply = || {
        eth(UNDERLAY_MAC, SPINE_MAC)
            .vxlan(ANYCAST, HOST_A, SHOP)
            .eth(ROUTER_MAC, mac_of(SHOP, WEB_1))
            .ipv4(ROUTER, WEB_1)
    };
    vec![
        case(
            "echo_to_the_virtual_router_is_answered_inside",
            [0, 1, 56].map(|length| {
                underlay(ask().ttl(1).echo_request(3, 4).payload_of(length)).answered(
                    Reason::InnerEchoReply,
                    reply().echo_reply(3, 4).payload_of(length),
                )
            }),
        ),
        case(
            "anything_else_to_the_virtual_router_is_dropped",
            [
                underlay(ask().icmp(13, 0).payload_of(12)).dropped(Reason::NoService),
                underlay(ask().tcp(40_000, 22)).dropped(Reason::NoService),
                underlay(ask().first_fragment().echo_request(3, 4).payload_of(64))
                    .dropped(Reason::NoService),
                underlay(ask().options(&[8, 0, 0, 0]).echo_request(3, 4))
                    .dropped(Reason::IpOptions),
            ],
        ),
    ]
}
