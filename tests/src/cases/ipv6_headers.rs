//! IPv6 extension headers: followed within a bound, else refused by name.

use gateway_common::Reason;

use super::{
    Arrival, Case, case,
    cuts::{every, every_inner},
    public,
    site::{self, HOST_A, from_border, from_instance, to_border, to_instance},
    site6::{BASTION, CLIENT, DNS, FLOATING, NODE, VIP, WEB_1},
    underlay,
};
use crate::packet::{
    Frame,
    protocol::{AUTHENTICATION, DESTINATION_OPTIONS, HOP_BY_HOP, UDP},
};

const FLOATING_COUNTER: &str = "floating/2001:db8:1::20";

/// Puts extension headers behind an IPv6 header.
type Chain = fn(Frame) -> Frame;

/// Chains that a gateway follows.
fn followed() -> [Chain; 7] {
    [
        |ip| ip.options6(HOP_BY_HOP, 1),
        |ip| ip.options6(DESTINATION_OPTIONS, 3),
        |ip| ip.routing(0),
        |ip| ip.options6(DESTINATION_OPTIONS, 32),
        |ip| ip.options6(HOP_BY_HOP, 2).routing(0),
        // All that may be there, as RFC 8200, section 4.1, orders them. A fragment that
        // is the whole packet is none (RFC 6946).
        |ip| {
            ip.options6(HOP_BY_HOP, 1)
                .options6(DESTINATION_OPTIONS, 1)
                .routing(0)
                .fragment6(0, false, 7)
                .options6(DESTINATION_OPTIONS, 1)
        },
        |ip| ip.fragment6(0, false, 0xdead_beef),
    ]
}

/// Chains that it does not, and what it says.
fn refused() -> [(Reason, Chain); 9] {
    [
        (Reason::RoutingHeader, |ip| ip.routing(1)),
        (Reason::RoutingHeader, |ip| {
            ip.options6(HOP_BY_HOP, 1).routing(255)
        }),
        (Reason::ExtensionHeader, |ip| ip.options6(AUTHENTICATION, 3)),
        (Reason::ExtensionHeader, |ip| {
            ip.options6(DESTINATION_OPTIONS, 1).options6(HOP_BY_HOP, 1)
        }),
        (Reason::ExtensionHeader, |ip| {
            ip.options6(HOP_BY_HOP, 1).options6(HOP_BY_HOP, 1)
        }),
        (Reason::ExtensionHeader, |ip| {
            ip.fragment6(0, false, 1).fragment6(0, false, 1)
        }),
        (Reason::ExtensionHeader, |ip| {
            ip.options6(DESTINATION_OPTIONS, 33)
        }),
        (Reason::ExtensionHeader, |ip| {
            (0..6).fold(ip, |ip, _| ip.options6(DESTINATION_OPTIONS, 1))
        }),
        // It says that it is longer than the packet.
        (Reason::Truncated, |ip| {
            ip.options6(DESTINATION_OPTIONS, 4).payload_length(30)
        }),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    [chains(), fragments(), cuts()].concat()
}

fn chains() -> Vec<Case> {
    let to_vip = || from_border().ipv6(CLIENT, VIP);
    let web_1 = || from_instance(HOST_A, site::WEB_1).ipv6(WEB_1, CLIENT);
    let refuse = |arrive: fn(Frame) -> Arrival, ip: Frame| {
        refused().map(|(reason, chain)| {
            arrive(chain(ip.clone()).udp(8_443, 53).payload_of(9)).dropped(reason)
        })
    };
    vec![
        case(
            "ipv6_extension_headers_are_kept_on_the_way_in",
            followed().map(|chain| {
                let got = to_instance(HOST_A, site::DNS)
                    .ipv6(CLIENT, DNS)
                    .hop_limit(63);
                public(chain(to_vip()).udp(40_000, 53).payload_of(9))
                    .reaches("names6/dns", chain(got).udp(40_000, 5_353).payload_of(9))
            }),
        ),
        case(
            "ipv6_extension_headers_are_kept_on_the_way_out",
            followed().map(|chain| {
                let left = to_border().ipv6(VIP, CLIENT).hop_limit(63);
                underlay(chain(web_1()).tcp(8_443, 40_000).payload_of(9))
                    .leaves("web6/web-1", chain(left).tcp(443, 40_000).payload_of(9))
            }),
        ),
        case(
            "ipv6_echo_behind_extension_headers_is_answered",
            followed().map(|chain| {
                public(chain(to_vip()).echo_request(7, 9)).answered(
                    Reason::EchoReply,
                    chain(to_border().ipv6(VIP, CLIENT)).echo_reply(7, 9),
                )
            }),
        ),
        case(
            "ipv6_chains_that_are_not_followed_are_refused_by_name",
            refuse(public, to_vip()),
        ),
        case(
            "ipv6_chains_inside_that_are_not_followed_are_refused_by_name",
            refuse(underlay, web_1()),
        ),
        case(
            "ipv6_chains_for_others_are_the_kernels",
            refused().map(|(_, chain)| {
                public(chain(from_border().ipv6(CLIENT, NODE)).udp(1, 53)).passed(Reason::NotOurs)
            }),
        ),
    ]
}

fn fragments() -> Vec<Case> {
    let first = |ip: Frame| ip.fragment6(0, true, 77).udp(40_000, 53).payload_of(24);
    let last = |ip: Frame| ip.fragment6(4, false, 77).then(UDP).payload_of(16);
    let both: [&dyn Fn(Frame) -> Frame; 2] = [&first, &last];
    vec![
        case(
            "ipv6_fragments_pass_a_floating_ip",
            both.map(|piece| {
                let got = to_instance(HOST_A, site::BASTION).ipv6(CLIENT, BASTION);
                public(piece(from_border().ipv6(CLIENT, FLOATING)))
                    .reaches(FLOATING_COUNTER, piece(got.hop_limit(63)))
            }),
        ),
        case(
            "ipv6_fragments_from_an_instance_with_a_floating_ip_pass",
            both.map(|piece| {
                let sent = from_instance(HOST_A, site::BASTION).ipv6(BASTION, CLIENT);
                underlay(piece(sent)).leaves(
                    FLOATING_COUNTER,
                    piece(to_border().ipv6(FLOATING, CLIENT).hop_limit(63)),
                )
            }),
        ),
        case(
            "ipv6_fragments_to_a_vip_are_refused",
            both.map(|piece| {
                public(piece(from_border().ipv6(CLIENT, VIP))).dropped(Reason::Fragment)
            }),
        ),
    ]
}

fn cuts() -> Vec<Case> {
    let [.., all, _] = followed();
    let truncated = |_| Reason::Truncated;
    let inside = from_instance(HOST_A, site::WEB_1).ipv6(WEB_1, CLIENT);
    vec![
        every(
            "cut_ipv6_extension_headers",
            public,
            all(from_border().ipv6(CLIENT, VIP))
                .udp(40_000, 53)
                .payload(b"hi"),
            truncated,
        ),
        every_inner(
            "cut_ipv6_extension_headers_in_a_whole_tunnel",
            all(inside).tcp(8_443, 40_000),
        ),
        // The packet ends at every byte, the frame goes on.
        case(
            "ipv6_chains_that_end_early_are_truncated",
            (0..56 + 8).map(|length| {
                let ip = from_border().ipv6(CLIENT, VIP).payload_length(length);
                public(all(ip).udp(40_000, 53).payload(b"hi")).dropped(Reason::Truncated)
            }),
        ),
    ]
}
