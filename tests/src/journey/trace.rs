//! Follows a request and its answer through all frames.
//!
//! A packet is recognised by its bytes, never by its addresses: those are what the
//! way changes, and what the story wants to check.

use std::{
    collections::{BTreeMap, HashSet},
    net::SocketAddrV4,
};

use anyhow::{Context, Result, bail};

use super::{
    Checksums, Database, Expectation, Hop, Journey, Row, Sighting,
    decode::Segment,
    leg::Leg,
    row::Change,
    stream::{self, Stream},
};
use crate::capture::{Frame, State};

/// How many bytes make a packet known again.
const RECOGNISABLE: usize = 64;
/// Fewer could be found anywhere by chance.
const TOO_FEW: usize = 12;
/// Wrong checksums that are told one by one.
const WRONG_ONES_TOLD: usize = 10;

/// Source and destination of one direction of a connection.
type Flow = (SocketAddrV4, SocketAddrV4);

/// Follows the customer's request and its answer.
///
/// Fails when there is no connection to follow at all. A packet that gets lost on the
/// way gives the rows up to there.
pub fn trace(frames: &[Frame], expectation: &Expectation) -> Result<Journey> {
    let mut segments: Vec<_> = frames.iter().filter_map(Segment::read).collect();
    segments.sort_by_key(|segment| (segment.frame.at_ns, segment.frame.direction));
    let tracer = Tracer::new(&segments, expectation);
    tracer.journey(tracer.client().with_context(|| {
        format!(
            "no connection from {} to {} among {} captured frames: was the capture running, \
             with the client's device among its points?",
            expectation.client.ip,
            expectation.vip,
            frames.len()
        )
    })?)
}

struct Tracer<'s> {
    segments: &'s [Segment<'s>],
    flows: BTreeMap<Flow, Stream>,
    expectation: &'s Expectation,
}

/// Bytes to look for, and where they are: the flows and the sequence numbers in them.
struct Followed {
    words: String,
    needle: Vec<u8>,
    /// One entry for each connection that carries the bytes, in order of time.
    carriers: Vec<Carrier>,
}

#[derive(Clone, Copy)]
struct Carrier {
    /// The flow in which it was seen first.
    flow: Flow,
    sequence: u32,
    first_seen: u64,
}

impl<'s> Tracer<'s> {
    fn new(segments: &'s [Segment<'s>], expectation: &'s Expectation) -> Self {
        let mut by_flow: BTreeMap<Flow, Vec<_>> = BTreeMap::new();
        for segment in segments {
            let flow = (segment.headers.source, segment.headers.destination);
            by_flow.entry(flow).or_default().push(segment);
        }
        let flows = by_flow
            .into_iter()
            .map(|(flow, of)| (flow, Stream::assemble(of)))
            .collect();
        Self {
            segments,
            flows,
            expectation,
        }
    }

    /// The customer's end of the connection to follow.
    fn client(&self) -> Option<SocketAddrV4> {
        let Expectation { client, vip, .. } = self.expectation;
        let mut of_client = self.segments.iter().rev().filter(|segment| {
            *segment.headers.source.ip() == client.ip
                && segment.headers.destination == *vip
                && client
                    .port
                    .is_none_or(|port| port == segment.headers.source.port())
        });
        let last = of_client
            .clone()
            .find(|segment| !segment.payload.is_empty());
        last.or_else(|| of_client.next())
            .map(|segment| segment.headers.source)
    }

    fn journey(&self, client: SocketAddrV4) -> Result<Journey> {
        let request = self.request(client)?;
        let mut rows = Vec::new();
        if let [first, ..] = request.carriers[..] {
            self.leg(&mut rows, &request.needle, first, Leg::ToProxy);
        }
        if let [_, second, ..] = request.carriers[..] {
            self.leg(&mut rows, &request.needle, second, Leg::ToController);
        }
        let start = request
            .carriers
            .first()
            .map_or(0, |carrier| carrier.first_seen);
        finish(&mut rows, start);

        let answer = self.answer(&request);
        let mut answer_rows = Vec::new();
        for (answer, carrier) in answer
            .iter()
            .flat_map(|a| a.carriers.iter().map(move |c| (a, c)))
        {
            let leg = match carrier.flow.1 == client {
                true => Leg::ToClient,
                false => Leg::FromController,
            };
            self.leg(&mut answer_rows, &answer.needle, *carrier, leg);
        }
        finish(&mut answer_rows, start);

        let mut database_rows = Vec::new();
        let mut carriers = request.carriers.clone();
        carriers.extend(answer.iter().flat_map(|answer| answer.carriers.clone()));
        if let Some(database) = &self.expectation.database {
            carriers.extend(self.database(database, &mut database_rows));
            finish(&mut database_rows, start);
        }
        Ok(Journey {
            request_is: request.words,
            answer_is: answer.map(|answer| answer.words),
            request: rows,
            database: database_rows,
            answer: answer_rows,
            checksums: self.checksums(client, &carriers),
            expectation: self.expectation.clone(),
        })
    }

    /// What to follow on the way there: the request, or as much as there is.
    fn request(&self, client: SocketAddrV4) -> Result<Followed> {
        let flow = (client, self.expectation.vip);
        let stream = self
            .flows
            .get(&flow)
            .context("the client was found in a flow")?;
        if stream.bytes.is_empty() {
            return self.handshake(flow);
        }
        let (words, offset, length) = match stream::first_request(&stream.bytes) {
            Some(record) => (
                format!("a TLS record of {} bytes", record.length),
                record.offset,
                record.length,
            ),
            None => ("the first bytes sent".to_owned(), 0, stream.bytes.len()),
        };
        self.followed(words, &stream.bytes[offset..offset + length])
    }

    /// The connection's first packet, when nothing else was ever sent.
    fn handshake(&self, flow: Flow) -> Result<Followed> {
        let of_flow = |s: &&Segment<'_>| (s.headers.source, s.headers.destination) == flow;
        let Some(syn) = self
            .segments
            .iter()
            .filter(of_flow)
            .find(|segment| segment.is_syn)
        else {
            bail!("nothing but acknowledgments from {} to {}", flow.0, flow.1);
        };
        let (sequence, first_seen) = (syn.sequence, syn.frame.at_ns);
        Ok(Followed {
            words: "the SYN, since no data was sent".to_owned(),
            needle: Vec::new(),
            carriers: vec![Carrier {
                flow,
                sequence,
                first_seen,
            }],
        })
    }

    /// What to follow on the way back: the largest piece of data that came from the
    /// far end after the request. Session tickets and closing alerts are smaller.
    fn answer(&self, request: &Followed) -> Option<Followed> {
        let last = request.carriers.last()?;
        let stream = self.flows.get(&(last.flow.1, last.flow.0))?;
        let records = stream::application_data(&stream.bytes);
        let after: Vec<_> = records
            .iter()
            .filter(|record| {
                self.first_seen(stream, record.offset)
                    .is_some_and(|at| at > last.first_seen)
            })
            .collect();
        let largest = after.iter().map(|record| record.length).max();
        let (words, bytes) = match after.iter().find(|record| Some(record.length) == largest) {
            Some(record) => (
                format!("a TLS record of {} bytes", record.length),
                &stream.bytes[record.offset..record.offset + record.length],
            ),
            None if records.is_empty() => {
                ("the first bytes sent back".to_owned(), &stream.bytes[..])
            }
            None => return None,
        };
        self.followed(words, bytes).ok()
    }

    /// Finds the bytes in every connection that carries them.
    fn followed(&self, words: String, bytes: &[u8]) -> Result<Followed> {
        let needle = bytes[..bytes.len().min(RECOGNISABLE)].to_vec();
        if needle.len() < TOO_FEW {
            bail!(
                "{} bytes are too few to be recognised on their way",
                needle.len()
            );
        }
        let mut carriers: Vec<Carrier> = Vec::new();
        for (flow, stream) in &self.flows {
            let Some(offset) = stream.find(&needle) else {
                continue;
            };
            let sequence = stream.sequence(offset);
            let Some(first_seen) = self.first_seen(stream, offset) else {
                continue;
            };
            let found = Carrier {
                flow: *flow,
                sequence,
                first_seen,
            };
            // NAT changes addresses but no sequence number: that is the same connection.
            match carriers
                .iter_mut()
                .find(|carrier| carrier.sequence == sequence)
            {
                Some(known) if found.first_seen < known.first_seen => *known = found,
                Some(_) => {}
                None => carriers.push(found),
            }
        }
        carriers.sort_by_key(|carrier| carrier.first_seen);
        Ok(Followed {
            words,
            needle,
            carriers,
        })
    }

    /// When the byte at `offset` was first seen.
    fn first_seen(&self, stream: &Stream, offset: usize) -> Option<u64> {
        let sequence = stream.sequence(offset);
        let bytes = &stream.bytes[offset..];
        self.sightings(sequence, bytes)
            .next()
            .map(|segment| segment.frame.at_ns)
    }

    /// Every frame that carries `needle` (or the SYN) from this sequence number on.
    fn sightings(&self, sequence: u32, needle: &[u8]) -> impl Iterator<Item = &'s Segment<'s>> {
        self.segments.iter().filter(move |segment| {
            if needle.is_empty() {
                return segment.is_syn && segment.sequence == sequence;
            }
            let offset = sequence.wrapping_sub(segment.sequence) as usize;
            let rest = segment.payload.get(offset..).unwrap_or_default();
            let length = rest.len().min(needle.len()).min(RECOGNISABLE);
            length > 0 && !segment.is_syn && rest[..length] == needle[..length]
        })
    }

    /// Rows of one connection.
    fn leg(&self, rows: &mut Vec<Row>, needle: &[u8], carrier: Carrier, leg: Leg) {
        let mut known = HashSet::new();
        let mut new: Vec<Row> = Vec::new();
        for segment in self.sightings(carrier.sequence, needle) {
            // Sent again: the first time counts.
            let frame = segment.frame;
            if !known.insert((frame.point.clone(), frame.direction)) {
                continue;
            }
            let sighting = Sighting {
                point: frame.point.clone(),
                direction: frame.direction,
                at_ns: frame.at_ns,
                state: frame.state,
            };
            match new.last_mut() {
                Some(row) if row.headers == segment.headers => row.seen.push(sighting),
                _ => new.push(Row {
                    hop: Hop::there('?'),
                    since_start_ns: frame.at_ns,
                    seen: vec![sighting],
                    headers: segment.headers.clone(),
                    changes: Vec::new(),
                }),
            }
        }
        leg.name(&mut new, self.expectation);
        rows.extend(new);
    }

    /// Rows of the statement that writes the order, and of what comes back.
    fn database(&self, database: &Database, rows: &mut Vec<Row>) -> Option<Carrier> {
        let to = |flow: &&Flow| flow.1 == database.service.address;
        let (flow, sequence) = self.flows.keys().filter(to).find_map(|flow| {
            let stream = &self.flows[flow];
            Some((*flow, stream.sequence(stream.find_last(&database.needle)?)))
        })?;
        let first = self.sightings(sequence, &database.needle).next()?;
        let carrier = Carrier {
            flow,
            sequence,
            first_seen: first.frame.at_ns,
        };
        self.leg(rows, &database.needle, carrier, Leg::Database(false));
        let back = self.segments.iter().find(|segment| {
            (segment.headers.destination, segment.headers.source) == flow
                && !segment.payload.is_empty()
                && segment.frame.at_ns > carrier.first_seen
        })?;
        let answer = Carrier {
            flow: (flow.1, flow.0),
            sequence: back.sequence,
            first_seen: back.frame.at_ns,
        };
        self.leg(rows, back.payload, answer, Leg::Database(true));
        Some(carrier)
    }

    /// All checksums of all frames of the connections, both ways.
    fn checksums(&self, client: SocketAddrV4, carriers: &[Carrier]) -> Checksums {
        let ours: HashSet<Flow> = carriers.iter().map(|carrier| carrier.flow).collect();
        let mut checksums = Checksums::default();
        let mut told = HashSet::new();
        for segment in self.segments {
            let (source, destination) = (segment.headers.source, segment.headers.destination);
            let is_clients = source == client || destination == client;
            let is_ours =
                ours.contains(&(source, destination)) || ours.contains(&(destination, source));
            if !is_clients && !is_ours {
                continue;
            }
            match (&segment.wrong[..], segment.frame.state) {
                ([], State::Joined) => checksums.joined += 1,
                ([], _) => checksums.right += 1,
                (wrong, _) => {
                    let place = (segment.frame.direction, &segment.frame.point);
                    if told.insert(place) && checksums.wrong.len() < WRONG_ONES_TOLD {
                        checksums.wrong.push(format!(
                            "{}, {source} to {destination}: {}",
                            segment.frame.point,
                            wrong.join(", ")
                        ));
                    }
                }
            }
        }
        checksums
    }
}

/// Fills in what differs from row to row, and times since the start.
fn finish(rows: &mut [Row], start: u64) {
    for index in 0..rows.len() {
        let (before, rest) = rows.split_at_mut(index);
        let row = &mut rest[0];
        row.since_start_ns = row.since_start_ns.saturating_sub(start);
        if let Some(before) = before.last() {
            row.changes = Change::between(&before.headers, &row.headers);
        }
    }
}
