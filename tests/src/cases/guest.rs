//! What an instance sends that is refused: a private address never leaves.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, Step, case,
    site::{BASTION, CLIENT, DNS, HOST_A, WEB_1, from_instance},
    underlay,
};
use crate::packet::{Frame, protocol};

fn web_1(rest: impl Fn(Frame) -> Frame, reason: Reason) -> Step {
    underlay(rest(from_instance(HOST_A, WEB_1).ipv4(WEB_1, CLIENT))).dropped(reason)
}

fn bastion(rest: impl Fn(Frame) -> Frame, reason: Reason) -> Step {
    underlay(rest(from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT))).dropped(reason)
}

pub(super) fn cases() -> Vec<Case> {
    let inside = |from, to: Ipv4Addr| {
        underlay(
            from_instance(HOST_A, from)
                .ipv4(from, to)
                .tcp(8_443, 40_000),
        )
    };
    vec![
        case(
            "what_belongs_to_no_service_and_no_floating_ip_never_leaves",
            [
                web_1(|ip| ip.tcp(40_000, 443), Reason::NoReverse),
                web_1(|ip| ip.udp(8_443, 40_000), Reason::NoReverse),
                web_1(|ip| ip.tcp(0, 0), Reason::NoReverse),
                web_1(|ip| ip.echo_request(1, 1), Reason::NoReverse),
                web_1(
                    |ip| ip.protocol(protocol::GRE).payload_of(9),
                    Reason::NoReverse,
                ),
                web_1(
                    |ip| ip.middle_fragment(9).protocol(protocol::TCP).payload_of(9),
                    Reason::NoReverse,
                ),
                underlay(from_instance(HOST_A, DNS).ipv4(DNS, CLIENT).udp(53, 40_000))
                    .dropped(Reason::NoReverse),
            ],
        ),
        case(
            "what_stays_inside_the_vpc_is_never_translated",
            [
                inside(WEB_1, Ipv4Addr::new(172, 16, 1, 0)).dropped(Reason::InsideRoute),
                inside(WEB_1, Ipv4Addr::new(172, 16, 1, 255)).dropped(Reason::InsideRoute),
            ],
        ),
        case(
            "a_fragment_of_a_service_cannot_be_translated",
            [web_1(
                |ip| ip.first_fragment().tcp(8_443, 40_000).payload_of(12),
                Reason::Fragment,
            )],
        ),
        case(
            "inner_ip_headers_are_checked",
            [
                web_1(|ip| ip.version(6).tcp(8_443, 40_000), Reason::IpVersion),
                web_1(|ip| ip.version(0).tcp(8_443, 40_000), Reason::IpVersion),
                web_1(
                    |ip| ip.header_words(4).tcp(8_443, 40_000),
                    Reason::IpHeaderLength,
                ),
                web_1(
                    |ip| ip.options(&[1, 1, 1, 0]).tcp(8_443, 40_000),
                    Reason::IpOptions,
                ),
                bastion(|ip| ip.options(&[1; 40]).tcp(22, 40_000), Reason::IpOptions),
                web_1(
                    |ip| ip.total_length(41).tcp(8_443, 40_000),
                    Reason::Truncated,
                ),
                web_1(
                    |ip| ip.total_length(39).tcp(8_443, 40_000),
                    Reason::Truncated,
                ),
                web_1(
                    |ip| ip.total_length(19).tcp(8_443, 40_000),
                    Reason::Truncated,
                ),
                bastion(|ip| ip.total_length(27).udp(22, 40_000), Reason::Truncated),
                bastion(
                    |ip| ip.total_length(27).echo_request(1, 1),
                    Reason::Truncated,
                ),
                bastion(
                    |ip| ip.first_fragment().protocol(protocol::TCP).payload_of(8),
                    Reason::Truncated,
                ),
            ],
        ),
    ]
}
