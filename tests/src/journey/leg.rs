//! Which row of the story's table a form of the packet is.

use super::{Expectation, Hop, Row};

/// Part of the way: one connection, one direction.
#[derive(Clone, Copy)]
pub(super) enum Leg {
    ToProxy,
    ToController,
    Database(bool),
    FromController,
    ToClient,
}

impl Leg {
    /// Gives rows their letters by their place before, in or behind the tunnel, and
    /// adds the row inside the gateway.
    pub(super) fn name(self, rows: &mut Vec<Row>, expectation: &Expectation) {
        let is_tunnel = |row: &Row| row.headers.outer.is_some();
        let first = rows.iter().position(is_tunnel);
        let last = rows.iter().rposition(is_tunnel);
        for (index, row) in rows.iter_mut().enumerate() {
            let is_before = first.is_none_or(|first| index < first);
            let is_behind = last.is_some_and(|last| index > last);
            let macs = row.headers.macs;
            let is_to_gateway = expectation.gateway_of(macs.destination).is_some();
            let is_from_gateway = expectation.gateway_of(macs.source).is_some();
            row.hop = match self {
                Self::ToProxy if is_behind => Hop::there('j'),
                Self::ToProxy if !is_before => Hop::there('i'),
                Self::ToProxy if is_to_gateway || Some(index + 1) == first => Hop::there('g'),
                Self::ToProxy => Hop::there('f'),
                Self::ToController if is_behind => Hop::there('l'),
                Self::ToController => Hop::there('k'),
                Self::Database(is_back) => Hop {
                    letter: 'm',
                    is_back,
                },
                Self::FromController if is_before => Hop::back('l'),
                Self::FromController => Hop::back('k'),
                Self::ToClient
                    if is_behind && (is_from_gateway || Some(index) == last.map(|l| l + 1)) =>
                {
                    Hop::back('g')
                }
                Self::ToClient if is_behind => Hop::back('f'),
                Self::ToClient if is_before => Hop::back('j'),
                Self::ToClient => Hop::back('i'),
            };
        }
        let inside = match (self, first, last) {
            (Self::ToProxy, Some(first), _) => Some((first, first, Hop::there('h'))),
            (Self::ToClient, _, Some(last)) => Some((last, last + 1, Hop::back('h'))),
            _ => None,
        };
        if let Some((tunnel, at, hop)) = inside {
            let mut row = rows[tunnel].clone();
            (row.hop, row.headers.outer) = (hop, None);
            row.since_start_ns =
                row.seen
                    .last()
                    .map_or(row.since_start_ns, |last| match hop.is_back {
                        true => last.at_ns,
                        false => row.since_start_ns,
                    });
            row.seen.clear();
            rows.insert(at, row);
        }
    }
}
