//! The guard: what it costs where it lets in and where it refuses.

use std::net::Ipv4Addr;

use ipnet::IpNet;
use lingyun::{
    config::{Bogons, Challenge, Guard, Guarded, Lists, Rate, Rates, ServiceGuard},
    model::{self, Tables},
};

use super::{Case, FLOWS, Program, Sample, Scale, Shape, nth, site};

/// Sources that nothing is known of.
const UNKNOWN: Ipv4Addr = Ipv4Addr::new(11, 0, 0, 0);

/// Denied ranges, each a /24.
const DENIED: Ipv4Addr = Ipv4Addr::new(12, 0, 0, 0);
const RANGES: u32 = 10_000;

/// The fixtures' site with everything switched on.
pub(super) fn tables() -> Tables {
    // So many that none is ever too many.
    let any = Rate {
        count: 100_000_000,
        seconds: 1,
    };
    let rates = Rates {
        packets: Some(any),
        new_flows: Some(any),
    };
    let deny = (0..RANGES).map(|number| {
        let range = ipnet::Ipv4Net::new(nth(DENIED, number << 8), 24);
        IpNet::V4(range.expect("a prefix length"))
    });
    let web = ServiceGuard {
        rates,
        challenge: Some(Challenge::Always),
    };
    let mut topology = site::topology();
    topology.guard = Guard {
        lists: Lists {
            allow: Vec::new(),
            deny: deny.collect(),
        },
        bogons: Bogons::Martians,
        malformed: true,
        source: rates,
        services: [(Guarded::LoadBalancer(0), web)].into(),
        verified_for: 300,
        ..Guard::default()
    };
    model::build(&topology, &topology.gateways[0], &site::reachability())
}

/// All of them (an answered SYN gets shorter, which the generator does not undo), made by `case` from a name, flows, program, shape and sample.
pub(super) fn cases(
    vip_tcp: &Sample,
    case: impl Fn(&'static str, usize, Program, Shape, &Sample) -> Case,
) -> Vec<Case> {
    let from = |base, count, sample: &Sample| Sample {
        addresses: (0..count).map(|number| nth(base, number)).collect(),
        ..sample.clone()
    };
    let guarded = |name, shape, sample: &Sample| Case {
        site: Scale::Guarded,
        ..case(name, FLOWS, Program::Public, shape, sample)
    };
    let known = from(UNKNOWN, 1 << 16, vip_tcp);
    let denied = from(DENIED, RANGES << 8, vip_tcp);
    vec![
        guarded("VIP TCP, guard on", Shape::Push, &known),
        guarded("source denied", Shape::Drop, &denied),
    ]
}
