//! Time to live, size, room, and next hops that are not known.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, case, public,
    site::{
        BASTION, CLIENT, DNS, HOST_A, LOST, PUBLIC_MTU, Site, TUNNEL_MTU, VIP, WEB_1, from_border,
        from_instance, to_border, to_instance,
    },
    underlay,
};
use crate::packet::Frame;

/// Bytes of IP and UDP headers.
const HEADERS: usize = 28;

fn query(ttl: u8, length: usize) -> Frame {
    from_border()
        .ipv4(CLIENT, VIP)
        .ttl(ttl)
        .udp(40_000, 53)
        .payload_of(length)
}

fn query_inside(ttl: u8, length: usize) -> Frame {
    to_instance(HOST_A, DNS)
        .ipv4(CLIENT, DNS)
        .ttl(ttl)
        .udp(40_000, 5_353)
        .payload_of(length)
}

fn answer_inside(ttl: u8, length: usize) -> Frame {
    from_instance(HOST_A, DNS)
        .ipv4(DNS, CLIENT)
        .ttl(ttl)
        .udp(5_353, 40_000)
        .payload_of(length)
}

fn answer(ttl: u8, length: usize) -> Frame {
    to_border()
        .ipv4(VIP, CLIENT)
        .ttl(ttl)
        .udp(53, 40_000)
        .payload_of(length)
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "a_ttl_of_2_goes_on_with_1",
            [
                public(query(2, 5)).reaches("names/dns", query_inside(1, 5)),
                underlay(answer_inside(2, 5)).leaves("names/dns", answer(1, 5)),
            ],
        ),
        case(
            "a_ttl_of_255_goes_on_with_254",
            [
                public(query(255, 5)).reaches("names/dns", query_inside(254, 5)),
                underlay(answer_inside(255, 5)).leaves("names/dns", answer(254, 5)),
            ],
        ),
        case(
            "what_fits_exactly_goes_on",
            [
                public(query(64, TUNNEL_MTU - HEADERS))
                    .reaches("names/dns", query_inside(63, TUNNEL_MTU - HEADERS)),
                underlay(answer_inside(64, PUBLIC_MTU - HEADERS))
                    .leaves("names/dns", answer(63, PUBLIC_MTU - HEADERS)),
            ],
        ),
        case(
            "a_host_without_a_next_hop_gets_nothing",
            [public(from_border().ipv4(CLIENT, VIP).tcp(40_000, 81)).dropped(Reason::NoNextHop)],
        ),
        case(
            "without_an_uplink_nothing_leaves",
            [
                underlay(answer_inside(64, 5)).dropped(Reason::NoNextHop),
                underlay(
                    from_instance(HOST_A, BASTION)
                        .ipv4(BASTION, CLIENT)
                        .tcp(22, 40_000),
                )
                .dropped(Reason::NoNextHop),
            ],
        )
        .at(Site::NoUplink),
        case(
            "without_an_uplink_the_way_in_still_works",
            [public(query(64, 5)).reaches("names/dns", query_inside(63, 5))],
        )
        .at(Site::NoUplink),
        case(
            "an_instance_out_of_reach_is_still_checked",
            [underlay(
                from_instance(Ipv4Addr::new(10, 0, 3, 3), LOST)
                    .ipv4(LOST, CLIENT)
                    .tcp(80, 1),
            )
            .dropped(Reason::SpoofedVtep)],
        ),
        case(
            "a_frame_without_room_in_front_is_dropped_and_counts_for_no_backend",
            [0, 49].map(|room| {
                public(query(64, 5))
                    .headroom(room)
                    .dropped(Reason::HeadRoom)
            }),
        )
        .host_only("a test run leaves 256 bytes in front of every frame"),
        case(
            "fifty_bytes_in_front_are_enough",
            [public(query(64, 5))
                .headroom(50)
                .reaches("names/dns", query_inside(63, 5))],
        )
        .host_only("a test run leaves 256 bytes in front of every frame"),
        case(
            "the_way_out_needs_no_room_in_front",
            [underlay(
                from_instance(HOST_A, WEB_1)
                    .ipv4(WEB_1, CLIENT)
                    .tcp(8_443, 40_000),
            )
            .headroom(0)
            .leaves(
                "web/web-1",
                to_border().ipv4(VIP, CLIENT).ttl(63).tcp(443, 40_000),
            )],
        ),
    ]
}
