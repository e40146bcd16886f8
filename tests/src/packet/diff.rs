//! Frames for people: decoded fields side by side, bytes below.

use std::fmt::Write;

use super::{
    verify::{address, address6, wrong_checksums},
    walk::{Kind, Part, walk, word},
};

/// One decoded field: which header it is in, its name and its value.
struct Field {
    label: String,
    value: String,
}

/// All fields of a frame, one a line, and its bytes.
pub fn describe(frame: &[u8]) -> String {
    let mut text = String::new();
    for field in fields(frame) {
        let _ = writeln!(text, "  {:<22} {}", field.label, field.value);
    }
    text + &hex(frame)
}

/// Nothing when the frames are equal; else the fields of both side by side, the
/// ones that differ marked with `>`, and the bytes of both.
pub fn diff(expected: &[u8], found: &[u8]) -> Option<String> {
    if expected == found {
        return None;
    }
    let first = expected.iter().zip(found).position(|(a, b)| a != b);
    let first = first.unwrap_or(expected.len().min(found.len()));
    let mut text = format!(
        "frames differ from byte {first} on: expected {} bytes, found {}\n",
        expected.len(),
        found.len()
    );
    let (left, right) = (fields(expected), fields(found));
    let _ = writeln!(text, "    {:<22} {:<28} found", "field", "expected");
    for at in 0..left.len().max(right.len()) {
        let (l, r) = (left.get(at), right.get(at));
        let label = l.or(r).map_or("", |field| &field.label);
        let value = |field: Option<&Field>| field.map_or("-".into(), |f| f.value.clone());
        let same = matches!((l, r), (Some(l), Some(r)) if l.label == r.label && l.value == r.value);
        let mark = if same { ' ' } else { '>' };
        let _ = writeln!(text, "  {mark} {label:<22} {:<28} {}", value(l), value(r));
    }
    for sentence in wrong_checksums(found) {
        let _ = writeln!(text, "  found: {sentence}");
    }
    let _ = write!(
        text,
        "  expected bytes:\n{}  found bytes:\n{}",
        hex(expected),
        hex(found)
    );
    Some(text)
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let _ = write!(text, "  {:04x} ", row * 16);
        for byte in chunk {
            let _ = write!(text, " {byte:02x}");
        }
        text.push('\n');
    }
    text
}

fn fields(frame: &[u8]) -> Vec<Field> {
    let mut fields = Vec::new();
    let mut depth = "";
    for part in walk(frame) {
        let mut add = |name: &str, value: String| {
            fields.push(Field {
                label: format!("{depth}{name}"),
                value,
            });
        };
        header(frame, &part, &mut add);
        if part.kind == Kind::Vxlan {
            depth = "inner ";
        }
    }
    fields
}

fn header(frame: &[u8], part: &Part, add: &mut dyn FnMut(&str, String)) {
    let at = part.at;
    let w = |offset: usize| word(frame, at + offset);
    let long = |offset: usize| u32::from(w(offset)) << 16 | u32::from(w(offset + 2));
    match part.kind {
        Kind::Ethernet => {
            add("eth to", mac(&frame[at..]));
            add("eth from", mac(&frame[at + 6..]));
            add("eth type", format!("{:04x}", w(12)));
        }
        Kind::Vlan => add("vlan", format!("{:04x} type {:04x}", w(0), w(2))),
        Kind::Arp => {
            add("arp format", format!("{:02x?}", &frame[at..at + 6]));
            add("arp operation", w(6).to_string());
            add(
                "arp sender",
                format!("{} {}", mac(&frame[at + 8..]), address(frame, at + 14)),
            );
            add(
                "arp target",
                format!("{} {}", mac(&frame[at + 18..]), address(frame, at + 24)),
            );
        }
        Kind::Ipv4 => {
            add(
                "ip version, words",
                format!("{}, {}", frame[at] >> 4, frame[at] & 15),
            );
            add("ip tos", format!("{:02x}", frame[at + 1]));
            add("ip length", w(2).to_string());
            add("ip id, fragment", format!("{:04x}, {:04x}", w(4), w(6)));
            add("ip ttl", frame[at + 8].to_string());
            add("ip protocol", frame[at + 9].to_string());
            add("ip checksum", format!("{:04x}", w(10)));
            add("ip from", address(frame, at + 12).to_string());
            add("ip to", address(frame, at + 16).to_string());
            if part.end > at + 20 {
                add("ip options", format!("{:02x?}", &frame[at + 20..part.end]));
            }
        }
        Kind::Ipv6 => {
            add("ip version, class, flow", format!("{:08x}", long(0)));
            add("ip length", w(4).to_string());
            add("ip protocol", frame[at + 6].to_string());
            add("ip ttl", frame[at + 7].to_string());
            add("ip from", address6(frame, at + 8).to_string());
            add("ip to", address6(frame, at + 24).to_string());
        }
        Kind::Extension => add("ip extension", format!("{:02x?}", &frame[at..part.end])),
        Kind::Tcp => {
            add("tcp ports", format!("{} -> {}", w(0), w(2)));
            add("tcp sequence, ack", format!("{}, {}", long(4), long(8)));
            add("tcp flags, window", format!("{:04x}, {}", w(12), w(14)));
            add("tcp checksum", format!("{:04x}", w(16)));
        }
        Kind::Udp => {
            add("udp ports", format!("{} -> {}", w(0), w(2)));
            add("udp length", w(4).to_string());
            add("udp checksum", format!("{:04x}", w(6)));
        }
        Kind::Icmp | Kind::Icmpv6 => {
            add(
                "icmp type, code",
                format!("{}, {}", frame[at], frame[at + 1]),
            );
            add("icmp checksum", format!("{:04x}", w(2)));
            add("icmp id, sequence", format!("{}, {}", w(4), w(6)));
        }
        Kind::Vxlan => {
            add("vxlan flags", format!("{:08x}", long(0)));
            add(
                "vxlan vni, reserved",
                format!("{}, {}", long(4) >> 8, long(4) & 255),
            );
        }
        Kind::Payload | Kind::Padding => {
            let name = if part.kind == Kind::Payload {
                "payload"
            } else {
                "padding"
            };
            add(name, format!("{} bytes", part.end - at));
        }
    }
}

fn mac(bytes: &[u8]) -> String {
    let octets: Vec<String> = bytes[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    octets.join(":")
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::packet::eth;

    #[test]
    fn a_difference_is_named() {
        let frame = |ttl| {
            let [a, b] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
            let ip = eth(a, b).ipv4(Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2));
            ip.ttl(ttl).udp(1, 2).payload(b"x").bytes()
        };
        assert_eq!(diff(&frame(64), &frame(64)), None);
        let text = diff(&frame(64), &frame(63)).expect("they differ");
        let marked: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("  > "))
            .collect();
        assert_eq!(marked.len(), 2, "{text}");
        assert!(
            marked[0].contains("ip ttl") && marked[1].contains("ip checksum"),
            "{text}"
        );
    }
}
