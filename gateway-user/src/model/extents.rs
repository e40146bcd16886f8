//! Places in `RING`: which slots belong to which ring. Pure.

use std::collections::{BTreeMap, VecDeque};

use super::allocation::Seconds;

/// How long a freed place keeps its content: a packet may have read the endpoint and
/// not yet the slot. Any run of the program is shorter by orders of magnitude.
const REST: Seconds = 2;

/// A part of the table and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// First slot.
    pub(super) first: u32,
    /// One word a slot.
    pub(super) words: Vec<u64>,
    /// Epochs of tracked slots, counted from the first.
    pub(super) epochs: BTreeMap<u32, u32>,
}

/// Who has which part of the table. Rings have few sizes, so a freed place waits for
/// a ring of the same size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Extents {
    /// First slots of free places, by size.
    free: BTreeMap<usize, Vec<u32>>,
    /// Freed places and since when, in that order.
    resting: VecDeque<(Seconds, Piece)>,
    end: u32,
}

impl Extents {
    /// A place of so many slots. A ring of one slot needs none.
    pub(super) fn take(&mut self, slots: usize) -> u32 {
        if slots <= 1 {
            return 0;
        }
        if let Some(first) = self.free.get_mut(&slots).and_then(Vec::pop) {
            return first;
        }
        let first = self.end;
        self.end += slots as u32;
        first
    }

    /// Gives a place back; its content stays for a while.
    pub(super) fn free(&mut self, piece: Piece, now: Seconds) {
        if piece.words.len() > 1 {
            self.resting.push_back((now, piece));
        }
    }

    /// Ends the rest of places that have rested. True if there were any.
    pub(super) fn wake(&mut self, now: Seconds) -> bool {
        let mut woken = false;
        while let Some((since, _)) = self.resting.front()
            && now.saturating_sub(*since) >= REST
            && let Some((_, piece)) = self.resting.pop_front()
        {
            self.free
                .entry(piece.words.len())
                .or_default()
                .push(piece.first);
            woken = true;
        }
        woken
    }

    /// Places that still have their content.
    pub(super) fn resting(&self) -> impl Iterator<Item = &Piece> {
        self.resting.iter().map(|(_, piece)| piece)
    }

    /// Whether any place rests.
    pub(super) fn is_busy(&self) -> bool {
        !self.resting.is_empty()
    }

    /// Slots that the table needs.
    pub(super) fn end(&self) -> usize {
        self.end as usize
    }
}
