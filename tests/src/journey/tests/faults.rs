//! One fault at a time, and the claim that must notice it.

use super::{
    super::{Hop, Outer},
    encode::Step,
    failed, journey,
    site::{Way, mac},
};

fn outer(step: &mut Step) -> &mut Outer {
    step.headers.outer.as_mut().expect("a link with a tunnel")
}

/// The device where the packet should end on this link does not see it.
fn lose_last(step: &mut Step) {
    step.seen.pop();
}

/// The device where the packet should begin on this link does not see it.
fn lose_first(step: &mut Step) {
    step.seen.remove(0);
}

/// What is wrong, on which link, and the hop and words of a claim that must fail.
type Wrong = (&'static str, fn(&mut Step), &'static str, &'static str);

const SPOILED: &[Wrong] = &[
    (
        "f",
        |s| s.seen = vec![("operator:phone", s.seen[1].1)],
        "f",
        "leaves the phone",
    ),
    (
        "f2",
        |s| s.headers.ttl = 64,
        "f",
        "routers change MACs and TTL",
    ),
    (
        "f2",
        |s| s.headers.macs.source = mac("phone:radio"),
        "f",
        "routers change MACs and TTL",
    ),
    (
        "f2",
        |s| s.headers.destination.set_port(444),
        "f",
        "routers change MACs and TTL",
    ),
    (
        "f2",
        |s| s.headers.source.set_port(1),
        "f",
        "routers change MACs and TTL",
    ),
    (
        "g",
        |s| s.headers.macs.destination = mac("phone:radio"),
        "g",
        "hands it to a gateway",
    ),
    (
        "g",
        |s| s.headers.destination.set_port(444),
        "g",
        "hands it to a gateway",
    ),
    (
        "i",
        |s| s.headers.destination.set_port(444),
        "h",
        "a HAProxy VM's address and port",
    ),
    (
        "i",
        |s| s.headers.destination.set_ip([172, 16, 1, 99].into()),
        "h",
        "a HAProxy VM's",
    ),
    (
        "i",
        |s| s.headers.source.set_port(1),
        "h",
        "a HAProxy VM's address and port",
    ),
    ("i", |s| s.headers.ttl = 62, "h", "one TTL less"),
    (
        "i",
        |s| s.headers.macs.source = mac("gw1:underlay"),
        "h",
        "from the virtual router",
    ),
    (
        "i",
        |s| s.headers.macs.destination = mac("controller-1"),
        "h",
        "to that VM's MAC",
    ),
    ("i", |s| outer(s).vni = 5002, "i", "VXLAN with VNI 5001"),
    ("i2", |s| outer(s).vni = 5002, "i", "VXLAN with VNI 5001"),
    (
        "i",
        |s| outer(s).source = [10, 0, 0, 11].into(),
        "i",
        "VXLAN with VNI 5001",
    ),
    (
        "i",
        |s| outer(s).destination = [10, 0, 2, 2].into(),
        "i",
        "VXLAN with VNI 5001",
    ),
    ("i2", |s| outer(s).ttl = 64, "i", "only outer MACs and TTL"),
    (
        "i2",
        |s| outer(s).source_port = 1,
        "i",
        "only outer MACs and TTL",
    ),
    ("i2", |s| s.headers.ttl = 60, "i", "only outer MACs and TTL"),
    (
        "j",
        |s| s.headers.ttl = 60,
        "j",
        "comes to the HAProxy VM unchanged",
    ),
    (
        "j",
        |s| s.headers.macs.source = mac("host-a:uplink"),
        "j",
        "the HAProxy VM unchanged",
    ),
    ("j", |s| lose_last(s), "j", "comes to the HAProxy VM"),
    (
        "k0",
        |s| s.headers.destination.set_port(1),
        "k",
        "to a Controller",
    ),
    (
        "k0",
        |s| s.headers.source.set_ip([172, 16, 1, 12].into()),
        "k",
        "HAProxy sends the same",
    ),
    (
        "k",
        |s| s.headers.macs.destination = mac("router"),
        "k",
        "HAProxy sends the same bytes",
    ),
    ("k", |s| outer(s).vni = 1, "k", "VXLAN with VNI 5001"),
    (
        "k",
        |s| outer(s).destination = [10, 0, 0, 100].into(),
        "k",
        "to the Controller's",
    ),
    ("k2", |s| s.headers.ttl = 63, "k", "only outer MACs and TTL"),
    (
        "l",
        |s| s.headers.ttl = 63,
        "l",
        "comes to the Controller VM unchanged",
    ),
    ("l", |s| lose_last(s), "l", "comes to the Controller VM"),
    (
        "l'",
        |s| s.headers.macs.destination = mac("router"),
        "l'",
        "the Controller answers",
    ),
    ("l'", |s| lose_first(s), "l'", "the Controller answers"),
    ("k'", |s| outer(s).vni = 1, "k'", "VXLAN with VNI 5001"),
    (
        "k'",
        |s| outer(s).source = [10, 0, 1, 2].into(),
        "k'",
        "back to HAProxy's",
    ),
    (
        "k3'",
        |s| lose_last(s),
        "k'",
        "unwrapped, it comes to HAProxy",
    ),
    (
        "j'",
        |s| s.headers.macs.destination = mac("controller-1"),
        "j'",
        "virtual router",
    ),
    (
        "j'",
        |s| s.headers.source.set_port(1),
        "j'",
        "HAProxy answers",
    ),
    (
        "i'",
        |s| outer(s).destination = [10, 0, 0, 11].into(),
        "i'",
        "shared gateway address",
    ),
    ("i'", |s| outer(s).vni = 5002, "i'", "VXLAN with VNI 5001"),
    (
        "i2'",
        |s| s.headers.source.set_port(1),
        "i'",
        "only outer MACs and TTL",
    ),
    (
        "g'",
        |s| s.headers.source.set_port(444),
        "h'",
        "back as the source",
    ),
    (
        "g'",
        |s| s.headers.source.set_ip([172, 16, 1, 11].into()),
        "h'",
        "back as the source",
    ),
    ("g'", |s| s.headers.ttl = 64, "h'", "back as the source"),
    (
        "g'",
        |s| s.headers.macs.source = mac("router"),
        "g'",
        "hands it to the border",
    ),
    (
        "f'",
        |s| s.headers.ttl = 63,
        "f'",
        "routers change MACs and TTL",
    ),
    (
        "f2'",
        |s| s.headers.source.set_port(444),
        "f'",
        "from the address it asked",
    ),
    ("f2'", |s| lose_last(s), "f'", "comes to the phone"),
];

#[test]
fn each_fault_fails_its_claim() {
    for (number, (link, spoil, hop, words)) in SPOILED.iter().enumerate() {
        let mut way = Way::right();
        way.on_link(link, spoil);
        let claims = journey(&way.frames()).check();
        let failed = failed(&claims);
        let found = failed
            .iter()
            .any(|claim| claim.starts_with(&format!("{hop} ")) && claim.contains(words));
        assert!(
            found,
            "fault {number} on link {link} failed {failed:#?}, not {hop}: {words}"
        );
    }
}

#[test]
fn every_claim_can_fail() {
    let mut can_fail: Vec<(Option<Hop>, String)> = Vec::new();
    for (link, spoil, ..) in SPOILED {
        let mut way = Way::right();
        way.on_link(link, spoil);
        let claims = journey(&way.frames()).check().into_iter();
        can_fail.extend(
            claims
                .filter(|claim| !claim.ok)
                .map(|claim| (claim.hop, claim.claim)),
        );
    }
    for claim in journey(&Way::right().frames()).check() {
        let is_known = can_fail.contains(&(claim.hop, claim.claim.clone()));
        // Checksums have a test of their own: encoding always makes them right.
        assert!(is_known || claim.hop.is_none(), "{claim:?} never failed");
    }
}
