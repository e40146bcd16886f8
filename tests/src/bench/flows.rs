//! Flows in random order, the same ones in every run, with right checksums.

use crate::peer::serve::pseudo_random;

use super::cases::Sample;

/// So many flows of a sample, as the generator's map holds them: the address in the
/// lower half, then the port, then the checksum of layer 4.
pub(super) fn random(sample: &Sample, count: usize) -> Vec<u64> {
    let random = pseudo_random(count * 8);
    let numbers = random.chunks_exact(8).map(|bytes| {
        let bytes: [u8; 8] = bytes.try_into().expect("chunks of eight");
        u64::from_ne_bytes(bytes)
    });
    numbers.map(|number| flow(sample, number)).collect()
}

fn flow(sample: &Sample, number: u64) -> u64 {
    let at = sample.address_at;
    let old = [word(&sample.frame, at), word(&sample.frame, at + 2)];
    let old_port = word(&sample.frame, sample.port_at);
    let new = match sample.addresses.len() {
        0 => same_sum(old, number),
        count => {
            let [a, b, c, d] = sample.addresses[(number >> 16) as usize % count].octets();
            [u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])]
        }
    };
    let port = (number >> 48) as u16;
    let checksum = match word(&sample.frame, sample.checksum_at) {
        // UDP without one.
        0 => 0,
        sum => {
            let left = [!sum, !old[0], !old[1], !old_port];
            let added = left.into_iter().chain(new).chain([port]);
            !added.fold(0, add)
        }
    };
    let [[a, b], [c, d]] = new.map(u16::to_be_bytes);
    u64::from(u32::from_ne_bytes([a, b, c, d]))
        | u64::from(port.to_be()) << 32
        | u64::from(checksum.to_be()) << 48
}

/// An address with the one's complement sum of another one, so that the checksum of
/// the IP header, which the generator leaves alone, stays right. Its first byte is
/// from 20 to 99: of no range that a kernel refuses.
fn same_sum(old: [u16; 2], number: u64) -> [u16; 2] {
    let [a, b, ..] = number.to_ne_bytes();
    let high = u16::from_be_bytes([20 + a % 80, b]);
    let sum = old.into_iter().fold(0, add);
    [high, add(sum, !high)]
}

/// One's complement addition (RFC 1071).
fn add(a: u16, b: u16) -> u16 {
    let (sum, carry) = a.overflowing_add(b);
    sum + u16::from(carry)
}

fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::{
        bench::cases::inbound,
        cases::site::{CLIENT, VIP, from_border},
        packet::wrong_checksums,
    };

    #[test]
    fn every_flow_has_right_checksums() {
        let tcp = from_border().ipv4(CLIENT, VIP).tcp(40_000, 443);
        let udp = from_border().ipv4(CLIENT, VIP).udp(40_000, 53);
        for sample in [inbound(&tcp), inbound(&udp)] {
            let flows = random(&sample, 4_096);
            for flow in &flows {
                let mut frame = sample.frame.clone();
                let bytes = flow.to_ne_bytes();
                frame[sample.address_at..][..4].copy_from_slice(&bytes[..4]);
                frame[sample.port_at..][..2].copy_from_slice(&bytes[4..6]);
                frame[sample.checksum_at..][..2].copy_from_slice(&bytes[6..]);
                assert_eq!(wrong_checksums(&frame), Vec::<String>::new());
            }
            let different: BTreeSet<_> = flows.iter().collect();
            assert!(different.len() > 4_090, "{} flows", different.len());
        }
    }
}
