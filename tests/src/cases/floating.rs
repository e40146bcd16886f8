//! Floating IPs: one public address, one instance, any protocol, both ways.

use std::net::Ipv4Addr;

use super::{
    Case, Step, case, public,
    service::LENGTHS,
    site::{
        BASTION, CLIENT, FLOATING, HOST_A, HOST_B, OTHER, OTHER_FLOATING, OTHER_ROUTER_MAC,
        from_border, from_host, from_instance, mac_of, to_border, to_host, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, protocol};

const COUNTER: &str = "floating/203.0.113.20";

/// A packet in and the like out. `rest` gets an IP header and a port on each side
/// of the flow, the sender's first.
fn both_ways(rest: impl Fn(Frame, u16, u16) -> Frame) -> [Step; 2] {
    let (far, near) = (40_000, 22);
    let headers = |frame: Frame, source: Ipv4Addr, destination: Ipv4Addr, ttl| {
        frame.ipv4(source, destination).ttl(ttl)
    };
    [
        public(rest(
            headers(from_border(), CLIENT, FLOATING, 64),
            far,
            near,
        ))
        .reaches(
            COUNTER,
            rest(
                headers(to_instance(HOST_A, BASTION), CLIENT, BASTION, 63),
                far,
                near,
            ),
        ),
        underlay(rest(
            headers(from_instance(HOST_A, BASTION), BASTION, CLIENT, 64),
            near,
            far,
        ))
        .leaves(
            COUNTER,
            rest(headers(to_border(), FLOATING, CLIENT, 63), near, far),
        ),
    ]
}

pub(super) fn cases() -> Vec<Case> {
    vec![
        case(
            "floating_ip_tcp_keeps_its_ports",
            LENGTHS
                .iter()
                .flat_map(|&length| both_ways(|ip, from, to| ip.tcp(from, to).payload_of(length))),
        ),
        case(
            "floating_ip_udp_keeps_its_ports",
            LENGTHS
                .iter()
                .flat_map(|&length| both_ways(|ip, from, to| ip.udp(from, to).payload_of(length))),
        ),
        case(
            "floating_ip_udp_without_checksum_stays_without",
            both_ways(|ip, from, to| ip.udp(from, to).udp_checksum(0).payload(b"odd")),
        ),
        case(
            "floating_ip_echo_passes_through",
            [0, 1, 56].into_iter().flat_map(|length| {
                [
                    both_ways(|ip, _, _| ip.echo_request(7, 9).payload_of(length)),
                    both_ways(|ip, _, _| ip.echo_reply(7, 9).payload_of(length)),
                ]
                .concat()
            }),
        ),
        case(
            "floating_ip_other_protocols_are_untouched_behind_the_ip_header",
            [protocol::GRE, protocol::ESP, 0, 255]
                .into_iter()
                .flat_map(|number| {
                    [0, 1, 33]
                        .map(|length| both_ways(|ip, _, _| ip.protocol(number).payload_of(length)))
                        .concat()
                }),
        ),
        case(
            "floating_ip_fragments_pass_and_only_the_first_has_ports",
            [
                both_ways(|ip, from, to| ip.first_fragment().tcp(from, to).payload_of(36)),
                both_ways(|ip, from, to| ip.first_fragment().udp(from, to).payload_of(32)),
                both_ways(|ip, _, _| ip.first_fragment().echo_request(1, 2).payload_of(32)),
                both_ways(|ip, _, _| ip.middle_fragment(7).protocol(protocol::TCP).payload_of(40)),
                both_ways(|ip, _, _| ip.last_fragment(14).protocol(protocol::TCP).payload_of(5)),
                both_ways(|ip, _, _| ip.last_fragment(14).protocol(protocol::UDP).payload_of(3)),
            ]
            .concat(),
        ),
        case(
            "the_other_tenants_floating_ip_leads_to_the_same_address_elsewhere",
            [
                public(from_border().ipv4(CLIENT, OTHER_FLOATING).tcp(40_000, 22)).reaches(
                    "floating/203.0.113.21",
                    to_host(HOST_B, OTHER)
                        .eth(OTHER_ROUTER_MAC, mac_of(OTHER, BASTION))
                        .ipv4(CLIENT, BASTION)
                        .ttl(63)
                        .tcp(40_000, 22),
                ),
                underlay(
                    from_host(HOST_B, OTHER)
                        .eth(mac_of(OTHER, BASTION), OTHER_ROUTER_MAC)
                        .ipv4(BASTION, CLIENT)
                        .tcp(22, 40_000),
                )
                .leaves(
                    "floating/203.0.113.21",
                    to_border()
                        .ipv4(OTHER_FLOATING, CLIENT)
                        .ttl(63)
                        .tcp(22, 40_000),
                ),
            ],
        ),
    ]
}
