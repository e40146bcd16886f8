//! The rings of all services, and their way from one to the next. Pure.
//!
//! Where a slot's backend changes, older flows stay with the one that they had: the
//! slot is *tracked* (see [`RingSlot`]) until no packet has gone to another backend
//! than the current one for long enough. Then it is settled, and the hash alone
//! decides again.
//!
//! Rings of different sizes are compared slot by slot: each size divides the next, so
//! a ring can be spread over more slots without changing what any hash means. A
//! service changes on the larger of both rings and goes over to the smaller one when
//! all slots are settled. The ring that new flows see depends on names and weights
//! alone, on every gateway, whatever happened before.

use std::collections::BTreeMap;

use gateway_common::{Endpoint, RingSlot};

use super::{
    ServiceId,
    allocation::Seconds,
    extents::{Extents, Piece},
};
use crate::ring::{self, Member};

/// Time as rings need it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Clock {
    /// Seconds since the machine started.
    pub seconds: Seconds,
    /// Milliseconds, as far as they fit: names a transition, see [`Track::epoch`].
    pub milliseconds: u32,
}

/// Who should serve a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Names and weights, with the index of each backend.
    pub members: Vec<(Member, u32)>,
    /// Flows stay with their backend when the ring changes.
    pub tracked: bool,
    /// Flows that were not heard of for so long after a change are new ones. For
    /// protocols whose flows have no mark of a beginning.
    pub forget: Option<Seconds>,
}

/// A slot on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Track {
    /// Names the transition. What was remembered in an earlier one is void.
    epoch: u32,
    since: Seconds,
    /// The program's mark, when it was last looked at. It changes while packets go to
    /// another backend than the current one.
    seen: u32,
    quiet_since: Seconds,
}

/// The ring of one service.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Ring {
    target: Target,
    /// Size that the target has by itself.
    size: usize,
    slots: Vec<RingSlot>,
    /// By slot; only tracked ones.
    tracks: BTreeMap<u32, Track>,
    /// First slot in `RING`; not used by a ring of one slot.
    first: u32,
}

/// The rings of all services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rings {
    services: BTreeMap<ServiceId, Ring>,
    extents: Extents,
    epoch: u32,
}

impl Rings {
    /// Leads every service towards its target and forgets services that are gone. A
    /// dead backend's flows move at once.
    pub fn lead(
        &mut self,
        targets: BTreeMap<ServiceId, Target>,
        is_dead: impl Fn(u32) -> bool,
        clock: Clock,
    ) {
        self.epoch = clock.milliseconds.max(self.epoch.wrapping_add(1)).max(1);
        self.extents.wake(clock.seconds);
        let gone: Vec<_> = (self.services.keys())
            .filter(|service| !targets.contains_key(service))
            .copied()
            .collect();
        for service in gone {
            if let Some(ring) = self.services.remove(&service) {
                self.extents.free(ring.piece(), clock.seconds);
            }
        }
        for (service, target) in targets {
            let epoch = self.epoch;
            match self.services.get_mut(&service) {
                None => {
                    let mut ring = Ring::new(target);
                    ring.first = self.extents.take(ring.slots.len());
                    self.services.insert(service, ring);
                }
                Some(ring) => {
                    let before = ring.piece();
                    ring.bury(&is_dead);
                    ring.lead(target, &is_dead, epoch, clock.seconds);
                    ring.place(&mut self.extents, before, clock.seconds);
                }
            }
        }
    }

    /// Takes note of the marks that the program left (`seen`, by slot of `RING`), and
    /// settles slots that were quiet for `idle`. True if any slot changed.
    pub fn settle(&mut self, seen: impl Fn(u32) -> u32, idle: Seconds, now: Seconds) -> bool {
        let mut changed = self.extents.wake(now);
        for ring in self.services.values_mut() {
            if ring.tracks.is_empty() {
                continue;
            }
            let before = ring.piece();
            if ring.settle(&seen, idle, now) {
                changed = true;
                ring.place(&mut self.extents, before, now);
            }
        }
        changed
    }

    /// What a packet for the service finds first.
    pub fn endpoint(&self, service: &ServiceId) -> Endpoint {
        match self.services.get(service) {
            None => Endpoint::single(0),
            Some(ring) if ring.slots.len() == 1 => Endpoint::single(ring.slots[0].current()),
            Some(ring) => Endpoint::service(ring.first, ring.slots.len() as u32),
        }
    }

    /// Part of a service's new flows that a backend gets: its slots, and all slots.
    pub fn share(&self, service: &ServiceId, backend: u32) -> (u32, u32) {
        let slots = self
            .services
            .get(service)
            .map_or(&[][..], |ring| &ring.slots);
        let own = slots.iter().filter(|slot| slot.current() == backend);
        (own.count() as u32, slots.len().max(1) as u32)
    }

    /// Slots of a service that are tracked.
    pub fn tracked(&self, service: &ServiceId) -> usize {
        self.services
            .get(service)
            .map_or(0, |ring| ring.tracks.len())
    }

    /// Whether any slot is tracked or any part of the table waits to be emptied.
    pub fn is_busy(&self) -> bool {
        self.services.values().any(|ring| !ring.tracks.is_empty()) || self.extents.is_busy()
    }

    /// Whether a slot of the service leads flows to a backend.
    pub fn mentions(&self, service: &ServiceId, backend: u32) -> bool {
        let slots = self
            .services
            .get(service)
            .map_or(&[][..], |ring| &ring.slots);
        slots
            .iter()
            .any(|slot| slot.current() == backend || slot.previous() == backend)
    }

    /// The content of `RING` and of the epochs in `TRACKS`.
    pub fn content(&self) -> (Vec<u64>, Vec<u32>) {
        let mut words = vec![0; self.extents.end()];
        let mut epochs = vec![0; self.extents.end()];
        let mut write = |piece: &Piece| {
            let first = piece.first as usize;
            words[first..first + piece.words.len()].copy_from_slice(&piece.words);
            for (&slot, &epoch) in &piece.epochs {
                epochs[first + slot as usize] = epoch;
            }
        };
        self.extents.resting().for_each(&mut write);
        for ring in self.services.values().filter(|ring| ring.slots.len() > 1) {
            write(&ring.piece());
        }
        (words, epochs)
    }

    /// Goes on with a ring as an earlier agent left it: its words, and the epoch of
    /// each that is tracked.
    pub fn adopt(&mut self, service: ServiceId, words: &[u64], epochs: &[u32], now: Seconds) {
        let slots: Vec<_> = words.iter().map(|&word| RingSlot(word)).collect();
        let tracked = (0..).zip(&slots).filter(|(_, slot)| slot.is_tracked());
        let track = |slot: u32| Track {
            epoch: epochs.get(slot as usize).copied().unwrap_or_default(),
            since: now,
            seen: 0,
            quiet_since: now,
        };
        let tracks = tracked.map(|(slot, _)| (slot, track(slot))).collect();
        let first = self.extents.take(slots.len());
        let target = Target {
            members: Vec::new(),
            tracked: true,
            forget: None,
        };
        let ring = Ring {
            target,
            size: slots.len(),
            slots,
            tracks,
            first,
        };
        self.services.insert(service, ring);
    }

    /// Gives every ring a new place, one after the other, for a table made anew.
    pub fn pack(&mut self) {
        self.extents = Extents::default();
        for ring in self.services.values_mut() {
            ring.first = self.extents.take(ring.slots.len());
        }
    }
}

/// Who takes each slot, by index: one slot is enough for one backend, or for none.
fn fill(members: &[(Member, u32)]) -> Vec<u32> {
    let serving: Vec<_> = members
        .iter()
        .filter(|(member, _)| member.weight > 0)
        .collect();
    match serving[..] {
        [] => vec![0],
        [(_, index)] => vec![*index],
        _ => {
            let (names, indices): (Vec<Member>, Vec<u32>) = members.iter().cloned().unzip();
            let ring = ring::build(&names, ring::size(names.len()));
            ring.into_iter().map(|member| indices[member]).collect()
        }
    }
}

impl Ring {
    fn new(target: Target) -> Self {
        let slots: Vec<_> = fill(&target.members)
            .into_iter()
            .map(RingSlot::settled)
            .collect();
        Self {
            target,
            size: slots.len(),
            slots,
            tracks: BTreeMap::new(),
            first: 0,
        }
    }

    /// No flow belongs to a dead backend any more.
    fn bury(&mut self, is_dead: impl Fn(u32) -> bool) {
        for slot in &mut self.slots {
            if slot.is_tracked() && is_dead(slot.previous()) {
                *slot = RingSlot::tracked(slot.current(), 0);
            }
        }
    }

    fn lead(&mut self, target: Target, is_dead: impl Fn(u32) -> bool, epoch: u32, now: Seconds) {
        if target == self.target {
            return;
        }
        let wanted = fill(&target.members);
        self.size = wanted.len();
        self.target = target;
        if !self.target.tracked {
            self.slots = wanted.into_iter().map(RingSlot::settled).collect();
            self.tracks.clear();
            return;
        }
        // A ring of one slot is not in the table, and only slots in the table can be
        // tracked.
        let size = self.slots.len().max(wanted.len()).max(2);
        self.spread(size);
        let step = size / wanted.len();
        for (number, slot) in (0..).zip(&mut self.slots) {
            let current = wanted[number as usize / step];
            if slot.is_tracked() {
                // Until now nobody had to mark what goes to the old current backend.
                if slot.current() != current
                    && let Some(track) = self.tracks.get_mut(&number)
                {
                    track.quiet_since = now;
                }
                *slot = RingSlot::tracked(current, slot.previous());
            } else if [0, current].contains(&slot.current()) || is_dead(slot.current()) {
                *slot = RingSlot::settled(current);
            } else {
                *slot = RingSlot::tracked(current, slot.current());
                let track = Track {
                    epoch,
                    since: now,
                    seen: 0,
                    quiet_since: now,
                };
                self.tracks.insert(number, track);
            }
        }
        self.shrink();
    }

    /// Spreads the ring over more slots: no hash means anything else than before.
    fn spread(&mut self, size: usize) {
        let step = size / self.slots.len();
        if step <= 1 {
            return;
        }
        let twin = |slot: &RingSlot| std::iter::repeat_n(*slot, step);
        self.slots = self.slots.iter().flat_map(twin).collect();
        let tracks = std::mem::take(&mut self.tracks);
        for (slot, track) in tracks {
            let first = slot * step as u32;
            self.tracks
                .extend((first..first + step as u32).map(|slot| (slot, track)));
        }
    }

    /// Goes over to the size that the target has by itself, when no slot is tracked.
    fn shrink(&mut self) {
        if self.tracks.is_empty() && self.slots.len() > self.size {
            let step = self.slots.len() / self.size;
            self.slots = self.slots.iter().copied().step_by(step).collect();
        }
    }

    fn settle(&mut self, seen: impl Fn(u32) -> u32, idle: Seconds, now: Seconds) -> bool {
        let (slots, first, forget) = (&mut self.slots, self.first, self.target.forget);
        let mut changed = false;
        self.tracks.retain(|&number, track| {
            let slot = &mut slots[number as usize];
            let mark = seen(first + number);
            if mark != track.seen {
                (track.seen, track.quiet_since) = (mark, now);
            }
            if now.saturating_sub(track.quiet_since) >= idle {
                *slot = RingSlot::settled(slot.current());
                changed = true;
                return false;
            }
            let forgotten = forget.is_some_and(|after| now.saturating_sub(track.since) >= after);
            if forgotten && slot.previous() != 0 {
                *slot = RingSlot::tracked(slot.current(), 0);
                changed = true;
            }
            true
        });
        self.shrink();
        changed
    }

    /// Finds a place in the table for a ring whose size has changed. The old place
    /// keeps its content for packets that are about to read it.
    fn place(&mut self, extents: &mut Extents, before: Piece, now: Seconds) {
        if before.words.len() != self.slots.len() {
            self.first = extents.take(self.slots.len());
            extents.free(before, now);
        }
    }

    fn piece(&self) -> Piece {
        Piece {
            first: self.first,
            words: self.slots.iter().map(|slot| slot.0).collect(),
            epochs: self
                .tracks
                .iter()
                .map(|(&slot, track)| (slot, track.epoch))
                .collect(),
        }
    }
}
