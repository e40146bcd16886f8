//! Peerings: two VPCs each, whose addresses tell them apart.

use std::collections::BTreeMap;

use super::Names;
use crate::config::{
    defaults,
    document::{Document, Peering},
    list::Entries,
    problem::{Place, Problems},
    read::At,
};

pub(super) fn check(document: &Document, names: &Names<'_>, problems: &mut Problems) {
    let mut lines: BTreeMap<[usize; 2], u32> = BTreeMap::new();
    let mut peers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for peering in document.peerings.entries() {
        let Some(pair) = pair(peering, names, problems) else {
            continue;
        };
        if let Some(line) = lines.get(&pair) {
            problems.error(
                peering.at,
                format!("these VPCs are peered on line {line} already"),
                "list each pair once",
            );
            continue;
        }
        lines.insert(pair, peering.at.line);
        let [a, b] = pair;
        check_ranges([a, b], peering.at, names, None, problems);
        // What a VPC sees of its peers must differ, too.
        for (hub, new) in [(a, b), (b, a)] {
            for &other in peers.get(&hub).into_iter().flatten() {
                check_ranges([new, other], peering.at, names, Some(hub), problems);
            }
            peers.entry(hub).or_default().push(new);
        }
    }
}

/// The two VPCs of a peering, in order.
fn pair(peering: &At<Peering>, names: &Names<'_>, problems: &mut Problems) -> Option<[usize; 2]> {
    let list = peering.vpcs.entries();
    let found: Vec<_> = list
        .iter()
        .filter_map(|name| names.vpc_at(name, problems))
        .collect();
    match found[..] {
        [a, b] if list.len() == 2 && a == b => {
            problems.error(
                list[1].at,
                format!("`{}` is peered with itself", list[1].value),
                "subnets of one VPC reach each other without a peering: name two VPCs",
            );
            None
        }
        [a, b] if list.len() == 2 => Some([a.min(b), a.max(b)]),
        _ => {
            if list.len() != 2 && peering.vpcs.is_complete() {
                problems.error(
                    peering.vpcs.as_ref().map_or(peering.at, |list| list.at),
                    format!("a peering has two VPCs, this one has {}", list.len()),
                    "write one entry for each pair: peerings are not transitive",
                );
            }
            None
        }
    }
}

/// Tells of ranges that overlap: an address in both would mean two machines.
fn check_ranges(
    [a, b]: [usize; 2],
    at: Place,
    names: &Names<'_>,
    hub: Option<usize>,
    problems: &mut Problems,
) {
    let name = |vpc: usize| {
        let name = names.vpcs()[vpc].name.as_ref();
        name.map_or("a VPC", |name| &name.0)
    };
    for range in defaults::ranges(&names.vpcs()[a]) {
        let others = defaults::ranges(&names.vpcs()[b]);
        let overlapping = others
            .iter()
            .find(|other| other.contains(&range) || range.contains(*other));
        let Some(other) = overlapping else { continue };
        let whose = match hub {
            None => String::new(),
            Some(hub) => format!(", both peers of `{}`", name(hub)),
        };
        problems.error(
            at,
            format!(
                "range {range} of `{}` overlaps {other} of `{}`{whose}",
                name(a),
                name(b)
            ),
            "an address in both would mean two machines: renumber one of the VPCs, narrow its \
             `cidrs` to what it uses, or let them talk through a floating IP or VIP",
        );
    }
}
