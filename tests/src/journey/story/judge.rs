//! Small judgements on headers: right, or what is wrong in words.

use super::super::{Headers, Macs, Row};
use super::Verdict;

/// Routers: same addresses, each time other MACs and one TTL less, never a tunnel.
pub(super) fn routed(rows: &[&Row]) -> Verdict {
    let start = first(rows)?;
    for (before, after) in rows.iter().zip(&rows[1..]) {
        let (before, after) = (&before.headers, &after.headers);
        equal("source", &after.source, &start.headers.source)?;
        equal(
            "destination",
            &after.destination,
            &start.headers.destination,
        )?;
        ttl(after.ttl, before.ttl.wrapping_sub(1))?;
        let Macs {
            source,
            destination,
        } = after.macs;
        if source == before.macs.source || destination == before.macs.destination {
            return Err("a router left a MAC as it was".to_owned());
        }
    }
    if rows.iter().any(|row| row.headers.outer.is_some()) {
        return Err("there is a tunnel".to_owned());
    }
    match rows.len() {
        1 => Err("only one link was seen: no router between".to_owned()),
        links => Ok(format!(
            "{links} links, TTL {} to {}",
            start.headers.ttl,
            last(rows)?.headers.ttl
        )),
    }
}

/// MACs, addresses, ports and TTL of the packet itself are the same.
pub(super) fn same_inside(before: &Headers, after: &Headers) -> Result<(), String> {
    equal("source", &after.source, &before.source)?;
    equal("destination", &after.destination, &before.destination)?;
    equal("source MAC", &after.macs.source, &before.macs.source)?;
    equal(
        "destination MAC",
        &after.macs.destination,
        &before.macs.destination,
    )?;
    ttl(after.ttl, before.ttl)
}

/// Addresses, ports and MACs are exchanged.
pub(super) fn mirrored(there: &Headers, back: &Headers) -> Result<(), String> {
    equal("source", &back.source, &there.destination)?;
    equal("destination", &back.destination, &there.source)?;
    equal("source MAC", &back.macs.source, &there.macs.destination)?;
    equal(
        "destination MAC",
        &back.macs.destination,
        &there.macs.source,
    )
}

pub(super) fn first<'r>(rows: &[&'r Row]) -> Result<&'r Row, String> {
    rows.first().copied().ok_or_else(|| missing("here"))
}

pub(super) fn last<'r>(rows: &[&'r Row]) -> Result<&'r Row, String> {
    rows.last().copied().ok_or_else(|| missing("here"))
}

pub(super) fn missing(place: &str) -> String {
    format!("it was never seen {place}")
}

pub(super) fn flow(headers: &Headers) -> String {
    format!("{} to {}", headers.source, headers.destination)
}

pub(super) fn ttl(seen: u8, expected: u8) -> Result<(), String> {
    equal("TTL", &seen, &expected)
}

pub(super) fn equal<T: PartialEq + std::fmt::Display>(
    what: &str,
    seen: &T,
    expected: &T,
) -> Result<(), String> {
    if seen == expected {
        return Ok(());
    }
    Err(format!("{what} is {seen}, not {expected}"))
}
