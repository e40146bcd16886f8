//! Every checksum of a frame, summed anew.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{
    diff::describe,
    layers::{Ip, protocol},
    sum::{internet_checksum, transport_checksum},
    walk::{Kind, Part, walk, word},
};

/// Panics unless every checksum in the frame is right: IP outside and inside a
/// tunnel, TCP, UDP (0 is "none") and ICMP. Fragments have no layer-4 checksum of
/// their own and are not looked at beyond the IP header.
pub fn assert_checksums(frame: &[u8]) {
    let wrong = wrong_checksums(frame);
    assert!(
        wrong.is_empty(),
        "{}\n{}",
        wrong.join("\n"),
        describe(frame)
    );
}

/// A sentence for every wrong checksum.
pub fn wrong_checksums(frame: &[u8]) -> Vec<String> {
    checksums(frame)
        .into_iter()
        .filter(|sum| !sum.is_right())
        .map(
            |Checksum {
                 field,
                 at,
                 found,
                 expected,
             }| {
                format!("{field} at byte {at}: found {found:04x}, should be {expected:04x}")
            },
        )
        .collect()
}

/// Makes every checksum right, the innermost first. A UDP checksum of 0 stays.
pub fn seal(frame: &mut [u8]) {
    for number in (0..checksums(frame).len()).rev() {
        let sum = &checksums(frame)[number];
        if !sum.is_right() {
            frame[sum.at..sum.at + 2].copy_from_slice(&sum.expected.to_be_bytes());
        }
    }
}

/// A checksum as it is and as it should be.
struct Checksum {
    field: &'static str,
    at: usize,
    found: u16,
    expected: u16,
}

impl Checksum {
    fn is_right(&self) -> bool {
        let none = self.field == UDP && self.found == 0;
        // Both are zero in one's complement, so a receiver takes all ones for 0;
        // not the other way round, when there is nothing else to sum up.
        let zero = self.found == 0xffff && self.expected == 0;
        none || zero || self.found == self.expected
    }
}

const UDP: &str = "UDP checksum";

/// All checksums of a frame that can be checked, from the outside in.
fn checksums(frame: &[u8]) -> Vec<Checksum> {
    let mut all = Vec::new();
    let mut ip = None;
    let mut is_fragment = false;
    for part in walk(frame) {
        let (offset, field) = match part.kind {
            Kind::Ipv4 => {
                ip = Some(part);
                is_fragment = word(frame, part.at + 6) & 0x3fff != 0;
                (10, "IP header checksum")
            }
            Kind::Ipv6 => {
                (ip, is_fragment) = (Some(part), false);
                continue;
            }
            Kind::Extension => {
                is_fragment |= part.end == part.at + 8 && word(frame, part.at + 2) & 0xfff9 != 0;
                continue;
            }
            Kind::Tcp => (16, "TCP checksum"),
            Kind::Udp => (6, UDP),
            Kind::Icmp | Kind::Icmpv6 => (2, "ICMP checksum"),
            _ => continue,
        };
        let expected = match part.kind {
            Kind::Ipv4 => checksum_without(frame, part.at..part.end, offset, internet),
            _ if is_fragment => None,
            _ => expected_l4(frame, &part, ip.as_ref(), offset),
        };
        if let Some(expected) = expected {
            let at = part.at + offset;
            all.push(Checksum {
                field,
                at,
                found: word(frame, at),
                expected,
            });
        }
    }
    all
}

/// The layer-4 checksum that a part should have, if its packet is a whole one.
fn expected_l4(frame: &[u8], part: &Part, ip: Option<&Part>, field: usize) -> Option<u16> {
    let ip = ip?;
    let (length, source, destination): (_, IpAddr, IpAddr) = match ip.kind {
        Kind::Ipv6 => (
            40 + usize::from(word(frame, ip.at + 4)),
            address6(frame, ip.at + 8).into(),
            address6(frame, ip.at + 24).into(),
        ),
        _ => (
            usize::from(word(frame, ip.at + 2)),
            address(frame, ip.at + 12).into(),
            address(frame, ip.at + 16).into(),
        ),
    };
    if ip.at + length != part.reach {
        return None;
    }
    let number = match part.kind {
        Kind::Tcp => protocol::TCP,
        Kind::Udp => protocol::UDP,
        Kind::Icmpv6 => protocol::ICMPV6,
        _ => return checksum_without(frame, part.at..part.reach, field, internet),
    };
    let ends = Ip::of(source, destination);
    let sum = checksum_without(frame, part.at..part.reach, field, |segment| {
        transport_checksum(&ends, number, segment)
    })?;
    // A computed 0 is sent as all ones over UDP (RFC 768).
    Some(if part.kind == Kind::Udp && sum == 0 {
        0xffff
    } else {
        sum
    })
}

fn internet(bytes: &[u8]) -> u16 {
    internet_checksum(&[bytes])
}

/// `sum` of a range of the frame with the checksum at `field` taken as 0.
fn checksum_without(
    frame: &[u8],
    range: std::ops::Range<usize>,
    field: usize,
    sum: impl Fn(&[u8]) -> u16,
) -> Option<u16> {
    let mut bytes = frame.get(range)?.to_vec();
    bytes.get_mut(field..field + 2)?.fill(0);
    Some(sum(&bytes))
}

pub(super) fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

pub(super) fn address6(frame: &[u8], at: usize) -> Ipv6Addr {
    let octets: [u8; 16] = frame[at..at + 16].try_into().expect("16 bytes");
    octets.into()
}

#[cfg(test)]
mod tests {
    use etherparse::PacketBuilder;

    use super::*;
    use crate::packet::{Frame, eth};

    const A: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const B: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const CLIENT: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 10);
    const SERVER: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

    fn udp(payload: &[u8]) -> Frame {
        eth(A, B)
            .ipv4(CLIENT, SERVER)
            .id(0)
            .dont_fragment()
            .ttl(33)
            .udp(40_000, 53)
            .payload(payload)
    }

    /// Another library writes the same bytes.
    #[test]
    fn builder_agrees_with_etherparse() {
        let ip = || PacketBuilder::ethernet2(A, B).ipv4(CLIENT.octets(), SERVER.octets(), 33);
        for payload in [&b""[..], b"odd", b"even"] {
            let mut expected = Vec::new();
            ip().udp(40_000, 53).write(&mut expected, payload).unwrap();
            assert_eq!(
                udp(payload).bytes(),
                expected,
                "UDP with {} bytes",
                payload.len()
            );

            let mut expected = Vec::new();
            ip().icmpv4_echo_request(7, 9)
                .write(&mut expected, payload)
                .unwrap();
            let echo = eth(A, B).ipv4(CLIENT, SERVER).id(0).dont_fragment().ttl(33);
            let echo = echo.echo_request(7, 9).payload(payload);
            assert_eq!(echo.bytes(), expected, "ICMP with {} bytes", payload.len());

            let mut expected = Vec::new();
            ip().tcp(40_000, 443, 0x0102_0304, 0xfff0)
                .syn()
                .write(&mut expected, payload)
                .unwrap();
            let tcp = eth(A, B).ipv4(CLIENT, SERVER).id(0).dont_fragment().ttl(33);
            let tcp = tcp.tcp(40_000, 443).syn().payload(payload);
            assert_eq!(tcp.bytes(), expected, "TCP with {} bytes", payload.len());
        }
    }

    #[test]
    fn built_frames_verify_in_and_out_of_a_tunnel() {
        assert_checksums(&udp(b"hello").bytes());
        let inner = eth(A, B)
            .vxlan(SERVER, CLIENT, 5)
            .eth(B, A)
            .ipv4(CLIENT, SERVER);
        assert_checksums(&inner.clone().udp(1, 2).payload(b"hello").bytes());
        assert_checksums(&inner.clone().tcp(1, 2).payload(b"odd").bytes());
        assert_checksums(&inner.echo_request(1, 2).bytes());
    }

    /// Another library writes the same bytes.
    #[test]
    fn ipv6_agrees_with_etherparse() {
        let ips = ["2001:db8::1", "2001:db8:f::2"];
        let [from, to]: [Ipv6Addr; 2] = ips.map(|ip| ip.parse().unwrap());
        let theirs = || PacketBuilder::ethernet2(A, B).ipv6(from.octets(), to.octets(), 33);
        let ours = || eth(A, B).ipv6(from, to).hop_limit(33);
        for payload in [&b""[..], b"odd", b"even"] {
            let mut expected = Vec::new();
            let builder = theirs().udp(40_000, 53);
            builder.write(&mut expected, payload).unwrap();
            let udp = ours().udp(40_000, 53).payload(payload).bytes();
            assert_eq!(udp, expected, "UDP with {} bytes", payload.len());
            assert_checksums(&udp);

            let mut expected = Vec::new();
            let builder = theirs().icmpv6_echo_request(7, 9);
            builder.write(&mut expected, payload).unwrap();
            let echo = ours().echo_request(7, 9).payload(payload).bytes();
            assert_eq!(echo, expected, "ICMPv6 with {} bytes", payload.len());
            assert_checksums(&echo);
        }
        let chain = ours().options6(protocol::HOP_BY_HOP, 2).routing(0);
        assert_checksums(&chain.tcp(1, 2).payload(b"odd").bytes());
        assert_checksums(&ours().solicitation(to, Some(A)).bytes());
        let mut wrong = ours().routing(0).solicitation(to, Some(A)).bytes();
        wrong[14 + 40 + 24 + 20] ^= 1;
        assert_eq!(wrong_checksums(&wrong).len(), 1);
    }

    #[test]
    fn sealing_mends_every_checksum() {
        let frame = eth(A, B)
            .ipv4(SERVER, CLIENT)
            .ip_checksum(1)
            .udp(50_000, 4_789);
        let frame = frame
            .udp_checksum(2)
            .vxlan_header(5)
            .eth(B, A)
            .ipv4(CLIENT, SERVER);
        let mut bytes = frame.ip_checksum(3).tcp(1, 2).payload(b"odd").bytes();
        bytes[50 + 14 + 20 + 4] ^= 1;
        assert_eq!(wrong_checksums(&bytes).len(), 4);
        seal(&mut bytes);
        assert_checksums(&bytes);
    }

    /// Any changed byte that a checksum covers is seen.
    #[test]
    fn one_changed_byte_is_seen() {
        let frame = eth(A, B).vxlan(SERVER, CLIENT, 5).eth(B, A);
        let good = frame
            .ipv4(CLIENT, SERVER)
            .tcp(1, 2)
            .payload(b"data")
            .bytes();
        let inner_ip = 50 + 14;
        for at in (14..34).chain(inner_ip..good.len()) {
            let mut bad = good.clone();
            bad[at] ^= 0x40;
            assert!(!wrong_checksums(&bad).is_empty(), "byte {at}");
        }
    }

    #[test]
    fn a_frame_of_any_length_can_be_looked_at() {
        let frame = eth(A, B).vxlan(SERVER, CLIENT, 5).eth(B, A).vlan(3);
        let bytes = frame
            .ipv4(CLIENT, SERVER)
            .tcp(1, 2)
            .payload(b"data")
            .bytes();
        for length in 0..bytes.len() {
            wrong_checksums(&bytes[..length]);
            describe(&bytes[..length]);
        }
    }
}
