//! Load-balanced services: in by DNAT and VXLAN, out by the reverse.

use gateway_common::Reason;

use super::{
    Case, Together, case, public,
    site::{
        BASTION, CLIENT, DNS, HOST_A, HOST_B, OTHER, OTHER_ROUTER_MAC, OTHER_VIP, SHOP, Site, VIP,
        WEB_1, WEB_2, from_border, from_host, from_instance, mac_of, to_border, to_host,
        to_instance,
    },
    underlay,
};
use crate::packet::{Frame, protocol};

/// Payload lengths: none, odd, even, around a word, long.
pub(super) const LENGTHS: [usize; 8] = [0, 1, 2, 3, 4, 63, 1_001, 1_400];

/// The two backends of tcp/443, each with what it gets: IP header, TTL one less,
/// and `rest`.
fn web(rest: impl Fn(Frame) -> Frame) -> [(&'static str, Frame); 2] {
    [("web/web-1", HOST_A, WEB_1), ("web/web-2", HOST_B, WEB_2)].map(|(name, host, instance)| {
        (
            name,
            rest(to_instance(host, instance).ipv4(CLIENT, instance).ttl(63)),
        )
    })
}

fn to_vip() -> Frame {
    from_border().ipv4(CLIENT, VIP)
}

fn dns_gets() -> Frame {
    to_instance(HOST_A, DNS).ipv4(CLIENT, DNS).ttl(63)
}

/// A payload with which a UDP checksum comes out as 0, which is sent as all ones.
fn payload_that_sums_to_nothing(frame: impl Fn(&[u8]) -> Frame, checksum_at: usize) -> [u8; 2] {
    (0..=u16::MAX)
        .map(u16::to_be_bytes)
        .find(|payload| frame(payload).bytes()[checksum_at..][..2] == [0xff, 0xff])
        .expect("one of all words makes the sum 0")
}

pub(super) fn cases() -> Vec<Case> {
    [inbound(), outbound(), refusals()].concat()
}

fn inbound() -> Vec<Case> {
    let query = |payload: &[u8]| to_vip().udp(40_000, 53).payload(payload);
    let query_inside = |payload: &[u8]| dns_gets().udp(40_000, 5_353).payload(payload);
    let silent = payload_that_sums_to_nothing(query_inside, 50 + 14 + 20 + 6);
    vec![
        case(
            "tcp_to_a_vip_reaches_a_backend_by_vxlan",
            [public(to_vip().tcp(40_000, 443).syn())
                .reaches_one_of(web(|ip| ip.tcp(40_000, 8_443).syn()))],
        ),
        case(
            "tcp_to_a_vip_with_payloads_of_any_length",
            LENGTHS.map(|length| {
                public(to_vip().tcp(40_000, 443).payload_of(length))
                    .reaches_one_of(web(|ip| ip.tcp(40_000, 8_443).payload_of(length)))
            }),
        ),
        case(
            "tcp_options_are_untouched",
            [public(
                to_vip()
                    .tcp(40_000, 443)
                    .syn()
                    .tcp_options(&[2, 4, 5, 0x64, 1, 3, 3, 7]),
            )
            .reaches_one_of(web(|ip| {
                ip.tcp(40_000, 8_443)
                    .syn()
                    .tcp_options(&[2, 4, 5, 0x64, 1, 3, 3, 7])
            }))],
        ),
        case(
            "padding_of_a_short_frame_rides_along",
            [public(to_vip().tcp(40_000, 443).pad_to(60))
                .reaches_one_of(web(|ip| ip.tcp(40_000, 8_443).pad_to(60)))],
        ),
        case(
            "all_packets_of_a_flow_take_one_backend_and_one_outer_port",
            [0, 1, 2, 100, 500, 1_000].map(|length| {
                public(
                    to_vip()
                        .tcp(41_234, 443)
                        .sequence(length as u32)
                        .payload_of(length),
                )
                .reaches_one_of(web(|ip| {
                    ip.tcp(41_234, 8_443)
                        .sequence(length as u32)
                        .payload_of(length)
                }))
            }),
        )
        .together(Together::OneFlow),
        case(
            "flows_spread_over_backends_and_outer_ports",
            (0..64).map(|i| {
                public(to_vip().tcp(32_768 + i, 443).syn())
                    .reaches_one_of(web(|ip| ip.tcp(32_768 + i, 8_443).syn()))
            }),
        )
        .together(Together::Spread),
        case(
            "tos_and_ecn_are_copied_to_the_outer_header",
            [0x01, 0x02, 0x03, 0xb8, 0xff].map(|tos| {
                public(to_vip().tos(tos).udp(40_000, 53).payload(b"?")).reaches(
                    "names/dns",
                    to_host(HOST_A, SHOP)
                        .tos(tos)
                        .eth(super::site::ROUTER_MAC, mac_of(SHOP, DNS))
                        .ipv4(CLIENT, DNS)
                        .tos(tos)
                        .ttl(63)
                        .udp(40_000, 5_353)
                        .payload(b"?"),
                )
            }),
        ),
        case(
            "udp_to_a_vip_with_payloads_of_any_length",
            LENGTHS.map(|length| {
                public(to_vip().udp(40_000, 53).payload_of(length)).reaches(
                    "names/dns",
                    dns_gets().udp(40_000, 5_353).payload_of(length),
                )
            }),
        ),
        case(
            "udp_without_checksum_stays_without",
            [
                public(to_vip().udp(40_000, 53).udp_checksum(0).payload(b"query")).reaches(
                    "names/dns",
                    dns_gets()
                        .udp(40_000, 5_353)
                        .udp_checksum(0)
                        .payload(b"query"),
                ),
            ],
        ),
        case(
            "a_udp_checksum_that_becomes_0_is_sent_as_all_ones",
            [public(query(&silent)).reaches("names/dns", query_inside(&silent))],
        ),
        case(
            "the_other_tenant_has_the_same_addresses_in_another_network",
            [
                public(from_border().ipv4(CLIENT, OTHER_VIP).tcp(40_000, 443).syn()).reaches(
                    "other/web-1",
                    to_host(HOST_B, OTHER)
                        .eth(OTHER_ROUTER_MAC, mac_of(OTHER, WEB_1))
                        .ipv4(CLIENT, WEB_1)
                        .ttl(63)
                        .tcp(40_000, 8_443)
                        .syn(),
                ),
            ],
        ),
    ]
}

fn outbound() -> Vec<Case> {
    let web_1 = || from_instance(HOST_A, WEB_1).ipv4(WEB_1, CLIENT);
    let dns = || from_instance(HOST_A, DNS).ipv4(DNS, CLIENT);
    let from_vip = || to_border().ipv4(VIP, CLIENT).ttl(63);
    let answer = |payload: &[u8]| from_vip().udp(53, 40_000).payload(payload);
    let silent = payload_that_sums_to_nothing(answer, 14 + 20 + 6);
    vec![
        case(
            "tcp_from_a_backend_comes_from_the_vip",
            LENGTHS.map(|length| {
                underlay(web_1().tcp(8_443, 40_000).payload_of(length))
                    .leaves("web/web-1", from_vip().tcp(443, 40_000).payload_of(length))
            }),
        ),
        case(
            "either_backend_answers_for_the_vip",
            [underlay(
                from_instance(HOST_B, WEB_2)
                    .ipv4(WEB_2, CLIENT)
                    .tcp(8_443, 40_000),
            )
            .leaves("web/web-2", from_vip().tcp(443, 40_000))],
        ),
        case(
            "padding_of_a_short_inner_frame_rides_along",
            [underlay(web_1().tcp(8_443, 40_000).pad_to(60))
                .leaves("web/web-1", from_vip().tcp(443, 40_000).pad_to(60))],
        ),
        case(
            "udp_from_a_backend_comes_from_the_vip",
            LENGTHS.map(|length| {
                underlay(dns().udp(5_353, 40_000).payload_of(length))
                    .leaves("names/dns", from_vip().udp(53, 40_000).payload_of(length))
            }),
        ),
        case(
            "udp_without_checksum_leaves_without",
            [
                underlay(dns().udp(5_353, 40_000).udp_checksum(0).payload(b"odd")).leaves(
                    "names/dns",
                    from_vip().udp(53, 40_000).udp_checksum(0).payload(b"odd"),
                ),
            ],
        ),
        case(
            "a_udp_checksum_that_becomes_0_leaves_as_all_ones",
            [underlay(dns().udp(5_353, 40_000).payload(&silent))
                .leaves("names/dns", answer(&silent))],
        ),
        case(
            "the_other_tenants_backend_comes_from_its_own_vip",
            [underlay(
                from_host(HOST_B, OTHER)
                    .eth(mac_of(OTHER, WEB_1), OTHER_ROUTER_MAC)
                    .ipv4(WEB_1, CLIENT)
                    .tcp(8_443, 40_000),
            )
            .leaves(
                "other/web-1",
                to_border().ipv4(OTHER_VIP, CLIENT).ttl(63).tcp(443, 40_000),
            )],
        ),
        case(
            "a_drained_backend_still_finishes_its_connections",
            [
                underlay(web_1().tcp(82, 40_000))
                    .leaves("drained/web-1", from_vip().tcp(82, 40_000)),
            ],
        ),
        case(
            "tos_stays_on_the_way_out",
            [underlay(web_1().tos(0xb9).tcp(8_443, 40_000))
                .leaves("web/web-1", from_vip().tos(0xb9).tcp(443, 40_000))],
        ),
    ]
}

fn refusals() -> Vec<Case> {
    let tcp = || to_vip().tcp(40_000, 443);
    vec![
        case(
            "nothing_listens_on_that_port_or_protocol",
            [
                public(to_vip().tcp(40_000, 80)).dropped(Reason::NoService),
                public(to_vip().tcp(0, 0)).dropped(Reason::NoService),
                public(to_vip().udp(40_000, 443)).dropped(Reason::NoService),
                public(to_vip().tcp(40_000, 53)).dropped(Reason::NoService),
                public(to_vip().protocol(protocol::GRE).payload(b"gre")).dropped(Reason::NoService),
                public(to_vip().icmp(3, 4).payload(b"mtu")).dropped(Reason::IcmpQuote),
                public(to_vip().icmp(8, 1).payload(b"ping")).dropped(Reason::NoService),
            ],
        ),
        case(
            "a_service_whose_backends_are_drained_has_none",
            [public(to_vip().tcp(40_000, 82)).dropped(Reason::NoBackend)],
        ),
        case(
            "fragments_to_a_vip_cannot_be_placed",
            [
                public(to_vip().first_fragment().tcp(40_000, 443).payload_of(64))
                    .dropped(Reason::Fragment),
                public(to_vip().first_fragment().udp(40_000, 53).payload_of(64))
                    .dropped(Reason::Fragment),
                public(
                    to_vip()
                        .middle_fragment(8)
                        .protocol(protocol::TCP)
                        .payload_of(64),
                )
                .dropped(Reason::Fragment),
                public(
                    to_vip()
                        .last_fragment(16)
                        .protocol(protocol::UDP)
                        .payload_of(7),
                )
                .dropped(Reason::Fragment),
                public(to_vip().first_fragment().echo_request(1, 1).payload_of(64))
                    .dropped(Reason::Fragment),
            ],
        ),
        case(
            "dont_fragment_is_not_a_fragment",
            [public(to_vip().dont_fragment().tcp(40_000, 443))
                .reaches_one_of(web(|ip| ip.dont_fragment().tcp(40_000, 8_443)))],
        ),
        case(
            "a_table_that_points_nowhere_drops_and_says_so",
            [
                public(tcp()).dropped(Reason::Internal),
                public(
                    from_border()
                        .ipv4(CLIENT, super::site::FLOATING)
                        .tcp(40_000, 22),
                )
                .dropped(Reason::Internal),
                underlay(
                    from_instance(HOST_A, BASTION)
                        .ipv4(BASTION, CLIENT)
                        .tcp(22, 40_000),
                )
                .dropped(Reason::Internal),
            ],
        )
        .at(Site::Inconsistent),
    ]
}
