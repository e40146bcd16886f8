//! Writing the exact-match tables: a map's interface over buckets of a cache line.
//!
//! Readers (`gateway_ebpf::bucket`) take no lock. They are safe because
//! - a new entry becomes visible with the last of its stores (see [`Layout`]);
//! - a value changes by one store;
//! - an entry never moves while it is in the table (two-choice placement without
//!   displacement: tables are mostly empty, see [`buckets_for`]);
//! - a removed slot is not used again before every reader that may still look at
//!   it has finished ([`GRACE`]).

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use gateway_common::{BUCKET_SLOTS, Bucket};
use gateway_ebpf::bucket;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::shared::SharedArray;

/// Longer than any run of the program by orders of magnitude.
const GRACE: Duration = Duration::from_millis(100);

/// Both buckets of a key are full: the table must be built anew, larger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// How entries lie in a bucket.
pub(super) trait Layout: Sized + FromBytes + IntoBytes + Immutable {
    /// What entries are found by.
    type Key: Copy + Ord + Hash;

    /// Entries in a bucket.
    const SLOTS: usize;

    /// Slots for each key in a table of the recommended size: the fewer slots a bucket
    /// has, the sooner both buckets of some key are full.
    const ROOM: usize;

    /// The two places where a key may lie; a table of 2^n buckets uses the low n bits.
    fn places(key: Self::Key) -> [u32; 2];

    /// What readers find in a slot.
    fn read(buckets: &SharedArray<Self>, at: Place) -> Option<(Self::Key, u64)>;

    /// Fills a free slot. Readers find the entry from the last store on.
    fn fill(buckets: &SharedArray<Self>, at: Place, key: Self::Key, value: u64);

    /// Changes the value in a slot, with one store.
    fn change(buckets: &SharedArray<Self>, at: Place, value: u64);

    /// Frees a slot, with one store.
    fn free(buckets: &SharedArray<Self>, at: Place);
}

/// A slot: bucket, and number in it.
pub(super) type Place = (usize, usize);

/// A slot is free while its key is 0.
impl Layout for Bucket {
    type Key = u64;

    const SLOTS: usize = BUCKET_SLOTS;
    const ROOM: usize = 4;

    fn places(key: u64) -> [u32; 2] {
        bucket::places(key)
    }

    fn read(buckets: &SharedArray<Self>, (bucket, slot): Place) -> Option<(u64, u64)> {
        let word = |offset| buckets.word(bucket, offset).load(Ordering::Relaxed);
        match word(slot) {
            0 => None,
            key => Some((key, word(BUCKET_SLOTS + slot))),
        }
    }

    fn fill(buckets: &SharedArray<Self>, at: Place, key: u64, value: u64) {
        Self::change(buckets, at, value);
        fence(Ordering::SeqCst);
        buckets.word(at.0, at.1).store(key, Ordering::Release);
    }

    fn change(buckets: &SharedArray<Self>, (bucket, slot): Place, value: u64) {
        let word = buckets.word(bucket, BUCKET_SLOTS + slot);
        word.store(value, Ordering::Release);
    }

    fn free(buckets: &SharedArray<Self>, (bucket, slot): Place) {
        buckets.word(bucket, slot).store(0, Ordering::Release);
    }
}

/// Buckets for a table of so many keys: a power of two, with room to grow.
pub(super) fn buckets_for<B: Layout>(keys: usize) -> u32 {
    (keys * B::ROOM / B::SLOTS).max(64).next_power_of_two() as u32
}

/// Whether every key finds a place in so many buckets, when placed in order.
pub(super) fn fits<B: Layout>(keys: impl Iterator<Item = B::Key>, buckets: u32) -> bool {
    let mut used = vec![0u8; buckets as usize];
    for key in keys {
        let [a, b] = B::places(key).map(|place| (place & (buckets - 1)) as usize);
        let place = if used[b] < used[a] { b } else { a };
        if usize::from(used[place]) == B::SLOTS {
            return false;
        }
        used[place] += 1;
    }
    true
}

/// An exact-match table that packets read while it changes.
#[derive(Debug)]
pub(super) struct BucketTable<B: Layout = Bucket> {
    buckets: SharedArray<B>,
    /// Where each key lies.
    index: HashMap<B::Key, Place>,
    /// Freed slots and when.
    freed: HashMap<Place, Instant>,
}

impl<B: Layout> BucketTable<B> {
    /// Takes over an empty table.
    pub(super) fn new(buckets: SharedArray<B>) -> Self {
        assert!(
            buckets.len().is_power_of_two(),
            "the mask needs a power of two"
        );
        Self {
            buckets,
            index: HashMap::new(),
            freed: HashMap::new(),
        }
    }

    /// Whether the table holds so many keys well: at most twice the recommended number.
    pub(super) fn has_room_for(&self, keys: usize) -> bool {
        keys * B::ROOM / 2 <= self.buckets.len() * B::SLOTS
    }

    /// Makes `key` mean `value`.
    pub(super) fn insert(&mut self, key: B::Key, value: u64) -> Result<(), Full> {
        if let Some(&at) = self.index.get(&key) {
            B::change(&self.buckets, at, value);
            return Ok(());
        }
        let mask = self.buckets.len() as u32 - 1;
        let [a, b] = B::places(key).map(|place| (place & mask) as usize);
        let order = if self.used(b) < self.used(a) {
            [b, a]
        } else {
            [a, b]
        };
        let at = order
            .into_iter()
            .find_map(|bucket| Some((bucket, self.free_slot(bucket)?)))
            .ok_or(Full)?;
        self.freed.remove(&at);
        B::fill(&self.buckets, at, key, value);
        self.index.insert(key, at);
        Ok(())
    }

    /// Forgets `key`.
    pub(super) fn remove(&mut self, key: B::Key) {
        if let Some(at) = self.index.remove(&key) {
            B::free(&self.buckets, at);
            self.freed.insert(at, Instant::now());
        }
    }

    /// Compares the table with what it should hold, and corrects it. How many entries
    /// were missing, wrong or too many.
    pub(super) fn verify(&mut self, wanted: &BTreeMap<B::Key, u64>) -> Result<usize, Full> {
        let slots = |bucket| (0..B::SLOTS).map(move |slot| (bucket, slot));
        let mut strays = Vec::new();
        for at in (0..self.buckets.len()).flat_map(slots) {
            if let Some((key, _)) = B::read(&self.buckets, at)
                && (self.index.get(&key) != Some(&at) || !wanted.contains_key(&key))
            {
                strays.push(at);
            }
        }
        for &at in &strays {
            B::free(&self.buckets, at);
            self.freed.insert(at, Instant::now());
        }
        let mut wrong = strays.len();
        let buckets = &self.buckets;
        self.index
            .retain(|&key, &mut at| B::read(buckets, at).is_some_and(|(held, _)| held == key));
        for (&key, &value) in wanted {
            let held = self.index.get(&key);
            let held = held.and_then(|&at| B::read(&self.buckets, at));
            if held != Some((key, value)) {
                wrong += 1;
                self.insert(key, value)?;
            }
        }
        Ok(wrong)
    }

    fn used(&self, bucket: usize) -> usize {
        B::SLOTS - self.free_slots(bucket).count()
    }

    fn free_slots(&self, bucket: usize) -> impl Iterator<Item = usize> {
        (0..B::SLOTS).filter(move |&slot| B::read(&self.buckets, (bucket, slot)).is_none())
    }

    /// A slot that nobody uses and nobody still looks at. When there is none but
    /// one was freed a moment ago, waits for the grace period.
    fn free_slot(&self, bucket: usize) -> Option<usize> {
        let rest = |slot: &usize| {
            self.freed
                .get(&(bucket, *slot))
                .map_or(Duration::ZERO, |freed| {
                    GRACE.saturating_sub(freed.elapsed())
                })
        };
        let slot = self.free_slots(bucket).min_by_key(rest)?;
        std::thread::sleep(rest(&slot));
        Some(slot)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::{
        os::fd::OwnedFd,
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
    };

    use gateway_ebpf::bucket;
    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;
    use crate::model::Entries;

    /// Shared memory that is not a BPF map: the same mapping code without root.
    pub(in super::super) fn memory(buckets: u32) -> OwnedFd {
        let fd = memfd_create("table", MFdFlags::MFD_CLOEXEC).unwrap();
        nix::unistd::ftruncate(&fd, i64::from(buckets) * 64).unwrap();
        fd
    }

    fn reader(fd: &OwnedFd, buckets: u32) -> Vec<Bucket> {
        let shared = SharedArray::<Bucket>::new(fd, buckets).unwrap();
        (0..buckets as usize).map(|i| shared.get(i)).collect()
    }

    fn get(fd: &OwnedFd, buckets: u32, key: u64) -> Option<u64> {
        let table = reader(fd, buckets);
        bucket::find(key, |place| table.get((place & (buckets - 1)) as usize))
    }

    #[test]
    fn what_is_inserted_is_found_until_removed() {
        let fd = memory(64);
        let mut table = BucketTable::<Bucket>::new(SharedArray::new(&fd, 64).unwrap());
        for key in 1..=60 {
            table.insert(key, key * 10).unwrap();
        }
        table.insert(7, 71).unwrap();
        table.remove(8);
        assert_eq!(get(&fd, 64, 7), Some(71));
        assert_eq!(get(&fd, 64, 8), None);
        assert_eq!(get(&fd, 64, 9), Some(90));
        table.insert(8, 81).unwrap();
        assert_eq!(get(&fd, 64, 8), Some(81));
    }

    #[test]
    fn tables_of_the_recommended_size_fit() {
        for count in [1, 100, 10_000, 200_000] {
            let keys = (1..=count as u64).map(|i| i << 32 | 0xcb00_7100 | i & 0xff);
            assert!(
                fits::<Bucket>(keys, buckets_for::<Bucket>(count)),
                "{count} keys"
            );
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_corrected() {
        let fd = memory(64);
        let mut table = BucketTable::<Bucket>::new(SharedArray::new(&fd, 64).unwrap());
        let wanted: Entries = (1..=60).map(|key| (key, key * 10)).collect();
        for (&key, &value) in &wanted {
            table.insert(key, value).unwrap();
        }
        assert_eq!(table.verify(&wanted), Ok(0));
        let shared = SharedArray::<Bucket>::new(&fd, 64).unwrap();
        let at = |key: u64| table.index[&key];
        let (forgotten, changed, foreign) = (at(7), at(8), at(9));
        shared
            .word(forgotten.0, forgotten.1)
            .store(0, Ordering::Relaxed);
        let value = shared.word(changed.0, BUCKET_SLOTS + changed.1);
        value.store(1, Ordering::Relaxed);
        shared
            .word(foreign.0, foreign.1)
            .store(999, Ordering::Relaxed);
        assert_eq!(
            table.verify(&wanted),
            Ok(4),
            "999 too many, 7 and 9 missing, 8 wrong"
        );
        assert_eq!(table.verify(&wanted), Ok(0));
        for (&key, &value) in &wanted {
            assert_eq!(get(&fd, 64, key), Some(value));
        }
        assert_eq!(get(&fd, 64, 999), None);
    }

    #[test]
    fn a_full_table_says_so() {
        let fd = memory(1);
        let mut table = BucketTable::<Bucket>::new(SharedArray::new(&fd, 1).unwrap());
        for key in 1..=4 {
            table.insert(key, key).unwrap();
        }
        assert_eq!(table.insert(5, 5), Err(Full));
        assert!(!fits::<Bucket>(1..=5, 1));
    }

    /// Readers run while a writer inserts, changes and removes: a key that is
    /// always in is always found, and no value ever belongs to another key.
    #[test]
    fn readers_never_see_a_half_entry() {
        const BUCKETS: u32 = 64;
        let fd = memory(BUCKETS);
        let mut table = BucketTable::<Bucket>::new(SharedArray::new(&fd, BUCKETS).unwrap());
        let stable: Vec<u64> = (1..=50).collect();
        for &key in &stable {
            table.insert(key, key << 32).unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let lookups = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let shared = SharedArray::<Bucket>::new(&fd, BUCKETS).unwrap();
                // SAFETY: a bucket is plain words in mapped memory; `find` reads them
                // one by one, as the program does.
                let bucket = |i: u32| unsafe {
                    Some(&*std::ptr::from_ref(shared.word(i as usize, 0)).cast::<Bucket>())
                };
                let mut lookups = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    for key in 1..=90_u64 {
                        let value = bucket::find(key, |place| bucket(place & (BUCKETS - 1)));
                        assert!(value.is_none_or(|v| v >> 32 == key), "{key}: {value:?}");
                        assert!(key > 50 || value.is_some(), "{key} was always in");
                        lookups += 1;
                    }
                }
                lookups
            });
            let end = Instant::now() + Duration::from_millis(600);
            let mut round = 0;
            while Instant::now() < end {
                round += 1;
                for key in 51..=90_u64 {
                    if (key + round) % 3 == 0 {
                        table.remove(key);
                    } else {
                        table.insert(key, key << 32 | round).unwrap();
                    }
                }
                table
                    .insert(round % 50 + 1, (round % 50 + 1) << 32 | round)
                    .unwrap();
            }
            stop.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert!(lookups > 1_000, "the reader ran");
    }
}
