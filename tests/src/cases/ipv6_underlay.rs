//! VXLAN over IPv6, with a UDP checksum of 0 (RFC 6935) and with a right one.

use gateway_common::Reason;

use super::{
    Case, Step, case, public,
    site::{self, ROUTER_MAC, SHOP, SPINE_MAC, Site, UNDERLAY_MAC, from_border, mac_of, to_border},
    site6::{
        ANYCAST, BASTION, CLIENT, DNS, FLOATING, HOSTS, NODE, OWN_VTEP, ROUTER, VIP, WEB_1,
        from_instance_over_v6, to_instance_over_v6,
    },
    underlay,
};
use crate::packet::{Frame, eth, protocol};

const HOST_A: std::net::Ipv6Addr = HOSTS[0];

/// The tunnel's frame with a right UDP checksum in place of 0.
fn summed(inner: impl Fn(Frame) -> Frame) -> Frame {
    let tunnel = eth(UNDERLAY_MAC, SPINE_MAC).ipv6(ANYCAST, HOST_A);
    inner(tunnel.udp(50_000, 4_789).vxlan_header(SHOP))
}

pub(super) fn cases() -> Vec<Case> {
    [both(), sums(), answers()].concat()
}

fn both() -> Vec<Case> {
    let sites = [(Site::OverIpv6, ""), (Site::OverIpv6Summed, "_with_sums")];
    let out = sites.map(|(site, name)| {
        let web_1 = from_instance_over_v6(HOST_A, site::WEB_1);
        let answer = |frame: Frame| frame.tcp(8_443, 40_000).payload_of(33);
        let left = |frame: Frame| frame.tcp(443, 40_000).payload_of(33);
        let v4 = web_1.clone().ipv4(site::WEB_1, site::CLIENT);
        case(
            format!("answers_leave_an_ipv6_underlay{name}"),
            [
                underlay(answer(web_1.clone().ipv6(WEB_1, CLIENT))).leaves(
                    "web6/web-1",
                    left(to_border().ipv6(VIP, CLIENT).hop_limit(63)),
                ),
                underlay(answer(v4)).leaves(
                    "web/web-1",
                    left(to_border().ipv4(site::VIP, site::CLIENT).ttl(63)),
                ),
            ],
        )
        .at(site)
    });
    sites
        .map(|(site, name)| {
            let host = |to| eth(SPINE_MAC, UNDERLAY_MAC).vxlan6(HOST_A, to, SHOP);
            let inner = |frame: Frame| frame.eth(mac_of(SHOP, site::WEB_1), ROUTER_MAC);
            let packet = |frame: Frame| inner(frame).ipv6(WEB_1, CLIENT).tcp(8_443, 1);
            let left = to_border().ipv6(VIP, CLIENT).hop_limit(63).tcp(443, 1);
            let plain = eth(SPINE_MAC, UNDERLAY_MAC).ipv6(HOST_A, ANYCAST);
            let strange = eth(SPINE_MAC, UNDERLAY_MAC).vxlan6(HOSTS[1], ANYCAST, SHOP);
            case(
                format!("only_tunnels_for_our_vteps_are_opened_over_ipv6{name}"),
                [
                    underlay(packet(host(OWN_VTEP))).leaves("web6/web-1", left),
                    underlay(packet(host(NODE))).passed(Reason::NotOurs),
                    underlay(packet(strange)).dropped(Reason::SpoofedVtep),
                    underlay(plain.clone().tcp(179, 4_000)).passed(Reason::NotVxlan),
                    underlay(plain.clone().udp(1, 3_784)).passed(Reason::NotVxlan),
                    underlay(plain.options6(protocol::HOP_BY_HOP, 1).udp(1, 4_789))
                        .passed(Reason::NotVxlan),
                    underlay(packet(host(ANYCAST).vxlan_flags(0))).dropped(Reason::VxlanFlags),
                ],
            )
            .at(site)
        })
        .into_iter()
        .chain(out)
        .collect()
}

fn sums() -> Vec<Case> {
    let v6 = |frame: Frame, rest: fn(Frame, u16) -> Frame, port| {
        rest(frame.ipv6(CLIENT, DNS).hop_limit(63), port)
    };
    let udp = |frame: Frame, port| frame.udp(40_000, port).payload_of(31);
    let no_sum = |frame: Frame, port| frame.udp(40_000, port).udp_checksum(0).payload_of(32);
    let to_dns = |frame: Frame| frame.eth(ROUTER_MAC, mac_of(SHOP, site::DNS));
    let to_bastion = |frame: Frame| frame.eth(ROUTER_MAC, mac_of(SHOP, site::BASTION));
    let sent = || from_border().ipv6(CLIENT, VIP);
    let kinds: [fn(Frame) -> Frame; 7] = [
        |ip| ip.tcp(1, 2).payload_of(7),
        |ip| ip.udp(1, 2).payload_of(7),
        |ip| ip.echo_request(1, 2).payload_of(1_300),
        // Nothing tells their sum: they are read.
        |ip| ip.next_header(protocol::GRE).payload_of(1_401),
        |ip| ip.fragment6(0, true, 9).udp(1, 2).payload_of(1_000),
        |ip| ip.options6(protocol::DESTINATION_OPTIONS, 2).tcp(1, 2),
        |ip| ip.udp(1, 2).udp_checksum(0).payload_of(3),
    ];
    let floating = kinds.map(|rest| {
        let got = |frame: Frame| rest(to_bastion(frame).ipv6(CLIENT, BASTION).hop_limit(63));
        public(rest(from_border().ipv6(CLIENT, FLOATING)))
            .reaches("floating/2001:db8:1::20", summed(got))
    });
    // Over IPv4, inner packets of any length that a frame's end makes odd.
    let lengths = (0..70).chain([127, 128, 129, 255, 511, 1_023, 1_024, 1_400]);
    let read = lengths.map(|length| {
        let rest = |ip: Frame| ip.protocol(protocol::GRE).payload_of(length);
        let got = |frame: Frame| rest(to_bastion(frame).ipv4(site::CLIENT, site::BASTION).ttl(63));
        public(rest(from_border().ipv4(site::CLIENT, site::FLOATING)))
            .reaches("floating/203.0.113.20", summed(got))
    });
    vec![
        case(
            "tunnels_over_ipv6_have_no_udp_checksum",
            [udp, no_sum].map(|rest| {
                let got = to_instance_over_v6(HOST_A, site::DNS);
                public(rest(sent(), 53)).reaches("names6/dns", v6(got, rest, 5_353))
            }),
        )
        .at(Site::OverIpv6),
        case(
            "tunnels_over_ipv6_have_a_right_udp_checksum_if_wanted",
            [udp, no_sum]
                .map(|rest| {
                    let got = |frame: Frame| v6(to_dns(frame), rest, 5_353);
                    public(rest(sent(), 53)).reaches("names6/dns", summed(got))
                })
                .into_iter()
                .chain(floating),
        )
        .at(Site::OverIpv6Summed),
        case("a_udp_checksum_is_right_for_any_length", read).at(Site::OverIpv6Summed),
        case(
            "a_jumbo_frame_has_the_udp_checksum_that_is_wanted_or_ends",
            long(),
        )
        .at(Site::OverIpv6Summed),
    ]
}

/// Of a long frame, the sum is known or is not: it is not read.
fn long() -> Vec<Step> {
    /// Bytes before the payload: UDP and VXLAN, Ethernet, IPv6.
    const HEADERS: usize = 16 + 14 + 40;
    let to_bastion = |frame: Frame| frame.eth(ROUTER_MAC, mac_of(SHOP, site::BASTION));
    let tcp = |ip: Frame| ip.tcp(1, 2).payload_of(8_000);
    let gre = |ip: Frame, length| ip.next_header(protocol::GRE).payload_of(length);
    let sent = || from_border().ipv6(CLIENT, FLOATING);
    let got = |frame: Frame| to_bastion(frame).ipv6(CLIENT, BASTION).hop_limit(63);
    let longest = 2_047 - HEADERS;
    let reaches = |sent: Frame, got| public(sent).reaches("floating/2001:db8:1::20", got);
    let tunnel = eth(SPINE_MAC, UNDERLAY_MAC).ipv6(HOST_A, ANYCAST);
    let asked = tunnel.udp(50_000, 4_789).vxlan_header(SHOP);
    let asked = asked.eth(mac_of(SHOP, site::WEB_1), ROUTER_MAC);
    vec![
        reaches(tcp(sent()), summed(|frame| tcp(got(frame)))),
        reaches(
            gre(sent(), longest),
            summed(|frame| gre(got(frame), longest)),
        ),
        public(gre(sent(), longest + 1)).dropped(Reason::UnderlaySum),
        public(gre(sent(), 8_000)).dropped(Reason::UnderlaySum),
        underlay(
            asked
                .ipv6(WEB_1, ROUTER)
                .echo_request(1, 2)
                .payload_of(3_000),
        )
        .dropped(Reason::UnderlaySum),
    ]
}

fn answers() -> Vec<Case> {
    let web_1 = mac_of(SHOP, site::WEB_1);
    let ask = |frame: Frame| frame.eth(web_1, ROUTER_MAC).ipv6(WEB_1, ROUTER);
    let back = |frame: Frame| frame.eth(ROUTER_MAC, web_1).ipv6(ROUTER, WEB_1);
    let tunnel = |from, to, macs: [crate::packet::Mac; 2]| {
        eth(macs[0], macs[1]).ipv6(from, to).udp(50_000, 4_789)
    };
    let there = || tunnel(HOST_A, ANYCAST, [SPINE_MAC, UNDERLAY_MAC]);
    let here = || tunnel(ANYCAST, HOST_A, [UNDERLAY_MAC, SPINE_MAC]);
    let sums: [fn(Frame) -> Frame; 2] = [|udp| udp.udp_checksum(0), |udp| udp];
    let both = |sum: fn(Frame) -> Frame| {
        let (ask_in, back_in) = (
            sum(there()).vxlan_header(SHOP),
            sum(here()).vxlan_header(SHOP),
        );
        let echo = underlay(ask(ask_in.clone()).echo_request(1, 2).payload_of(99)).answered(
            Reason::InnerEchoReply,
            back(back_in.clone()).echo_reply(1, 2).payload_of(99),
        );
        let solicited = ask(ask_in).hop_limit(255).solicitation(ROUTER, None);
        let told = back(back_in).hop_limit(255);
        let told = told.advertisement(ROUTER, ROUTER_MAC, 0xe0);
        [
            echo,
            underlay(solicited).answered(Reason::InnerNeighbourReply, told),
        ]
    };
    vec![
        case(
            "a_tunnel_over_ipv6_that_is_turned_round_has_a_checksum_if_it_had_one",
            sums.into_iter().flat_map(both),
        )
        .at(Site::OverIpv6),
    ]
}
