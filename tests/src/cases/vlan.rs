//! The public side in VLANs: whose tag is ours, and that it is put back.

use gateway_common::Reason;

use super::{
    Case, Step, case, public,
    refusals::told_from,
    single_arm,
    site::{
        BORDER, BORDER_MAC, CLIENT, DNS, FLOATING, HOST_A, NODE, PUBLIC_MAC, SECOND_MAC,
        SECOND_VLAN, Site, VIP, VLAN, WEB_1, from_border, from_instance, to_border, to_instance,
    },
    underlay,
};
use crate::packet::{Frame, eth};

/// A frame from the border router in a VLAN.
fn tagged(vlan: u16) -> Frame {
    from_border().vlan(vlan)
}

fn query(ethernet: Frame) -> Frame {
    ethernet.ipv4(CLIENT, VIP).udp(40_000, 53).payload(b"?")
}

fn reaches_dns(frame: Frame) -> Step {
    public(query(frame)).reaches(
        "names/dns",
        to_instance(HOST_A, DNS)
            .ipv4(CLIENT, DNS)
            .ttl(63)
            .udp(40_000, 5_353)
            .payload(b"?"),
    )
}

pub(super) fn cases() -> Vec<Case> {
    [carried(), answered(), passed(), bad()]
        .concat()
        .into_iter()
        .map(|case| case.at(Site::Tagged))
        .collect()
}

fn carried() -> Vec<Case> {
    let answer = |instance: Frame| instance.ipv4(DNS, CLIENT).udp(5_353, 40_000).payload(b"!");
    vec![
        case(
            "what_comes_in_by_a_vlan_of_ours_loses_its_tag",
            [
                reaches_dns(tagged(VLAN)),
                reaches_dns(tagged(SECOND_VLAN)),
                // Priority and "drop eligible" say nothing about whose frame it is.
                reaches_dns(tagged(0xf000 | VLAN)),
            ],
        ),
        case(
            "what_leaves_gets_the_next_hops_tag",
            [underlay(answer(from_instance(HOST_A, DNS))).leaves(
                "names/dns",
                to_border()
                    .vlan(VLAN)
                    .ipv4(VIP, CLIENT)
                    .ttl(63)
                    .udp(53, 40_000)
                    .payload(b"!"),
            )],
        ),
        case(
            "single_arm_takes_the_underlay_untagged_and_the_public_side_tagged",
            [
                single_arm(query(tagged(VLAN))).reaches(
                    "names/dns",
                    to_instance(HOST_A, DNS)
                        .ipv4(CLIENT, DNS)
                        .ttl(63)
                        .udp(40_000, 5_353)
                        .payload(b"?"),
                ),
                single_arm(answer(from_instance(HOST_A, DNS))).leaves(
                    "names/dns",
                    to_border()
                        .vlan(VLAN)
                        .ipv4(VIP, CLIENT)
                        .ttl(63)
                        .udp(53, 40_000)
                        .payload(b"!"),
                ),
                single_arm(query(from_border())).passed(Reason::NotOurs),
                single_arm(query(tagged(7))).passed(Reason::VlanTagged),
            ],
        ),
    ]
}

fn answered() -> Vec<Case> {
    let asker = (BORDER_MAC, BORDER);
    let ask = |vlan, ip| eth(BORDER_MAC, [0xff; 6]).vlan(vlan).arp_request(asker, ip);
    vec![
        case(
            "arp_is_answered_with_the_tag_and_the_mac_of_the_vlan",
            [
                public(ask(VLAN, VIP)).answered(
                    Reason::ArpReply,
                    to_border().vlan(VLAN).arp_reply((PUBLIC_MAC, VIP), asker),
                ),
                public(ask(0xa000 | SECOND_VLAN, FLOATING)).answered(
                    Reason::ArpReply,
                    eth(SECOND_MAC, BORDER_MAC)
                        .vlan(0xa000 | SECOND_VLAN)
                        .arp_reply((SECOND_MAC, FLOATING), asker),
                ),
            ],
        ),
        case(
            "echo_is_answered_with_the_tag",
            [0, 56].map(|length| {
                public(
                    tagged(SECOND_VLAN)
                        .ipv4(CLIENT, VIP)
                        .echo_request(5, 6)
                        .payload_of(length),
                )
                .answered(
                    Reason::EchoReply,
                    eth(PUBLIC_MAC, BORDER_MAC)
                        .vlan(SECOND_VLAN)
                        .ipv4(VIP, CLIENT)
                        .echo_reply(5, 6)
                        .payload_of(length),
                )
            }),
        ),
    ]
}

fn passed() -> Vec<Case> {
    vec![
        case(
            "the_nodes_own_traffic_in_a_vlan_of_ours_passes_with_its_tag",
            [
                public(tagged(VLAN).ipv4(CLIENT, NODE).tcp(40_000, 22)).passed(Reason::NotOurs),
                public(tagged(0x7000 | VLAN).ipv4(CLIENT, NODE).tcp(40_000, 22))
                    .passed(Reason::NotOurs),
                public(tagged(VLAN).arp_request((BORDER_MAC, BORDER), NODE)).passed(Reason::NotIp),
                public(
                    eth(BORDER_MAC, [1, 0, 0x5e, 0, 0, 5])
                        .vlan(VLAN)
                        .ipv4(BORDER, CLIENT),
                )
                .passed(Reason::L2Multicast),
            ],
        ),
        case(
            "other_tags_and_no_tag_pass_even_for_our_addresses",
            [
                public(query(tagged(7))).passed(Reason::VlanTagged),
                public(query(tagged(0))).passed(Reason::VlanTagged),
                public(query(tagged(0xfff))).passed(Reason::VlanTagged),
                public(query(from_border())).passed(Reason::Untagged),
                public(eth(BORDER_MAC, [0xff; 6]).arp_request((BORDER_MAC, BORDER), VIP))
                    .passed(Reason::Untagged),
            ],
        ),
        case(
            "two_tags_pass_even_for_our_addresses",
            [
                public(query(tagged(VLAN).vlan(VLAN))).passed(Reason::VlanTagged),
                public(query(from_border().service_vlan(VLAN).vlan(VLAN)))
                    .passed(Reason::VlanTagged),
                public(query(tagged(VLAN).service_vlan(VLAN))).passed(Reason::VlanTagged),
            ],
        ),
    ]
}

fn bad() -> Vec<Case> {
    vec![
        case(
            "a_frame_that_ends_in_its_tag_is_dropped",
            [14, 15, 16, 17]
                .map(|length| public(query(tagged(VLAN)).cut(length)).dropped(Reason::Truncated)),
        ),
        case(
            "a_frame_that_ends_behind_its_tag_is_dropped",
            [18, 19, 37]
                .map(|length| public(query(tagged(VLAN)).cut(length)).dropped(Reason::Truncated)),
        ),
        case(
            "what_is_refused_behind_a_tag_is_refused_by_the_same_name",
            [public(tagged(VLAN).ipv4(CLIENT, VIP).tcp(40_000, 9)).dropped(Reason::NoService)],
        ),
        case(
            "a_sender_is_told_by_our_own_address_in_the_vlan",
            [(VLAN, NODE), (SECOND_VLAN, VIP)].map(|(vlan, own)| {
                let expired = |link: Frame| link.ipv4(CLIENT, VIP).ttl(1).udp(40_000, 53);
                let link = to_border().vlan(vlan);
                let error = told_from(link, own, CLIENT).icmp(11, 0);
                public(expired(tagged(vlan))).answered(
                    Reason::SentTimeExceeded,
                    error.quote(&expired(from_border()), 548),
                )
            }),
        ),
        case(
            "a_tag_in_the_underlay_is_not_ours",
            [underlay(
                eth(super::site::SPINE_MAC, super::site::UNDERLAY_MAC)
                    .vlan(VLAN)
                    .vxlan(HOST_A, super::site::ANYCAST, super::site::SHOP)
                    .eth([2; 6], [2; 6])
                    .ipv4(WEB_1, CLIENT),
            )
            .passed(Reason::VlanTagged)],
        ),
    ]
}
