//! IPv6 through load balancers and floating IPs, both ways; echo.

use std::net::Ipv6Addr;

use gateway_common::Reason;

use super::{
    Case, Step, Together, case,
    cuts::{every, every_inner},
    public,
    service::LENGTHS,
    site::{self, HOST_A, HOST_B, SHOP, Site, from_border, from_instance, to_border, to_instance},
    site6::{BASTION, CLIENT, DNS, FLOATING, NODE, ROUTER, VIP, WEB_1, WEB_2},
    underlay,
};
use crate::packet::{Frame, eth, protocol};

const COUNTER: &str = "floating/2001:db8:1::20";

/// What an error of at most 1280 bytes quotes (RFC 4443, section 2.4).
const QUOTED: usize = 1_280 - 48;

/// A packet in and the like out. `rest` gets an IP header and a port on each side
/// of the flow, the sender's first.
fn both_ways(rest: impl Fn(Frame, u16, u16) -> Frame) -> [Step; 2] {
    let (far, near) = (40_000, 22);
    let ip = |frame: Frame, source: Ipv6Addr, destination: Ipv6Addr, limit| {
        frame.ipv6(source, destination).hop_limit(limit)
    };
    let sent = |frame, source, destination| ip(frame, source, destination, 64);
    let got = |frame, source, destination| ip(frame, source, destination, 63);
    let bastion = site::BASTION;
    [
        public(rest(sent(from_border(), CLIENT, FLOATING), far, near)).reaches(
            COUNTER,
            rest(
                got(to_instance(HOST_A, bastion), CLIENT, BASTION),
                far,
                near,
            ),
        ),
        underlay(rest(
            sent(from_instance(HOST_A, bastion), BASTION, CLIENT),
            near,
            far,
        ))
        .leaves(COUNTER, rest(got(to_border(), FLOATING, CLIENT), near, far)),
    ]
}

/// A TCP segment to the VIP, and what each backend would get of it.
fn to_vip(port: u16, rest: impl Fn(Frame) -> Frame) -> Step {
    let backends = [
        ("web6/web-1", HOST_A, site::WEB_1, WEB_1),
        ("web6/web-2", HOST_B, site::WEB_2, WEB_2),
    ];
    let sent = from_border().ipv6(CLIENT, VIP).tcp(port, 443);
    public(rest(sent)).reaches_one_of(backends.map(|(name, host, v4, v6)| {
        let got = to_instance(host, v4).ipv6(CLIENT, v6).hop_limit(63);
        (name, rest(got.tcp(port, 8_443)))
    }))
}

pub(super) fn cases() -> Vec<Case> {
    [services(), floating(), echo(), refusals(), cuts()].concat()
}

fn services() -> Vec<Case> {
    vec![
        case(
            "ipv6_tcp_to_a_vip_reaches_a_backend",
            LENGTHS.map(|length| to_vip(40_000, |tcp| tcp.payload_of(length))),
        )
        .together(Together::OneFlow),
        case(
            "ipv6_flows_spread_over_backends",
            (0..64).map(|i| to_vip(30_000 + i, |tcp| tcp.syn())),
        )
        .together(Together::Spread),
        case(
            "ipv6_udp_to_a_vip_reaches_its_backend",
            LENGTHS.map(|length| {
                public(
                    from_border()
                        .ipv6(CLIENT, VIP)
                        .udp(40_000, 53)
                        .payload_of(length),
                )
                .reaches(
                    "names6/dns",
                    to_instance(HOST_A, site::DNS)
                        .ipv6(CLIENT, DNS)
                        .hop_limit(63)
                        .udp(40_000, 5_353)
                        .payload_of(length),
                )
            }),
        ),
        case(
            "ipv6_answers_leave_as_the_vip",
            LENGTHS.map(|length| {
                let web_1 = from_instance(HOST_A, site::WEB_1).ipv6(WEB_1, CLIENT);
                underlay(web_1.tcp(8_443, 40_000).payload_of(length)).leaves(
                    "web6/web-1",
                    to_border()
                        .ipv6(VIP, CLIENT)
                        .hop_limit(63)
                        .tcp(443, 40_000)
                        .payload_of(length),
                )
            }),
        ),
        case(
            "ipv6_without_a_service_is_refused_by_name",
            [
                public(from_border().ipv6(CLIENT, VIP).tcp(40_000, 80)).dropped(Reason::NoService),
                public(from_border().ipv6(CLIENT, NODE).tcp(40_000, 22)).passed(Reason::NotOurs),
                public(from_border().ipv6(CLIENT, VIP).version6(5).tcp(40_000, 443))
                    .dropped(Reason::IpVersion),
            ],
        ),
        case(
            "ipv6_of_a_stranger_inside_is_refused_by_name",
            [
                underlay(
                    from_instance(HOST_A, site::WEB_1)
                        .ipv6(NODE, CLIENT)
                        .tcp(1, 2),
                )
                .dropped(Reason::UnknownSource),
                underlay(
                    from_instance(HOST_B, site::WEB_1)
                        .ipv6(WEB_1, CLIENT)
                        .tcp(1, 2),
                )
                .dropped(Reason::SpoofedVtep),
                underlay(
                    from_instance(HOST_A, site::WEB_2)
                        .ipv6(WEB_1, CLIENT)
                        .tcp(1, 2),
                )
                .dropped(Reason::SpoofedMac),
                underlay(
                    from_instance(HOST_A, site::WEB_1)
                        .ipv6(WEB_1, CLIENT)
                        .tcp(1, 2),
                )
                .dropped(Reason::NoReverse),
            ],
        ),
        case(
            "ipv6_needs_a_way_out_of_its_own",
            [underlay(
                from_instance(HOST_A, site::WEB_1)
                    .ipv6(WEB_1, CLIENT)
                    .tcp(8_443, 40_000),
            )
            .dropped(Reason::NoNextHop)],
        )
        .at(Site::NoUplink),
    ]
}

fn floating() -> Vec<Case> {
    let each = |rest: fn(Frame, u16, u16, usize) -> Frame| {
        LENGTHS
            .iter()
            .flat_map(move |&length| both_ways(|ip, from, to| rest(ip, from, to, length)))
    };
    vec![
        case(
            "ipv6_floating_ip_keeps_ports",
            each(|ip, from, to, length| ip.tcp(from, to).payload_of(length)),
        ),
        case(
            "ipv6_floating_ip_udp",
            each(|ip, from, to, length| ip.udp(from, to).payload_of(length)),
        ),
        case(
            "ipv6_floating_ip_ping",
            each(|ip, _, _, length| ip.echo_request(7, 9).payload_of(length)),
        ),
        case(
            "ipv6_floating_ip_other_protocols",
            each(|ip, _, _, length| ip.next_header(protocol::GRE).payload_of(length)),
        ),
        case(
            "ipv6_traffic_class_is_kept_and_copied_outside",
            [
                public(from_border().ipv6(CLIENT, FLOATING).class(0xb9).tcp(1, 2)).reaches(
                    COUNTER,
                    site::to_host(HOST_A, SHOP)
                        .tos(0xb9)
                        .eth(site::ROUTER_MAC, site::mac_of(SHOP, site::BASTION))
                        .ipv6(CLIENT, BASTION)
                        .class(0xb9)
                        .hop_limit(63)
                        .tcp(1, 2),
                ),
            ],
        ),
    ]
}

fn echo() -> Vec<Case> {
    let asks = [0, 1, 56, 1_400];
    let inside = || from_instance(HOST_A, site::WEB_1).ipv6(WEB_1, ROUTER);
    let back = || {
        eth(site::UNDERLAY_MAC, site::SPINE_MAC)
            .vxlan(site::ANYCAST, HOST_A, SHOP)
            .eth(site::ROUTER_MAC, site::mac_of(SHOP, site::WEB_1))
            .ipv6(ROUTER, WEB_1)
    };
    vec![
        case(
            "ipv6_echo_to_a_vip_is_answered",
            asks.map(|length| {
                let ask = from_border().ipv6(CLIENT, VIP).hop_limit(3);
                public(ask.echo_request(7, 9).payload_of(length)).answered(
                    Reason::EchoReply,
                    to_border()
                        .ipv6(VIP, CLIENT)
                        .echo_reply(7, 9)
                        .payload_of(length),
                )
            }),
        ),
        case(
            "ipv6_echo_to_the_virtual_router_is_answered_inside",
            asks.map(|length| {
                underlay(inside().echo_request(7, 9).payload_of(length)).answered(
                    Reason::InnerEchoReply,
                    back().echo_reply(7, 9).payload_of(length),
                )
            }),
        ),
    ]
}

/// What senders are told of packets that cannot go on (RFC 4443, section 3).
fn refusals() -> Vec<Case> {
    // The node has no address of its own here: the one that was asked answers.
    let told = || to_border().ipv6(VIP, CLIENT).class(0xc0);
    let query = |length| {
        let ip = from_border().ipv6(CLIENT, VIP);
        ip.udp(40_000, 53).payload_of(length)
    };
    let inside = || {
        eth(site::UNDERLAY_MAC, site::SPINE_MAC)
            .vxlan(site::ANYCAST, HOST_A, SHOP)
            .tos(0xc0)
            .eth(site::ROUTER_MAC, site::mac_of(SHOP, site::DNS))
            .ipv6(ROUTER, DNS)
            .class(0xc0)
    };
    let answer = |limit, length| {
        let ip = from_instance(HOST_A, site::DNS).ipv6(DNS, CLIENT);
        ip.hop_limit(limit).udp(5_353, 40_000).payload_of(length)
    };
    let quoting = |error: Frame, tunnel: &Frame| {
        let inner = tunnel.bytes().split_off(50 + 14);
        error.payload(&inner[..inner.len().min(QUOTED)])
    };
    let [expired_in, big_in] = [query(0).hop_limit(1), query(site::TUNNEL_MTU - 48 + 1)];
    let [expired_out, big_out] = [answer(1, 7), answer(64, site::PUBLIC_MTU - 48 + 1)];
    let too_big = |mtu: usize, ip: Frame| ip.icmp(2, 0).mtu(mtu as u16);
    vec![case(
        "ipv6_senders_are_told_what_does_not_fit_and_what_has_expired",
        [
            public(expired_in.clone()).answered(
                Reason::SentTimeExceeded,
                told().icmp(3, 0).quote(&expired_in, QUOTED),
            ),
            public(big_in.clone()).answered(
                Reason::SentTooBig,
                too_big(site::TUNNEL_MTU, told()).quote(&big_in, QUOTED),
            ),
            underlay(expired_out.clone()).answered(
                Reason::SentTimeExceeded,
                quoting(inside().icmp(3, 0), &expired_out),
            ),
            underlay(big_out.clone()).answered(
                Reason::SentTooBig,
                quoting(too_big(site::PUBLIC_MTU, inside()), &big_out),
            ),
        ],
    )]
}

fn cuts() -> Vec<Case> {
    let truncated = |_| Reason::Truncated;
    let to_vip = || from_border().ipv6(CLIENT, VIP);
    let web_1 = || from_instance(HOST_A, site::WEB_1).ipv6(WEB_1, CLIENT);
    let not_ours = |length| match length {
        ..54 => Reason::Truncated,
        _ => Reason::NotOurs,
    };
    vec![
        every(
            "cut_ipv6_tcp",
            public,
            to_vip().tcp(1, 443).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_ipv6_udp",
            public,
            to_vip().udp(1, 53).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_ipv6_echo",
            public,
            to_vip().echo_request(1, 1).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_ipv6_for_the_node",
            public,
            from_border().ipv6(CLIENT, NODE).tcp(1, 22),
            not_ours,
        ),
        every(
            "cut_ipv6_in_a_tunnel",
            underlay,
            web_1().tcp(8_443, 1),
            truncated,
        ),
        every_inner("cut_ipv6_in_a_whole_tunnel", web_1().tcp(8_443, 1)),
    ]
}
