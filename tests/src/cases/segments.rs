//! The longest TCP segment that a SYN asks for: lowered, both ways, to what fits.

use gateway_common::Reason;

use super::{
    Case, Step, case, public, single_arm,
    site::{
        BASTION, CLIENT, FLOATING, HOST_A, MSS, Site, VIP, WEB_1, from_border, from_instance,
        to_border, to_instance,
    },
    underlay,
};
use crate::packet::Frame;

/// The option with a size.
fn mss(size: u16) -> [u8; 4] {
    let [high, low] = size.to_be_bytes();
    [2, 4, high, low]
}

/// Options behind a size that is lowered.
const BEHIND: [&[u8]; 3] = [
    // As Linux sends them.
    &[4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7],
    &[],
    &[1, 1, 1, 0],
];

fn options(size: u16, behind: &[u8]) -> Vec<u8> {
    [&mss(size), behind].concat()
}

/// To the bastion, with these options before and after.
fn inwards(was: &[u8], is: &[u8], finish: impl Fn(Frame) -> Frame) -> Step {
    let segment = |ip: Frame, options| finish(ip.tcp(40_000, 22).tcp_options(options));
    public(segment(from_border().ipv4(CLIENT, FLOATING), was)).reaches(
        "floating/203.0.113.20",
        segment(
            to_instance(HOST_A, BASTION).ipv4(CLIENT, BASTION).ttl(63),
            is,
        ),
    )
}

/// From a backend of the web service, likewise.
fn outwards(was: &[u8], is: &[u8], finish: impl Fn(Frame) -> Frame) -> Step {
    let ip = from_instance(HOST_A, WEB_1).ipv4(WEB_1, CLIENT);
    underlay(finish(ip.tcp(8_443, 40_000).tcp_options(was))).leaves(
        "web/web-1",
        finish(
            to_border()
                .ipv4(VIP, CLIENT)
                .ttl(63)
                .tcp(443, 40_000)
                .tcp_options(is),
        ),
    )
}

fn both(was: &[u8], is: &[u8]) -> [Step; 2] {
    [
        inwards(was, is, Frame::syn),
        outwards(was, is, Frame::syn_ack),
    ]
}

/// Options that do not begin with a size.
const WITHOUT: [&[u8]; 6] = [
    &[],
    &[1, 1, 1, 0],
    // Behind another option it stays as it is.
    &[1, 1, 1, 1, 2, 4, 5, 180],
    // Not as long as it must be.
    &[2, 0, 5, 180],
    &[2, 3, 5, 180],
    &[2, 6, 5, 180, 5, 180, 1, 1],
];

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "a_syn_asks_for_no_more_than_fits",
            BEHIND
                .into_iter()
                .flat_map(|behind| {
                    let is = options(MSS, behind);
                    [MSS + 1, 1_460, 8_960, u16::MAX]
                        .into_iter()
                        .flat_map(move |size| both(&options(size, behind), &is))
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "a_syn_that_asks_for_less_stays_as_it_is",
            BEHIND
                .into_iter()
                .flat_map(|behind| {
                    [0, 1, 536, MSS - 1, MSS].into_iter().flat_map(move |size| {
                        let options = options(size, behind);
                        both(&options, &options)
                    })
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "a_syn_without_a_size_stays_as_it_is",
            WITHOUT
                .into_iter()
                .flat_map(|options| both(options, options))
                .collect::<Vec<_>>(),
        ),
        case(
            "only_a_syn_asks_for_a_size",
            [
                inwards(&mss(1_460), &mss(1_460), |tcp| tcp),
                outwards(&mss(1_460), &mss(1_460), |tcp| tcp),
            ],
        ),
        case(
            "a_syn_whose_options_are_not_all_there_stays_as_it_is",
            // The packet's length says less than its header.
            [inwards(&mss(1_460), &mss(1_460), |tcp| {
                tcp.syn().total_length(42)
            })],
        ),
        case(
            "a_syn_with_data_asks_for_no_more_than_fits",
            [inwards(&mss(1_460), &mss(MSS), |tcp| {
                tcp.syn().payload(b"fast open")
            })],
        ),
        case(
            "a_syn_stays_as_it_is_where_that_is_switched_off",
            both(&mss(1_460), &mss(1_460)),
        )
        .at(Site::NoErrors),
        case(
            "a_single_arm_lowers_what_a_syn_asks_for",
            [{
                let segment =
                    |ip: Frame, options: &[u8]| ip.tcp(40_000, 22).syn().tcp_options(options);
                single_arm(segment(
                    from_border().ipv4(CLIENT, FLOATING),
                    &options(1_460, &[0; 4]),
                ))
                .reaches(
                    "floating/203.0.113.20",
                    segment(
                        to_instance(HOST_A, BASTION).ipv4(CLIENT, BASTION).ttl(63),
                        &options(MSS, &[0; 4]),
                    ),
                )
            }],
        ),
        case(
            "a_syn_that_cannot_go_on_is_quoted_as_it_came",
            [{
                let syn = from_border().ipv4(CLIENT, FLOATING).ttl(1).tcp(40_000, 22);
                let syn = syn.syn().tcp_options(&mss(1_460));
                let told = super::refusals::told(CLIENT).icmp(11, 0).quote(&syn, 44);
                public(syn).answered(Reason::SentTimeExceeded, told)
            }],
        ),
    ]
}
