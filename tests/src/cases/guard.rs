//! The guard's lists, impossible sources and flags.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, Step, case, public, single_arm,
    site::{
        BASTION, BORDER, CLIENT, DNS, FLOATING, HOST_A, NODE, OTHER_FLOATING, Site, VIP,
        from_border, to_border, to_instance,
    },
};
use crate::packet::Frame;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const URG: u8 = 0x20;

/// TCP to the shop's bastion, which has no guard of its own.
fn from(source: impl Into<Ipv4Addr>) -> Frame {
    from_border().ipv4(source.into(), FLOATING).tcp(40_000, 22)
}

fn reaches(source: impl Into<Ipv4Addr>) -> Step {
    let source = source.into();
    public(from(source)).reaches(
        "floating/203.0.113.20",
        to_instance(HOST_A, BASTION)
            .ipv4(source, BASTION)
            .ttl(63)
            .tcp(40_000, 22),
    )
}

fn dropped(source: impl Into<Ipv4Addr>, reason: Reason) -> Step {
    public(from(source)).dropped(reason)
}

fn flags(flags: u8, reason: Reason) -> Step {
    public(from(CLIENT).tcp_flags(flags)).dropped(reason)
}

pub(super) fn cases() -> Vec<Case> {
    let guarded = [lists(), impossible()].concat();
    let guarded = guarded.into_iter().map(|case| case.at(Site::Guarded));
    let strict = strict().into_iter().map(|case| case.at(Site::Strict));
    guarded.chain(strict).collect()
}

fn lists() -> Vec<Case> {
    let denied = || from_border().ipv4([192, 0, 3, 1].into(), VIP);
    vec![
        case(
            "a_denied_source_is_dropped_and_its_neighbours_are_not",
            [
                dropped([192, 0, 3, 1], Reason::DenyListed),
                reaches([192, 0, 4, 1]),
                dropped([100, 0, 0, 1], Reason::DenyListed),
                dropped([100, 63, 255, 255], Reason::DenyListed),
                reaches([100, 64, 0, 1]),
                reaches(CLIENT),
            ],
        ),
        case(
            "the_longest_prefix_decides_whichever_list_it_is_in",
            [
                reaches([192, 0, 3, 7]),
                reaches([192, 0, 3, 199]),
                dropped([192, 0, 3, 200], Reason::DenyListed),
                dropped([192, 0, 3, 8], Reason::DenyListed),
            ],
        ),
        case(
            "a_denied_source_gets_nothing_at_all_from_our_addresses",
            [
                public(denied().echo_request(1, 1)).dropped(Reason::DenyListed),
                public(denied().udp(40_000, 53)).dropped(Reason::DenyListed),
                public(denied().tcp(40_000, 9)).dropped(Reason::DenyListed),
                public(denied().first_fragment().udp(40_000, 53).payload_of(8))
                    .dropped(Reason::DenyListed),
                public(denied().last_fragment(1).payload_of(8)).dropped(Reason::DenyListed),
                single_arm(from([192, 0, 3, 1])).dropped(Reason::DenyListed),
            ],
        ),
        case(
            "the_nodes_own_traffic_does_not_meet_the_guard",
            [
                public(from_border().ipv4(BORDER, NODE).tcp(179, 40_000)).passed(Reason::NotOurs),
                public(from_border().arp_request((super::site::BORDER_MAC, BORDER), VIP)).answered(
                    Reason::ArpReply,
                    to_border().arp_reply(
                        (super::site::PUBLIC_MAC, VIP),
                        (super::site::BORDER_MAC, BORDER),
                    ),
                ),
            ],
        ),
    ]
}

fn impossible() -> Vec<Case> {
    vec![
        case(
            "sources_that_no_machine_has_are_dropped",
            [
                [0, 0, 0, 0],
                [0, 1, 2, 3],
                [127, 0, 0, 1],
                [169, 254, 1, 1],
                [224, 0, 0, 1],
                [239, 255, 255, 255],
                [240, 0, 0, 1],
                [255, 255, 255, 255],
            ]
            .map(|source| dropped(source, Reason::Bogon)),
        ),
        case(
            "private_sources_are_let_in_unless_asked_otherwise",
            [
                [10, 0, 0, 1],
                [172, 16, 0, 1],
                [192, 168, 0, 1],
                [100, 64, 0, 1],
            ]
            .map(reaches),
        ),
        case(
            "our_own_addresses_do_not_come_from_outside",
            [FLOATING, VIP, OTHER_FLOATING].map(|own| dropped(own, Reason::OwnSource)),
        ),
        case(
            "flags_that_no_connection_has_are_dropped",
            [
                flags(SYN | FIN, Reason::TcpSynFin),
                flags(SYN | RST, Reason::TcpSynFin),
                flags(SYN | ACK | FIN, Reason::TcpSynFin),
                flags(0, Reason::TcpNull),
                flags(PSH | URG, Reason::TcpNull),
                flags(FIN, Reason::TcpXmas),
                flags(FIN | PSH | URG, Reason::TcpXmas),
            ],
        ),
        case(
            "port_0_is_nobodys",
            [
                public(from_border().ipv4(CLIENT, FLOATING).tcp(0, 22)).dropped(Reason::PortZero),
                public(from_border().ipv4(CLIENT, FLOATING).tcp(40_000, 0))
                    .dropped(Reason::PortZero),
                public(from_border().ipv4(CLIENT, FLOATING).udp(40_000, 0))
                    .dropped(Reason::PortZero),
                public(from_border().ipv4(CLIENT, FLOATING).udp(0, 123)).reaches(
                    "floating/203.0.113.20",
                    to_instance(HOST_A, BASTION)
                        .ipv4(CLIENT, BASTION)
                        .ttl(63)
                        .udp(0, 123),
                ),
            ],
        ),
        case(
            "flags_of_connections_pass",
            [
                SYN,
                SYN | 0xc0,
                SYN | ACK,
                ACK,
                ACK | FIN,
                ACK | PSH,
                RST,
                RST | ACK,
            ]
            .map(|flags| {
                let inside = to_instance(HOST_A, BASTION).ipv4(CLIENT, BASTION).ttl(63);
                public(from(CLIENT).tcp_flags(flags)).reaches(
                    "floating/203.0.113.20",
                    inside.tcp(40_000, 22).tcp_flags(flags),
                )
            }),
        ),
        case(
            "a_later_fragment_has_no_flags_to_look_at",
            [public(
                from_border()
                    .ipv4(CLIENT, FLOATING)
                    .protocol(6)
                    .last_fragment(1)
                    .payload_of(24),
            )
            .reaches(
                "floating/203.0.113.20",
                to_instance(HOST_A, BASTION)
                    .ipv4(CLIENT, BASTION)
                    .protocol(6)
                    .last_fragment(1)
                    .ttl(63)
                    .payload_of(24),
            )],
        ),
    ]
}

fn strict() -> Vec<Case> {
    let query = |source: [u8; 4]| from_border().ipv4(source.into(), VIP).udp(40_000, 53);
    vec![
        case(
            "strict_drops_private_and_documentation_sources",
            [
                [10, 0, 0, 1],
                [172, 31, 0, 1],
                [192, 168, 0, 1],
                [100, 64, 0, 1],
                [192, 0, 2, 1],
                [198, 18, 0, 1],
                [127, 0, 0, 1],
            ]
            .map(|source| dropped(source, Reason::Bogon)),
        ),
        case(
            "a_list_of_the_topology_wins_over_a_bogon_of_the_same_prefix",
            [
                reaches(CLIENT),
                dropped([203, 0, 113, 1], Reason::Bogon),
                public(query([198, 51, 100, 10])).reaches(
                    "names/dns",
                    to_instance(HOST_A, DNS)
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353),
                ),
            ],
        ),
        case(
            "an_interface_has_lists_of_its_own",
            [
                dropped([198, 51, 100, 66], Reason::DenyListed),
                reaches([198, 51, 100, 67]),
            ],
        ),
    ]
}
