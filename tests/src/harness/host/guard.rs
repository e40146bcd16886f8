//! The guard's tables in memory.

use std::{
    cell::{OnceCell, RefCell},
    collections::{BTreeMap, HashMap},
};

use gateway_common::{Bucket, Clock, EPOCH_SECONDS, Guard, PrefixKey};
use gateway_ebpf::{
    packet::{GuardWords, Tables},
    word::Word,
};
use lingyun::model::GuardTables;

use super::place;

/// Jiffies in a second.
const HZ: u64 = 250;

/// What the guard reads and what it remembers.
pub(super) struct HostGuard {
    /// Epochs stand still, so that a case can say which number a challenge has.
    pub(super) clock: OnceCell<Clock>,
    pub(super) guarded: Vec<Bucket>,
    pub(super) limits: Vec<Guard>,
    pub(super) states: Vec<GuardWords>,
    pub(super) meters: Vec<[Word; 2]>,
    pub(super) verified: RefCell<HashMap<u64, u64>>,
}

impl HostGuard {
    pub(super) fn new(model: &GuardTables) -> Self {
        Self {
            clock: OnceCell::new(),
            guarded: place(&model.guarded),
            limits: model.rules.iter().map(|rules| rules.guard(HZ)).collect(),
            states: model.rules.iter().map(|_| GuardWords::default()).collect(),
            meters: (0..1 << 10).map(|_| Default::default()).collect(),
            verified: RefCell::default(),
        }
    }
}

impl super::Host {
    /// Lets time pass.
    pub fn pass(&self, seconds: f64) {
        self.tables.pass((seconds * HZ as f64) as u64);
    }

    /// Lets epochs of challenges go by from now on.
    pub fn begin_epochs(&self) {
        let guard = &self.tables.guard;
        guard.clock.get_or_init(|| Clock {
            epoch: EPOCH_SECONDS * HZ,
            // The first one begins now.
            offset: self.tables.now().wrapping_neg(),
            ..Clock::default()
        });
    }
}

/// What the longest prefix that holds a source says, by its definition.
pub(super) fn longest(prefixes: &BTreeMap<PrefixKey, u32>, source: &PrefixKey) -> Option<u32> {
    let bits = |key: &PrefixKey| {
        let words = [key.scope.to_be()].into_iter().chain(key.address);
        let bytes: Vec<u8> = words.flat_map(u32::to_ne_bytes).collect();
        bytes
            .into_iter()
            .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
            .collect::<Vec<_>>()
    };
    let wanted = bits(source);
    let holds = |prefix: &PrefixKey| {
        let length = prefix.length as usize;
        prefix.length <= source.length && bits(prefix)[..length] == wanted[..length]
    };
    prefixes
        .iter()
        .filter(|(prefix, _)| holds(prefix))
        .max_by_key(|(prefix, _)| prefix.length)
        .map(|(_, verdict)| *verdict)
}

#[cfg(test)]
mod tests;
