//! IPv4 headers for our public addresses that say what cannot be.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, case, public,
    site::{CLIENT, FLOATING, NODE, VIP, from_border},
};
use crate::packet::{Frame, protocol};

/// A packet to each kind of public address, and to the node itself.
fn to_each(rest: impl Fn(Frame) -> Frame, reason: Reason) -> Vec<super::Step> {
    to([VIP, FLOATING, NODE], rest, reason)
}

fn to(
    addresses: impl IntoIterator<Item = Ipv4Addr>,
    rest: impl Fn(Frame) -> Frame,
    reason: Reason,
) -> Vec<super::Step> {
    let one = |ip| public(rest(from_border().ipv4(CLIENT, ip))).dropped(reason);
    addresses.into_iter().map(one).collect()
}

pub(super) fn cases() -> Vec<Case> {
    let ours = [VIP, FLOATING];
    vec![
        case(
            "a_wrong_ip_version_is_dropped",
            [0, 1, 3, 5, 6, 15]
                .into_iter()
                .flat_map(|version| {
                    to_each(|ip| ip.version(version).tcp(40_000, 443), Reason::IpVersion)
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "a_header_length_below_five_words_is_dropped",
            (0..5)
                .flat_map(|words| {
                    to_each(
                        |ip| ip.header_words(words).tcp(40_000, 443),
                        Reason::IpHeaderLength,
                    )
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "ip_options_to_our_addresses_are_dropped",
            [
                to(
                    ours,
                    |ip| ip.options(&[1, 1, 1, 0]).tcp(40_000, 443),
                    Reason::IpOptions,
                ),
                to(
                    ours,
                    |ip| ip.options(&[7, 39, 4]).options(&[1; 40]).udp(1, 53),
                    Reason::IpOptions,
                ),
                to(
                    ours,
                    |ip| ip.options(&[8, 0, 0, 0]).echo_request(1, 1),
                    Reason::IpOptions,
                ),
                to(
                    ours,
                    |ip| ip.header_words(15).tcp(40_000, 443),
                    Reason::IpOptions,
                ),
            ]
            .concat(),
        ),
        case(
            "a_total_length_beyond_the_frame_is_dropped",
            [41, 100, u16::MAX]
                .into_iter()
                .flat_map(|length| {
                    to(
                        ours,
                        |ip| ip.total_length(length).tcp(40_000, 443),
                        Reason::Truncated,
                    )
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "a_total_length_inside_the_headers_is_dropped",
            [
                [0, 19, 20, 39]
                    .into_iter()
                    .flat_map(|length| {
                        to(
                            ours,
                            |ip| ip.total_length(length).tcp(40_000, 443),
                            Reason::Truncated,
                        )
                    })
                    .collect::<Vec<_>>(),
                to(
                    ours,
                    |ip| ip.total_length(27).udp(40_000, 53).payload_of(9),
                    Reason::Truncated,
                ),
                to(
                    ours,
                    |ip| ip.total_length(27).echo_request(1, 1),
                    Reason::Truncated,
                ),
                to(
                    [FLOATING],
                    |ip| ip.total_length(19).protocol(protocol::GRE).payload_of(9),
                    Reason::Truncated,
                ),
            ]
            .concat(),
        ),
        case(
            "a_first_fragment_that_ends_inside_the_ports_is_dropped",
            to(
                ours,
                |ip| ip.first_fragment().protocol(protocol::TCP).payload_of(8),
                Reason::Truncated,
            ),
        ),
    ]
}
