//! The maps, and the [`Tables`] over them. Sizes here are the smallest that the
//! object loads with by itself; the agent sets the real ones when it loads.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, DevMap, PerCpuArray, ProgramArray},
};
use gateway_common::{
    Backend, Bucket, Config, Counter, Instance, Interface, MAX_INTERFACES, MAX_PORTS, NextHop,
    Note, Reason, ReasonCount, SourceNat, Step, Tunnel, UPLINK_SLOTS, WideBucket,
};
use gateway_ebpf::packet::Tables;

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
static UPLINKS: Array<NextHop> = Array::with_max_entries(UPLINK_SLOTS, SHARED);
#[map]
static INTERFACES: Array<Interface> = Array::with_max_entries(MAX_INTERFACES, SHARED);
#[map]
static COUNTERS: PerCpuArray<Counter> = PerCpuArray::with_max_entries(1, 0);
#[map]
static REASONS: PerCpuArray<ReasonCount> =
    PerCpuArray::with_max_entries(Reason::ALL.len() as u32, 0);
#[map]
static NOTES: PerCpuArray<[u32; Note::COUNT]> = PerCpuArray::with_max_entries(1, 0);
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

impl Tables for Maps {
    #[inline(always)]
    fn seed(&self) -> [u64; 2] {
        [config!(seed[0]), config!(seed[1])]
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
