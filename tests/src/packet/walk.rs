//! Where each header of a frame lies, as far as the frame goes.

use super::layers::protocol;

/// What lies in a stretch of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ethernet,
    Vlan,
    Arp,
    Ipv4,
    Ipv6,
    Extension,
    Tcp,
    Udp,
    Icmp,
    Icmpv6,
    Vxlan,
    Payload,
    Padding,
}

/// A header, or what is behind the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Part {
    pub(crate) kind: Kind,
    /// First byte of the header.
    pub(crate) at: usize,
    /// First byte behind the header.
    pub(crate) end: usize,
    /// First byte behind all that the header covers.
    pub(crate) reach: usize,
}

/// The parts of a frame from the outside in. A header that the frame does not
/// have in full is payload.
pub(crate) fn walk(frame: &[u8]) -> Vec<Part> {
    let mut walker = Walker {
        frame,
        parts: Vec::new(),
    };
    walker.ethernet(0);
    walker.parts
}

/// The big-endian word at `at`.
pub(crate) fn word(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

struct Walker<'f> {
    frame: &'f [u8],
    parts: Vec<Part>,
}

impl Walker<'_> {
    /// Notes a header of `length` bytes; false when it does not fit.
    fn header(&mut self, kind: Kind, at: usize, length: usize, reach: usize) -> bool {
        if at + length > reach {
            self.rest(Kind::Payload, at, reach);
            return false;
        }
        self.parts.push(Part {
            kind,
            at,
            end: at + length,
            reach,
        });
        true
    }

    fn rest(&mut self, kind: Kind, at: usize, reach: usize) {
        if at < reach {
            self.parts.push(Part {
                kind,
                at,
                end: reach,
                reach,
            });
        }
    }

    fn ethernet(&mut self, at: usize) {
        if self.header(Kind::Ethernet, at, 14, self.frame.len()) {
            self.ethertype(at + 12);
        }
    }

    fn ethertype(&mut self, at: usize) {
        let (next, reach) = (at + 2, self.frame.len());
        match word(self.frame, at) {
            0x8100 | 0x88a8 => {
                if self.header(Kind::Vlan, next, 4, reach) {
                    self.ethertype(next + 2);
                }
            }
            0x0806 => {
                if self.header(Kind::Arp, next, 28, reach) {
                    self.rest(Kind::Padding, next + 28, reach);
                }
            }
            0x0800 => self.ipv4(next),
            0x86dd => self.ipv6(next),
            _ => self.rest(Kind::Payload, next, reach),
        }
    }

    fn ipv4(&mut self, at: usize) {
        let frame_end = self.frame.len();
        if at + 20 > frame_end {
            return self.rest(Kind::Payload, at, frame_end);
        }
        let length = usize::from(self.frame[at] & 15) * 4;
        let total = usize::from(word(self.frame, at + 2));
        let reach = (at + total.max(20)).min(frame_end);
        if !self.header(Kind::Ipv4, at, length.max(20), reach) {
            return;
        }
        let next = at + length.max(20);
        let later_fragment = word(self.frame, at + 6) & 0x1fff != 0;
        match self.frame[at + 9] {
            _ if later_fragment => self.rest(Kind::Payload, next, reach),
            // To IPv4, ICMPv6 is any protocol.
            protocol::ICMPV6 => self.rest(Kind::Payload, next, reach),
            number => self.layer4(number, next, reach),
        }
        self.rest(Kind::Padding, reach, frame_end);
    }

    fn ipv6(&mut self, at: usize) {
        let frame_end = self.frame.len();
        if at + 40 > frame_end {
            return self.rest(Kind::Payload, at, frame_end);
        }
        let reach = (at + 40 + usize::from(word(self.frame, at + 4))).min(frame_end);
        if !self.header(Kind::Ipv6, at, 40, reach) {
            return;
        }
        let (mut number, mut next) = (self.frame[at + 6], at + 40);
        let mut later_fragment = false;
        while is_extension(number) && !later_fragment && next + 8 <= reach {
            let length = match number {
                protocol::FRAGMENT => 8,
                _ => 8 * (1 + usize::from(self.frame[next + 1])),
            };
            later_fragment = number == protocol::FRAGMENT && word(self.frame, next + 2) >> 3 != 0;
            number = self.frame[next];
            if !self.header(Kind::Extension, next, length, reach) {
                return self.rest(Kind::Padding, reach, frame_end);
            }
            next += length;
        }
        match number {
            _ if later_fragment || is_extension(number) => self.rest(Kind::Payload, next, reach),
            protocol::ICMP => self.rest(Kind::Payload, next, reach),
            number => self.layer4(number, next, reach),
        }
        self.rest(Kind::Padding, reach, frame_end);
    }

    fn layer4(&mut self, number: u8, next: usize, reach: usize) {
        match number {
            protocol::TCP => {
                let words = self
                    .frame
                    .get(next + 12)
                    .map_or(5, |byte| usize::from(byte >> 4));
                if self.header(Kind::Tcp, next, words.max(5) * 4, reach) {
                    self.rest(Kind::Payload, next + words.max(5) * 4, reach);
                }
            }
            protocol::UDP => self.udp(next, reach),
            protocol::ICMP | protocol::ICMPV6 => {
                let kind = match number {
                    protocol::ICMP => Kind::Icmp,
                    _ => Kind::Icmpv6,
                };
                if self.header(kind, next, 8, reach) {
                    self.rest(Kind::Payload, next + 8, reach);
                }
            }
            _ => self.rest(Kind::Payload, next, reach),
        }
    }

    fn udp(&mut self, at: usize, reach: usize) {
        if !self.header(Kind::Udp, at, 8, reach) {
            return;
        }
        if word(self.frame, at + 2) != 4_789 {
            return self.rest(Kind::Payload, at + 8, reach);
        }
        if self.header(Kind::Vxlan, at + 8, 8, reach) {
            self.ethernet(at + 16);
        }
    }
}

/// Whether a next header is an extension header with a length where all have it.
fn is_extension(number: u8) -> bool {
    matches!(
        number,
        protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::FRAGMENT
            | protocol::DESTINATION_OPTIONS
    )
}
