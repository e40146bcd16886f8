//! Random frames: noise, and fixtures' frames with changes that know what a header is.

use fastrand::Rng;

use super::{Arrival, SHORTEST, seeds, setting::Setting, words::Words};
use crate::{
    cases::Program,
    packet::{
        seal,
        walk::{Kind, Part, walk},
    },
};

/// Frames are not made longer than this: it is beyond every MTU of the site, and a
/// test run takes no more than a page less what surrounds the frame there.
const LONGEST: usize = 2_000;

/// What a field of a header means, which says what to try there.
#[derive(Clone, Copy, Debug)]
enum Field {
    Mac,
    Address,
    Address6,
    NextHeader,
    Port,
    Vni,
    Length,
    Fragment,
    Ethertype,
    Protocol,
    Ttl,
    Version,
    Kind,
    Other,
}

/// The fields of a header: offset, bytes, meaning. Fields that a gateway looks at
/// are listed, and those that it must not touch.
fn fields(kind: Kind) -> &'static [(usize, usize, Field)] {
    use Field::{
        Address, Address6, Ethertype, Fragment, Kind as IcmpKind, Length, Mac, NextHeader, Other,
        Port, Protocol, Ttl, Version, Vni,
    };
    match kind {
        Kind::Ethernet => &[(0, 6, Mac), (6, 6, Mac), (12, 2, Ethertype)],
        Kind::Vlan => &[(0, 2, Other), (2, 2, Ethertype)],
        Kind::Arp => &[
            (0, 6, Other),
            (6, 2, Other),
            (7, 1, IcmpKind),
            (8, 6, Mac),
            (14, 4, Address),
            (18, 6, Mac),
            (24, 4, Address),
        ],
        Kind::Ipv4 => &[
            (0, 1, Version),
            (1, 1, Other),
            (2, 2, Length),
            (4, 2, Other),
            (6, 2, Fragment),
            (8, 1, Ttl),
            (9, 1, Protocol),
            (10, 2, Other),
            (12, 4, Address),
            (16, 4, Address),
        ],
        Kind::Ipv6 => &[
            (0, 1, Version),
            (1, 1, Other),
            (4, 2, Length),
            (6, 1, NextHeader),
            (7, 1, Ttl),
            (8, 16, Address6),
            (24, 16, Address6),
        ],
        Kind::Extension => &[(0, 1, NextHeader), (1, 1, Other), (2, 2, Fragment)],
        Kind::Tcp => &[
            (0, 2, Port),
            (2, 2, Port),
            (4, 4, Other),
            (12, 1, Other),
            (13, 1, Other),
            (16, 2, Other),
        ],
        Kind::Udp => &[(0, 2, Port), (2, 2, Port), (4, 2, Length), (6, 2, Other)],
        Kind::Icmp => &[
            (0, 1, IcmpKind),
            (1, 1, IcmpKind),
            (2, 2, Other),
            (4, 4, Other),
        ],
        Kind::Icmpv6 => &[
            (0, 1, IcmpKind),
            (1, 1, IcmpKind),
            (2, 2, Other),
            (4, 4, Other),
            // Of neighbour discovery, if it is that: target, option.
            (8, 16, Address6),
            (24, 1, IcmpKind),
            (25, 1, IcmpKind),
            (26, 6, Mac),
        ],
        Kind::Vxlan => &[(0, 4, Other), (0, 1, Other), (4, 3, Vni), (7, 1, Other)],
        Kind::Payload | Kind::Padding => &[],
    }
}

/// Makes random arrivals.
#[derive(Clone, Debug)]
pub(super) struct Mutator {
    seeds: Vec<Arrival>,
    words: Words,
}

impl Mutator {
    /// From frames that mean something at a site, those that arrive at `programs`.
    pub(super) fn new(setting: &Setting, programs: &[Program]) -> Self {
        let mut seeds = seeds::of(setting);
        seeds.retain(|seed| seed.frame.len() >= SHORTEST);
        // A single arm sees what the others see.
        if programs.contains(&Program::SingleArm) {
            let again = seeds.clone().into_iter().map(|seed| Arrival {
                program: Program::SingleArm,
                ..seed
            });
            seeds.extend(again);
        }
        seeds.retain(|seed| programs.contains(&seed.program));
        Self {
            seeds,
            words: Words::of(&setting.topology),
        }
    }

    /// The next arrival.
    pub(super) fn next(&self, random: &mut Rng) -> Arrival {
        let seed = &self.seeds[random.usize(..self.seeds.len())];
        let program = seed.program;
        if random.u8(..) < 4 {
            let frame = noise(random, SHORTEST..200);
            return Arrival { program, frame };
        }
        let mut frame = seed.frame.clone();
        for _ in 0..changes(random) {
            self.change(random, &mut frame);
        }
        frame.truncate(LONGEST);
        frame.resize(frame.len().max(SHORTEST), 0);
        if random.u8(..) < 160 {
            seal(&mut frame);
        }
        Arrival { program, frame }
    }

    /// The fixture's frame that differs from this one in the fewest bytes.
    pub(super) fn nearest_seed(&self, arrival: &Arrival) -> Option<&[u8]> {
        let distance = |seed: &&Arrival| {
            let (a, b) = (&seed.frame, &arrival.frame);
            let differing = a.iter().zip(b).filter(|(a, b)| a != b).count();
            differing + a.len().abs_diff(b.len())
        };
        let seeds = self.seeds.iter();
        let nearest = seeds
            .filter(|seed| seed.program == arrival.program)
            .min_by_key(distance);
        nearest.map(|seed| &seed.frame[..])
    }

    fn change(&self, random: &mut Rng, frame: &mut Vec<u8>) {
        match random.u8(..100) {
            0..55 => self.set_field(random, frame),
            55..63 => set_byte(random, frame),
            63..68 => frame.truncate(random.usize(..=frame.len())),
            68..72 => frame.extend(noise(random, 1..40)),
            72..75 => insert_tag(random, frame),
            75..79 => resize(random, frame),
            79..82 => add_options(random, frame),
            82..85 => duplicate(random, frame),
            85..88 => cut_out(random, frame),
            88..94 => self.splice(random, frame),
            94..98 => turn_round(random, frame),
            _ => fit_lengths(frame),
        }
    }

    /// Sets one field of one header to something that means something there.
    fn set_field(&self, random: &mut Rng, frame: &mut [u8]) {
        let parts = walk(frame);
        let parts: Vec<&Part> = parts
            .iter()
            .filter(|part| !fields(part.kind).is_empty())
            .collect();
        if parts.is_empty() {
            return;
        }
        let part = pick(random, &parts);
        let (offset, width, field) = pick(random, fields(part.kind));
        let at = part.at + offset;
        let Some(bytes) = frame.get_mut(at..at + width) else {
            return;
        };
        if random.u8(..4) == 0 {
            return nudge(random, bytes);
        }
        let words = &self.words;
        let near = |random: &mut Rng, value: u16| value.wrapping_add(random.u16(..3)) - 1;
        match field {
            Field::Mac => bytes.copy_from_slice(&pick(random, &words.macs)),
            Field::Address => bytes.copy_from_slice(&pick(random, &words.addresses)),
            Field::Address6 => bytes.copy_from_slice(&pick(random, &words.addresses6)),
            Field::NextHeader => {
                bytes[0] = pick(random, &[0, 6, 17, 43, 44, 50, 51, 58, 59, 60, 135]);
            }
            Field::Port => bytes.copy_from_slice(&pick(random, &words.ports).to_be_bytes()),
            Field::Vni => bytes.copy_from_slice(&pick(random, &words.vnis).to_be_bytes()[1..]),
            Field::Length => {
                let lengths = [8, 20, 28, 40, 50, 1_500, part.reach - part.at];
                let length = pick(random, &lengths) as u16;
                bytes.copy_from_slice(&near(random, length.max(1)).to_be_bytes());
            }
            Field::Fragment => {
                let flags = [
                    0_u16, 0x2000, 0x4000, 0x8000, 0x2001, 0x0001, 0x1fff, 0x00b9,
                ];
                bytes.copy_from_slice(&pick(random, &flags).to_be_bytes());
            }
            Field::Ethertype => {
                let kinds = [0x0800_u16, 0x0806, 0x8100, 0x88a8, 0x86dd, 0x0000];
                bytes.copy_from_slice(&pick(random, &kinds).to_be_bytes());
            }
            Field::Protocol => bytes[0] = pick(random, &[0, 1, 2, 4, 6, 17, 41, 47, 50, 58, 132]),
            Field::Ttl => bytes[0] = pick(random, &[0, 1, 2, 3, 64, 128, 255]),
            Field::Version => bytes[0] = pick(random, &[0x44, 0x45, 0x46, 0x4f, 0x55, 0x65, 0x60]),
            Field::Kind => {
                let kinds = [
                    0, 1, 2, 3, 4, 5, 8, 11, 12, 13, 128, 129, 133, 134, 135, 136, 137,
                ];
                bytes[0] = pick(random, &kinds);
            }
            Field::Other => nudge(random, bytes),
        }
    }

    /// Puts what another fixture has from one of its headers on in place of what this
    /// frame has from one of that kind on.
    fn splice(&self, random: &mut Rng, frame: &mut Vec<u8>) {
        let other = &self.seeds[random.usize(..self.seeds.len())].frame;
        let Some(theirs) = header(random, other, |_| true) else {
            return;
        };
        let Some(ours) = header(random, frame, |kind| kind == theirs.kind) else {
            return;
        };
        frame.truncate(ours.at);
        frame.extend(&other[theirs.at..]);
        if random.bool() {
            fit_lengths(frame);
        }
    }
}

/// How many changes a frame gets: mostly one, seldom none or many.
fn changes(random: &mut Rng) -> usize {
    match random.u8(..100) {
        0..8 => 0,
        8..55 => 1,
        55..80 => 2,
        80..93 => 3,
        _ => random.usize(4..10),
    }
}

fn pick<T: Copy>(random: &mut Rng, list: &[T]) -> T {
    list[random.usize(..list.len())]
}

/// One of a frame's headers (or what is behind them) of some kind.
fn header(random: &mut Rng, frame: &[u8], kind: impl Fn(Kind) -> bool) -> Option<Part> {
    let mut parts = walk(frame);
    parts.retain(|part| kind(part.kind));
    (!parts.is_empty()).then(|| pick(random, &parts))
}

fn noise(random: &mut Rng, length: std::ops::Range<usize>) -> Vec<u8> {
    let length = random.usize(length);
    std::iter::repeat_with(|| random.u8(..))
        .take(length)
        .collect()
}

/// Anything: all bits, none, one, one more or less.
fn nudge(random: &mut Rng, bytes: &mut [u8]) {
    let at = random.usize(..bytes.len());
    match random.u8(..6) {
        0 => bytes.fill(0),
        1 => bytes.fill(0xff),
        2 => bytes[at] ^= 1 << random.u8(..8),
        3 => bytes[at] = bytes[at].wrapping_add(1),
        4 => bytes[at] = bytes[at].wrapping_sub(1),
        _ => random.fill(bytes),
    }
}

/// Any byte at all, mostly among the headers.
fn set_byte(random: &mut Rng, frame: &mut [u8]) {
    let limit = if random.bool() {
        frame.len().min(120)
    } else {
        frame.len()
    };
    if limit > 0 {
        let at = random.usize(..limit);
        nudge(random, &mut frame[at..=at]);
    }
}

/// An 802.1Q or 802.1ad tag, outside or inside.
fn insert_tag(random: &mut Rng, frame: &mut Vec<u8>) {
    if let Some(part) = header(random, frame, |kind| kind == Kind::Ethernet) {
        let tag: u16 = pick(random, &[0x8100, 0x88a8]);
        let control = random.u16(..);
        let bytes = [tag.to_be_bytes(), control.to_be_bytes()].concat();
        frame.splice(part.at + 12..part.at + 12, bytes);
    }
}

/// Makes the frame just about as long as some limit allows, lengths following.
fn resize(random: &mut Rng, frame: &mut Vec<u8>) {
    let limits = [60, 114, 576 + 14, 1_500 + 14, 1_550 + 14, 1_564 + 50];
    let length = pick(random, &limits) + random.usize(..5) - 2;
    frame.resize(length, random.u8(..));
    fit_lengths(frame);
}

/// IP options or an extension header, in one of the headers.
fn add_options(random: &mut Rng, frame: &mut Vec<u8>) {
    let is_ip = |kind| matches!(kind, Kind::Ipv4 | Kind::Ipv6);
    let Some(Part { kind, at, .. }) = header(random, frame, is_ip) else {
        return;
    };
    if kind == Kind::Ipv6 {
        let blocks = pick(random, &[0, 0, 1, 3, 31]);
        let mut extension = vec![frame[at + 6], blocks];
        extension.resize(8 * (1 + usize::from(blocks)), 0);
        frame[at + 6] = pick(random, &[0, 43, 44, 60, 60, 51]);
        frame.splice(at + 40..at + 40, extension);
        return fit_lengths(frame);
    }
    let words = random.usize(1..=10);
    frame[at] = 0x40 | (5 + words) as u8;
    frame.splice(at + 20..at + 20, vec![1; words * 4]);
    fit_lengths(frame);
}

/// A header twice.
fn duplicate(random: &mut Rng, frame: &mut Vec<u8>) {
    if let Some(part) = header(random, frame, |_| true) {
        let bytes = frame[part.at..part.end].to_vec();
        frame.splice(part.at..part.at, bytes);
    }
}

/// A header less.
fn cut_out(random: &mut Rng, frame: &mut Vec<u8>) {
    if let Some(part) = header(random, frame, |_| true) {
        frame.drain(part.at..part.end);
    }
}

/// Source and destination change places, in one header or in all.
fn turn_round(random: &mut Rng, frame: &mut [u8]) {
    let all = random.bool();
    for part in walk(frame) {
        let (at, width) = match part.kind {
            Kind::Ethernet => (0, 6),
            Kind::Ipv4 => (12, 4),
            Kind::Ipv6 => (8, 16),
            Kind::Tcp | Kind::Udp => (0, 2),
            _ => continue,
        };
        if all || random.bool() {
            let both = &mut frame[part.at + at..part.at + at + 2 * width];
            both.rotate_left(width);
        }
    }
}

/// Every length field says what is there.
pub(super) fn fit_lengths(frame: &mut [u8]) {
    for at in 0..walk(frame).len() {
        // A length that is mended changes where the next parts end.
        let Some(&part) = walk(frame).get(at) else {
            return;
        };
        let offset = match part.kind {
            Kind::Ipv4 => 2,
            Kind::Ipv6 | Kind::Udp => 4,
            _ => continue,
        };
        let own = if part.kind == Kind::Ipv6 { 40 } else { 0 };
        let length = (frame.len() - part.at - own) as u16;
        frame[part.at + offset..][..2].copy_from_slice(&length.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fuzz::PROGRAMS;

    #[test]
    fn one_seed_makes_the_same_frames() {
        let mutator = Mutator::new(&Setting::usual(), &PROGRAMS);
        let frames = |seed| {
            let mut random = Rng::with_seed(seed);
            (0..1_000)
                .map(|_| mutator.next(&mut random))
                .collect::<Vec<_>>()
        };
        assert_eq!(frames(1), frames(1));
        assert_ne!(frames(1), frames(2));
        assert!(
            frames(1)
                .iter()
                .all(|arrival| { (SHORTEST..=LONGEST).contains(&arrival.frame.len()) })
        );
    }
}
