//! Where each header of a frame lies, as far as the frame goes.

use super::layers::protocol;

/// What lies in a stretch of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Ethernet,
    Vlan,
    Arp,
    Ipv4,
    Tcp,
    Udp,
    Icmp,
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
            protocol::ICMP => {
                if self.header(Kind::Icmp, next, 8, reach) {
                    self.rest(Kind::Payload, next + 8, reach);
                }
            }
            _ => self.rest(Kind::Payload, next, reach),
        }
        self.rest(Kind::Padding, reach, frame_end);
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
