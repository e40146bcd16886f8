//! SipHash (Aumasson and Bernstein, 2012): a short keyed hash that nobody without the
//! key can predict, over whole words.

/// SipHash with one round a word and three at the end. The variant with more rounds
/// (2 and 4) is there for the authors' test vector.
#[derive(Clone, Copy, Debug)]
pub struct SipHash<const ROUNDS: usize, const LAST: usize>([u64; 4]);

impl<const ROUNDS: usize, const LAST: usize> SipHash<ROUNDS, LAST> {
    /// Starts with a key.
    #[inline(always)]
    pub const fn new([a, b]: [u64; 2]) -> Self {
        Self([
            a ^ 0x736f_6d65_7073_6575,
            b ^ 0x646f_7261_6e64_6f6d,
            a ^ 0x6c79_6765_6e65_7261,
            b ^ 0x7465_6462_7974_6573,
        ])
    }

    /// Takes in a word. The last one has the message's length in its highest byte.
    #[inline(always)]
    pub const fn word(mut self, word: u64) -> Self {
        self.0[3] ^= word;
        self = self.rounds(ROUNDS);
        self.0[0] ^= word;
        self
    }

    /// The hash.
    #[inline(always)]
    pub const fn finish(mut self) -> u64 {
        self.0[2] ^= 0xff;
        let [a, b, c, d] = self.rounds(LAST).0;
        a ^ b ^ c ^ d
    }

    #[inline(always)]
    const fn rounds(self, count: usize) -> Self {
        let [mut a, mut b, mut c, mut d] = self.0;
        let mut round = 0;
        while round < count {
            a = a.wrapping_add(b);
            b = b.rotate_left(13) ^ a;
            a = a.rotate_left(32);
            c = c.wrapping_add(d);
            d = d.rotate_left(16) ^ c;
            a = a.wrapping_add(d);
            d = d.rotate_left(21) ^ a;
            c = c.wrapping_add(b);
            b = b.rotate_left(17) ^ c;
            c = c.rotate_left(32);
            round += 1;
        }
        Self([a, b, c, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the paper, appendix A: key 00..0f, message 00..0e.
    #[test]
    fn the_authors_vector() {
        let words = |from: u8| u64::from_le_bytes(core::array::from_fn(|i| from + i as u8));
        let last = words(8) & 0x00ff_ffff_ffff_ffff | 15 << 56;
        let hash = SipHash::<2, 4>::new([words(0), words(8)]);
        assert_eq!(
            hash.word(words(0)).word(last).finish(),
            0xa129_ca61_49be_45e5
        );
    }
}
