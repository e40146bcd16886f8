//! Makes a finding small: fewer frames, shorter ones, closer to a fixture's.

use anyhow::Result;

use super::{
    Arrival, Disagreement, Rig, SHORTEST,
    mutate::{Mutator, fit_lengths},
};
use crate::packet::seal;

/// Sends a history to a gateway that was just started. The first disagreement, if
/// there is one.
pub(super) fn replay(rig: &mut Rig, history: &[Arrival]) -> Result<Option<Disagreement>> {
    rig.reset()?;
    rig.audit_every_frame(true);
    for arrival in history {
        if let Err(disagreement) = rig.send(arrival)? {
            return Ok(Some(disagreement));
        }
    }
    Ok(None)
}

/// The smallest history found with which a gateway still disagrees with the oracle,
/// in any way; nothing if it does not with `history`.
pub(super) fn minimise(
    rig: &mut Rig,
    mutator: &Mutator,
    history: Vec<Arrival>,
) -> Result<Option<(Vec<Arrival>, Disagreement)>> {
    let Some(disagreement) = replay(rig, &history)? else {
        return Ok(None);
    };
    let mut search = Search {
        rig,
        best: history,
        disagreement,
    };
    search.cut_history()?;
    for at in 0..search.best.len() {
        search.shorten(at)?;
        search.approach_seed(at, mutator)?;
        // With the fixture's length fields, more may be left out.
        search.shorten(at)?;
        search.zero(at)?;
    }
    Ok(Some((search.best, search.disagreement)))
}

struct Search<'r> {
    rig: &'r mut Rig,
    best: Vec<Arrival>,
    disagreement: Disagreement,
}

impl Search<'_> {
    /// Keeps a candidate if the gateway still disagrees.
    fn keep_if_bad(&mut self, candidate: Vec<Arrival>) -> Result<bool> {
        let found = replay(self.rig, &candidate)?;
        let bad = found.is_some();
        if let Some(disagreement) = found {
            self.disagreement = disagreement;
            self.best = candidate;
        }
        Ok(bad)
    }

    fn keep_frame_if_bad(&mut self, at: usize, frame: Vec<u8>) -> Result<bool> {
        if frame == self.best[at].frame || frame.len() < SHORTEST {
            return Ok(false);
        }
        let mut candidate = self.best.clone();
        candidate[at].frame = frame;
        self.keep_if_bad(candidate)
    }

    /// Leaves out frames: all but the last, then ever smaller runs.
    fn cut_history(&mut self) -> Result<()> {
        let Some(last) = self.best.last().cloned() else {
            return Ok(());
        };
        if self.best.len() == 1 || self.keep_if_bad(vec![last])? {
            return Ok(());
        }
        let mut run = self.best.len() / 2;
        while run > 0 {
            let mut at = 0;
            while at < self.best.len() {
                let mut candidate = self.best.clone();
                candidate.drain(at..(at + run).min(candidate.len()));
                if candidate.is_empty() || !self.keep_if_bad(candidate)? {
                    at += run;
                }
            }
            run /= 2;
        }
        Ok(())
    }

    /// Takes bytes off the end; where a length field minds, it is told.
    fn shorten(&mut self, at: usize) -> Result<()> {
        let mut step = self.best[at].frame.len() / 2;
        while step > 0 {
            let mut frame = self.best[at].frame.clone();
            frame.truncate(frame.len().saturating_sub(step));
            let mut fitted = frame.clone();
            fit_lengths(&mut fitted);
            seal(&mut fitted);
            if !self.keep_frame_if_bad(at, frame)? && !self.keep_frame_if_bad(at, fitted)? {
                step /= 2;
            }
        }
        Ok(())
    }

    /// Gives back bytes of the fixture's frame that is nearest.
    fn approach_seed(&mut self, at: usize, mutator: &Mutator) -> Result<()> {
        let arrival = &self.best[at];
        let Some(seed) = mutator.nearest_seed(arrival) else {
            return Ok(());
        };
        let mut run = seed.len();
        while run > 0 {
            for start in (0..seed.len()).step_by(run) {
                let mut frame = self.best[at].frame.clone();
                let end = (start + run).min(frame.len()).min(seed.len());
                if start < end {
                    frame[start..end].copy_from_slice(&seed[start..end]);
                    self.keep_frame_if_bad(at, frame)?;
                }
            }
            run /= 2;
        }
        Ok(())
    }

    /// Zeroes what lies behind all headers.
    fn zero(&mut self, at: usize) -> Result<()> {
        const HEADERS: usize = 128;
        let mut frame = self.best[at].frame.clone();
        if let Some(payload) = frame.get_mut(HEADERS..) {
            payload.fill(0);
            self.keep_frame_if_bad(at, frame)?;
        }
        Ok(())
    }
}
