//! IPv6 layers (RFC 8200), and neighbour discovery's messages (RFC 4861).

use std::net::Ipv6Addr;

use super::layers::{Ip, Mac, protocol};

#[derive(Clone, Debug)]
pub(super) struct Ipv6 {
    pub(super) source: Ipv6Addr,
    pub(super) destination: Ipv6Addr,
    pub(super) version: u8,
    pub(super) class: u8,
    pub(super) flow_label: u32,
    pub(super) payload_length: Option<u16>,
    pub(super) next_header: Option<u8>,
    pub(super) hop_limit: u8,
}

impl Ipv6 {
    pub(super) fn new(source: Ipv6Addr, destination: Ipv6Addr) -> Self {
        Self {
            source,
            destination,
            version: 6,
            class: 0,
            flow_label: 0,
            payload_length: None,
            next_header: None,
            hop_limit: 64,
        }
    }

    pub(super) fn wrap(&self, body: &[u8], next_header: u8) -> Vec<u8> {
        let class = u32::from(self.class) << 20;
        let first = u32::from(self.version) << 28 | class | self.flow_label;
        let length = self.payload_length.unwrap_or(body.len() as u16);
        let next = self.next_header.unwrap_or(next_header);
        [
            &first.to_be_bytes()[..],
            &length.to_be_bytes(),
            &[next, self.hop_limit],
            &self.source.octets(),
            &self.destination.octets(),
            body,
        ]
        .concat()
    }

    pub(super) fn ends(&self) -> Ip {
        Ip::of(self.source, self.destination)
    }
}

/// An extension header: its number, and its bytes behind the first one, which tells
/// what comes next.
#[derive(Clone, Debug)]
pub(super) struct Extension {
    pub(super) kind: u8,
    pub(super) rest: Vec<u8>,
    pub(super) next_header: Option<u8>,
}

impl Extension {
    pub(super) fn wrap(&self, body: &[u8], next_header: u8) -> Vec<u8> {
        let next = self.next_header.unwrap_or(next_header);
        [&[next], &self.rest[..], body].concat()
    }

    /// A header of options, `blocks` times eight bytes long, with nothing but padding.
    pub(super) fn options(kind: u8, blocks: u8) -> Self {
        let padding = usize::from(blocks) * 8 - 4;
        let mut rest = vec![blocks - 1, 1, padding as u8];
        rest.resize(3 + padding, 0);
        Self {
            kind,
            rest,
            next_header: None,
        }
    }

    /// A routing header for one address (RFC 8754's type, which nobody here reads).
    pub(super) fn routing(segments_left: u8) -> Self {
        let mut rest = vec![2, 4, segments_left];
        rest.resize(23, 0);
        Self {
            kind: protocol::ROUTING,
            rest,
            next_header: None,
        }
    }

    /// A fragment header: offset in units of eight bytes.
    pub(super) fn fragment(offset: u16, more: bool, identification: u32) -> Self {
        let word = offset << 3 | u16::from(more);
        let rest = [&[0][..], &word.to_be_bytes(), &identification.to_be_bytes()];
        Self {
            kind: protocol::FRAGMENT,
            rest: rest.concat(),
            next_header: None,
        }
    }
}

/// A message of neighbour discovery about a target, behind its first four bytes.
#[derive(Clone, Debug)]
pub(super) struct Neighbour {
    pub(super) kind: u8,
    pub(super) code: u8,
    pub(super) flags: u32,
    pub(super) target: Ipv6Addr,
    /// Options: kind, then what is behind its length.
    pub(super) options: Vec<u8>,
}

impl Neighbour {
    pub(super) fn message(&self) -> Vec<u8> {
        [
            &[self.kind, self.code, 0, 0][..],
            &self.flags.to_be_bytes(),
            &self.target.octets(),
            &self.options,
        ]
        .concat()
    }

    /// An option with a link-layer address.
    pub(super) fn link_layer(kind: u8, mac: Mac) -> Vec<u8> {
        [&[kind, 1][..], &mac].concat()
    }
}
