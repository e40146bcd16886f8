//! How often each exit was reached.

use std::{collections::BTreeMap, fmt};

use gateway_common::Reason;

use super::PROGRAMS;
use crate::{
    cases::Program,
    oracle::{Fate, Way},
};

/// How many frames took each exit, by program.
#[derive(Clone, Debug, Default)]
pub struct Coverage {
    counts: BTreeMap<&'static str, [u64; PROGRAMS.len()]>,
}

impl Coverage {
    /// Counts one frame.
    pub fn count(&mut self, program: Program, fate: &Fate) {
        let exit = match fate {
            Fate::Ends(reason) | Fate::Answered(reason, _) => reason.name(),
            Fate::Sent { way, .. } => match way {
                Way::In(_) => "-> instance",
                Way::Out(_) => "-> public",
                Way::Hairpin { .. } => "-> public, back in",
                Way::Inside { .. } => "-> neighbour",
            },
        };
        let column = PROGRAMS.iter().position(|&known| known == program);
        self.counts.entry(exit).or_default()[column.expect("one of three")] += 1;
    }

    /// Adds what another thread counted.
    pub fn add(&mut self, other: &Self) {
        for (exit, counts) in &other.counts {
            let sums = self.counts.entry(exit).or_default();
            for (sum, count) in sums.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }

    /// Frames in all.
    pub fn frames(&self) -> u64 {
        self.counts.values().flatten().sum()
    }

    /// Frames that were sent on.
    pub fn sent(&self) -> u64 {
        let sent = |exit| self.counts.get(exit).into_iter().flatten().sum::<u64>();
        let exits = self.counts.keys().filter(|exit| exit.starts_with("->"));
        exits.map(sent).sum()
    }

    /// Reasons that no frame ended with.
    pub fn missed(&self) -> Vec<Reason> {
        let missed = |reason: &&Reason| !self.counts.contains_key(reason.name());
        Reason::ALL.iter().filter(missed).copied().collect()
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c] = ["public", "underlay", "single arm"];
        writeln!(f, "{:<24} {a:>12} {b:>12} {c:>12}", "exit")?;
        for (exit, [a, b, c]) in &self.counts {
            writeln!(f, "{exit:<24} {a:>12} {b:>12} {c:>12}")?;
        }
        let missed: Vec<_> = self.missed().into_iter().map(Reason::name).collect();
        if !missed.is_empty() {
            writeln!(f, "never reached: {}", missed.join(", "))?;
        }
        Ok(())
    }
}
