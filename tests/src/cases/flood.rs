//! The guard's limits and challenges. What one case uses up, no other one touches: in
//! the kernel they share what the guard remembers.

use std::net::Ipv4Addr;

use gateway_common::Reason;
use gateway_ebpf::{family::Family, stages::guard::Cookie};

use super::{
    Case, Step, case, public,
    site::{
        BASTION, CLIENT, DNS, FLOATING, HOST_A, HOST_B, OTHER, OTHER_FLOATING, OTHER_ROUTER_MAC,
        OTHER_VIP, Site, VIP, WEB_1, WEB_2, from_border, mac_of, to_border, to_host, to_instance,
    },
};
use crate::{
    harness::HostTables,
    packet::{Frame, protocol},
};

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const SYN_ACK: u8 = 0x12;

fn client(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(198, 51, 100, last)
}

pub(super) fn cases() -> Vec<Case> {
    let limited = sources().into_iter().map(|case| case.at(Site::Limited));
    let guarded = [services(), challenges()].concat();
    let guarded = guarded.into_iter().map(|case| case.at(Site::Guarded));
    limited.chain(guarded).collect()
}

/// To the bastion, and what reaches it.
fn to_bastion(source: Ipv4Addr, rest: impl Fn(Frame) -> Frame) -> Step {
    let inside = to_instance(HOST_A, BASTION).ipv4(source, BASTION).ttl(63);
    public(rest(from_border().ipv4(source, FLOATING)))
        .reaches("floating/203.0.113.20", rest(inside))
}

fn sources() -> Vec<Case> {
    let data = |source| to_bastion(source, |ip| ip.tcp(40_000, 22));
    let more = |source| {
        let frame = from_border().ipv4(source, FLOATING).tcp(40_000, 22);
        public(frame).dropped(Reason::RateSource)
    };
    let syn = |source| to_bastion(source, |ip| ip.tcp(40_000, 22).syn());
    let syn_more = |source| {
        let frame = from_border().ipv4(source, FLOATING).tcp(40_000, 22).syn();
        public(frame).dropped(Reason::FlowsSource)
    };
    let [a, b, c, d] = [1, 2, 3, 99].map(client);
    vec![
        case(
            "a_source_may_send_so_many_packets_and_another_one_as_many",
            [
                data(a),
                data(a),
                data(a),
                data(a),
                more(a),
                more(a),
                data(b),
            ],
        ),
        case(
            "a_source_may_start_so_many_flows_and_go_on_with_them",
            [syn(c), syn(c), syn_more(c), data(c)],
        ),
        case(
            "an_allowed_source_has_no_limits",
            (0..10).map(|_| syn(d)).chain((0..10).map(|_| data(d))),
        ),
    ]
}

fn services() -> Vec<Case> {
    let query = |source: Ipv4Addr| {
        public(from_border().ipv4(source, VIP).udp(40_000, 53)).reaches(
            "names/dns",
            to_instance(HOST_A, DNS)
                .ipv4(source, DNS)
                .ttl(63)
                .udp(40_000, 5_353),
        )
    };
    let one_more = |source: Ipv4Addr| {
        public(from_border().ipv4(source, VIP).udp(40_000, 53)).dropped(Reason::RateService)
    };
    let inside = || to_host(HOST_B, OTHER).eth(OTHER_ROUTER_MAC, mac_of(OTHER, WEB_1));
    let other = |source: Ipv4Addr, rest: fn(Frame) -> Frame| {
        public(rest(from_border().ipv4(source, OTHER_VIP).tcp(40_000, 443))).reaches(
            "other/web-1",
            rest(inside().ipv4(source, WEB_1).ttl(63).tcp(40_000, 8_443)),
        )
    };
    let no_more = |source: Ipv4Addr| {
        let syn = from_border().ipv4(source, OTHER_VIP).tcp(40_000, 443).syn();
        public(syn).dropped(Reason::FlowsService)
    };
    let [a, b, c, d] = [1, 2, 3, 4].map(client);
    vec![
        case(
            "a_service_takes_so_many_packets_from_all_sources_together",
            [query(a), query(b), query(c), one_more(d), one_more(a)],
        ),
        case(
            "a_service_takes_so_many_new_flows_and_goes_on_with_them",
            [
                other(a, Frame::syn),
                other(b, Frame::syn),
                no_more(c),
                other(a, |frame| frame),
            ],
        ),
    ]
}

/// The numbers that the gateway gives a flow: acknowledgment and sequence.
fn cookie(syn: &Frame) -> Cookie {
    let tables = HostTables::new(Site::Guarded.tables());
    let packet = gateway_ebpf::buffer::Buffer::new(&syn.bytes(), 0, 1);
    let flow = gateway_ebpf::family::V4::parse(&packet, gateway_ebpf::IP).expect("a segment");
    Cookie::new(&tables, &flow, 0)
}

/// A client that is challenged at a service.
struct Challenged {
    source: Ipv4Addr,
    vip: Ipv4Addr,
    port: u16,
}

impl Challenged {
    const SEQUENCE: u32 = 0x0102_0304;

    fn syn(&self) -> Frame {
        from_border()
            .ipv4(self.source, self.vip)
            .tcp(40_000, self.port)
            .syn()
    }

    fn answer(&self) -> Frame {
        let cookie = cookie(&self.syn());
        to_border()
            .pad_to(60)
            .ipv4(self.vip, self.source)
            .dont_fragment()
            .id(0)
            .tcp(self.port, 40_000)
            .tcp_flags(SYN_ACK)
            .sequence(cookie.sequence)
            .acknowledgment(cookie.for_syn(Self::SEQUENCE))
            .window(0)
    }

    /// The SYN is answered; network cards pad what is shorter than 60 bytes.
    fn is_challenged(&self) -> Step {
        public(self.syn().pad_to(60)).answered(Reason::ChallengeSent, self.answer())
    }

    /// A real client's reset.
    fn reset(&self) -> Frame {
        let number = cookie(&self.syn()).for_syn(Self::SEQUENCE);
        from_border()
            .ipv4(self.source, self.vip)
            .tcp(40_000, self.port)
            .tcp_flags(RST)
            .sequence(number)
    }
}

/// The shop's service reached by any frame of TCP.
fn web(frame: Frame, source: Ipv4Addr, rest: impl Fn(Frame) -> Frame) -> Step {
    let any = [("web/web-1", HOST_A, WEB_1), ("web/web-2", HOST_B, WEB_2)];
    public(frame).reaches_one_of(any.map(|(name, host, instance)| {
        let inside = to_instance(host, instance).ipv4(source, instance).ttl(63);
        (name, rest(inside.tcp(40_000, 8_443)))
    }))
}

fn challenges() -> Vec<Case> {
    let at_web = |last| Challenged {
        source: client(last),
        vip: VIP,
        port: 443,
    };
    let [a, b, c] = [11, 12, 13].map(at_web);
    let at_floating = |last| Challenged {
        source: client(last),
        vip: OTHER_FLOATING,
        port: 22,
    };
    let [d, e, f] = [14, 15, 16].map(at_floating);
    let to_other = |frame: Frame, source: Ipv4Addr| {
        let inside = to_host(HOST_B, OTHER).eth(OTHER_ROUTER_MAC, mac_of(OTHER, BASTION));
        let inside = inside.ipv4(source, BASTION).ttl(63).tcp(40_000, 22).syn();
        public(frame).reaches("floating/203.0.113.21", inside)
    };
    let with_options = || {
        a.syn()
            .tcp_options(&[2, 4, 5, 0xb4, 1, 3, 3, 7])
            .payload_of(30)
    };
    let wrong = |number: u32| {
        let frame = c.reset().sequence(number);
        web(frame, c.source, |inside| {
            inside.tcp_flags(RST).sequence(number)
        })
    };
    let right = cookie(&c.syn()).for_syn(Challenged::SEQUENCE);
    vec![
        case(
            "an_unknown_sources_syn_is_answered_with_a_number",
            [
                a.is_challenged(),
                a.is_challenged(),
                public(with_options()).answered(Reason::ChallengeSent, a.answer()),
            ],
        ),
        case(
            "a_source_that_returns_the_number_is_known_from_then_on",
            [
                web(b.syn().tcp_flags(0x10), b.source, |inside| {
                    inside.tcp_flags(0x10)
                }),
                b.is_challenged(),
                public(b.reset()).dropped(Reason::ChallengePassed),
                web(b.syn(), b.source, Frame::syn),
            ],
        ),
        case(
            "a_reset_with_another_number_is_traffic_like_any_other",
            [
                c.is_challenged(),
                wrong(0),
                wrong(right.wrapping_add(1)),
                wrong(Challenged::SEQUENCE),
                c.is_challenged(),
                web(c.reset().tcp_flags(RST | 0x10), c.source, |inside| {
                    inside.tcp_flags(RST | 0x10).sequence(right)
                }),
                c.is_challenged(),
            ],
        ),
        case(
            "a_challenge_begins_above_its_rate_and_known_sources_pass",
            [
                to_other(d.syn(), d.source),
                to_other(d.syn(), d.source),
                to_other(e.syn(), e.source),
                e.is_challenged(),
                f.is_challenged(),
                public(f.reset()).dropped(Reason::ChallengePassed),
                to_other(f.syn(), f.source),
                d.is_challenged(),
            ],
        ),
        case("a_bad_syn_is_refused_before_it_is_challenged", {
            let [own, broadcast, multicast, loopback] = [
                VIP,
                Ipv4Addr::BROADCAST,
                Ipv4Addr::new(224, 0, 0, 1),
                Ipv4Addr::LOCALHOST,
            ]
            .map(|source| from_border().ipv4(source, VIP).tcp(443, 443).syn());
            let zero = from_border().ipv4(a.source, VIP).tcp(0, 443).syn();
            let options = from_border().ipv4(a.source, VIP).options(&[1, 1, 1, 0]);
            let options = options.tcp(40_000, 443).syn();
            [
                // The land attack.
                public(own).dropped(Reason::OwnSource),
                public(broadcast).dropped(Reason::Bogon),
                public(multicast).dropped(Reason::Bogon),
                public(loopback).dropped(Reason::Bogon),
                public(zero).dropped(Reason::PortZero),
                public(a.syn().tcp_flags(SYN | FIN)).dropped(Reason::TcpSynFin),
                public(a.syn().tcp_options(&[2, 4, 5, 0xb4]).cut(34 + 19))
                    .dropped(Reason::Truncated),
                public(options).dropped(Reason::IpOptions),
                // Its options and data are of no use: the answer has none.
                public(a.syn().tcp_options(&[2, 4, 5, 0xb4]).payload_of(600))
                    .answered(Reason::ChallengeSent, a.answer()),
            ]
        }),
        case(
            "a_challenge_is_tcps_alone",
            [
                public(from_border().ipv4(CLIENT, OTHER_FLOATING).udp(40_000, 22)).reaches(
                    "floating/203.0.113.21",
                    to_host(HOST_B, OTHER)
                        .eth(OTHER_ROUTER_MAC, mac_of(OTHER, BASTION))
                        .ipv4(CLIENT, BASTION)
                        .ttl(63)
                        .udp(40_000, 22),
                ),
                public(
                    from_border()
                        .ipv4(CLIENT, VIP)
                        .protocol(protocol::TCP)
                        .last_fragment(1)
                        .payload_of(24),
                )
                .dropped(Reason::Fragment),
            ],
        ),
    ]
}
