//! ICMP errors of others: from outside about what was sent out, from instances about what
//! they got. The quoted packet must be the one that its sender knows.

use std::net::Ipv4Addr;

use gateway_common::Reason;

use super::{
    Case, Step, Together, case, public,
    site::{
        BASTION, CLIENT, DNS, FLOATING, HOST_A, HOST_B, NODE, OTHER_FLOATING, VIP, WEB_1, WEB_2,
        from_border, from_instance, to_border, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, protocol};

/// A router on the way to the client, which is not the client.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 88, 99, 7);

/// IP header and the least of layer 4 (RFC 792).
const LEAST: usize = 28;

/// All of a quoted packet.
const ALL: usize = usize::MAX;

/// An error from outside to one of our addresses.
fn to(address: Ipv4Addr) -> Frame {
    from_border().ipv4(ROUTER, address)
}

/// The same as an instance on host A gets it.
fn gets(instance: Ipv4Addr) -> Frame {
    to_instance(HOST_A, instance).ipv4(ROUTER, instance).ttl(63)
}

/// A packet that was on its way between two machines.
fn between(source: Ipv4Addr, destination: Ipv4Addr) -> Frame {
    to_border().ipv4(source, destination).ttl(57)
}

/// A segment that a web server sent, outside and inside.
fn segment(client_port: u16) -> (Frame, Frame) {
    let rest = |ip: Frame, port| ip.tcp(port, client_port).payload(b"<html>");
    (
        rest(between(VIP, CLIENT), 443),
        rest(between(WEB_1, CLIENT), 8_443),
    )
}

/// An error about a segment of the web service goes to the backend that sent it.
fn web(error: impl Fn(Frame) -> Frame, client_port: u16, length: usize) -> Step {
    let backends = [("web/web-1", HOST_A, WEB_1), ("web/web-2", HOST_B, WEB_2)];
    public(error(to(VIP)).quote(&segment(client_port).0, length)).reaches_one_of(backends.map(
        |(name, host, instance)| {
            let quoted = between(instance, CLIENT)
                .tcp(8_443, client_port)
                .payload(b"<html>");
            let ip = to_instance(host, instance).ipv4(ROUTER, instance).ttl(63);
            (name, error(ip).quote(&quoted, length))
        },
    ))
}

/// A packet of the web service's client, for comparison.
fn web_packet(client_port: u16) -> Step {
    let rest = |ip: Frame, port| ip.tcp(client_port, port);
    let backends = [("web/web-1", HOST_A, WEB_1), ("web/web-2", HOST_B, WEB_2)];
    public(rest(from_border().ipv4(CLIENT, VIP), 443)).reaches_one_of(backends.map(
        |(name, host, instance)| {
            let ip = to_instance(host, instance).ipv4(CLIENT, instance).ttl(63);
            (name, rest(ip, 8_443))
        },
    ))
}

/// An error about what the name server sent.
fn names(length: usize, rest: impl Fn(Frame, u16) -> Frame) -> Step {
    let [outside, inside] =
        [(VIP, 53), (DNS, 5_353)].map(|(address, port)| rest(between(address, CLIENT), port));
    public(to(VIP).icmp(3, 1).quote(&outside, length))
        .reaches("names/dns", gets(DNS).icmp(3, 1).quote(&inside, length))
}

/// An error about what the bastion sent by its floating IP.
fn floating(length: usize, rest: impl Fn(Frame) -> Frame) -> Step {
    let [outside, inside] = [FLOATING, BASTION].map(|address| rest(between(address, CLIENT)));
    public(to(FLOATING).icmp(11, 0).quote(&outside, length)).reaches(
        "floating/203.0.113.20",
        gets(BASTION).icmp(11, 0).quote(&inside, length),
    )
}

/// What the bastion says of what it got by its floating IP.
fn from_bastion(kind: (u8, u8), length: usize, rest: impl Fn(Frame) -> Frame) -> Step {
    let [outside, inside] = [FLOATING, BASTION].map(|address| rest(between(CLIENT, address)));
    let ip = from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT);
    underlay(ip.icmp(kind.0, kind.1).quote(&inside, length)).leaves(
        "floating/203.0.113.20",
        to_border()
            .ipv4(FLOATING, CLIENT)
            .ttl(63)
            .icmp(kind.0, kind.1)
            .quote(&outside, length),
    )
}

/// What web-1 says of what it got from the client.
fn from_web_1(length: usize) -> Step {
    let segment = |ip: Frame, port| ip.tcp(40_000, port).payload(b"GET /");
    let ip = from_instance(HOST_A, WEB_1).ipv4(WEB_1, CLIENT);
    underlay(
        ip.icmp(3, 3)
            .quote(&segment(between(CLIENT, WEB_1), 8_443), length),
    )
    .leaves(
        "web/web-1",
        to_border()
            .ipv4(VIP, CLIENT)
            .ttl(63)
            .icmp(3, 3)
            .quote(&segment(between(CLIENT, VIP), 443), length),
    )
}

/// Quotes of all lengths that matter: up to the ports, around TCP's checksum, all.
/// (Where half of a checksum is quoted, that half stays as it was.)
const LENGTHS: [usize; 7] = [LEAST, 29, 36, 38, 39, 40, ALL];

pub(super) fn cases() -> Vec<Case> {
    [from_outside(), from_inside(), refused()].concat()
}

fn from_outside() -> Vec<Case> {
    let mut cases = vec![
        case(
            "an_error_about_a_datagram_reaches_the_one_who_sent_it",
            LENGTHS.map(|length| names(length, |ip, port| ip.udp(port, 40_000).payload(b"odd"))),
        ),
        case(
            "an_error_about_a_datagram_without_checksum_leaves_it_without",
            [names(ALL, |ip, port| {
                ip.udp(port, 40_000).udp_checksum(0).payload(b"odd")
            })],
        ),
        case(
            "an_error_through_a_floating_ip_is_translated_within",
            LENGTHS
                .into_iter()
                .flat_map(|length| {
                    [
                        floating(length, |ip| ip.tcp(22, 40_000).payload(b"ssh")),
                        floating(length, |ip| ip.udp(40_000, 33_434).payload(b"trace")),
                        floating(length, |ip| ip.echo_request(7, 9).payload(b"ping")),
                        floating(length, |ip| ip.protocol(protocol::GRE).payload_of(40)),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "an_error_about_a_packet_with_options_is_translated",
            // RFC 5508, section 4.2, requirement 3 b.
            [
                floating(ALL, |ip| ip.options(&[1, 1, 1, 0]).tcp(22, 40_000)),
                floating(ALL, |ip| ip.options(&[1; 40]).udp(40_000, 33_434)),
                names(ALL, |ip, port| ip.options(&[1; 8]).udp(port, 40_000)),
            ],
        ),
        case(
            "an_error_about_a_first_fragment_is_translated",
            [
                floating(ALL, |ip| {
                    ip.first_fragment().udp(40_000, 33_434).payload_of(16)
                }),
                names(ALL, |ip, port| {
                    ip.first_fragment().udp(port, 40_000).payload_of(16)
                }),
            ],
        ),
        case(
            "an_error_about_a_later_fragment_follows_the_address",
            [floating(LEAST - 8, |ip| {
                ip.middle_fragment(10).protocol(protocol::UDP).payload_of(8)
            })],
        ),
        case(
            "an_error_keeps_its_extensions",
            // RFC 4884: 128 bytes of quote, then what the router adds.
            [floating(ALL, |ip| ip.udp(40_000, 33_434).payload_of(132))],
        ),
        case(
            "an_error_about_the_other_tenants_floating_ip_is_not_for_this_one",
            [public(
                to(FLOATING)
                    .icmp(11, 0)
                    .quote(&between(OTHER_FLOATING, CLIENT).udp(9, 9), ALL),
            )
            .dropped(Reason::IcmpMismatch)],
        ),
    ];
    for port in [40_000, 40_001, 40_002, 40_003] {
        let error = move |kind: u8, code: u8| web(move |ip| ip.icmp(kind, code), port, LEAST);
        let steps = [(3, 0), (3, 1), (3, 3), (3, 13), (11, 0), (11, 1), (12, 0)]
            .map(|(kind, code)| error(kind, code))
            .into_iter()
            .chain([
                web(|ip| ip.icmp(3, 4).mtu(1_400), port, ALL),
                web_packet(port),
            ])
            .chain(LENGTHS.map(|length| web(|ip| ip.icmp(3, 1), port, length)));
        cases.push(
            case(
                format!("errors_follow_the_flow_from_port_{port}"),
                steps.collect::<Vec<_>>(),
            )
            .together(Together::OneFlow),
        );
    }
    cases
}

fn from_inside() -> Vec<Case> {
    vec![
        case(
            "an_instances_error_comes_from_the_public_address",
            LENGTHS
                .into_iter()
                .flat_map(|length| {
                    [
                        from_bastion((3, 3), length, |ip| ip.udp(40_000, 9).payload(b"closed")),
                        from_bastion((3, 10), length, |ip| ip.tcp(40_000, 23).payload(b"no")),
                        from_bastion((11, 1), length, |ip| ip.echo_request(1, 2).payload(b"half")),
                        from_web_1(length),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "an_instances_fragmentation_needed_keeps_its_mtu",
            [{
                let datagram = |address| between(CLIENT, address).udp(40_000, 9).payload_of(600);
                let error = |ip: Frame| ip.icmp(3, 4).mtu(1_280);
                underlay(
                    error(from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT))
                        .quote(&datagram(BASTION), 548),
                )
                .leaves(
                    "floating/203.0.113.20",
                    error(to_border().ipv4(FLOATING, CLIENT).ttl(63))
                        .quote(&datagram(FLOATING), 548),
                )
            }],
        ),
    ]
}

fn refused() -> Vec<Case> {
    let quoted = || segment(40_000).0;
    let about = |packet: Frame| public(to(VIP).icmp(3, 1).quote(&packet, ALL));
    let by_bastion = |packet: Frame| {
        let ip = from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT);
        underlay(ip.icmp(3, 1).quote(&packet, ALL))
    };
    vec![
        case(
            "a_quote_that_ends_before_the_ports_is_dropped",
            (0..LEAST)
                .flat_map(|length| {
                    let inside = between(CLIENT, BASTION).udp(40_000, 9);
                    let ip = from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT);
                    [
                        public(to(VIP).icmp(3, 1).quote(&quoted(), length))
                            .dropped(Reason::IcmpQuote),
                        public(to(VIP).icmp(3, 1).quote(&quoted(), length).pad_to(90))
                            .dropped(Reason::IcmpQuote),
                        underlay(ip.icmp(3, 1).quote(&inside, length)).dropped(Reason::IcmpQuote),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "a_quote_that_is_no_plain_ip_packet_is_dropped",
            [
                about(between(VIP, CLIENT).header_words(15).tcp(443, 1)),
                about(between(VIP, CLIENT).version(6).tcp(443, 1)),
                about(between(VIP, CLIENT).header_words(4).tcp(443, 1)),
                about(between(VIP, CLIENT).middle_fragment(10).payload_of(8)),
                by_bastion(between(CLIENT, BASTION).header_words(15).udp(9, 9)),
            ]
            .map(|arrival| arrival.dropped(Reason::IcmpQuote)),
        ),
        case(
            "an_error_about_an_error_is_dropped",
            [
                public(to(FLOATING).icmp(3, 1).quote(
                    &between(FLOATING, CLIENT).icmp(3, 3).quote(&quoted(), ALL),
                    ALL,
                ))
                .dropped(Reason::IcmpQuote),
                by_bastion(between(CLIENT, BASTION).icmp(11, 0).quote(&quoted(), ALL))
                    .dropped(Reason::IcmpQuote),
            ],
        ),
        case(
            "an_error_about_what_its_receiver_did_not_send_is_dropped",
            [
                about(between(FLOATING, CLIENT).tcp(443, 40_000)),
                about(between(CLIENT, VIP).tcp(40_000, 443)),
                about(between(WEB_1, CLIENT).tcp(8_443, 40_000)),
                by_bastion(between(CLIENT, FLOATING).udp(40_000, 9)),
                by_bastion(between(CLIENT, WEB_1).tcp(40_000, 8_443)),
                by_bastion(between(NODE, BASTION).udp(40_000, 9)),
                by_bastion(between(BASTION, CLIENT).udp(9, 40_000)),
            ]
            .map(|arrival| arrival.dropped(Reason::IcmpMismatch)),
        ),
        case(
            "an_error_about_a_port_that_serves_nothing_is_dropped",
            [
                about(between(VIP, CLIENT).tcp(444, 40_000)),
                about(between(VIP, CLIENT).udp(443, 40_000)),
                about(between(VIP, CLIENT).echo_reply(1, 1)),
            ]
            .map(|arrival| arrival.dropped(Reason::NoService)),
        ),
        case(
            "redirects_and_source_quenches_are_not_handed_on",
            [4, 5]
                .into_iter()
                .flat_map(|kind| {
                    let bastion = from_instance(HOST_A, BASTION).ipv4(BASTION, CLIENT);
                    let inside = between(CLIENT, BASTION).udp(1, 9);
                    [
                        public(to(VIP).icmp(kind, 0).quote(&quoted(), ALL))
                            .dropped(Reason::IcmpKind),
                        public(to(FLOATING).icmp(kind, 1).payload_of(28)).dropped(Reason::IcmpKind),
                        underlay(bastion.icmp(kind, 0).quote(&inside, ALL))
                            .dropped(Reason::IcmpKind),
                    ]
                })
                .collect::<Vec<_>>(),
        ),
        case(
            "an_instance_without_a_public_address_cannot_send_errors",
            [{
                let ip = from_instance(HOST_A, DNS).ipv4(DNS, CLIENT);
                underlay(
                    ip.icmp(3, 3)
                        .quote(&between(CLIENT, DNS).udp(40_000, 9), ALL),
                )
                .dropped(Reason::NoReverse)
            }],
        ),
    ]
}
