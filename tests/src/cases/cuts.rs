//! Frames cut short at every byte.

use gateway_common::Reason;

use super::{
    Arrival, Case, case, public,
    site::{
        BORDER, BORDER_MAC, CLIENT, DNS, FLOATING, HOST_A, NODE, ROUTER, ROUTER_MAC, SHOP, VIP,
        WEB_1, from_border, from_host, from_instance, mac_of, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, eth};

/// The frame cut to every length below its own; the reason may depend on it.
pub(super) fn every(
    name: &str,
    arrive: fn(Frame) -> Arrival,
    frame: Frame,
    reason: impl Fn(usize) -> Reason,
) -> Case {
    let steps = (0..frame.bytes().len()).map(|length| {
        let arrival = arrive(frame.clone().cut(length));
        match reason(length) {
            reason @ (Reason::NotOurs | Reason::NotVxlan | Reason::L2Multicast) => {
                arrival.passed(reason)
            }
            reason => arrival.dropped(reason),
        }
    });
    case(name, steps)
}

/// A tunnel that is whole, around an inner frame that is cut.
pub(super) fn every_inner(name: &str, inner: Frame) -> Case {
    let bytes = inner.bytes()[50..].to_vec();
    let steps = (0..bytes.len()).map(|length| {
        underlay(from_host(HOST_A, SHOP).payload(&bytes[..length])).dropped(Reason::Truncated)
    });
    case(name, steps)
}

pub(super) fn cases() -> Vec<Case> {
    let truncated = |_| Reason::Truncated;
    // Until the addresses are there, nobody knows whose packet it is.
    let not_ours = |length| {
        if length < 34 {
            Reason::Truncated
        } else {
            Reason::NotOurs
        }
    };
    let to_vip = || from_border().ipv4(CLIENT, VIP);
    let web_1 = || from_instance(HOST_A, WEB_1);
    let ask = (mac_of(SHOP, WEB_1), WEB_1);
    let inner_arp = || {
        from_host(HOST_A, SHOP)
            .eth(ask.0, ROUTER_MAC)
            .arp_request(ask, ROUTER)
    };
    let syn = || to_vip().udp(40_000, 53).pad_to(60);
    vec![
        every(
            "cut_tcp_to_a_vip",
            public,
            to_vip().tcp(40_000, 443).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_udp_to_a_vip",
            public,
            to_vip().udp(40_000, 53).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_echo_to_a_vip",
            public,
            to_vip().echo_request(1, 1).payload(b"hi"),
            truncated,
        ),
        every(
            "cut_error_to_a_vip",
            public,
            to_vip()
                .icmp(3, 1)
                .quote(&eth([0; 6], [0; 6]).ipv4(VIP, CLIENT).udp(53, 40_000), 28),
            truncated,
        ),
        every_inner(
            "cut_error_in_a_whole_tunnel",
            web_1()
                .ipv4(WEB_1, CLIENT)
                .icmp(3, 3)
                .quote(&eth([0; 6], [0; 6]).ipv4(CLIENT, WEB_1).tcp(9, 8_443), 40),
        ),
        every(
            "cut_packet_to_a_floating_ip",
            public,
            from_border()
                .ipv4(CLIENT, FLOATING)
                .payload(b"any protocol"),
            truncated,
        ),
        every(
            "cut_arp_for_a_vip",
            public,
            from_border().arp_request((BORDER_MAC, BORDER), VIP),
            truncated,
        ),
        every(
            "cut_packet_for_the_node",
            public,
            from_border()
                .ipv4(CLIENT, NODE)
                .tcp(40_000, 22)
                .payload(b"ssh"),
            not_ours,
        ),
        every(
            "cut_tcp_in_a_tunnel",
            underlay,
            web_1()
                .ipv4(WEB_1, CLIENT)
                .tcp(8_443, 40_000)
                .payload(b"hi"),
            truncated,
        ),
        every("cut_arp_in_a_tunnel", underlay, inner_arp(), truncated),
        every(
            "cut_echo_in_a_tunnel",
            underlay,
            web_1()
                .ipv4(WEB_1, ROUTER)
                .echo_request(1, 1)
                .payload(b"hi"),
            truncated,
        ),
        every_inner(
            "cut_tcp_in_a_whole_tunnel",
            web_1()
                .ipv4(WEB_1, CLIENT)
                .tcp(8_443, 40_000)
                .payload(b"hi"),
        ),
        every_inner(
            "cut_udp_in_a_whole_tunnel",
            web_1().ipv4(WEB_1, CLIENT).udp(1, 2),
        ),
        every_inner("cut_arp_in_a_whole_tunnel", inner_arp()),
        every_inner(
            "cut_echo_in_a_whole_tunnel",
            web_1()
                .ipv4(WEB_1, ROUTER)
                .echo_request(1, 1)
                .payload(b"hi"),
        ),
        case(
            "a_cut_that_takes_only_padding_takes_nothing",
            (42..60).map(|length| {
                public(syn().cut(length)).reaches(
                    "names/dns",
                    to_instance(HOST_A, DNS)
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353)
                        .pad_to(length),
                )
            }),
        ),
    ]
}
