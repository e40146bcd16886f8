//! The maps, and the [`Tables`] over them. Sizes here are the smallest that the
//! object loads with by itself; the agent sets the real ones when it loads.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    helpers::bpf_jiffies64,
    macros::map,
    maps::{
        Array, DevMap, LruHashMap, PerCpuArray, ProgramArray,
        lpm_trie::{Key, LpmTrie},
    },
};
use gateway_common::{
    ALL_UPLINK_SLOTS, Backend, Begun, Bucket, Clock, Config, Counter, ErrorLimit, FILTER_WORDS,
    FlowKey, Guard, GuardState, HINTS as HINT_BITS, Instance, Interface, Limiter, MAX_INTERFACES,
    MAX_PORTS, Meter, Moved, NextHop, Note, PrefixKey, Range, Reason, ReasonCount, SNAT_MAX_SHARES,
    SnatAccount, SnatAddress, SnatBucket, SnatPeer, SourceNat, Step, TrackEvent, Tunnel,
    WideBucket,
};
use gateway_ebpf::{
    packet::{GuardWords, Tables},
    word::Word,
};

/// Tables that only the agent writes are mapped into its memory: an update is a
/// plain store, and the values start on a page, so buckets lie on cache lines.
const SHARED: u32 = BPF_F_MMAPABLE;

#[map]
static ENDPOINTS: Array<Bucket> = Array::with_max_entries(1, SHARED);
#[map]
static ADDRESSES: Array<WideBucket> = Array::with_max_entries(1, SHARED);
#[map]
static RING: Array<u64> = Array::with_max_entries(1, SHARED);
#[map]
static TRACKS: Array<u64> = Array::with_max_entries(1, SHARED);
#[map]
static BACKENDS: Array<Backend> = Array::with_max_entries(1, SHARED);
#[map]
static TUNNELS: Array<Tunnel> = Array::with_max_entries(1, SHARED);
#[map]
static INSTANCE_KEYS: Array<Bucket> = Array::with_max_entries(1, SHARED);
#[map]
static INSTANCES: Array<Instance> = Array::with_max_entries(1, SHARED);
#[map]
static REVERSE: Array<Bucket> = Array::with_max_entries(1, SHARED);
#[map]
static SOURCE_NATS: Array<SourceNat> = Array::with_max_entries(1, SHARED);
#[map]
static UPLINKS: Array<NextHop> = Array::with_max_entries(ALL_UPLINK_SLOTS, SHARED);
#[map]
static SNAT_ADDRESSES: Array<SnatAddress> = Array::with_max_entries(1, SHARED);
#[map]
static SNAT_PORTS: Array<SnatBucket> = Array::with_max_entries(1, SHARED);
#[map]
static SNAT_ACCOUNTS: Array<SnatAccount> = Array::with_max_entries(1, SHARED);
#[map]
static SNAT_SHARES: Array<u64> = Array::with_max_entries(SNAT_MAX_SHARES, SHARED);
#[map]
static SNAT_PEERS: LruHashMap<SnatPeer, u32> = LruHashMap::with_max_entries(1, 0);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(MAX_INTERFACES, SHARED);
#[map]
static PUBLIC_FILTER: Array<u64> = Array::with_max_entries(FILTER_WORDS, SHARED);
#[map]
static INSIDE_RANGES: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static ROUTED: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);
#[map]
static HINTS: Array<u64> = Array::with_max_entries(HINT_BITS / u64::BITS, SHARED);
#[map]
static PREFIXES: LpmTrie<[u32; 5], u32> = LpmTrie::with_max_entries(1, 0);
#[map]
static GUARDED: Array<Bucket> = Array::with_max_entries(1, SHARED);
#[map]
static GUARDS: Array<Guard> = Array::with_max_entries(1, SHARED);
#[map]
static GUARD_STATES: Array<GuardState> = Array::with_max_entries(1, SHARED);
#[map]
static METERS: Array<Meter> = Array::with_max_entries(1, 0);
#[map]
static VERIFIED: LruHashMap<u64, u64> = LruHashMap::with_max_entries(1, 0);
#[map]
static CLOCK: Array<Clock> = Array::with_max_entries(1, SHARED);
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REASONS: PerCpuArray<ReasonCount> =
    PerCpuArray::with_max_entries(Reason::ALL.len() as u32, 0);
#[map]
static MOVED: LruHashMap<FlowKey, Moved> = LruHashMap::with_max_entries(1, 0);
#[map]
static BEGUN: LruHashMap<FlowKey, Begun> = LruHashMap::with_max_entries(1, 0);
#[map]
static TRACK_EVENTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(TrackEvent::COUNT as u32, 0);
#[map]
static NOTES: PerCpuArray<[u32; Note::COUNT]> = PerCpuArray::with_max_entries(1, 0);
#[map]
static LIMITER: PerCpuArray<Limiter> = PerCpuArray::with_max_entries(1, 0);
#[map]
pub(crate) static STEPS: ProgramArray = ProgramArray::with_max_entries(Step::ALL.len() as u32, 0);
#[map]
pub(crate) static PORTS: DevMap = DevMap::with_max_entries(MAX_PORTS, 0);

/// Set by the agent before it loads the program, read-only from then on.
#[unsafe(no_mangle)]
static CONFIG: Config = Config {
    seed: [0; 2],
    anycast_vtep: [0; 4],
    own_vtep: [0; 4],
    endpoints_mask: 0,
    instances_mask: 0,
    reverse_mask: 0,
    addresses_mask: 0,
    errors: ErrorLimit {
        rate: 0,
        cost: 0,
        most: 0,
        reserved: 0,
    },
    tagged: 0,
    jumbo: 0,
    guard: 0,
    guarded_mask: 0,
    meters_mask: 0,
    mss: 0,
    only_port: 0,
    snat: [0; 4],
    reserved: 0,
};

/// All maps of the program.
pub(crate) struct Maps;

/// Reads a field of `CONFIG`. Volatile: the compiler would fold the zeros above into
/// the code.
macro_rules! config {
    ($($field:tt)+) => {
        // SAFETY: a field of a static.
        unsafe { (&raw const CONFIG.$($field)+).read_volatile() }
    };
}

/// Whether frames may come in several buffers.
#[inline(always)]
pub(crate) fn jumbo() -> bool {
    config!(jumbo) != 0
}

impl Tables for Maps {
    #[inline(always)]
    fn now(&self) -> u64 {
        // SAFETY: takes nothing and cannot fail; the verifier turns it into a load.
        unsafe { bpf_jiffies64() }
    }

    #[inline(always)]
    fn seed(&self) -> [u64; 2] {
        [config!(seed[0]), config!(seed[1])]
    }

    #[inline(always)]
    fn mss(&self) -> u32 {
        config!(mss)
    }

    #[inline(always)]
    fn only_port(&self) -> u32 {
        config!(only_port)
    }

    #[inline(always)]
    fn anycast_vtep(&self, word: usize) -> u32 {
        config!(anycast_vtep[word])
    }

    #[inline(always)]
    fn own_vtep(&self, word: usize) -> u32 {
        config!(own_vtep[word])
    }

    #[inline(always)]
    fn endpoints(&self, place: u32) -> Option<&Bucket> {
        ENDPOINTS.get(place & config!(endpoints_mask))
    }

    #[inline(always)]
    fn instance_keys(&self, place: u32) -> Option<&Bucket> {
        INSTANCE_KEYS.get(place & config!(instances_mask))
    }

    #[inline(always)]
    fn reverse(&self, place: u32) -> Option<&Bucket> {
        REVERSE.get(place & config!(reverse_mask))
    }

    #[inline(always)]
    fn addresses(&self, place: u32) -> Option<&WideBucket> {
        ADDRESSES.get(place & config!(addresses_mask))
    }

    #[inline(always)]
    fn ring(&self, slot: u32) -> Option<u64> {
        RING.get(slot).copied()
    }

    #[inline(always)]
    fn track(&self, slot: u32) -> Option<u64> {
        // Volatile because the agent and other CPUs store to it.
        // SAFETY: an element of the map, aligned.
        TRACKS
            .get_ptr(slot)
            .map(|track| unsafe { track.read_volatile() })
    }

    #[inline(always)]
    fn mark(&self, slot: u32, mark: u32) {
        if let Some(track) = TRACKS.get_ptr_mut(slot) {
            // SAFETY: the upper half of an element of the map, aligned. The lower one
            // is the agent's.
            unsafe { track.cast::<u32>().add(1).write_volatile(mark) };
        }
    }

    #[inline(always)]
    fn moved(&self, flow: &FlowKey) -> Option<Moved> {
        // SAFETY: read at once, in one word that changes as a whole.
        unsafe { MOVED.get(flow) }.copied()
    }

    #[inline(always)]
    fn remember(&self, flow: &FlowKey, moved: Moved) {
        // Fails only when all CPUs fight for the last entry: the next packet tries again.
        let _ = MOVED.insert(flow, moved, 0);
    }

    #[inline(always)]
    fn begun(&self, flow: &FlowKey) -> Option<Begun> {
        // SAFETY: read at once. Its words may belong to two first packets of the same
        // flow on two CPUs; the sequence number then fits only one of them.
        unsafe { BEGUN.get(flow) }.copied()
    }

    #[inline(always)]
    fn begin(&self, flow: &FlowKey, begun: Begun) {
        // As above: a first packet that is not answered comes again.
        let _ = BEGUN.insert(flow, begun, 0);
    }

    #[inline(always)]
    fn count_track(&self, event: TrackEvent) {
        if let Some(count) = TRACK_EVENTS.get_ptr_mut(event as u32) {
            // SAFETY: this CPU's own, and a program is not interrupted by another one.
            unsafe { *count += 1 };
        }
    }

    #[inline(always)]
    fn backend(&self, index: u32) -> Option<&Backend> {
        BACKENDS.get(index)
    }

    #[inline(always)]
    fn tunnel(&self, index: u32) -> Option<&Tunnel> {
        TUNNELS.get(index)
    }

    #[inline(always)]
    fn instance(&self, index: u32) -> Option<&Instance> {
        INSTANCES.get(index)
    }

    #[inline(always)]
    fn source_nat(&self, index: u32) -> Option<&SourceNat> {
        SOURCE_NATS.get(index)
    }

    #[inline(always)]
    fn uplink(&self, slot: u32) -> Option<&NextHop> {
        UPLINKS.get(slot)
    }

    #[inline(always)]
    fn interface(&self, slot: u32) -> Option<&Interface> {
        INTERFACES.get(slot)
    }

    #[inline(always)]
    fn error_limit(&self) -> ErrorLimit {
        ErrorLimit {
            rate: config!(errors.rate),
            cost: config!(errors.cost),
            most: config!(errors.most),
            reserved: 0,
        }
    }

    #[inline(always)]
    fn public_filter(&self, word: u32) -> u64 {
        PUBLIC_FILTER.get(word).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn is_inside(&self, address: Range) -> bool {
        const BITS: u32 = Range::SCOPE_BITS + 128;
        let [scope, a, b, c, d] = address.words();
        let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        // Whole words on the stack: the key's own type is packed, and the compiler would
        // store two of its fields at once across a word's border.
        let key = [pair(BITS, scope), pair(a, b), pair(c, d)];
        // SAFETY: as long as a key, any bytes are one, and it needs no alignment.
        let key = unsafe { &*key.as_ptr().cast::<Key<[u32; 5]>>() };
        INSIDE_RANGES.get(key).is_some()
    }

    #[inline(always)]
    fn tagged(&self) -> bool {
        config!(tagged) != 0
    }

    #[inline(always)]
    fn count_routed(&self, from: u32, to: u32, bytes: usize) {
        if let Some(count) = ROUTED.get_ptr_mut(from) {
            // SAFETY: the pointer is to this CPU's own record, and a program is not
            // interrupted by another one on its CPU.
            unsafe {
                (*count).out_packets += 1;
                (*count).out_bytes += bytes as u64;
            }
        }
        if let Some(count) = ROUTED.get_ptr_mut(to) {
            // SAFETY: as above.
            unsafe {
                (*count).in_packets += 1;
                (*count).in_bytes += bytes as u64;
            }
        }
    }

    #[inline(always)]
    fn limiter<R>(&self, use_it: impl FnOnce(&mut Limiter) -> R) -> Option<R> {
        let limiter = LIMITER.get_ptr_mut(0)?;
        // SAFETY: the pointer is to this CPU's own record, and a program is not
        // interrupted by another one on its CPU.
        Some(use_it(unsafe { &mut *limiter }))
    }

    #[inline(always)]
    fn guard(&self) -> u32 {
        config!(guard)
    }

    #[inline(always)]
    fn guard_hint(&self, word: u32) -> Option<u64> {
        HINTS.get(word).copied()
    }

    #[inline(always)]
    fn guard_prefix(&self, key: &PrefixKey) -> Option<u32> {
        // As long words: the compiler puts half words where the verifier refuses them.
        let pair = |low: u32, high: u32| low as u64 | (high as u64) << 32;
        let [a, b, c, d] = key.address;
        let key = [pair(key.length, key.scope), pair(a, b), pair(c, d)];
        // SAFETY: both are a length and five words, without padding.
        let key = unsafe { &*key.as_ptr().cast::<Key<[u32; 5]>>() };
        PREFIXES.get(key).copied()
    }

    #[inline(always)]
    fn guarded(&self, place: u32) -> Option<&Bucket> {
        GUARDED.get(place & config!(guarded_mask))
    }

    #[inline(always)]
    fn guard_limits(&self, index: u32) -> Option<&Guard> {
        GUARDS.get(index)
    }

    #[inline(always)]
    fn guard_state(&self, index: u32) -> Option<&GuardWords> {
        let state = GUARD_STATES.get_ptr(index)?;
        // SAFETY: both are eight words on a cache line.
        Some(unsafe { &*state.cast() })
    }

    #[inline(always)]
    fn meter(&self, place: u32) -> Option<&[Word; 2]> {
        let meter = METERS.get_ptr(place & config!(meters_mask))?;
        // SAFETY: both are two words.
        Some(unsafe { &*meter.cast() })
    }

    #[inline(always)]
    fn verified(&self, source: u64) -> Option<u64> {
        // SAFETY: read at once, and stored as a whole.
        unsafe { VERIFIED.get(source) }.copied()
    }

    #[inline(always)]
    fn verify(&self, source: u64, until: u64) {
        // Fails only when all CPUs fight for the last entry: the source is asked again.
        let _ = VERIFIED.insert(source, until, 0);
    }

    #[inline(always)]
    fn clock(&self) -> Option<&Clock> {
        CLOCK.get(0)
    }

    #[inline(always)]
    fn count_in(&self, counter: u32, bytes: usize) {
        if let Some(count) = COUNTERS.get_ptr_mut(counter) {
            // SAFETY: the pointer is to this CPU's own record, and a program is not
            // interrupted by another one on its CPU.
            unsafe {
                (*count).in_packets += 1;
                (*count).in_bytes += bytes as u64;
            }
        }
    }

    #[inline(always)]
    fn count_out(&self, counter: u32, bytes: usize) {
        if let Some(count) = COUNTERS.get_ptr_mut(counter) {
            // SAFETY: as above.
            unsafe {
                (*count).out_packets += 1;
                (*count).out_bytes += bytes as u64;
            }
        }
    }

    #[inline(always)]
    fn count_reason(&self, reason: Reason, bytes: usize) {
        if let Some(count) = REASONS.get_ptr_mut(reason as u32) {
            // SAFETY: as above.
            unsafe {
                (*count).packets += 1;
                (*count).bytes += bytes as u64;
            }
        }
    }

    #[inline(always)]
    fn snat(&self, setting: usize) -> u32 {
        config!(snat[setting])
    }

    #[inline(always)]
    fn snat_address(&self, index: u32) -> Option<&SnatAddress> {
        SNAT_ADDRESSES.get(index)
    }

    #[inline(always)]
    fn snat_ports(&self, place: u32) -> Option<&SnatBucket> {
        SNAT_PORTS.get(place)
    }

    #[inline(always)]
    fn snat_account(&self, index: u32) -> Option<&SnatAccount> {
        SNAT_ACCOUNTS.get(index)
    }

    #[inline(always)]
    fn snat_share(&self, share: u32) -> Option<u32> {
        SNAT_SHARES.get(share).map(|tunnel| *tunnel as u32)
    }

    #[inline(always)]
    fn snat_peer(&self, peer: &SnatPeer) -> Option<u32> {
        // SAFETY: the value is copied at once; an update may tear nothing, it is a word.
        unsafe { SNAT_PEERS.get(peer) }.copied()
    }

    #[inline(always)]
    fn set_snat_peer(&self, peer: &SnatPeer, tick: u32) {
        // Without memory for it the peer's answers are filtered until it is sent to again.
        let _ = SNAT_PEERS.insert(peer, tick, 0);
    }

    #[inline(always)]
    fn note(&self, note: Note, word: u32) {
        if let Some(notes) = NOTES.get_ptr_mut(0) {
            // SAFETY: as above.
            unsafe { (*notes)[note as usize] = word };
        }
    }

    #[inline(always)]
    fn noted(&self, note: Note) -> u32 {
        match NOTES.get(0) {
            Some(notes) => notes[note as usize],
            None => 0,
        }
    }
}

/// Leaves the kernel's time where the agent reads it.
pub(crate) fn tell_time() {
    if let Some(clock) = CLOCK.get_ptr_mut(0) {
        // SAFETY: one word of a value of the map.
        unsafe { (&raw mut (*clock).now).write_volatile(Maps.now()) };
    }
}
