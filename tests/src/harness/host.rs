//! The library on a frame in a `Vec` and tables in memory.

mod guard;

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, HashMap},
    sync::atomic::{AtomicU64, Ordering},
};

use gateway_common::{
    BUCKET_SLOTS, Backend, Begun, Bucket, Clock, Counter, ErrorLimit, FlowKey, Guard, Instance,
    Interface, Limiter, Moved, NextHop, Note, Outcome, PrefixKey, Range, Reason, ReasonCount,
    SnatAccount, SnatAddress, SnatBucket, SnatPeer, SnatSetting, SourceNat, TrackEvent, Tunnel,
    Underlay, WIDE_SLOTS, WideBucket, WideSlot,
};
use gateway_ebpf::{
    bucket,
    buffer::Buffer,
    family::{Family, V6},
    outer::{Outer, OverV4, OverV6},
    packet::{self, GuardWords, Verdict},
    word::Word,
};
use lingyun::model::{self, Entries, WideEntries};

use super::{Action, Observed, Runner};
use crate::cases::{Program, Step, site::PUBLIC_INDEX};

/// Tables as the model computes them, with exact-match tables placed in buckets.
pub struct HostTables {
    model: model::Tables,
    endpoints: Vec<Bucket>,
    instance_keys: Vec<Bucket>,
    reverse: Vec<Bucket>,
    addresses: Vec<WideBucket>,
    guard: guard::HostGuard,
    counters: RefCell<BTreeMap<u32, Counter>>,
    routed: RefCell<BTreeMap<u32, Counter>>,
    reasons: RefCell<BTreeMap<Reason, ReasonCount>>,
    notes: RefCell<[u32; Note::COUNT]>,
    marks: RefCell<BTreeMap<u32, u32>>,
    moved: RefCell<HashMap<FlowKey, Moved>>,
    begun: RefCell<HashMap<FlowKey, Begun>>,
    track_events: RefCell<[u64; TrackEvent::COUNT]>,
    limiter: RefCell<Limiter>,
    jiffies: Cell<u64>,
    snat_ports: Vec<SnatBucket>,
    snat_accounts: Vec<SnatAccount>,
    snat_peers: RefCell<HashMap<SnatPeer, u32>>,
}

impl HostTables {
    /// Places what the model computed.
    pub fn new(model: model::Tables) -> Self {
        let [endpoints, instance_keys, reverse] =
            [&model.endpoints, &model.instance_keys, &model.reverse].map(place);
        let addresses = model.snat.addresses.len().saturating_sub(1);
        let shift = model.config.snat[SnatSetting::SHARE_SHIFT];
        let buckets = model::Snat::buckets(shift, addresses);
        let account = |quota: &u64| SnatAccount {
            quota: AtomicU64::new(*quota),
            ..SnatAccount::default()
        };
        Self {
            snat_ports: (0..buckets).map(|_| SnatBucket::default()).collect(),
            snat_accounts: model.snat.quotas.iter().map(account).collect(),
            snat_peers: RefCell::default(),
            addresses: place_wide(&model.addresses),
            guard: guard::HostGuard::new(&model.guard),
            model,
            endpoints,
            instance_keys,
            reverse,
            counters: RefCell::default(),
            routed: RefCell::default(),
            reasons: RefCell::default(),
            notes: RefCell::default(),
            marks: RefCell::default(),
            moved: RefCell::default(),
            begun: RefCell::default(),
            track_events: RefCell::default(),
            limiter: RefCell::default(),
            jiffies: Cell::new(1 << 20),
        }
    }

    /// Other content for the tables that the agent writes; what packets wrote stays.
    pub fn update(&mut self, model: model::Tables) {
        let old = std::mem::replace(self, Self::new(model));
        // An epoch is written together with an empty mark.
        let epoch = |tables: &Self, slot: u32| tables.model.epochs.get(slot as usize).copied();
        let kept = old.marks.take().into_iter();
        let kept = kept.filter(|&(slot, _)| epoch(&old, slot) == epoch(self, slot));
        self.marks = RefCell::new(kept.collect());
        self.moved = old.moved;
        self.begun = old.begun;
        self.track_events = old.track_events;
        self.limiter = old.limiter;
        self.jiffies = old.jiffies;
        self.snat_ports = old.snat_ports;
        self.snat_accounts = old.snat_accounts;
        self.snat_peers = old.snat_peers;
        self.counters = old.counters;
        self.reasons = old.reasons;
    }

    /// Lets the kernel's clock go on.
    pub fn pass(&self, jiffies: u64) {
        self.jiffies.set(self.jiffies.get() + jiffies);
    }

    /// How often each [`TrackEvent`] happened.
    pub fn track_events(&self) -> [u64; TrackEvent::COUNT] {
        *self.track_events.borrow()
    }

    fn device(&self, port: u32) -> u32 {
        self.model.ports.get(port as usize).copied().unwrap_or(0)
    }
}

/// Buckets that hold all entries: each key in the emptier of its two places, in as
/// few buckets as that works with.
fn place(entries: &Entries) -> Vec<Bucket> {
    let mut size = entries.len().div_ceil(BUCKET_SLOTS).next_power_of_two();
    loop {
        if let Some(buckets) = try_place(entries, size) {
            return buckets;
        }
        size *= 2;
    }
}

fn try_place(entries: &Entries, size: usize) -> Option<Vec<Bucket>> {
    let mut buckets = vec![Bucket::default(); size];
    for (&key, &value) in entries {
        let free = |&place: &usize| buckets[place].keys.iter().filter(|&&k| k == 0).count();
        let places = bucket::places(key).map(|place| place as usize & (size - 1));
        let place = places.into_iter().max_by_key(free)?;
        let bucket = &mut buckets[place];
        let slot = bucket.keys.iter().position(|&key| key == 0)?;
        (bucket.keys[slot], bucket.values[slot]) = (key, value);
    }
    Some(buckets)
}

/// The same for IPv6 addresses.
fn place_wide(entries: &WideEntries) -> Vec<WideBucket> {
    let mut size = entries.len().div_ceil(WIDE_SLOTS).next_power_of_two();
    loop {
        if let Some(buckets) = try_place_wide(entries, size) {
            return buckets;
        }
        size *= 2;
    }
}

fn try_place_wide(entries: &WideEntries, size: usize) -> Option<Vec<WideBucket>> {
    let mut buckets = vec![WideBucket::default(); size];
    for (&(scope, address), &value) in entries {
        let free = |&place: &usize| buckets[place].slots.iter().filter(|s| s.value == 0).count();
        let places = bucket::wide_places(scope, V6::address(&address))
            .map(|place| place as usize & (size - 1));
        let place = places.into_iter().max_by_key(free)?;
        let slot = buckets[place]
            .slots
            .iter_mut()
            .find(|slot| slot.value == 0)?;
        *slot = WideSlot {
            address,
            scope,
            value,
            reserved: 0,
        };
    }
    Some(buckets)
}

/// The bucket at a place: as many low bits as there are buckets.
fn at<B>(buckets: &[B], place: u32) -> Option<&B> {
    buckets.get(place as usize & (buckets.len() - 1))
}

impl packet::Tables for HostTables {
    fn seed(&self) -> [u64; 2] {
        self.model.config.seed
    }

    fn mss(&self) -> u32 {
        self.model.config.mss
    }

    fn only_port(&self) -> u32 {
        self.model.config.only_port
    }

    fn anycast_vtep(&self, word: usize) -> u32 {
        self.model.config.anycast_vtep[word]
    }

    fn own_vtep(&self, word: usize) -> u32 {
        self.model.config.own_vtep[word]
    }

    fn endpoints(&self, place: u32) -> Option<&Bucket> {
        at(&self.endpoints, place)
    }

    fn instance_keys(&self, place: u32) -> Option<&Bucket> {
        at(&self.instance_keys, place)
    }

    fn reverse(&self, place: u32) -> Option<&Bucket> {
        at(&self.reverse, place)
    }

    fn addresses(&self, place: u32) -> Option<&WideBucket> {
        at(&self.addresses, place)
    }

    fn ring(&self, slot: u32) -> Option<u64> {
        self.model.ring.get(slot as usize).copied()
    }

    fn track(&self, slot: u32) -> Option<u64> {
        let epoch = *self.model.epochs.get(slot as usize)?;
        let mark = self.marks.borrow().get(&slot).copied().unwrap_or_default();
        Some(u64::from(epoch) | u64::from(mark) << 32)
    }

    fn mark(&self, slot: u32, mark: u32) {
        self.marks.borrow_mut().insert(slot, mark);
    }

    /// The clock stands still unless it is told to [go on](Self::pass).
    fn now(&self) -> u64 {
        self.jiffies.get()
    }

    fn moved(&self, flow: &FlowKey) -> Option<Moved> {
        self.moved.borrow().get(flow).copied()
    }

    fn remember(&self, flow: &FlowKey, moved: Moved) {
        self.moved.borrow_mut().insert(*flow, moved);
    }

    fn begun(&self, flow: &FlowKey) -> Option<Begun> {
        self.begun.borrow().get(flow).copied()
    }

    fn begin(&self, flow: &FlowKey, begun: Begun) {
        self.begun.borrow_mut().insert(*flow, begun);
    }

    fn count_track(&self, event: TrackEvent) {
        self.track_events.borrow_mut()[event as usize] += 1;
    }

    fn backend(&self, index: u32) -> Option<&Backend> {
        self.model.backends.get(index as usize)
    }

    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        self.model.tunnels.get(index as usize)
    }

    fn instance(&self, index: u32) -> Option<&Instance> {
        self.model.instances.get(index as usize)
    }

    fn source_nat(&self, index: u32) -> Option<&SourceNat> {
        self.model.source_nats.get(index as usize)
    }

    fn uplink(&self, slot: u32) -> Option<&NextHop> {
        self.model.uplinks.get(slot as usize)
    }

    fn interface(&self, slot: u32) -> Option<&Interface> {
        self.model.interfaces.get(slot as usize)
    }

    fn error_limit(&self) -> ErrorLimit {
        self.model.config.errors
    }

    fn limiter<R>(&self, use_it: impl FnOnce(&mut Limiter) -> R) -> Option<R> {
        Some(use_it(&mut self.limiter.borrow_mut()))
    }

    fn public_filter(&self, word: u32) -> u64 {
        self.model.filter[word as usize]
    }

    fn is_inside(&self, address: Range) -> bool {
        let bits = |range: Range| -> Vec<u8> {
            let bytes = range.words().map(u32::to_ne_bytes).concat();
            bytes
                .iter()
                .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
                .collect()
        };
        let address = bits(address);
        self.model
            .ranges
            .iter()
            .any(|&(length, range)| bits(range)[..length as usize] == address[..length as usize])
    }

    fn tagged(&self) -> bool {
        self.model.config.tagged != 0
    }

    fn count_routed(&self, from: u32, to: u32, bytes: usize) {
        let mut routed = self.routed.borrow_mut();
        let sender = routed.entry(from).or_default();
        sender.out_packets += 1;
        sender.out_bytes += bytes as u64;
        let receiver = routed.entry(to).or_default();
        receiver.in_packets += 1;
        receiver.in_bytes += bytes as u64;
    }

    fn guard(&self) -> u32 {
        self.model.config.guard
    }

    fn guard_hint(&self, word: u32) -> Option<u64> {
        self.model.guard.hints.get(word as usize).copied()
    }

    fn guard_prefix(&self, key: &PrefixKey) -> Option<u32> {
        guard::longest(&self.model.guard.prefixes, key)
    }

    fn guarded(&self, place: u32) -> Option<&Bucket> {
        at(&self.guard.guarded, place)
    }

    fn guard_limits(&self, index: u32) -> Option<&Guard> {
        self.guard.limits.get(index as usize)
    }

    fn guard_state(&self, index: u32) -> Option<&GuardWords> {
        self.guard.states.get(index as usize)
    }

    fn meter(&self, place: u32) -> Option<&[Word; 2]> {
        at(&self.guard.meters, place)
    }

    fn verified(&self, source: u64) -> Option<u64> {
        self.guard.verified.borrow().get(&source).copied()
    }

    fn verify(&self, source: u64, until: u64) {
        self.guard.verified.borrow_mut().insert(source, until);
    }

    fn clock(&self) -> Option<&Clock> {
        self.guard.clock.get()
    }

    fn count_in(&self, counter: u32, bytes: usize) {
        let mut counters = self.counters.borrow_mut();
        let count = counters.entry(counter).or_default();
        count.in_packets += 1;
        count.in_bytes += bytes as u64;
    }

    fn count_out(&self, counter: u32, bytes: usize) {
        let mut counters = self.counters.borrow_mut();
        let count = counters.entry(counter).or_default();
        count.out_packets += 1;
        count.out_bytes += bytes as u64;
    }

    fn count_reason(&self, reason: Reason, bytes: usize) {
        let mut reasons = self.reasons.borrow_mut();
        let count = reasons.entry(reason).or_default();
        count.packets += 1;
        count.bytes += bytes as u64;
    }

    fn snat(&self, setting: usize) -> u32 {
        self.model.config.snat[setting]
    }

    fn snat_address(&self, index: u32) -> Option<&SnatAddress> {
        self.model.snat.addresses.get(index as usize)
    }

    fn snat_ports(&self, place: u32) -> Option<&SnatBucket> {
        self.snat_ports.get(place as usize)
    }

    fn snat_account(&self, index: u32) -> Option<&SnatAccount> {
        self.snat_accounts.get(index as usize)
    }

    fn snat_share(&self, share: u32) -> Option<u32> {
        self.model
            .snat
            .shares
            .get(share as usize)
            .map(|&tunnel| tunnel as u32)
    }

    fn snat_peer(&self, peer: &SnatPeer) -> Option<u32> {
        self.snat_peers.borrow().get(peer).copied()
    }

    fn set_snat_peer(&self, peer: &SnatPeer, tick: u32) {
        self.snat_peers.borrow_mut().insert(*peer, tick);
    }

    fn note(&self, note: Note, word: u32) {
        self.notes.borrow_mut()[note as usize] = word;
    }

    fn noted(&self, note: Note) -> u32 {
        self.notes.borrow()[note as usize]
    }
}

/// Sends packets through the library.
pub struct Host {
    tables: HostTables,
}

impl Host {
    /// A gateway with these tables.
    pub fn new(model: model::Tables) -> Self {
        Self {
            tables: HostTables::new(model),
        }
    }

    /// Its tables.
    pub const fn tables(&self) -> &HostTables {
        &self.tables
    }

    /// The same, to change them.
    pub const fn tables_mut(&mut self) -> &mut HostTables {
        &mut self.tables
    }

    /// Mappings that each account of SNAT pays for.
    pub fn snat_used(&self) -> Vec<u64> {
        let accounts = self.tables.snat_accounts.iter();
        accounts
            .map(|account| account.used.load(Ordering::Acquire))
            .collect()
    }

    /// One program after the other, as tail calls do it, up to the kernel's limit.
    fn walk<O: Outer>(&self, program: Program, packet: &mut Buffer) -> Verdict {
        const TAIL_CALLS: usize = 33;
        let tables = &self.tables;
        let tagged = self.tables.model.config.tagged != 0;
        let mut verdict = match program {
            Program::Public if tagged => gateway_ebpf::public_tagged::<O, _, _>(packet, tables),
            Program::Public => gateway_ebpf::public::<O, _, _>(packet, tables),
            Program::Underlay => gateway_ebpf::underlay::<O, _, _>(packet, tables),
            Program::SingleArm if tagged => {
                gateway_ebpf::single_arm_tagged::<O, _, _>(packet, tables)
            }
            Program::SingleArm => gateway_ebpf::single_arm::<O, _, _>(packet, tables),
        };
        for _ in 0..TAIL_CALLS {
            let Verdict::Continue(step) = verdict else {
                return verdict;
            };
            verdict = gateway_ebpf::step::<O, _, _>(step, packet, tables);
        }
        panic!("{verdict:?} is one tail call too many");
    }

    /// Sends one frame in by a program.
    pub fn send(&self, program: Program, frame: &[u8], headroom: usize) -> Observed {
        self.send_in(program, Buffer::new(frame, headroom, PUBLIC_INDEX))
    }

    /// The same with a frame that may be in several buffers.
    fn send_in(&self, program: Program, mut packet: Buffer) -> Observed {
        let verdict = match self.tables.model.underlay() {
            Underlay::V4 => self.walk::<OverV4>(program, &mut packet),
            Underlay::V6 => self.walk::<OverV6>(program, &mut packet),
        };
        let action = match verdict {
            Verdict::Continue(step) => unreachable!("{step:?} was gone on with"),
            Verdict::Redirect(port) => Action::Redirect(self.tables.device(port)),
            Verdict::Transmit => Action::Transmit,
            Verdict::End(reason) => match reason.outcome() {
                Outcome::Passed => Action::Pass,
                Outcome::Answered => Action::Transmit,
                Outcome::Dropped => Action::Drop,
            },
        };
        Observed {
            action,
            output: packet.frame().to_vec(),
            counters: self.tables.counters.take(),
            routed: self.tables.routed.take(),
            reasons: self.tables.reasons.take(),
        }
    }
}

impl Runner for Host {
    fn run(&mut self, step: &Step, _device: Option<u32>) -> anyhow::Result<Observed> {
        let frame = Buffer::new(&step.input, step.headroom, PUBLIC_INDEX);
        Ok(self.send_in(step.program, frame.in_several(step.first_buffer)))
    }

    fn can_send(&self, _step: &Step) -> bool {
        true
    }
}
