//! Outer headers and who is behind them: what is opened, and what is refused.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, Step, case,
    site::{
        ANYCAST, BASTION, CLIENT, HOST_A, HOST_B, OTHER, OTHER_ROUTER_MAC, OWN_VTEP, ROUTER,
        ROUTER_MAC, SHOP, SPINE_MAC, UNDERLAY_MAC, VIP, WEB_1, WEB_2, from_host, mac_of, to_border,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

/// What web-1 sends, in a tunnel.
fn inside(tunnel: Frame) -> Frame {
    tunnel
        .eth(mac_of(SHOP, WEB_1), ROUTER_MAC)
        .ipv4(WEB_1, CLIENT)
        .tcp(8_443, 40_000)
        .payload(b"hi")
}

fn opened(tunnel: Frame) -> Step {
    let outside = to_border()
        .ipv4(VIP, CLIENT)
        .ttl(63)
        .tcp(443, 40_000)
        .payload(b"hi");
    underlay(inside(tunnel)).leaves("web/web-1", outside)
}

fn refused(tunnel: Frame, reason: Reason) -> Step {
    underlay(inside(tunnel)).dropped(reason)
}

fn outer() -> Frame {
    eth(SPINE_MAC, UNDERLAY_MAC).ipv4(HOST_A, ANYCAST)
}

fn vxlan(ip: Frame) -> Frame {
    ip.udp(50_000, 4_789).udp_checksum(0).vxlan_header(SHOP)
}

pub(super) fn cases() -> Vec<Case> {
    [accepted(), outer_headers(), senders(), inner_ethernet()].concat()
}

fn accepted() -> Vec<Case> {
    vec![
        case(
            "both_vtep_addresses_are_ours",
            [ANYCAST, OWN_VTEP]
                .map(|vtep| opened(eth(SPINE_MAC, UNDERLAY_MAC).vxlan(HOST_A, vtep, SHOP))),
        ),
        case(
            "outer_ttl_tos_id_and_dont_fragment_do_not_matter",
            [
                opened(vxlan(outer().ttl(1))),
                opened(vxlan(outer().ttl(255).tos(0xb8))),
                opened(vxlan(outer().id(0xffff).dont_fragment())),
            ],
        ),
        case(
            "an_outer_udp_checksum_is_accepted",
            [
                opened(outer().udp(50_000, 4_789).vxlan_header(SHOP)),
                opened(
                    outer()
                        .udp(50_000, 4_789)
                        .udp_checksum(0xbad1)
                        .vxlan_header(SHOP),
                ),
            ],
        ),
        case(
            "any_outer_source_port_is_accepted",
            [0, 1, 4_789, 49_152, u16::MAX]
                .map(|port| opened(outer().udp(port, 4_789).udp_checksum(0).vxlan_header(SHOP))),
        ),
        case(
            "the_reserved_byte_behind_the_vni_is_ignored",
            [1, 0x80, 0xff].map(|byte| opened(from_host(HOST_A, SHOP).vxlan_reserved(byte))),
        ),
    ]
}

fn outer_headers() -> Vec<Case> {
    vec![
        case(
            "outer_version_and_header_length_are_checked",
            [
                refused(vxlan(outer().version(6)), Reason::IpVersion),
                refused(vxlan(outer().version(0)), Reason::IpVersion),
                refused(vxlan(outer().header_words(4)), Reason::IpHeaderLength),
                refused(vxlan(outer().header_words(0)), Reason::IpHeaderLength),
                refused(vxlan(outer().options(&[1, 1, 1, 0])), Reason::IpOptions),
                refused(vxlan(outer().options(&[1; 40])), Reason::IpOptions),
            ],
        ),
        case(
            "outer_fragments_are_dropped",
            [
                refused(vxlan(outer().first_fragment()), Reason::Fragment),
                underlay(
                    outer()
                        .middle_fragment(9)
                        .protocol(protocol::UDP)
                        .payload_of(80),
                )
                .dropped(Reason::Fragment),
                underlay(
                    outer()
                        .last_fragment(9)
                        .protocol(protocol::UDP)
                        .payload_of(3),
                )
                .dropped(Reason::Fragment),
            ],
        ),
        case(
            "outer_lengths_are_checked",
            [
                refused(vxlan(outer().total_length(1_000)), Reason::Truncated),
                refused(vxlan(outer().total_length(49)), Reason::Truncated),
                refused(vxlan(outer().total_length(20)), Reason::Truncated),
                refused(vxlan(outer().total_length(0)), Reason::Truncated),
            ],
        ),
        case(
            "vxlan_flags_other_than_i_alone_are_dropped",
            [
                0,
                0x0400_0000,
                0x0c00_0000,
                0x8800_0000,
                0x0800_0001,
                0x0801_0000,
                0xffff_ffff,
            ]
            .map(|flags| {
                refused(
                    from_host(HOST_A, SHOP).vxlan_flags(flags),
                    Reason::VxlanFlags,
                )
            }),
        ),
    ]
}

fn senders() -> Vec<Case> {
    let from = |host, vni, mac, ip: Ipv4Addr| {
        underlay(
            from_host(host, vni)
                .eth(mac, ROUTER_MAC)
                .ipv4(ip, CLIENT)
                .tcp(8_443, 40_000),
        )
    };
    let stranger = Ipv4Addr::new(172, 16, 1, 99);
    let mac = mac_of(SHOP, WEB_1);
    vec![
        case(
            "a_foreign_vni_is_dropped",
            [
                0,
                1,
                5_003,
                SHOP << 8 & 0xff_ffff,
                SHOP | 1 << 23,
                0xff_ffff,
            ]
            .map(|vni| refused(from_host(HOST_A, vni), Reason::UnknownVni)),
        ),
        case(
            "an_unknown_inner_source_is_dropped",
            [
                stranger,
                CLIENT,
                VIP,
                ROUTER,
                Ipv4Addr::UNSPECIFIED,
                Ipv4Addr::BROADCAST,
            ]
            .map(|ip| from(HOST_A, SHOP, mac, ip).dropped(Reason::UnknownSource)),
        ),
        case(
            "a_frame_from_a_host_where_the_instance_does_not_live_is_dropped",
            [
                from(HOST_B, SHOP, mac, WEB_1).dropped(Reason::SpoofedVtep),
                from(HOST_A, SHOP, mac_of(SHOP, WEB_2), WEB_2).dropped(Reason::SpoofedVtep),
                from(CLIENT, SHOP, mac, WEB_1).dropped(Reason::SpoofedVtep),
                from(ANYCAST, SHOP, mac, WEB_1).dropped(Reason::SpoofedVtep),
                from(Ipv4Addr::UNSPECIFIED, SHOP, mac, WEB_1).dropped(Reason::SpoofedVtep),
            ],
        ),
        case(
            "a_tenant_cannot_pose_as_the_other_with_the_same_address",
            [
                from(HOST_A, OTHER, mac, WEB_1).dropped(Reason::SpoofedVtep),
                from(HOST_B, OTHER, mac, WEB_1).dropped(Reason::InnerNotForRouter),
                underlay(
                    from_host(HOST_B, OTHER)
                        .eth(mac, OTHER_ROUTER_MAC)
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                )
                .dropped(Reason::SpoofedMac),
            ],
        ),
        case(
            "an_instance_cannot_use_anothers_address",
            [
                from(HOST_A, SHOP, mac_of(SHOP, BASTION), WEB_1).dropped(Reason::SpoofedMac),
                from(HOST_A, SHOP, mac, BASTION).dropped(Reason::SpoofedMac),
                from(HOST_A, SHOP, ROUTER_MAC, WEB_1).dropped(Reason::SpoofedMac),
                from(HOST_A, SHOP, [0; 6], WEB_1).dropped(Reason::SpoofedMac),
            ],
        ),
    ]
}

fn inner_ethernet() -> Vec<Case> {
    let mac = mac_of(SHOP, WEB_1);
    let to = |destination| from_host(HOST_A, SHOP).eth(mac, destination);
    vec![
        case(
            "an_inner_frame_for_another_mac_is_dropped",
            [
                mac_of(SHOP, WEB_2),
                OTHER_ROUTER_MAC,
                [0xff; 6],
                [1, 0, 0x5e, 0, 0, 5],
                [0; 6],
            ]
            .map(|destination| {
                underlay(to(destination).ipv4(WEB_1, CLIENT).tcp(8_443, 40_000))
                    .dropped(Reason::InnerNotForRouter)
            }),
        ),
        case(
            "an_inner_frame_that_is_neither_ip_nor_arp_is_dropped",
            [
                underlay(to(ROUTER_MAC).ethertype(0x88cc).payload_of(60)),
                underlay(to(ROUTER_MAC).ethertype(0x88cc).payload_of(60)),
                underlay(to(ROUTER_MAC).payload_of(0)),
                underlay(
                    to(ROUTER_MAC)
                        .vlan(7)
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                ),
                underlay(
                    to(ROUTER_MAC)
                        .service_vlan(7)
                        .ipv4(WEB_1, CLIENT)
                        .tcp(8_443, 40_000),
                ),
            ]
            .map(|arrival| arrival.dropped(Reason::InnerNotIp)),
        ),
    ]
}
