//! Compares what a run did with what a case expects.

use std::collections::{BTreeMap, BTreeSet};

use gateway_common::{Counter, ReasonCount, VXLAN_OVERHEAD_V4, VXLAN_OVERHEAD_V6};
use lingyun::model::Tables;

use super::{Action, Observed, Runner};
use crate::{
    cases::{
        Case, Expect, Step, Together,
        site::{self, PUBLIC_INDEX, UNDERLAY_INDEX},
    },
    packet::{describe, diff, seal, wrong_checksums},
};

/// Where the outer UDP source port lies in a tunnel frame, if it is one.
fn outer_port(frame: &[u8]) -> Option<std::ops::Range<usize>> {
    let at = match frame.get(12..14)? {
        [0x86, 0xdd] => 14 + 40,
        _ => 14 + 20,
    };
    (frame.len() >= at + 2).then_some(at..at + 2)
}

/// What is compared between the packets of a case: alternative and outer port.
type Seen = (usize, u16);

pub(super) fn check(case: &Case, runner: &mut dyn Runner) -> Result<(), String> {
    let tables = case.site.tables();
    let mut seen = Vec::new();
    // What ends here goes where the rest goes: what it leaves behind must be found there.
    let usual = case.steps.iter().find_map(|step| device(&step.expect));
    for (number, step) in case.steps.iter().enumerate() {
        if !runner.can_send(step) {
            continue;
        }
        let judged = runner
            .run(step, device(&step.expect).or(usual))
            .map_err(|error| format!("{error:#}"))
            .and_then(|observed| judge(&tables, step, &observed));
        match judged {
            Ok(found) => seen.extend(found),
            Err(what) => {
                let (input, many) = (describe(&step.input), case.steps.len());
                let head = format!("packet {} of {many} at {:?}", number + 1, step.program);
                return Err(format!("{head}: {what}\n  the packet was:\n{input}"));
            }
        }
    }
    together(case.together, &seen)
}

/// Where a packet should go, if it goes anywhere.
fn device(expect: &Expect) -> Option<u32> {
    match expect {
        Expect::Encapsulated(_) | Expect::Routed(..) | Expect::Hairpinned(..) => {
            Some(UNDERLAY_INDEX)
        }
        Expect::Decapsulated(..) => Some(PUBLIC_INDEX),
        _ => None,
    }
}

fn judge(tables: &Tables, step: &Step, observed: &Observed) -> Result<Option<Seen>, String> {
    let action = match step.expect {
        Expect::Passed(_) => Action::Pass,
        Expect::Dropped(_) => Action::Drop,
        Expect::Answered(..) => Action::Transmit,
        _ if tables.config.only_port != 0 => Action::Transmit,
        Expect::Encapsulated(_) | Expect::Routed(..) | Expect::Hairpinned(..) => {
            Action::Redirect(UNDERLAY_INDEX)
        }
        Expect::Decapsulated(..) => Action::Redirect(PUBLIC_INDEX),
    };
    let reasons: Vec<_> = step.expect.reason().into_iter().collect();
    let counted: Vec<_> = observed.reasons.keys().copied().collect();
    if observed.action != action || counted != reasons {
        return Err(format!(
            "expected {action:?} {reasons:?}, found {:?} {counted:?}",
            observed.action
        ));
    }
    let bytes = step.input.len() as u64;
    for (reason, count) in &observed.reasons {
        equal(
            &format!("count of {reason:?}"),
            &ReasonCount { packets: 1, bytes },
            count,
        )?;
    }
    equal("routed", &routed(&step.expect), &observed.routed)?;
    // A tag is the link's, not the packet's.
    let tag = if tables.config.tagged != 0 { 4 } else { 0 };
    match &step.expect {
        Expect::Dropped(_) => no_counter(observed),
        Expect::Passed(_) => same(&step.input, &observed.output).and(no_counter(observed)),
        Expect::Answered(_, frame) => {
            right(&observed.output)?;
            same(frame, &observed.output).and(no_counter(observed))
        }
        Expect::Decapsulated(name, frame) => {
            right(&observed.output)?;
            same(frame, &observed.output)?;
            let out_bytes = frame.len() as u64 - tag;
            let expected = Counter {
                out_packets: 1,
                out_bytes,
                ..Counter::default()
            };
            one_counter(tables, name, &expected, observed)
        }
        Expect::Routed(_, _, frame) => {
            right(&observed.output)?;
            same(frame, &observed.output).and(no_counter(observed))
        }
        Expect::Hairpinned(from, to, frame) => {
            right(&observed.output)?;
            same(frame, &observed.output)?;
            let mut expected: BTreeMap<u32, Counter> = BTreeMap::new();
            let bytes = in_tunnel(frame);
            let sender = expected.entry(site::counter(tables, from)).or_default();
            (sender.out_packets, sender.out_bytes) = (1, bytes);
            let receiver = expected.entry(site::counter(tables, to)).or_default();
            (receiver.in_packets, receiver.in_bytes) = (1, bytes);
            let what = format!("counters that moved (should be {from} and {to})");
            equal(&what, &expected, &observed.counters)
        }
        Expect::Encapsulated(any) => {
            let (at, port) = encapsulated(any, &observed.output)?;
            let expected = Counter {
                in_packets: 1,
                in_bytes: bytes - tag,
                ..Counter::default()
            };
            one_counter(tables, any[at].0, &expected, observed)?;
            return Ok(Some((at, port)));
        }
    }
    .map(|()| None)
}

/// Bytes of the frame inside a tunnel's.
fn in_tunnel(frame: &[u8]) -> u64 {
    let outer = match frame[12..14] {
        [0x86, 0xdd] => VXLAN_OVERHEAD_V6,
        _ => VXLAN_OVERHEAD_V4,
    };
    frame.len() as u64 - u64::from(outer)
}

/// The counters of routed packets that must move.
fn routed(expect: &Expect) -> BTreeMap<u32, Counter> {
    let mut routed: BTreeMap<u32, Counter> = BTreeMap::new();
    if let Expect::Routed(from, to, frame) = expect {
        let bytes = in_tunnel(frame);
        let sender = routed.entry(*from).or_default();
        (sender.out_packets, sender.out_bytes) = (1, bytes);
        let receiver = routed.entry(*to).or_default();
        (receiver.in_packets, receiver.in_bytes) = (1, bytes);
    }
    routed
}

/// Which of several frames a tunnel frame is, whatever its outer source port.
fn encapsulated(any: &[(&str, Vec<u8>)], output: &[u8]) -> Result<Seen, String> {
    let Some(place) = outer_port(output) else {
        return Err(format!(
            "the frame is too short for a tunnel:\n{}",
            describe(output)
        ));
    };
    let port = [output[place.start], output[place.start + 1]];
    let number = u16::from_be_bytes(port);
    if number < 49_152 {
        return Err(format!(
            "outer source port {number} is not in 49152..=65535"
        ));
    }
    right(output)?;
    let mut differences = Vec::new();
    for (at, (name, frame)) in any.iter().enumerate() {
        let mut frame = frame.clone();
        frame[place.clone()].copy_from_slice(&port);
        // A checksum of the tunnel covers the port.
        seal(&mut frame);
        match diff(&frame, output) {
            None => return Ok((at, number)),
            Some(text) => differences.push((text.lines().count(), format!("{name}: {text}"))),
        }
    }
    Err(differences
        .into_iter()
        .map(|(_, text)| text)
        .collect::<Vec<_>>()
        .join("\n"))
}

fn same(expected: &[u8], found: &[u8]) -> Result<(), String> {
    diff(expected, found).map_or(Ok(()), Err)
}

/// Cut and deliberately broken frames are never sent on, so every checksum of what
/// leaves must be right; a wrong one in the expectation would be a wrong case.
fn right(frame: &[u8]) -> Result<(), String> {
    let wrong = wrong_checksums(frame);
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("{}\n{}", wrong.join("\n"), describe(frame)))
}

fn equal<T: PartialEq + std::fmt::Debug>(
    what: &str,
    expected: &T,
    found: &T,
) -> Result<(), String> {
    if expected == found {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, found {found:?}"))
}

fn no_counter(observed: &Observed) -> Result<(), String> {
    equal(
        "counters that moved",
        &Default::default(),
        &observed.counters,
    )
}

fn one_counter(
    tables: &Tables,
    name: &str,
    expected: &Counter,
    observed: &Observed,
) -> Result<(), String> {
    let expected = [(site::counter(tables, name), *expected)].into();
    equal(
        &format!("counters that moved (should be {name})"),
        &expected,
        &observed.counters,
    )
}

fn together(rule: Together, seen: &[Seen]) -> Result<(), String> {
    let backends: BTreeSet<usize> = seen.iter().map(|seen| seen.0).collect();
    let ports: BTreeSet<u16> = seen.iter().map(|seen| seen.1).collect();
    let found = format!(
        "{} packets took {} backends and {} outer ports",
        seen.len(),
        backends.len(),
        ports.len()
    );
    match rule {
        Together::Nothing => Ok(()),
        Together::OneFlow if backends.len() == 1 && ports.len() == 1 => Ok(()),
        Together::OneFlow => Err(format!("one flow: {found}")),
        // Of n ports out of 16384, a few may meet.
        Together::Spread if backends.len() >= 2 && ports.len() * 10 >= seen.len() * 9 => Ok(()),
        Together::Spread => Err(format!("flows should spread: {found}")),
    }
}
