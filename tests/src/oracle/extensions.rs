//! IPv6 extension headers (RFC 8200, section 4), as far as a gateway follows them.

use gateway_common::Reason;

use super::{
    ip::{Own, Packet},
    wire::word,
};

/// More headers than these in one packet are not followed.
const MOST: usize = 5;

/// Nor are longer chains (RFC 8504, section 5.3).
const LONGEST: usize = 256;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const AUTHENTICATION: u8 = 51;
const DESTINATION_OPTIONS: u8 = 60;

fn is_extension(next_header: u8) -> bool {
    matches!(
        next_header,
        HOP_BY_HOP | ROUTING | FRAGMENT | AUTHENTICATION | DESTINATION_OPTIONS
    )
}

impl Packet {
    /// The packet with its extension headers set apart, so that its protocol and its
    /// body are those of layer 4. Its length is known to be right.
    pub(super) fn unfold(mut self) -> Result<Self, Reason> {
        if let Own::V4 { .. } = self.own {
            return Ok(self);
        }
        let mut seen = Vec::new();
        // Behind the header of a later fragment there is no header.
        while is_extension(self.protocol) && !self.is_later_fragment() {
            let kind = self.protocol;
            if seen.len() == MOST {
                return Err(Reason::ExtensionHeader);
            }
            if self.length < self.header_length() + 8 {
                return Err(Reason::Truncated);
            }
            let length = match kind {
                HOP_BY_HOP if !seen.is_empty() => return Err(Reason::ExtensionHeader),
                // "Segments left" (RFC 8200, section 4.4).
                ROUTING if self.body[3] != 0 => return Err(Reason::RoutingHeader),
                FRAGMENT if seen.contains(&FRAGMENT) => return Err(Reason::ExtensionHeader),
                AUTHENTICATION => return Err(Reason::ExtensionHeader),
                FRAGMENT => 8,
                _ => 8 * (1 + usize::from(self.body[1])),
            };
            if self.extensions.len() + length > LONGEST {
                return Err(Reason::ExtensionHeader);
            }
            if self.length < self.header_length() + length {
                return Err(Reason::Truncated);
            }
            if let (FRAGMENT, Own::V6 { fragment, .. }) = (kind, &mut self.own) {
                let offset_and_more = word(&self.body, 2);
                *fragment = offset_and_more >> 3 | (offset_and_more & 1) << 13;
            }
            self.protocol = self.body[0];
            self.extensions.extend(self.body.drain(..length));
            seen.push(kind);
        }
        Ok(self)
    }
}
