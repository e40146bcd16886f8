//! Packets that cannot go on, and what their senders are told.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Arrival, Case, Step, case, public,
    site::{
        ANYCAST, BASTION, CLIENT, DNS, FLOATING, HOST_A, NODE, PUBLIC_MTU, ROUTER, ROUTER_MAC,
        SHOP, SPINE_MAC, Site, TUNNEL_MTU, UNDERLAY_MAC, VIP, from_border, from_instance, mac_of,
        to_border,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

/// Bytes of IP and UDP headers.
const HEADERS: usize = 28;

/// What an error of at most 576 bytes quotes (RFC 1812, section 4.3.2.3).
const QUOTED: usize = 576 - HEADERS;

/// A packet from outside that is too big for the tunnel.
fn big_query() -> Frame {
    query(TUNNEL_MTU - HEADERS + 1)
}

fn query(length: usize) -> Frame {
    from_border()
        .ipv4(CLIENT, VIP)
        .dont_fragment()
        .udp(40_000, 53)
        .payload_of(length)
}

/// A packet from inside that is too big for the public network.
fn big_answer() -> Frame {
    answer(PUBLIC_MTU - HEADERS + 1)
}

fn answer(length: usize) -> Frame {
    from_instance(HOST_A, DNS)
        .ipv4(DNS, CLIENT)
        .dont_fragment()
        .udp(5_353, 40_000)
        .payload_of(length)
}

/// The gateway's own address tells a client.
pub(super) fn told(client: Ipv4Addr) -> Frame {
    told_from(to_border(), NODE, client)
}

/// Somebody on a link tells a client.
pub(super) fn told_from(link: Frame, own: Ipv4Addr, client: Ipv4Addr) -> Frame {
    link.ipv4(own, client).tos(0xc0).id(0).dont_fragment()
}

/// The virtual router tells an instance.
fn told_inside(instance: Ipv4Addr) -> Frame {
    eth(UNDERLAY_MAC, SPINE_MAC)
        .vxlan(ANYCAST, HOST_A, SHOP)
        .tos(0xc0)
        .eth(ROUTER_MAC, mac_of(SHOP, instance))
        .ipv4(ROUTER, instance)
        .tos(0xc0)
        .id(0)
        .dont_fragment()
}

/// The frame without its outer headers.
fn inner(tunnel: &Frame) -> Vec<u8> {
    tunnel.bytes()[64..].to_vec()
}

fn quote_inner(error: Frame, tunnel: &Frame) -> Frame {
    let mut quote = inner(tunnel);
    quote.truncate(QUOTED);
    error.payload(&quote)
}

fn too_big_outside(packet: Frame) -> Step {
    too_big_for(packet, TUNNEL_MTU)
}

/// A client's packet that is too big for the tunnel.
pub(super) fn too_big_for(packet: Frame, mtu: usize) -> Step {
    let error = told(CLIENT).icmp(3, 4).mtu(mtu as u16);
    let error = error.quote(&packet, QUOTED);
    public(packet).answered(Reason::SentTooBig, error)
}

fn too_big_inside(packet: Frame, instance: Ipv4Addr) -> Step {
    too_big_for_instance(packet, instance, PUBLIC_MTU)
}

/// A packet of an instance on host A in the shop that is too big for the next link.
pub(super) fn too_big_for_instance(packet: Frame, instance: Ipv4Addr, mtu: usize) -> Step {
    let error = told_inside(instance).icmp(3, 4).mtu(mtu as u16);
    let error = quote_inner(error, &packet);
    underlay(packet).answered(Reason::SentTooBig, error)
}

fn expired_outside(packet: Frame) -> Step {
    let error = told(CLIENT).icmp(11, 0).quote(&packet, QUOTED);
    public(packet).answered(Reason::SentTimeExceeded, error)
}

/// A packet of an instance on host A in the shop whose TTL runs out.
pub(super) fn expired_inside(packet: Frame, instance: Ipv4Addr) -> Step {
    let error = quote_inner(told_inside(instance).icmp(11, 0), &packet);
    underlay(packet).answered(Reason::SentTimeExceeded, error)
}

pub(super) fn cases() -> Vec<Case> {
    [too_big(), expired(), untold(), limited()].concat()
}

fn too_big() -> Vec<Case> {
    let bastion = || from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT);
    vec![
        case(
            "a_packet_that_does_not_fit_into_the_tunnel_is_told_its_mtu",
            [
                too_big_outside(big_query()),
                too_big_outside(query(3_000)),
                too_big_outside(
                    from_border()
                        .ipv4(CLIENT, FLOATING)
                        .dont_fragment()
                        .echo_request(1, 1)
                        .payload_of(TUNNEL_MTU),
                ),
            ],
        ),
        case(
            "a_packet_that_does_not_fit_outside_is_told_its_mtu",
            [
                too_big_inside(big_answer(), DNS),
                too_big_inside(
                    bastion()
                        .dont_fragment()
                        .tcp(22, 40_000)
                        .payload_of(PUBLIC_MTU - 39),
                    BASTION,
                ),
            ],
        ),
        case(
            "a_sender_that_allows_fragments_is_told_as_well",
            [
                too_big_outside(
                    from_border()
                        .ipv4(CLIENT, VIP)
                        .udp(40_000, 53)
                        .payload_of(TUNNEL_MTU),
                ),
                too_big_inside(bastion().udp(9, 9).payload_of(PUBLIC_MTU), BASTION),
            ],
        ),
        case(
            "an_error_quotes_what_was_sent_and_no_padding",
            [outside_padded(), inside_padded()],
        ),
    ]
}

fn outside_padded() -> Step {
    let packet = query(5).ttl(1).pad_to(60);
    let error = told(CLIENT).icmp(11, 0).quote(&packet, HEADERS + 5);
    public(packet).answered(Reason::SentTimeExceeded, error)
}

fn inside_padded() -> Step {
    let packet = answer(5).ttl(1).pad_to(60);
    let error = told_inside(DNS).icmp(11, 0);
    let error = error.payload(&inner(&packet)[..HEADERS + 5]);
    underlay(packet).answered(Reason::SentTimeExceeded, error)
}

fn expired() -> Vec<Case> {
    let bastion = |ttl| {
        from_instance(HOST_A, BASTION)
            .ipv4(BASTION, CLIENT)
            .ttl(ttl)
    };
    let floating = |ttl| from_border().ipv4(CLIENT, FLOATING).ttl(ttl);
    let of = |ttl| {
        [
            expired_outside(query(5).ttl(ttl)),
            expired_outside(floating(ttl).echo_request(1, 1).payload_of(56)),
            expired_outside(floating(ttl).udp(40_000, 33_434).payload_of(32)),
            expired_outside(
                from_border()
                    .ipv4(CLIENT, VIP)
                    .ttl(ttl)
                    .tcp(40_000, 443)
                    .syn(),
            ),
            expired_inside(answer(5).ttl(ttl), DNS),
            expired_inside(bastion(ttl).echo_request(1, 1).payload_of(56), BASTION),
            expired_inside(bastion(ttl).udp(40_000, 33_434).payload_of(32), BASTION),
            expired_inside(bastion(ttl).tcp(40_000, 80).syn(), BASTION),
        ]
    };
    vec![
        case(
            "a_ttl_of_1_or_0_ends_here_and_its_sender_is_told",
            [of(1), of(0)].concat(),
        ),
        case(
            "an_error_quotes_each_length_up_to_its_limit",
            (0..9)
                .chain(QUOTED - HEADERS - 4..QUOTED - HEADERS + 4)
                .flat_map(|length| {
                    [
                        expired_outside(query(length).ttl(1)),
                        expired_inside(answer(length).ttl(1), DNS),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "an_error_goes_inside_without_the_outer_congestion_mark",
            [{
                let tunnel = eth(SPINE_MAC, UNDERLAY_MAC).ipv4(HOST_A, ANYCAST).tos(3);
                let tunnel = tunnel.dont_fragment().udp(50_000, 4_789).udp_checksum(0);
                let packet = tunnel.vxlan_header(SHOP).eth(mac_of(SHOP, DNS), ROUTER_MAC);
                let packet = packet.ipv4(DNS, CLIENT).ttl(1).udp(5_353, 40_000);
                expired_inside(packet, DNS)
            }],
        ),
    ]
}

/// What no error may answer (RFC 1122, section 3.2.2; RFC 1812, section 4.3.2.7).
fn untold() -> Vec<Case> {
    let bastion = |to| from_instance(HOST_A, BASTION).ipv4(BASTION, to).ttl(1);
    let error = |ip: Frame, source, destination| {
        let quoted = from_border().ipv4(source, destination).udp(9, 9);
        ip.icmp(3, 1).quote(&quoted, HEADERS)
    };
    let outside = || {
        error(
            from_border().ipv4(CLIENT, FLOATING).ttl(1),
            FLOATING,
            CLIENT,
        )
    };
    let inside = |ttl| error(bastion(CLIENT).ttl(ttl), CLIENT, BASTION);
    let from = |source: [u8; 4]| {
        from_border()
            .ipv4(source.into(), VIP)
            .ttl(1)
            .udp(40_000, 53)
    };
    let expired = |arrival: Arrival| arrival.dropped(Reason::TtlExceeded);
    vec![
        case(
            "an_icmp_error_is_not_answered_with_another",
            [
                expired(public(outside())),
                expired(underlay(inside(1))),
                public(outside().ttl(2).payload_of(TUNNEL_MTU)).dropped(Reason::TooBig),
                underlay(inside(2).payload_of(PUBLIC_MTU)).dropped(Reason::TooBig),
            ],
        ),
        case(
            "a_fragment_other_than_the_first_is_not_answered",
            [
                expired(public(
                    from_border()
                        .ipv4(CLIENT, FLOATING)
                        .ttl(1)
                        .last_fragment(185)
                        .protocol(protocol::GRE)
                        .payload_of(8),
                )),
                expired(underlay(
                    bastion(CLIENT)
                        .middle_fragment(185)
                        .protocol(protocol::GRE)
                        .payload_of(8),
                )),
            ],
        ),
        case(
            "a_source_that_is_not_one_machine_is_not_answered",
            [
                [0, 0, 0, 0],
                [0, 1, 2, 3],
                [127, 0, 0, 1],
                [224, 0, 0, 1],
                [240, 0, 0, 1],
                [255, 255, 255, 255],
            ]
            .map(|source| expired(public(from(source)))),
        ),
        case(
            "a_packet_to_a_group_is_not_answered",
            [Ipv4Addr::new(224, 0, 0, 5), Ipv4Addr::BROADCAST]
                .map(|group| expired(underlay(bastion(group).udp(5_353, 5_353)))),
        ),
    ]
}

fn limited() -> Vec<Case> {
    vec![
        case(
            "errors_over_the_limit_are_not_sent_and_counted",
            [
                public(big_query()).dropped(Reason::TooBigLimited),
                underlay(big_answer()).dropped(Reason::TooBigLimited),
                public(query(5).ttl(1)).dropped(Reason::TtlExceededLimited),
                underlay(answer(5).ttl(1)).dropped(Reason::TtlExceededLimited),
            ],
        )
        .at(Site::NoErrors),
    ]
}
