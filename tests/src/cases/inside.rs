//! Routes inside: between subnets, and between VPCs that are peers.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, Step, case,
    refusals::{expired_inside, too_big_for_instance},
    site::{
        APP, BASTION, BRANCH, BRANCH_ROUTER_MAC, CLIENT, DESK, FLOATING, HOST_A, HOST_B, LOST,
        OFFICE, OFFICE_ROUTER_MAC, ROUTER_MAC, SHOP, Site, TILL, TUNNEL_MTU, WEB_1, WEB_2,
        from_host, from_instance, mac_of, to_border, to_host, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, protocol};

/// Index of the shop, the office and the branch, as counters have it.
const SHOP_NUMBER: u32 = 1;
const OFFICE_NUMBER: u32 = 3;
const BRANCH_NUMBER: u32 = 4;

/// From the bastion to the app in another subnet, and what the app gets.
fn to_app(rest: impl Fn(Frame) -> Frame) -> Step {
    let ip = |tunnel: Frame, ttl| rest(tunnel.ipv4(BASTION, APP).ttl(ttl));
    underlay(ip(from_instance(HOST_A, BASTION), 64))
        .routed((SHOP_NUMBER, SHOP_NUMBER), ip(to_instance(HOST_B, APP), 63))
}

fn from_desk() -> Frame {
    from_host(HOST_A, OFFICE).eth(mac_of(OFFICE, DESK), OFFICE_ROUTER_MAC)
}

fn to_desk() -> Frame {
    to_host(HOST_A, OFFICE).eth(OFFICE_ROUTER_MAC, mac_of(OFFICE, DESK))
}

pub(super) fn cases() -> Vec<Case> {
    [subnets(), peers(), limits()].concat()
}

fn subnets() -> Vec<Case> {
    vec![
        case(
            "a_packet_to_another_subnet_is_routed_and_keeps_its_addresses",
            [
                to_app(|ip| ip.tcp(40_000, 80).payload(b"hi")),
                to_app(|ip| ip.udp(40_000, 80).payload_of(33)),
                to_app(|ip| ip.udp(40_000, 80).udp_checksum(0).payload_of(3)),
                to_app(|ip| ip.echo_request(1, 2).payload_of(56)),
                to_app(|ip| ip.icmp(3, 3).payload_of(36)),
                underlay(
                    from_instance(HOST_A, BASTION)
                        .ipv4(BASTION, APP)
                        .tos(0xb9)
                        .tcp(40_000, 80),
                )
                .routed(
                    (SHOP_NUMBER, SHOP_NUMBER),
                    to_host(HOST_B, SHOP)
                        .tos(0xb9)
                        .eth(ROUTER_MAC, mac_of(SHOP, APP))
                        .ipv4(BASTION, APP)
                        .tos(0xb9)
                        .ttl(63)
                        .tcp(40_000, 80),
                ),
                to_app(|ip| ip.protocol(protocol::ESP).payload_of(50)),
            ],
        )
        .at(Site::Peered),
        case(
            "fragments_are_routed_like_whole_packets",
            [
                to_app(|ip| ip.first_fragment().udp(1, 2).udp_checksum(7).payload_of(24)),
                to_app(|ip| ip.middle_fragment(4).protocol(protocol::UDP).payload_of(24)),
                to_app(|ip| ip.last_fragment(7).protocol(protocol::ICMP).payload_of(3)),
            ],
        )
        .at(Site::Peered),
        case(
            "a_service_does_not_change_what_stays_inside",
            // From the service's own port: the reverse translation must not touch it.
            [underlay(
                from_instance(HOST_A, WEB_1)
                    .ipv4(WEB_1, APP)
                    .tcp(8_443, 40_000),
            )
            .routed(
                (SHOP_NUMBER, SHOP_NUMBER),
                to_instance(HOST_B, APP)
                    .ipv4(WEB_1, APP)
                    .ttl(63)
                    .tcp(8_443, 40_000),
            )],
        )
        .at(Site::Peered),
        case(
            "nobody_there_and_other_hosts_networks_are_told_apart",
            [
                // In a subnet of the VPC, which nobody has.
                underlay(from_bastion(Ipv4Addr::new(172, 16, 2, 77))).dropped(Reason::InsideRoute),
                // Between the subnets: the hull has it, the VPC has not.
                underlay(from_bastion(Ipv4Addr::new(172, 16, 3, 77))).leaves(
                    "floating/203.0.113.20",
                    to_border()
                        .ipv4(FLOATING, Ipv4Addr::new(172, 16, 3, 77))
                        .ttl(63)
                        .tcp(40_000, 80),
                ),
                // There, from somebody without a public identity.
                underlay(
                    from_instance(HOST_B, WEB_2)
                        .ipv4(WEB_2, Ipv4Addr::new(172, 16, 3, 77))
                        .tcp(40_000, 80),
                )
                .dropped(Reason::NoReverse),
            ],
        )
        .at(Site::Peered),
        case(
            "who_sends_inside_is_checked_like_who_sends_outside",
            [
                underlay(
                    from_host(HOST_B, SHOP)
                        .eth(mac_of(SHOP, BASTION), ROUTER_MAC)
                        .ipv4(BASTION, APP)
                        .tcp(1, 2),
                )
                .dropped(Reason::SpoofedVtep),
                underlay(
                    from_host(HOST_A, SHOP)
                        .eth(mac_of(SHOP, WEB_1), ROUTER_MAC)
                        .ipv4(BASTION, APP)
                        .tcp(1, 2),
                )
                .dropped(Reason::SpoofedMac),
                underlay(
                    from_host(HOST_A, SHOP)
                        .eth(mac_of(SHOP, BASTION), mac_of(SHOP, APP))
                        .ipv4(BASTION, APP)
                        .tcp(1, 2),
                )
                .dropped(Reason::InnerNotForRouter),
                // A peer's instance is a destination in the shop, not a source.
                underlay(
                    from_host(HOST_A, SHOP)
                        .eth(mac_of(OFFICE, DESK), ROUTER_MAC)
                        .ipv4(DESK, APP)
                        .tcp(1, 2),
                )
                .dropped(Reason::UnknownSource),
            ],
        )
        .at(Site::Peered),
    ]
}

fn from_bastion(to: Ipv4Addr) -> Frame {
    from_instance(HOST_A, BASTION)
        .ipv4(BASTION, to)
        .tcp(40_000, 80)
}

fn peers() -> Vec<Case> {
    vec![
        case(
            "peers_reach_each_other_both_ways",
            [
                underlay(
                    from_instance(HOST_A, BASTION)
                        .ipv4(BASTION, DESK)
                        .tcp(40_000, 80),
                )
                .routed(
                    (SHOP_NUMBER, OFFICE_NUMBER),
                    to_desk().ipv4(BASTION, DESK).ttl(63).tcp(40_000, 80),
                ),
                underlay(from_desk().ipv4(DESK, BASTION).tcp(80, 40_000)).routed(
                    (OFFICE_NUMBER, SHOP_NUMBER),
                    to_instance(HOST_A, BASTION)
                        .ipv4(DESK, BASTION)
                        .ttl(63)
                        .tcp(80, 40_000),
                ),
                underlay(from_desk().ipv4(DESK, TILL).echo_request(1, 1)).routed(
                    (OFFICE_NUMBER, BRANCH_NUMBER),
                    to_host(HOST_B, BRANCH)
                        .eth(BRANCH_ROUTER_MAC, mac_of(BRANCH, TILL))
                        .ipv4(DESK, TILL)
                        .ttl(63)
                        .echo_request(1, 1),
                ),
            ],
        )
        .at(Site::Peered),
        case(
            "a_peering_is_not_transitive",
            [
                // The shop and the branch are both peers of the office, not of each other.
                underlay(from_bastion(TILL)).leaves(
                    "floating/203.0.113.20",
                    to_border().ipv4(FLOATING, TILL).ttl(63).tcp(40_000, 80),
                ),
                underlay(
                    from_host(HOST_B, BRANCH)
                        .eth(mac_of(BRANCH, TILL), BRANCH_ROUTER_MAC)
                        .ipv4(TILL, BASTION)
                        .tcp(40_000, 80),
                )
                .dropped(Reason::NoReverse),
            ],
        )
        .at(Site::Peered),
        case(
            "without_a_peering_vpcs_do_not_meet",
            [underlay(
                from_instance(HOST_B, WEB_2)
                    .ipv4(WEB_2, DESK)
                    .tcp(40_000, 80),
            )
            .dropped(Reason::NoReverse)],
        ),
        case(
            "nobody_in_a_peers_range_is_dropped",
            [underlay(from_bastion(Ipv4Addr::new(10, 20, 9, 9))).dropped(Reason::InsideRoute)],
        )
        .at(Site::Peered),
    ]
}

fn limits() -> Vec<Case> {
    let from = |ttl, length| {
        from_instance(HOST_A, BASTION)
            .ipv4(BASTION, APP)
            .ttl(ttl)
            .udp(1, 2)
            .payload_of(length)
    };
    let to = |ttl, length| {
        to_instance(HOST_B, APP)
            .ipv4(BASTION, APP)
            .ttl(ttl)
            .udp(1, 2)
            .payload_of(length)
    };
    let fits = TUNNEL_MTU - 28;
    vec![
        case(
            "a_route_inside_takes_one_hop",
            [
                underlay(from(2, 5)).routed((SHOP_NUMBER, SHOP_NUMBER), to(1, 5)),
                underlay(from(255, 5)).routed((SHOP_NUMBER, SHOP_NUMBER), to(254, 5)),
                expired_inside(from(1, 5), BASTION),
                expired_inside(from(0, 5), BASTION),
            ],
        )
        .at(Site::Peered),
        case(
            "a_route_inside_has_the_tunnels_mtu",
            [
                underlay(from(64, fits)).routed((SHOP_NUMBER, SHOP_NUMBER), to(63, fits)),
                too_big_for_instance(from(64, fits + 1), BASTION, TUNNEL_MTU),
            ],
        )
        .at(Site::Peered),
        case(
            "an_instance_out_of_reach_is_told",
            [underlay(from_bastion(LOST)).dropped(Reason::NoNextHop)],
        )
        .at(Site::Peered),
        case(
            "what_leaves_is_not_touched_by_peerings",
            [underlay(from_bastion(CLIENT)).leaves(
                "floating/203.0.113.20",
                to_border().ipv4(FLOATING, CLIENT).ttl(63).tcp(40_000, 80),
            )],
        )
        .at(Site::Peered),
    ]
}
