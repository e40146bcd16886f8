//! The number of a challenge: a keyed hash over both ends of the flow and an epoch, so
//! that it need not be remembered.

use crate::{family::Family, packet::Tables, siphash::SipHash, stages::parse::Flow};

/// Tells challenges from all else that the key may be used for.
const DOMAIN: u64 = 0xc1;

/// Bytes of what is hashed: both addresses in 16 bytes each, ports and domain in 8, the
/// epoch in 7. SipHash has the length in the last byte.
const LENGTH: u64 = 47;

/// Bits of the number that the hash decides; the highest one is free.
const MASK: u32 = u32::MAX >> 1;

/// The numbers of a flow's challenge.
#[derive(Clone, Copy, Debug)]
pub struct Cookie {
    acknowledgment: u32,
    /// Sequence number of our own; nobody looks at it.
    pub sequence: u32,
}

impl Cookie {
    /// The numbers in an epoch.
    #[inline(always)]
    pub fn new<F: Family, T: Tables>(tables: &T, flow: &Flow<F>, epoch: u64) -> Self {
        let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        let [a, b, c, d] = F::words(flow.source);
        let [e, f, g, h] = F::words(flow.destination);
        let hash = SipHash::<1, 3>::new(tables.seed())
            .word(pair(a, b))
            .word(pair(c, d))
            .word(pair(e, f))
            .word(pair(g, h))
            .word(flow.ports as u64 | DOMAIN << 56)
            .word(epoch & u64::MAX >> 8 | LENGTH << 56)
            .finish();
        Self {
            acknowledgment: hash as u32 & MASK,
            sequence: (hash >> 32) as u32,
        }
    }

    /// The acknowledgment number for a SYN with this sequence number.
    ///
    /// Of the two numbers that differ in the highest bit one lies in the half before
    /// the SYN: it acknowledges nothing that the client sent, so the client must answer
    /// with a reset (RFC 9293, section 3.10.7.3: SEG.ACK =< ISS).
    #[inline(always)]
    pub const fn for_syn(self, sequence: u32) -> u32 {
        let ahead = self.acknowledgment.wrapping_sub(sequence);
        match ahead == 0 || ahead > MASK {
            true => self.acknowledgment,
            false => self.acknowledgment | !MASK,
        }
    }

    /// Whether a reset with this sequence number answers the challenge.
    #[inline(always)]
    pub const fn is_returned_by(self, sequence: u32) -> bool {
        sequence & MASK == self.acknowledgment
    }
}
