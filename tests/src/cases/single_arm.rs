//! One interface that is both public and underlay: the same, chosen by the packet.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, case, single_arm,
    site::{
        ANYCAST, BORDER, BORDER_MAC, CLIENT, DNS, HOST_A, HOST_B, NODE, PUBLIC_MAC, ROUTER,
        ROUTER_MAC, SHOP, SPINE_MAC, Site, UNDERLAY_MAC, VIP, WEB_1, from_border, from_instance,
        mac_of, to_border, to_instance,
    },
};
use crate::packet::eth;

pub(super) fn cases() -> Vec<Case> {
    let vtep = |rest: Ipv4Addr| eth(SPINE_MAC, UNDERLAY_MAC).ipv4(BORDER, rest);
    let web_1 = mac_of(SHOP, WEB_1);
    vec![
        case(
            "single_arm_in_and_out",
            [
                single_arm(
                    from_border()
                        .ipv4(CLIENT, VIP)
                        .udp(40_000, 53)
                        .payload(b"?"),
                )
                .reaches(
                    "names/dns",
                    to_instance(HOST_A, DNS)
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353)
                        .payload(b"?"),
                ),
                single_arm(
                    from_instance(HOST_A, DNS)
                        .ipv4(DNS, CLIENT)
                        .udp(5_353, 40_000),
                )
                .leaves(
                    "names/dns",
                    to_border().ipv4(VIP, CLIENT).ttl(63).udp(53, 40_000),
                ),
            ],
        ),
        case(
            "the_only_interface_sends_packets_back",
            [
                single_arm(from_border().ipv4(CLIENT, VIP).udp(40_000, 53)).reaches(
                    "names/dns",
                    eth(PUBLIC_MAC, SPINE_MAC)
                        .vxlan(ANYCAST, HOST_A, SHOP)
                        .id(0)
                        .eth(ROUTER_MAC, mac_of(SHOP, DNS))
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353),
                ),
                single_arm(
                    from_instance(HOST_A, DNS)
                        .ipv4(DNS, CLIENT)
                        .udp(5_353, 40_000),
                )
                .leaves(
                    "names/dns",
                    to_border().ipv4(VIP, CLIENT).ttl(63).udp(53, 40_000),
                ),
            ],
        )
        .at(Site::OneArm),
        case(
            "single_arm_answers_on_both_sides",
            [
                single_arm(eth(BORDER_MAC, [0xff; 6]).arp_request((BORDER_MAC, BORDER), VIP))
                    .answered(
                        Reason::ArpReply,
                        to_border().arp_reply((PUBLIC_MAC, VIP), (BORDER_MAC, BORDER)),
                    ),
                single_arm(from_border().ipv4(CLIENT, VIP).echo_request(1, 1)).answered(
                    Reason::EchoReply,
                    to_border().ipv4(VIP, CLIENT).echo_reply(1, 1),
                ),
                single_arm(
                    from_instance(HOST_A, WEB_1)
                        .ipv4(WEB_1, ROUTER)
                        .echo_request(1, 1),
                )
                .answered(
                    Reason::InnerEchoReply,
                    eth(UNDERLAY_MAC, SPINE_MAC)
                        .vxlan(ANYCAST, HOST_A, SHOP)
                        .eth(ROUTER_MAC, web_1)
                        .ipv4(ROUTER, WEB_1)
                        .echo_reply(1, 1),
                ),
            ],
        ),
        case(
            "single_arm_refuses_on_both_sides",
            [
                single_arm(from_border().ipv4(CLIENT, VIP).tcp(40_000, 80))
                    .dropped(Reason::NoService),
                single_arm(
                    from_instance(HOST_B, WEB_1)
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                )
                .dropped(Reason::SpoofedVtep),
                single_arm(
                    from_border()
                        .ipv4(CLIENT, VIP)
                        .ttl(1)
                        .icmp(3, 1)
                        .payload_of(28),
                )
                .dropped(Reason::IcmpQuote),
            ],
        ),
        case(
            "single_arm_passes_what_is_not_ours_and_counts_it_once",
            [
                single_arm(from_border().ipv4(CLIENT, NODE).tcp(40_000, 22))
                    .passed(Reason::NotOurs),
                single_arm(vtep(ANYCAST).tcp(40_000, 179)).passed(Reason::NotOurs),
                single_arm(vtep(ANYCAST).udp(49_152, 3_784)).passed(Reason::NotOurs),
                single_arm(eth(BORDER_MAC, [0xff; 6]).arp_request((BORDER_MAC, BORDER), NODE))
                    .passed(Reason::NotIp),
                single_arm(from_border().ethertype(0x88cc).payload_of(40)).passed(Reason::NotIp),
                single_arm(from_border().vlan(7).ipv4(CLIENT, VIP).tcp(40_000, 443))
                    .passed(Reason::VlanTagged),
                single_arm(
                    eth(BORDER_MAC, [0xff; 6])
                        .ipv4(CLIENT, VIP)
                        .tcp(40_000, 443),
                )
                .passed(Reason::L2Multicast),
            ],
        ),
    ]
}
