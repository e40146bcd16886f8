//! The guard's maps.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf,
    maps::{LpmTrie, MapData, MapError, lpm_trie::Key},
    programs::{TestRun, TestRunOptions},
};
use gateway_common::{
    Clock, EPOCH_SECONDS, Guard, GuardBits, GuardState, HINTS, PrefixKey, Program, Underlay, map,
};

use nix::libc;

use super::{Maps, Outgrown, jiffies, shared, shared::SharedArray, take, verify::array, xdp};
use crate::model::{GuardTables, Rules};

/// Meters that sources share, if there are limits for sources: with two for each, so
/// many busy ones are needed before others are likely to suffer.
const METERS: u32 = 1 << 18;

/// Sources that are known at once, if there are challenges.
const VERIFIED: u32 = 1 << 16;

/// Entries of each map but `GUARDED`.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    prefixes: u32,
    rules: u32,
    /// A power of two.
    pub(super) meters: u32,
    verified: u32,
}

impl Sizes {
    /// With room to grow.
    pub(super) fn of(tables: &GuardTables, bits: u32) -> Self {
        let needed = Self::needed(tables, bits);
        Self {
            prefixes: (needed.prefixes * 2).max(16),
            rules: (needed.rules * 2).max(16),
            ..needed
        }
    }

    fn needed(tables: &GuardTables, bits: u32) -> Self {
        let limits = bits & (GuardBits::SOURCE_PACKETS | GuardBits::SOURCE_FLOWS) != 0;
        Self {
            prefixes: tables.prefixes.len() as u32,
            rules: tables.rules.len() as u32,
            meters: if limits { METERS } else { 1 },
            verified: if tables.challenges() { VERIFIED } else { 1 },
        }
    }

    pub(super) fn by_name(&self) -> [(&'static str, u32); 5] {
        [
            (map::PREFIXES, self.prefixes),
            (map::GUARDS, self.rules),
            (map::GUARD_STATES, self.rules),
            (map::METERS, self.meters),
            (map::VERIFIED, self.verified),
        ]
    }
}

/// Everything of the guard but its table of endpoints.
pub(super) struct GuardMaps {
    hz: u64,
    sizes: Sizes,
    prefixes: LpmTrie<MapData, [u32; 5], u32>,
    hints: SharedArray<u64>,
    guards: SharedArray<Guard>,
    states: SharedArray<GuardState>,
    clock: SharedArray<Clock>,
}

/// What the challenge of a guarded service does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Challenging {
    /// Index in `GUARDS`.
    pub index: u32,
    /// For how many seconds it has been on; none when it is off.
    pub on_for: Option<f64>,
}

impl GuardMaps {
    pub(super) fn new(maps: &mut Maps<'_>, sizes: Sizes) -> Result<Self> {
        Ok(Self {
            hz: jiffies::per_second()?.into(),
            sizes,
            prefixes: LpmTrie::try_from(take(maps.ebpf, map::PREFIXES)?)?,
            hints: shared(maps, map::HINTS, HINTS / u64::BITS)?,
            guards: shared(maps, map::GUARDS, sizes.rules)?,
            states: shared(maps, map::GUARD_STATES, sizes.rules)?,
            clock: shared(maps, map::CLOCK, 1)?,
        })
    }

    /// Whether the maps can hold these tables.
    pub(super) fn fits(&self, tables: &GuardTables, bits: u32) -> bool {
        let needs = Sizes::needed(tables, bits);
        needs.prefixes <= self.sizes.prefixes
            && needs.rules <= self.sizes.rules
            && needs.meters <= self.sizes.meters
            && needs.verified <= self.sizes.verified
    }

    pub(super) fn set_hint(&self, index: u32, bits: u64) {
        self.hints.set(index as usize, &bits);
    }

    pub(super) fn set_rules(&self, index: u32, rules: &Rules) {
        self.guards.set(index as usize, &rules.guard(self.hz));
    }

    /// Lists a prefix; 0 is "not listed".
    pub(super) fn set_prefix(&mut self, key: &PrefixKey, verdict: u32) -> Result<()> {
        let result = match verdict {
            0 => self.prefixes.remove(&trie_key(key)),
            _ => self.prefixes.insert(&trie_key(key), verdict, 0),
        };
        match result {
            Err(MapError::SyscallError(error))
                if error.io_error.raw_os_error() == Some(libc::ENOSPC) =>
            {
                bail!(Outgrown(map::PREFIXES))
            }
            result => result.context("the kernel refused a prefix of the guard's lists"),
        }
    }

    /// Compares all maps but `GUARDED` with what they should hold and corrects what
    /// differs; how many entries did in each.
    pub(super) fn verify(&mut self, tables: &GuardTables) -> Result<[(&'static str, usize); 3]> {
        let rules: Vec<_> = tables
            .rules
            .iter()
            .map(|rules| rules.guard(self.hz))
            .collect();
        Ok([
            (map::GUARDS, array(&self.guards, &rules)),
            (map::HINTS, array(&self.hints, &tables.hints)),
            (map::PREFIXES, self.verify_prefixes(&tables.prefixes)?),
        ])
    }

    fn verify_prefixes(&mut self, wanted: &BTreeMap<PrefixKey, u32>) -> Result<usize> {
        let mut missing = wanted.clone();
        let mut foreign = Vec::new();
        for entry in self.prefixes.iter() {
            let (key, verdict) = entry.context("cannot read the guard's lists")?;
            let key = prefix_key(&key);
            match wanted.get(&key) {
                Some(&wanted) if wanted == verdict => drop(missing.remove(&key)),
                Some(_) => {}
                None => foreign.push(key),
            }
        }
        for key in &foreign {
            self.set_prefix(key, 0)?;
        }
        for (key, &verdict) in &missing {
            self.set_prefix(key, verdict)?;
        }
        Ok(missing.len() + foreign.len())
    }

    /// Tells the programs what time it is, for challenges that another gateway began.
    pub(super) fn keep_time(&self, ebpf: &mut Ebpf) -> Result<()> {
        let now = self.now(ebpf)?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        self.clock.set(
            0,
            &Clock {
                now,
                offset: (seconds * self.hz).wrapping_sub(now),
                epoch: EPOCH_SECONDS * self.hz,
                reserved: 0,
            },
        );
        Ok(())
    }

    /// Which challenges are on.
    pub(super) fn challenging(&self, ebpf: &mut Ebpf) -> Result<Vec<Challenging>> {
        let now = self.now(ebpf)?;
        let states = (0..self.states.len()).map(|index| {
            let GuardState { since, until, .. } = self.states.get(index);
            let on_for = now.saturating_sub(since) as f64 / self.hz as f64;
            Challenging {
                index: index as u32,
                on_for: (until > now).then_some(on_for),
            }
        });
        Ok(states.collect())
    }

    /// Jiffies now.
    pub(super) fn now(&self, ebpf: &mut Ebpf) -> Result<u64> {
        xdp(ebpf, Program::CLOCK.name(Underlay::V4))?
            .test_run(TestRunOptions {
                // The shortest frame that the kernel takes.
                data_in: Some(&[0; 14]),
                ..TestRunOptions::default()
            })
            .context("cannot ask the kernel for its time")?;
        Ok(self.clock.get(0).now)
    }
}

fn trie_key(key: &PrefixKey) -> Key<[u32; 5]> {
    let [a, b, c, d] = key.address;
    Key::new(key.length, [key.scope, a, b, c, d])
}

fn prefix_key(key: &Key<[u32; 5]>) -> PrefixKey {
    let [scope, address @ ..] = key.data();
    PrefixKey {
        length: key.prefix_len(),
        scope,
        address,
    }
}
