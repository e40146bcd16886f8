//! What must hold for every packet, checked on random ones.
//!
//! Expected values are computed here by their definitions, never by the code under
//! test: checksums by summing everything anew, tables by a `HashMap`.

use std::collections::HashMap;

use gateway_common::{BUCKET_SLOTS, Backend, Bucket, NextHop, SourceNat, Tunnel};
use gateway_ebpf::{
    IP, bucket,
    buffer::Buffer,
    checksum,
    family::{Family, V4},
    hash,
    headers::{Ipv4, OuterV4},
    outer::OverV4,
    packet::Packet,
    stages::{
        rewrite::{self, Rewrite},
        vxlan::{self, Inside},
    },
};
use proptest::prelude::*;
use zerocopy::FromBytes;

const HEADROOM: usize = 64;

/// The Internet checksum by its definition (RFC 1071).
fn full_sum(parts: &[&[u8]]) -> u16 {
    let bytes = parts.concat();
    let words = bytes
        .chunks(2)
        .map(|pair| [pair[0], pair.get(1).copied().unwrap_or(0)]);
    let mut sum: u32 = words.map(|pair| u32::from(u16::from_be_bytes(pair))).sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// Where the checksum of a layer-4 protocol lies.
fn checksum_at(protocol: u8) -> Option<usize> {
    match protocol {
        Ipv4::TCP => Some(16),
        Ipv4::UDP => Some(6),
        Ipv4::ICMP => Some(2),
        _ => None,
    }
}

/// Sets every checksum of an Ethernet frame with an IPv4 packet by its definition.
/// A UDP checksum of 0 stays: it is "none".
fn seal(frame: &mut [u8]) {
    frame[24..26].fill(0);
    let sum = full_sum(&[&frame[14..34]]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    let protocol = frame[23];
    let Some(at) = checksum_at(protocol) else {
        return;
    };
    if protocol == Ipv4::UDP && frame[34 + at..][..2] == [0, 0] {
        return;
    }
    frame[34 + at..][..2].fill(0);
    let (header, segment) = frame.split_at(34);
    let length = (segment.len() as u16).to_be_bytes();
    let sum = match protocol {
        Ipv4::ICMP => full_sum(&[segment]),
        _ => full_sum(&[&header[26..34], &[0, protocol], &length, segment]),
    };
    let sum = if protocol == Ipv4::UDP && sum == 0 {
        0xffff
    } else {
        sum
    };
    frame[34 + at..][..2].copy_from_slice(&sum.to_be_bytes());
}

/// Words in which carries and zeroes are common.
fn word() -> impl Strategy<Value = u16> {
    prop_oneof![2 => any::<u16>(), 1 => Just(0), 1 => Just(0xffff), 1 => Just(1), 1 => Just(0xff)]
}

fn long() -> impl Strategy<Value = u32> {
    (word(), word()).prop_map(|(a, b)| u32::from(a) | u32::from(b) << 16)
}

/// A frame with any valid IPv4 packet, checksums right.
fn frame() -> impl Strategy<Value = Vec<u8>> {
    let protocol = prop::sample::select(vec![Ipv4::TCP, Ipv4::UDP, Ipv4::ICMP, 47]);
    let payload = prop::collection::vec(prop_oneof![any::<u8>(), Just(0), Just(0xff)], 20..90);
    let words = (
        long(),
        long(),
        word(),
        any::<u8>(),
        2..=255_u8,
        any::<bool>(),
    );
    (any::<[u8; 12]>(), protocol, payload, words).prop_map(
        |(macs, protocol, payload, (source, destination, id, tos, ttl, no_checksum))| {
            let mut frame = [&macs[..], &[8, 0, 0x45, tos]].concat();
            frame.extend(((20 + payload.len()) as u16).to_be_bytes());
            frame.extend(id.to_be_bytes());
            frame.extend([0x40, 0, ttl, protocol, 0, 0]);
            frame.extend(source.to_ne_bytes());
            frame.extend(destination.to_ne_bytes());
            frame.extend(payload);
            if protocol == Ipv4::UDP {
                frame[40..42].fill(u8::from(!no_checksum));
            }
            seal(&mut frame);
            frame
        },
    )
}

/// What the agent would compute for a rewrite of one end.
fn deltas(old: (u32, u16), new: (u32, u16)) -> (u16, u16) {
    let addresses = checksum::delta(&checksum::halves(old.0), &checksum::halves(new.0));
    let ports = checksum::delta(&[old.1], &[new.1]);
    (
        checksum::add(addresses, checksum::TTL_DELTA),
        checksum::add(addresses, ports),
    )
}

fn packet_word(frame: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(frame[at..at + 4].try_into().expect("four bytes"))
}

fn packet_port(frame: &[u8], at: usize) -> u16 {
    u16::from_ne_bytes([frame[at], frame[at + 1]])
}

fn has_ports(frame: &[u8]) -> bool {
    matches!(frame[23], Ipv4::TCP | Ipv4::UDP)
}

/// Behind a service there is no ICMP; identifiers change where addresses are shared.
fn is_icmp(frame: &[u8]) -> bool {
    frame[23] == Ipv4::ICMP
}

/// The frame with address and port at one end replaced, one hop older, summed anew.
fn rewritten(frame: &[u8], (ip, port): (usize, usize), to: u32, to_port: Option<u16>) -> Vec<u8> {
    let mut expected = frame.to_vec();
    expected[ip..ip + 4].copy_from_slice(&to.to_ne_bytes());
    expected[22] -= 1;
    if let (true, Some(to_port)) = (has_ports(frame), to_port) {
        expected[port..port + 2].copy_from_slice(&to_port.to_ne_bytes());
    }
    seal(&mut expected);
    expected
}

const SOURCE: (usize, usize) = (26, 34);
const DESTINATION: (usize, usize) = (30, 36);

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn a_delta_is_as_good_as_a_new_sum(words in prop::collection::vec(word(), 1..30), at: prop::sample::Index, new in word()) {
        // A version field, say, keeps real headers from being all zeroes.
        prop_assume!(words.len() > 1 && words.iter().enumerate().any(|(i, &w)| i != at.index(words.len()) && w != 0));
        let bytes = |words: &[u16]| words.iter().flat_map(|w| w.to_ne_bytes()).collect::<Vec<_>>();
        let sum = |words: &[u16]| u16::from_ne_bytes(full_sum(&[&bytes(words)]).to_be_bytes());
        let mut changed = words.clone();
        let old = std::mem::replace(&mut changed[at.index(words.len())], new);
        let delta = checksum::delta(&[old], &[new]);
        prop_assert_eq!(checksum::update(sum(&words), delta), sum(&changed));
        prop_assert_eq!(!checksum::sum(&bytes(&words)), sum(&words));
    }

    #[test]
    fn udp_without_checksum_stays_without_and_others_never_lose_it(sum in word(), delta in word()) {
        prop_assert_eq!(checksum::update_udp(sum, delta) == 0, sum == 0);
        prop_assert_ne!(checksum::update_nonzero(sum, delta), 0);
    }

    #[test]
    fn destination_nat_sums_up(frame in frame(), to in long(), port in word(), keep: bool) {
        let old = (packet_word(&frame, DESTINATION.0), packet_port(&frame, DESTINATION.1));
        let keep = keep || is_icmp(&frame);
        let new_port = if keep { old.1 } else { port };
        let (l3_delta, l4_delta) = deltas(old, (to, new_port));
        let flags = Backend::FLAG_VALID | if keep { Backend::FLAG_KEEP_PORT } else { 0 };
        let backend = Backend { address: [to, 0, 0, 0], port, flags, l3_delta, l4_delta, ..Backend::default() };
        let mut packet = Buffer::new(&frame, HEADROOM, 1);
        let flow = V4::parse(&packet, IP).unwrap();
        rewrite::apply(&mut packet, IP, &flow, Rewrite::to(&backend)).unwrap();
        let expected = rewritten(&frame, DESTINATION, to, (!keep).then_some(port));
        prop_assert_eq!(packet.frame(), expected);
    }

    #[test]
    fn source_nat_sums_up(frame in frame(), to in long(), port in word(), keep: bool) {
        let old = (packet_word(&frame, SOURCE.0), packet_port(&frame, SOURCE.1));
        let keep = keep || is_icmp(&frame);
        let new_port = if keep { old.1 } else { port };
        let (l3_delta, l4_delta) = deltas(old, (to, new_port));
        let flags = Backend::FLAG_VALID | if keep { Backend::FLAG_KEEP_PORT } else { 0 };
        let nat = SourceNat { address: [to, 0, 0, 0], port, flags, l3_delta, l4_delta, ..SourceNat::default() };
        let mut packet = Buffer::new(&frame, HEADROOM, 1);
        let flow = V4::parse(&packet, IP).unwrap();
        rewrite::apply(&mut packet, IP, &flow, Rewrite::from(&nat)).unwrap();
        let expected = rewritten(&frame, SOURCE, to, (!keep).then_some(port));
        prop_assert_eq!(packet.frame(), expected);
    }

    #[test]
    fn encap_then_decap_is_identity(frame in frame(), from in long(), to in long(), vni: u32, hash: u64) {
        let mut template = [0; 56];
        template[12..14].copy_from_slice(&[8, 0]);
        template[14..26].copy_from_slice(&[0x45, 0, 0, 0, 0, 0, 0x40, 0, 64, 17, 0, 0]);
        template[26..30].copy_from_slice(&from.to_ne_bytes());
        template[30..34].copy_from_slice(&to.to_ne_bytes());
        let (headers, rest) = template.split_at(48);
        let tunnel = Tunnel {
            headers: FromBytes::read_from_bytes(headers).unwrap(),
            headers_end: FromBytes::read_from_prefix(rest).unwrap().0,
            checksum: checksum::sum(&template[14..34]),
            ..Tunnel::default()
        };
        let inside = Inside { macs: &[0; 3], vni };
        let mut packet = Buffer::new(&frame, HEADROOM, 1);
        let flow = V4::parse(&packet, IP).unwrap();
        vxlan::push::<OverV4, _, _>(&mut packet, &tunnel, inside, &flow, hash, true).unwrap();

        let outer = packet.frame().to_vec();
        prop_assert_eq!(outer.len(), frame.len() + OuterV4::LEN);
        prop_assert_eq!(full_sum(&[&outer[14..34]]), 0, "the outer header sums up");
        prop_assert_eq!(u16::from_be_bytes([outer[16], outer[17]]) as usize, outer.len() - 14);
        prop_assert_eq!(u16::from_be_bytes([outer[38], outer[39]]) as usize, outer.len() - 34);
        prop_assert_eq!(outer[15], frame[15], "DSCP and ECN are copied");
        prop_assert_eq!(&outer[26..34], &template[26..34], "the addresses");
        prop_assert_eq!(packet_word(&outer, 46), vni);
        prop_assert_eq!(&outer[OuterV4::LEN + 12..], &frame[12..], "all behind the MACs rides along");

        let macs: [u8; 12] = frame[..12].try_into().unwrap();
        let next_hop = NextHop { macs: zerocopy::transmute!(macs), ..NextHop::default() };
        vxlan::pop::<OverV4, _>(&mut packet, &next_hop).unwrap();
        prop_assert_eq!(packet.frame(), &frame[..]);
    }

    #[test]
    fn a_push_needs_all_of_its_room(frame in frame(), room in 0..2 * OuterV4::LEN) {
        let mut packet = Buffer::new(&frame, room, 1);
        prop_assert_eq!(packet.push(OuterV4::LEN).is_ok(), room >= OuterV4::LEN);
    }

    #[test]
    fn outer_ports_are_dynamic_and_slots_are_in_the_ring(hash: u64, slots in 1..=65_521_u32) {
        prop_assert!(u16::from_be(hash::source_port(hash)) >= 49_152);
        prop_assert!(hash::slot(hash, slots) < slots);
    }

    /// Whatever is placed is found with its value, and nothing else is.
    #[test]
    fn a_bucket_table_is_a_map(
        entries in prop::collection::hash_map(1 << 63..=u64::MAX, any::<u64>(), 0..200),
        gone in prop::collection::vec(any::<prop::sample::Index>(), 0..50),
        strangers in prop::collection::vec(1 << 63..=u64::MAX, 0..50),
    ) {
        let mut buckets = vec![Bucket::default(); 128];
        let mut model = HashMap::new();
        let mut slots = HashMap::new();
        for (&key, &value) in &entries {
            let free = |&place: &usize| buckets[place].keys.iter().filter(|&&k| k == 0).count();
            let places = bucket::places(key).map(|place| place as usize % 128);
            let place = places.into_iter().max_by_key(free).unwrap();
            let Some(slot) = (0..BUCKET_SLOTS).find(|&slot| buckets[place].keys[slot] == 0) else { continue };
            (buckets[place].keys[slot], buckets[place].values[slot]) = (key, value);
            model.insert(key, value);
            slots.insert(key, (place, slot));
        }
        prop_assert!(model.len() * 10 >= entries.len() * 9, "two choices place nearly all");
        let mut keys: Vec<u64> = model.keys().copied().collect();
        keys.sort_unstable();
        for index in gone {
            let Some(&key) = keys.get(index.index(keys.len().max(1))) else { continue };
            // A freed slot keeps its value.
            let (place, slot) = slots[&key];
            buckets[place].keys[slot] = 0;
            model.remove(&key);
        }
        let find = |key| bucket::find(key, |place| buckets.get(place as usize % 128));
        for &key in entries.keys().chain(&strangers) {
            prop_assert_eq!(find(key), model.get(&key).copied());
        }
    }
}

/// Chi-square of the counts against equal shares.
fn chi_square(counts: &[u32]) -> f64 {
    let expected = counts.iter().sum::<u32>() as f64 / counts.len() as f64;
    counts
        .iter()
        .map(|&count| (f64::from(count) - expected).powi(2) / expected)
        .sum()
}

/// Flows that differ in one thing only, the hard case for a hash.
fn flows(shape: usize) -> impl Iterator<Item = (u64, u64)> {
    let address = |i: u32| u64::from(u32::to_be(0xc633_6400 + i));
    let vip = u64::from(u32::from_ne_bytes([203, 0, 113, 10])) << 32;
    let ports = |port: u32| u64::from((port as u16).to_be()) | 0xbb01 << 16 | 6 << 32;
    (0..20_000_u32).map(move |i| match shape {
        0 => (address(0) | vip, ports(20_000 + i)),
        1 => (address(i) | vip, ports(40_000)),
        _ => (address(i / 64) | vip, ports(1_024 + i % 64 * 7)),
    })
}

/// With 64 classes the 99.99 % quantile of chi-square (63 degrees) is 113; a hash
/// that clumps is off by thousands.
const BOUND: f64 = 120.0;

#[test]
fn the_flow_hash_spreads_flows_over_slots_and_outer_ports() {
    for seed in [
        [0, 0],
        [1, 2],
        [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210],
    ] {
        for shape in 0..3 {
            let (mut slots, mut ports) = ([0; 64], [0; 64]);
            for (addresses, ends) in flows(shape) {
                let hash = hash::flow(&seed, addresses, ends);
                slots[hash::slot(hash, 64) as usize] += 1;
                ports[usize::from(u16::from_be(hash::source_port(hash))) % 64] += 1;
            }
            for (what, counts) in [("slots", slots), ("outer ports", ports)] {
                let found = chi_square(&counts);
                assert!(
                    found < BOUND,
                    "{what}, seed {seed:x?}, shape {shape}: {found}"
                );
            }
        }
    }
}

#[test]
fn the_flow_hash_depends_on_every_bit_of_both_seeds() {
    let flow = (0x0102_0304_0506_0708, 0x06_bb01_409c);
    let hash = |seed: [u64; 2]| hash::flow(&seed, flow.0, flow.1);
    let seed = [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210];
    for word in 0..2 {
        for bit in 0..64 {
            let mut other = seed;
            other[word] ^= 1 << bit;
            assert_ne!(hash(seed), hash(other), "seed word {word}, bit {bit}");
        }
    }
}

/// Who does not know the seed cannot aim: flows that share a slot under one seed
/// spread under another.
#[test]
fn flows_aimed_under_one_seed_spread_under_another() {
    let aimed = [3, 5];
    let mut counts = [0; 16];
    for (addresses, ends) in (0..3).flat_map(flows) {
        if hash::slot(hash::flow(&aimed, addresses, ends), 16) == 0 {
            let hash = hash::flow(&[0x5eed, 0xd1ce_0000_0000_0001], addresses, ends);
            counts[hash::slot(hash, 16) as usize] += 1;
        }
    }
    let most = counts.iter().max().copied().unwrap_or(0);
    assert!(most * 4 < counts.iter().sum::<u32>(), "{counts:?}");
}
