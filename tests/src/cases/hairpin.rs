//! From an instance to one of the gateway's own public addresses.

use gateway_common::Reason;

use super::{
    Case, Step, case, public,
    refusals::{expired_inside, too_big_for_instance},
    site::{
        ANYCAST, BASTION, CLIENT, DNS, FLOATING, HOST_A, HOST_B, OTHER, OTHER_FLOATING,
        OTHER_ROUTER_MAC, OTHER_VIP, ROUTER_MAC, SHOP, SPINE_MAC, Site, TUNNEL_MTU, UNDERLAY_MAC,
        VIP, WEB_1, WEB_2, from_border, from_host, from_instance, mac_of, to_host, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

/// The shop's bastion, and the other tenant's.
const OURS: &str = "floating/203.0.113.20";
const THEIRS: &str = "floating/203.0.113.21";

fn from_bastion() -> Frame {
    from_instance(HOST_A, BASTION)
}

fn to_bastion() -> Frame {
    to_instance(HOST_A, BASTION)
}

fn from_other(host_instance: std::net::Ipv4Addr) -> Frame {
    from_host(HOST_B, OTHER).eth(mac_of(OTHER, host_instance), OTHER_ROUTER_MAC)
}

fn to_other(instance: std::net::Ipv4Addr) -> Frame {
    to_host(HOST_B, OTHER).eth(OTHER_ROUTER_MAC, mac_of(OTHER, instance))
}

pub(super) fn cases() -> Vec<Case> {
    [services(), floating(), refused()].concat()
}

/// A question to a service and the answer to it, of `length` bytes each.
fn question(length: usize) -> [Step; 2] {
    [
        underlay(
            from_bastion()
                .ipv4(BASTION, VIP)
                .udp(40_000, 53)
                .payload_of(length),
        )
        .comes_back(
            OURS,
            "names/dns",
            to_instance(HOST_A, DNS)
                .ipv4(FLOATING, DNS)
                .ttl(63)
                .udp(40_000, 5_353)
                .payload_of(length),
        ),
        underlay(
            from_instance(HOST_A, DNS)
                .ipv4(DNS, FLOATING)
                .udp(5_353, 40_000)
                .payload_of(length),
        )
        .comes_back(
            "names/dns",
            OURS,
            to_bastion()
                .ipv4(VIP, BASTION)
                .ttl(63)
                .udp(53, 40_000)
                .payload_of(length),
        ),
    ]
}

fn services() -> Vec<Case> {
    let no_checksum = underlay(
        from_bastion()
            .ipv4(BASTION, VIP)
            .udp(40_000, 53)
            .udp_checksum(0),
    );
    vec![
        case(
            "an_instance_reaches_a_vip_of_its_own_vpc_and_is_answered",
            [0, 1, 2, 3, 40].into_iter().flat_map(question),
        ),
        case(
            "a_checksum_that_is_none_stays_none",
            [no_checksum.comes_back(
                OURS,
                "names/dns",
                to_instance(HOST_A, DNS)
                    .ipv4(FLOATING, DNS)
                    .ttl(63)
                    .udp(40_000, 5_353)
                    .udp_checksum(0),
            )],
        ),
        case(
            "an_instance_reaches_a_vip_of_another_vpc_and_is_answered",
            [
                underlay(
                    from_bastion()
                        .ipv4(BASTION, OTHER_VIP)
                        .tcp(40_000, 443)
                        .syn(),
                )
                .comes_back(
                    OURS,
                    "other/web-1",
                    to_other(WEB_1)
                        .ipv4(FLOATING, WEB_1)
                        .ttl(63)
                        .tcp(40_000, 8_443)
                        .syn(),
                ),
                underlay(from_other(WEB_1).ipv4(WEB_1, FLOATING).tcp(8_443, 40_000)).comes_back(
                    "other/web-1",
                    OURS,
                    to_bastion()
                        .ipv4(OTHER_VIP, BASTION)
                        .ttl(63)
                        .tcp(443, 40_000),
                ),
            ],
        ),
        case(
            "a_backend_has_its_services_address_when_it_asks_from_its_port",
            [underlay(
                from_instance(HOST_B, WEB_2)
                    .ipv4(WEB_2, VIP)
                    .tos(0x2e)
                    .tcp(8_443, 443),
            )
            .comes_back(
                "web/web-2",
                "web/web-1",
                to_host(HOST_A, SHOP)
                    .tos(0x2e)
                    .eth(ROUTER_MAC, mac_of(SHOP, WEB_1))
                    .ipv4(VIP, WEB_1)
                    .tos(0x2e)
                    .ttl(63)
                    .tcp(443, 8_443),
            )],
        ),
        case(
            "a_ping_to_a_vip_is_answered_inside_even_without_a_public_identity",
            [0, 1, 56].map(|length| {
                underlay(
                    from_instance(HOST_B, WEB_2)
                        .ipv4(WEB_2, VIP)
                        .echo_request(7, 8)
                        .payload_of(length),
                )
                .answered(
                    Reason::InnerEchoReply,
                    eth(UNDERLAY_MAC, SPINE_MAC)
                        .vxlan(ANYCAST, HOST_B, SHOP)
                        .eth(ROUTER_MAC, mac_of(SHOP, WEB_2))
                        .ipv4(VIP, WEB_2)
                        .echo_reply(7, 8)
                        .payload_of(length),
                )
            }),
        ),
    ]
}

fn floating() -> Vec<Case> {
    let both = |rest: &dyn Fn(Frame) -> Frame| {
        underlay(rest(from_bastion().ipv4(BASTION, OTHER_FLOATING))).comes_back(
            OURS,
            THEIRS,
            rest(to_other(BASTION).ipv4(FLOATING, BASTION).ttl(63)),
        )
    };
    vec![
        case(
            "an_instance_reaches_a_floating_ip_with_any_protocol",
            [
                both(&|ip| ip.tcp(40_000, 22)),
                both(&|ip| ip.udp(40_000, 22).payload_of(7)),
                both(&|ip| ip.echo_request(1, 1).payload_of(56)),
                both(&|ip| ip.protocol(protocol::GRE).payload_of(30)),
                both(&|ip| ip.last_fragment(9).protocol(protocol::UDP).payload_of(30)),
            ],
        ),
        case(
            "an_instance_reaches_itself_by_its_floating_ip",
            [
                underlay(from_bastion().ipv4(BASTION, FLOATING).tcp(40_000, 22)).comes_back(
                    OURS,
                    OURS,
                    to_bastion().ipv4(FLOATING, BASTION).ttl(63).tcp(40_000, 22),
                ),
            ],
        ),
        case(
            "one_router_takes_one_hop",
            [
                underlay(
                    from_bastion()
                        .ipv4(BASTION, OTHER_FLOATING)
                        .ttl(2)
                        .tcp(1, 2),
                )
                .comes_back(
                    OURS,
                    THEIRS,
                    to_other(BASTION).ipv4(FLOATING, BASTION).ttl(1).tcp(1, 2),
                ),
                expired_inside(
                    from_bastion()
                        .ipv4(BASTION, OTHER_FLOATING)
                        .ttl(1)
                        .tcp(1, 2),
                    BASTION,
                ),
            ],
        ),
    ]
}

fn refused() -> Vec<Case> {
    let ask = |from: Frame| underlay(from.tcp(40_000, 443));
    let large = |length| {
        from_bastion()
            .ipv4(BASTION, OTHER_FLOATING)
            .udp(1, 2)
            .payload_of(length)
    };
    vec![
        case(
            "without_a_public_identity_no_public_address_is_reached",
            [VIP, OTHER_VIP, FLOATING].map(|to| {
                ask(from_instance(HOST_A, WEB_1).ipv4(WEB_1, to)).dropped(Reason::NoReverse)
            }),
        ),
        case(
            "a_port_that_nobody_serves_is_told_as_from_outside",
            [
                underlay(from_bastion().ipv4(BASTION, VIP).tcp(40_000, 9))
                    .dropped(Reason::NoService),
                underlay(from_bastion().ipv4(BASTION, VIP).icmp(13, 0).payload_of(12))
                    .dropped(Reason::NoService),
                underlay(from_bastion().ipv4(BASTION, VIP).tcp(40_000, 82))
                    .dropped(Reason::NoBackend),
                underlay(from_bastion().ipv4(BASTION, VIP).tcp(40_000, 81))
                    .dropped(Reason::NoNextHop),
                underlay(
                    from_bastion()
                        .ipv4(BASTION, VIP)
                        .first_fragment()
                        .udp(40_000, 53)
                        .payload_of(16),
                )
                .dropped(Reason::Fragment),
            ],
        ),
        case(
            "what_does_not_fit_towards_the_host_is_too_big",
            [
                underlay(large(TUNNEL_MTU - 28)).comes_back(
                    OURS,
                    THEIRS,
                    to_other(BASTION)
                        .ipv4(FLOATING, BASTION)
                        .ttl(63)
                        .udp(1, 2)
                        .payload_of(TUNNEL_MTU - 28),
                ),
                too_big_for_instance(large(TUNNEL_MTU - 27), BASTION, TUNNEL_MTU),
            ],
        ),
        case(
            "who_asks_is_checked_like_who_sends_outside",
            [
                ask(from_host(HOST_B, SHOP)
                    .eth(mac_of(SHOP, BASTION), ROUTER_MAC)
                    .ipv4(BASTION, VIP))
                .dropped(Reason::SpoofedVtep),
                ask(from_host(HOST_A, SHOP)
                    .eth(mac_of(SHOP, WEB_1), ROUTER_MAC)
                    .ipv4(BASTION, VIP))
                .dropped(Reason::SpoofedMac),
            ],
        ),
        case("a_hairpin_does_not_need_an_uplink", question(5)).at(Site::NoUplink),
        case(
            "the_world_does_not_see_hairpins",
            // The same flow from outside reaches the same backend.
            [
                public(from_border().ipv4(CLIENT, VIP).udp(40_000, 53)).reaches(
                    "names/dns",
                    to_instance(HOST_A, DNS)
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353),
                ),
            ],
        ),
    ]
}
