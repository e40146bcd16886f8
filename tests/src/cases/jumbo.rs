//! Frames that come in several buffers: the first one has the headers, the length is that
//! of all.

use gateway_common::Reason;

use super::{
    Case, case, public,
    refusals::{too_big_for, too_big_for_instance},
    site::{
        APP, BASTION, CLIENT, DNS, FLOATING, HOST_A, HOST_B, JUMBO_MTU, Site, VIP, from_border,
        from_instance, to_border, to_instance,
    },
    underlay,
};
use crate::packet::Frame;

/// The most that fits into a UDP datagram on the public side, and in a tunnel.
const FITS: usize = JUMBO_MTU - 28;
const FITS_TUNNEL: usize = FITS - 50;

/// Index of the shop, as counters have it.
const SHOP_NUMBER: u32 = 1;

pub(super) fn cases() -> Vec<Case> {
    [forwarded(), answered(), headers()]
        .concat()
        .into_iter()
        .map(|case| case.at(Site::Jumbo))
        .collect()
}

fn query(length: usize) -> Frame {
    from_border()
        .ipv4(CLIENT, VIP)
        .udp(40_000, 53)
        .payload_of(length)
}

fn answer(length: usize) -> Frame {
    from_instance(HOST_A, DNS)
        .ipv4(DNS, CLIENT)
        .udp(5_353, 40_000)
        .payload_of(length)
}

fn forwarded() -> Vec<Case> {
    let reaches = |length| {
        public(query(length)).reaches(
            "names/dns",
            to_instance(HOST_A, DNS)
                .ipv4(CLIENT, DNS)
                .ttl(63)
                .udp(40_000, 5_353)
                .payload_of(length),
        )
    };
    let leaves = |length| {
        underlay(answer(length)).leaves(
            "names/dns",
            to_border()
                .ipv4(VIP, CLIENT)
                .ttl(63)
                .udp(53, 40_000)
                .payload_of(length),
        )
    };
    let inside = |length| {
        from_instance(HOST_A, BASTION)
            .ipv4(BASTION, APP)
            .udp(1, 2)
            .payload_of(length)
    };
    vec![
        case(
            "a_jumbo_frame_reaches_an_instance_if_it_fits_the_tunnel",
            [
                reaches(5),
                reaches(3_600),
                reaches(FITS_TUNNEL),
                too_big_for(query(FITS_TUNNEL + 1), JUMBO_MTU - 50),
                too_big_for(query(FITS), JUMBO_MTU - 50),
            ],
        ),
        case(
            "a_jumbo_frame_leaves_if_it_fits",
            [
                leaves(5),
                leaves(3_600),
                leaves(FITS),
                too_big_for_instance(answer(FITS + 1), DNS, JUMBO_MTU),
            ],
        ),
        case(
            "a_jumbo_frame_is_routed_inside",
            [
                underlay(inside(FITS_TUNNEL)).routed(
                    (SHOP_NUMBER, SHOP_NUMBER),
                    to_instance(HOST_B, APP)
                        .ipv4(BASTION, APP)
                        .ttl(63)
                        .udp(1, 2)
                        .payload_of(FITS_TUNNEL),
                ),
                too_big_for_instance(inside(FITS_TUNNEL + 1), BASTION, JUMBO_MTU - 50),
            ],
        ),
        case(
            "a_jumbo_frame_that_ends_too_early_is_dropped",
            [
                public(query(8_000).cut(7_999)).dropped(Reason::Truncated),
                public(query(8_000).cut(3_000)).dropped(Reason::Truncated),
                underlay(answer(8_000).cut(7_999)).dropped(Reason::Truncated),
            ],
        ),
    ]
}

fn answered() -> Vec<Case> {
    let ping = |length| {
        from_border()
            .ipv4(CLIENT, VIP)
            .echo_request(1, 2)
            .payload_of(length)
    };
    vec![case(
        "a_jumbo_echo_is_answered",
        [3_600, 8_900].map(|length| {
            public(ping(length)).answered(
                Reason::EchoReply,
                to_border()
                    .ipv4(VIP, CLIENT)
                    .echo_reply(1, 2)
                    .payload_of(length),
            )
        }),
    )]
}

fn headers() -> Vec<Case> {
    let syn = || {
        from_border()
            .ipv4(CLIENT, FLOATING)
            .tcp(40_000, 22)
            .payload_of(4_000)
    };
    vec![
        case(
            "headers_must_be_in_the_first_buffer",
            [
                public(syn()).first_buffer(14 + 20 + 20).reaches(
                    "floating/203.0.113.20",
                    to_instance(HOST_A, BASTION)
                        .ipv4(CLIENT, BASTION)
                        .ttl(63)
                        .tcp(40_000, 22)
                        .payload_of(4_000),
                ),
                public(syn())
                    .first_buffer(14 + 20 + 19)
                    .dropped(Reason::Truncated),
                public(syn())
                    .first_buffer(14 + 19)
                    .dropped(Reason::Truncated),
                underlay(answer(4_000))
                    .first_buffer(50 + 14 + 20 + 7)
                    .dropped(Reason::Truncated),
            ],
        )
        .host_only("a test run in the kernel fills the first buffer"),
    ]
}
