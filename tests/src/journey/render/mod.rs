//! The journey for people: two or three lines a hop.

mod text;

use std::net::Ipv4Addr;

use text::{Look, Page, Piece, piece};

use super::{Change, Claim, Headers, Journey, Outer, Row};
use crate::capture::{Direction, State};

/// Between two things on a line.
const BAR: &str = " │ ";

impl Journey {
    /// The table of all hops, for a terminal of this width. With `colour`, ANSI
    /// colours highlight what changed since the hop before; without, a star does.
    pub fn render(&self, width: usize, colour: bool) -> String {
        let mut page = Page::new(width, colour);
        let mark = if colour { "highlighted" } else { "*" };
        let Self { expectation, .. } = self;
        let mark = vec![piece(
            format!("({mark}: changed since the hop before)"),
            Look::Dim,
        )];
        let heading = |page: &mut Page, title: &str, what: &str| {
            let title = [piece(format!("{title}  "), Look::Strong)];
            page.groups(&title, &[vec![piece(what, Look::Dim)], mark.clone()], "  ");
        };
        let what = format!(
            "{} to {}: {}",
            expectation.client.namespace, expectation.vip, self.request_is
        );
        heading(&mut page, "THE REQUEST", &what);
        self.rows(&mut page, &self.request);
        if !self.database.is_empty() {
            page.blank();
            heading(&mut page, "THE DATABASE", "the Controller writes the order");
            self.rows(&mut page, &self.database);
        }
        page.blank();
        match &self.answer_is {
            Some(what) => heading(&mut page, "THE ANSWER", what),
            None => page.line(&[piece("THE ANSWER  none was seen", Look::Bad)]),
        }
        self.rows(&mut page, &self.answer);
        page.finish()
    }

    fn rows(&self, page: &mut Page, rows: &[Row]) {
        let mut previous = None;
        for row in rows {
            let is_new = previous != Some(row.hop) || row.headers.outer.is_none();
            previous = Some(row.hop);
            let milliseconds = row.since_start_ns as f64 / 1e6;
            let left = [
                piece(format!(" {:<3}", row.hop.to_string()), Look::Strong),
                piece(format!("{milliseconds:>9.3} ms  "), Look::Dim),
                piece(self.title(row, is_new), Look::Plain),
            ];
            page.spread(&left, &[piece(self.trail(row), Look::Dim)]);
            self.headers(page, row);
        }
    }

    fn headers(&self, page: &mut Page, row: &Row) {
        let look = |change| match row.changes.contains(&change) {
            true => Look::Changed,
            false => Look::Plain,
        };
        let label = |text: &str, change: Change| {
            let mark = look(change);
            let width = if mark == Look::Changed { 6 } else { 7 };
            vec![
                piece(" ".repeat(4), Look::Plain),
                piece(format!("{text:<width$}"), mark),
            ]
        };
        match &row.headers.outer {
            Some(outer) => {
                let groups = self.outer(outer, row);
                page.groups(&label("outer", Change::Wrapped), &groups, BAR);
                page.groups(
                    &[piece("    inner  ", Look::Plain)],
                    &self.inner(&row.headers, &look),
                    BAR,
                );
            }
            None => {
                page.groups(
                    &label("frame", Change::Unwrapped),
                    &self.inner(&row.headers, &look),
                    BAR,
                );
            }
        }
    }

    fn inner(&self, headers: &Headers, look: &impl Fn(Change) -> Look) -> Vec<Vec<Piece>> {
        let name = |mac| self.expectation.mac_name(mac);
        vec![
            pair(
                (name(headers.macs.source), look(Change::SourceMac)),
                (name(headers.macs.destination), look(Change::DestinationMac)),
            ),
            pair(
                (headers.source.to_string(), look(Change::Source)),
                (headers.destination.to_string(), look(Change::Destination)),
            ),
            vec![piece(format!("TTL {}", headers.ttl), look(Change::Ttl))],
        ]
    }

    fn outer(&self, outer: &Outer, row: &Row) -> Vec<Vec<Piece>> {
        let name = |mac| self.expectation.mac_name(mac);
        let look = |change| {
            let is_new = row.changes.contains(&change) || row.changes.contains(&Change::Wrapped);
            if is_new { Look::Changed } else { Look::Plain }
        };
        vec![
            pair(
                (name(outer.macs.source), look(Change::OuterMacs)),
                (name(outer.macs.destination), look(Change::OuterMacs)),
            ),
            pair(
                (outer.source.to_string(), look(Change::OuterSource)),
                (
                    outer.destination.to_string(),
                    look(Change::OuterDestination),
                ),
            ),
            vec![piece(format!("VXLAN {}", outer.vni), look(Change::Vni))],
            vec![piece(
                format!("UDP {}", outer.source_port),
                look(Change::OuterPort),
            )],
            vec![piece(format!("TTL {}", outer.ttl), look(Change::OuterTtl))],
        ]
    }

    /// What happens at this hop, for somebody who sees it for the first time.
    fn title(&self, row: &Row, is_new: bool) -> String {
        let expectation = &self.expectation;
        let headers = &row.headers;
        let vm = |ip| {
            let service = expectation.proxy(ip).or_else(|| expectation.controller(ip));
            service.map_or_else(|| ip.to_string(), |service| service.namespace.clone())
        };
        let host = |vtep: Ipv4Addr| {
            let mut services = expectation.proxies.iter().chain(&expectation.controllers);
            let host = services.find(|service| service.vtep == vtep);
            host.map_or_else(|| vtep.to_string(), |service| service.host.clone())
        };
        let to = vm(*headers.destination.ip());
        let is_routed = row.changes.contains(&Change::OuterMacs) && !is_new;
        match (row.hop.letter, row.hop.is_back, &headers.outer) {
            (_, _, Some(_)) if is_routed => "routed on the underlay".to_owned(),
            ('f', false, _) => "through the public network".to_owned(),
            ('g', false, _) => format!("the border hands it to {}", self.gateway(row)),
            ('h', false, _) => format!("inside the gateway: the public address becomes {to}'s"),
            ('i', false, Some(outer)) => format!("in a tunnel to {}", host(outer.destination)),
            ('j' | 'l', false, _) => format!("unwrapped, into the VM {to}"),
            ('k', false, None) => format!("HAProxy's own connection to {to}"),
            ('k', _, Some(outer)) => format!("in a tunnel to {}", host(outer.destination)),
            ('m', false, _) => "to PostgreSQL".to_owned(),
            ('m', true, _) => "and back".to_owned(),
            ('l', true, _) => "the Controller answers".to_owned(),
            ('k', true, None) => format!("unwrapped, into the VM {to}"),
            ('j', true, _) => "HAProxy passes it on to the phone's address".to_owned(),
            ('i', true, _) => "in a tunnel to the address that all gateways share".to_owned(),
            ('h', true, _) => "inside the gateway: unwrapped, not yet translated".to_owned(),
            ('g', true, _) => {
                format!(
                    "from {}: the source is the public address again",
                    self.gateway(row)
                )
            }
            ('f', true, _) => "back through the public network".to_owned(),
            _ => String::new(),
        }
    }

    fn gateway(&self, row: &Row) -> String {
        let macs = row.headers.macs;
        let gateway = [macs.source, macs.destination]
            .into_iter()
            .find_map(|mac| self.expectation.gateway_of(mac));
        gateway.map_or_else(
            || "the gateway".to_owned(),
            |gateway| gateway.namespace.clone(),
        )
    }

    /// The devices that saw it, in order. A gateway's own, which XDP hides from every
    /// capture, stands in parentheses.
    fn trail(&self, row: &Row) -> String {
        let macs = row
            .headers
            .outer
            .as_ref()
            .map_or(row.headers.macs, |outer| outer.macs);
        let hidden = |mac, is_known: bool| {
            let gateway = self.expectation.gateway_of(mac).filter(|_| !is_known)?;
            let is_seen = row
                .seen
                .iter()
                .any(|s| s.point.namespace == gateway.namespace);
            (!is_seen).then(|| format!("({})", self.expectation.mac_name(mac)))
        };
        let Some((first, last)) = row.seen.first().zip(row.seen.last()) else {
            return "(inside XDP)".to_owned();
        };
        let mut trail: Vec<String> = Vec::new();
        trail.extend(hidden(macs.source, first.direction == Direction::Out));
        trail.extend(row.seen.iter().map(|sighting| match sighting.state {
            State::NoChecksum => format!("{} (no checksum)", sighting.point),
            State::Whole | State::Joined => sighting.point.to_string(),
        }));
        trail.extend(hidden(macs.destination, last.direction == Direction::In));
        trail.join(" → ")
    }
}

fn pair(from: (String, Look), to: (String, Look)) -> Vec<Piece> {
    vec![
        piece(from.0, from.1),
        piece(" → ", Look::Dim),
        piece(to.0, to.1),
    ]
}

/// The story's claims, for a terminal of this width; what failed stands out.
pub fn render_claims(claims: &[Claim], width: usize, colour: bool) -> String {
    let mut page = Page::new(width, colour);
    for claim in claims {
        let hop = claim.hop.map_or_else(String::new, |hop| hop.to_string());
        let (sign, look, seen) = match claim.ok {
            true => ("ok", Look::Good, Look::Dim),
            false => ("FAILED", Look::Bad, Look::Bad),
        };
        let left = [
            piece(format!("  {sign:<7}"), look),
            piece(format!("{hop:<3}"), Look::Strong),
            piece(&claim.claim, Look::Plain),
        ];
        page.spread(&left, &[piece(&claim.seen, seen)]);
    }
    let failed = claims.iter().filter(|claim| !claim.ok).count();
    let (text, look) = match failed {
        0 => (
            format!("All {} claims of the story hold.", claims.len()),
            Look::Good,
        ),
        _ => (
            format!("{failed} of {} claims of the story FAILED.", claims.len()),
            Look::Bad,
        ),
    };
    page.line(&[piece(text, look)]);
    page.finish()
}
