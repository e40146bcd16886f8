//! What the guard does as time goes by, and to IPv6.

use std::net::Ipv6Addr;

use etherparse::{PacketBuilder, PacketBuilderStep, TcpHeader};
use gateway_common::Reason;
use ipnet::IpNet;
use lingyun::{
    config::{Bogons, Challenge, Guard, Guarded, Lists, Rate, Rates, ServiceGuard},
    model::{self, Tables},
};

use crate::{
    cases::{
        Program,
        site::{self, CLIENT, VIP, from_border},
        site6,
    },
    harness::{Action, Host},
    packet::{Frame, assert_checksums},
};

const SYN_ACK: u8 = 0x12;
const RST: u8 = 4;

const fn a_second(count: u32) -> Rate {
    Rate { count, seconds: 1 }
}

/// The fixtures' site with a guard for its web service and its bastion.
fn gateway(source: Rates, service: ServiceGuard) -> Host {
    let guard = Guard {
        source,
        services: [Guarded::LoadBalancer(0), Guarded::FloatingIp(0)]
            .map(|what| (what, service))
            .into(),
        verified_for: 300,
        ..Guard::default()
    };
    Host::new(tables(guard))
}

fn tables(guard: Guard) -> Tables {
    let mut topology = site::topology();
    topology.guard = guard;
    model::build(&topology, &topology.gateways[0], &site::reachability())
}

fn challenging(challenge: Challenge) -> Host {
    let service = ServiceGuard {
        challenge: Some(challenge),
        ..ServiceGuard::default()
    };
    gateway(Rates::default(), service)
}

fn syn(last: u8) -> Frame {
    let source = [198, 51, 100, last].into();
    from_border()
        .ipv4(source, VIP)
        .tcp(40_000, 443)
        .syn()
        .pad_to(60)
}

/// The reason that a frame ended with; none if it was sent on.
fn fate(host: &Host, frame: &Frame) -> Option<Reason> {
    end(host, &frame.bytes())
}

fn end(host: &Host, frame: &[u8]) -> Option<Reason> {
    let observed = host.send(Program::Public, frame, 256);
    let reason = observed.reasons.keys().next().copied();
    assert_eq!(
        reason.is_none(),
        matches!(observed.action, Action::Redirect(_))
    );
    reason
}

/// The number that a challenge wants back.
fn number(host: &Host, syn: &[u8]) -> u32 {
    let observed = host.send(Program::Public, syn, 256);
    assert!(observed.reasons.contains_key(&Reason::ChallengeSent));
    let tcp = match observed.output[12..14] {
        [0x08, 0] => 34,
        _ => 54,
    };
    assert!(observed.output.len() <= syn.len(), "no amplification");
    assert_eq!(observed.output[tcp + 13], SYN_ACK);
    assert_checksums(&observed.output);
    u32::from_be_bytes(
        observed.output[tcp + 8..][..4]
            .try_into()
            .expect("four bytes"),
    )
}

fn reset(last: u8, number: u32) -> Frame {
    syn(last).tcp_flags(RST).sequence(number)
}

#[test]
fn a_limit_gives_back_what_time_brings() {
    let flows = Rates {
        packets: None,
        new_flows: Some(a_second(10)),
    };
    let host = gateway(flows, ServiceGuard::default());
    let passed = |tries: usize| {
        (0..tries)
            .filter(|_| fate(&host, &syn(1)).is_none())
            .count()
    };
    assert_eq!(passed(20), 10, "a second's worth at once");
    host.pass(0.5);
    assert_eq!(passed(20), 5, "half a second's");
    host.pass(3_600.0);
    assert_eq!(passed(20), 10, "and never more than a second's");
    // In small steps the rate is kept to, too.
    let mut sum = 0;
    for _ in 0..1_000 {
        host.pass(0.012);
        sum += passed(2);
    }
    assert!((118..=120).contains(&sum), "{sum} in 12 s");
}

#[test]
fn a_number_is_good_in_its_epoch_and_the_next_one() {
    let host = challenging(Challenge::Always);
    host.begin_epochs();
    let first = number(&host, &syn(1).bytes());
    host.pass(65.0);
    let second = number(&host, &syn(1).bytes());
    assert_ne!(first, second, "another epoch, another number");
    assert_eq!(fate(&host, &reset(1, first)), Some(Reason::ChallengePassed));
    let host = challenging(Challenge::Always);
    host.begin_epochs();
    let first = number(&host, &syn(1).bytes());
    host.pass(129.0);
    assert_eq!(
        fate(&host, &reset(1, first)),
        None,
        "too old: an ordinary reset"
    );
    assert_eq!(fate(&host, &syn(1)), Some(Reason::ChallengeSent));
}

#[test]
fn numbers_are_nobody_elses() {
    let host = challenging(Challenge::Always);
    let first = number(&host, &syn(1).bytes());
    let source = [198, 51, 100, 1].into();
    let other_port = from_border().ipv4(source, VIP).tcp(40_001, 443).syn();
    assert_ne!(first, number(&host, &syn(2).bytes()), "another source's");
    assert_ne!(first, number(&host, &other_port.bytes()), "another flow's");
    assert_eq!(fate(&host, &reset(2, first)), None);
    assert_eq!(fate(&host, &syn(2)), Some(Reason::ChallengeSent));
}

#[test]
fn a_source_is_known_for_a_while() {
    let host = challenging(Challenge::Always);
    let first = number(&host, &syn(1).bytes());
    assert_eq!(fate(&host, &reset(1, first)), Some(Reason::ChallengePassed));
    host.pass(299.0);
    assert_eq!(fate(&host, &syn(1)), None);
    host.pass(2.0);
    assert_eq!(fate(&host, &syn(1)), Some(Reason::ChallengeSent));
}

#[test]
fn a_challenge_begins_with_a_flood_and_ends_after_it() {
    let host = challenging(Challenge::Above {
        above: a_second(100),
        below: a_second(10),
    });
    let flood = |count: u32| {
        let frames = (0..count).map(|number| syn(number as u8));
        frames.filter(|frame| fate(&host, frame).is_none()).count()
    };
    assert_eq!(flood(100), 100, "as many as are let in");
    assert_eq!(flood(1_000), 0, "the rest of a flood");
    // It goes on, slower than it began, but faster than what ends the challenge.
    for _ in 0..30 {
        host.pass(1.0);
        assert_eq!(flood(50), 0);
    }
    // Ordinary traffic of unknown sources does not keep it on.
    for _ in 0..9 {
        host.pass(1.0);
        assert_eq!(flood(5), 0, "it stays on for a while");
    }
    host.pass(2.0);
    assert_eq!(flood(5), 5, "it is off");
}

#[test]
fn ipv6_is_guarded_alike() {
    let vip = site6::FLOATING;
    let tables = tables(Guard {
        lists: Lists {
            allow: vec![net("2001:db8:bad:1::/64")],
            deny: vec![net("2001:db8:bad::/48")],
        },
        bogons: Bogons::Martians,
        malformed: true,
        services: [(
            Guarded::FloatingIp(2),
            ServiceGuard {
                challenge: Some(Challenge::Always),
                ..ServiceGuard::default()
            },
        )]
        .into(),
        verified_for: 300,
        ..Guard::default()
    });
    let host = Host::new(tables);

    for (source, reason) in [
        ("2001:db8:bad::1", Reason::DenyListed),
        ("2001:db8:bad:2::1", Reason::DenyListed),
        ("::", Reason::Bogon),
        ("::1", Reason::Bogon),
        ("::ffff:198.51.100.1", Reason::Bogon),
        ("fe80::1", Reason::Bogon),
        ("ff02::1", Reason::Bogon),
    ] {
        let syn = segment_v6(source, vip, |tcp| tcp.syn());
        assert_eq!(end(&host, &syn), Some(reason), "{source}");
    }
    let syn = |source| segment_v6(source, vip, |tcp| tcp.syn());
    let client = "2001:db8:1:1::7";
    let odd = segment_v6(client, vip, |tcp| tcp.syn().fin());
    assert_eq!(end(&host, &odd), Some(Reason::TcpSynFin));
    let asked = number(&host, &syn(client));
    let mut answer = segment_v6(client, vip, |tcp| tcp.rst());
    answer[14 + 40 + 4..][..4].copy_from_slice(&asked.to_be_bytes());
    assert_eq!(end(&host, &answer), Some(Reason::ChallengePassed));
    let challenged = |source| end(&host, &syn(source)) == Some(Reason::ChallengeSent);
    assert!(!challenged(client), "known");
    assert!(!challenged("2001:db8:1:1::8"), "so is its network");
    assert!(challenged("2001:db8:1:2::7"), "and no other one");
    assert!(!challenged("2001:db8:bad:1::1"), "allowed");
}

/// A segment to port 443, with the flags that `flags` sets.
fn segment_v6(
    source: &str,
    destination: Ipv6Addr,
    flags: impl Fn(PacketBuilderStep<TcpHeader>) -> PacketBuilderStep<TcpHeader>,
) -> Vec<u8> {
    let source: Ipv6Addr = source.parse().expect("an address");
    let ip = PacketBuilder::ethernet2([2; 6], [4; 6]);
    let ip = ip.ipv6(source.octets(), destination.octets(), 64);
    let mut frame = Vec::new();
    let tcp = flags(ip.tcp(40_000, 443, 0x0102_0304, 0xfff0));
    tcp.write(&mut frame, &[]).expect("a whole frame");
    frame
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a range")
}

#[test]
fn without_a_guard_nothing_is_looked_at() {
    let host = Host::new(tables(Guard::default()));
    let odd = from_border()
        .ipv4(CLIENT, VIP)
        .tcp(40_000, 443)
        .tcp_flags(3);
    assert_eq!(fate(&host, &odd), None);
    let loopback = from_border()
        .ipv4([127, 0, 0, 1].into(), VIP)
        .tcp(40_000, 443);
    assert_eq!(fate(&host, &loopback), None);
}
