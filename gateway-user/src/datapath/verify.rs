//! Reading back: do the maps hold what they should?

use std::collections::BTreeSet;

use aya::maps::lpm_trie::Key;
use gateway_common::Range;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::*;

impl Datapath {
    /// Compares every map that the agent writes with what it should hold, and corrects
    /// what differs. Names each map that did, with the number of entries.
    pub fn verify(&mut self, tables: &Tables) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let mut note = |name: &str, wrong: usize| {
            if wrong > 0 {
                found.push(format!("{wrong} in {name}"));
            }
        };
        let full = |_| anyhow::anyhow!("no room to correct a table: it must be loaded anew");
        note(
            map::ENDPOINTS,
            self.endpoints.verify(&tables.endpoints).map_err(full)?,
        );
        note(
            map::INSTANCE_KEYS,
            self.instance_keys
                .verify(&tables.instance_keys)
                .map_err(full)?,
        );
        note(
            map::REVERSE,
            self.reverse.verify(&tables.reverse).map_err(full)?,
        );
        note(
            map::ADDRESSES,
            self.addresses.verify(&tables.addresses).map_err(full)?,
        );
        note(map::RING, array(&self.ring, &tables.ring));
        note(map::BACKENDS, array(&self.backends, &tables.backends));
        note(map::TUNNELS, array(&self.tunnels, &tables.tunnels));
        note(map::INSTANCES, array(&self.instances, &tables.instances));
        note(
            map::SOURCE_NATS,
            array(&self.source_nats, &tables.source_nats),
        );
        note(map::UPLINKS, array(&self.uplinks, &tables.uplinks));
        note(map::INTERFACES, array(&self.interfaces, &tables.interfaces));
        note(map::PUBLIC_FILTER, array(&self.filter, &tables.filter));
        note(map::INSIDE_RANGES, self.verify_ranges(&tables.ranges)?);
        for (name, wrong) in self.snat.verify(tables) {
            note(name, wrong);
        }
        note(map::TRACKS, self.verify_epochs(&tables.epochs));
        note(
            map::GUARDED,
            self.guarded.verify(&tables.guard.guarded).map_err(full)?,
        );
        for (name, wrong) in self.guard.verify(&tables.guard)? {
            note(name, wrong);
        }
        note(map::PORTS, self.verify_ports(&tables.ports)?);
        Ok(found)
    }

    /// Epochs only: the other half is the program's.
    fn verify_epochs(&self, epochs: &[u32]) -> usize {
        let mut wrong = 0;
        for slot in 0..self.tracks.len() {
            let epoch = epochs.get(slot).copied().unwrap_or_default();
            if Track(self.tracks.get(slot)).epoch() != epoch {
                self.tracks.set(slot, &Track::begin(epoch).0);
                wrong += 1;
            }
        }
        wrong
    }

    /// What is inside, and nothing else.
    fn verify_ranges(&mut self, wanted: &BTreeSet<(u32, Range)>) -> Result<usize> {
        let mut held = BTreeSet::new();
        for key in self.ranges.keys() {
            let key = key?;
            held.insert((key.prefix_len(), key.data()));
        }
        let wanted: BTreeSet<_> = wanted
            .iter()
            .map(|(bits, range)| (*bits, range.words()))
            .collect();
        for &(bits, words) in held.difference(&wanted) {
            self.ranges.remove(&Key::new(bits, words))?;
        }
        for &(bits, words) in wanted.difference(&held) {
            self.ranges.insert(&Key::new(bits, words), 1, 0)?;
        }
        Ok(held.symmetric_difference(&wanted).count())
    }

    /// Devices. The kernel empties a port by itself when its device goes.
    fn verify_ports(&mut self, ports: &[u32]) -> Result<usize> {
        let mut wrong = 0;
        for (index, &ifindex) in (0..).zip(ports).filter(|(_, ifindex)| **ifindex != 0) {
            let held = self.ports.get(index, 0);
            if held.ok().is_none_or(|held| held.if_index != ifindex) {
                self.ports.set(index, ifindex, None, 0)?;
                wrong += 1;
            }
        }
        Ok(wrong)
    }
}

/// Elements beyond the wanted ones should be empty.
pub(super) fn array<T>(array: &SharedArray<T>, wanted: &[T]) -> usize
where
    T: FromBytes + IntoBytes + Immutable + Default + Copy,
{
    let mut wrong = 0;
    for index in 0..array.len() {
        let wanted = wanted.get(index).copied().unwrap_or_default();
        if !array.holds(index, &wanted) {
            array.set(index, &wanted);
            wrong += 1;
        }
    }
    wrong
}
