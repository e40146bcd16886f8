//! Writing the exact-match tables: a map's interface over buckets of a cache line.
//!
//! Readers (`gateway_ebpf::bucket`) take no lock. They are safe because
//! - a new entry's value is stored before its key, and the key makes it visible;
//! - a value changes by one store;
//! - an entry never moves while it is in the table (two-choice placement without
//!   displacement: tables are at most a quarter full, see [`buckets_for`]);
//! - a removed slot is not used again before every reader that may still look at
//!   it has finished ([`GRACE`]).

use std::{
    collections::HashMap,
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use gateway_common::{BUCKET_SLOTS, Bucket};
use gateway_ebpf::bucket::places;

use super::shared::SharedArray;
use crate::model::Entries;

/// Longer than any run of the program by orders of magnitude.
const GRACE: Duration = Duration::from_millis(100);

/// Both buckets of a key are full: the table must be built anew, larger.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Buckets for a table of so many keys: a power of two, at most a quarter full,
/// with room to grow.
pub(super) fn buckets_for(keys: usize) -> u32 {
    (keys * 4 / BUCKET_SLOTS).max(64).next_power_of_two() as u32
}

/// Whether every key finds a place in so many buckets, when placed in order.
pub(super) fn fits(keys: impl Iterator<Item = u64>, buckets: u32) -> bool {
    let mut used = vec![0u8; buckets as usize];
    for key in keys {
        let [a, b] = places(key).map(|place| (place & (buckets - 1)) as usize);
        let place = if used[b] < used[a] { b } else { a };
        if usize::from(used[place]) == BUCKET_SLOTS {
            return false;
        }
        used[place] += 1;
    }
    true
}

/// An exact-match table that packets read while it changes.
#[derive(Debug)]
pub(super) struct BucketTable {
    buckets: SharedArray<Bucket>,
    /// Where each key lies: bucket, slot.
    index: HashMap<u64, (usize, usize)>,
    /// Freed slots and when.
    freed: HashMap<(usize, usize), Instant>,
}

impl BucketTable {
    /// Takes over an empty table.
    pub(super) fn new(buckets: SharedArray<Bucket>) -> Self {
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

    /// Whether the table holds so many keys well: at most half full.
    pub(super) fn has_room_for(&self, keys: usize) -> bool {
        keys * 2 <= self.buckets.len() * BUCKET_SLOTS
    }

    /// Makes `key` mean `value`.
    pub(super) fn insert(&mut self, key: u64, value: u64) -> Result<(), Full> {
        if let Some(&(bucket, slot)) = self.index.get(&key) {
            self.buckets
                .word(bucket, BUCKET_SLOTS + slot)
                .store(value, Ordering::Release);
            return Ok(());
        }
        let mask = self.buckets.len() as u32 - 1;
        let [a, b] = places(key).map(|place| (place & mask) as usize);
        let order = if self.used(b) < self.used(a) {
            [b, a]
        } else {
            [a, b]
        };
        let (bucket, slot) = order
            .into_iter()
            .find_map(|bucket| Some((bucket, self.free_slot(bucket)?)))
            .ok_or(Full)?;
        self.freed.remove(&(bucket, slot));
        self.buckets
            .word(bucket, BUCKET_SLOTS + slot)
            .store(value, Ordering::Release);
        fence(Ordering::SeqCst);
        self.buckets
            .word(bucket, slot)
            .store(key, Ordering::Release);
        self.index.insert(key, (bucket, slot));
        Ok(())
    }

    /// Forgets `key`.
    pub(super) fn remove(&mut self, key: u64) {
        if let Some((bucket, slot)) = self.index.remove(&key) {
            self.buckets.word(bucket, slot).store(0, Ordering::Release);
            self.freed.insert((bucket, slot), Instant::now());
        }
    }

    /// Compares the table with what it should hold, and corrects it. How many entries
    /// were missing, wrong or too many.
    pub(super) fn verify(&mut self, wanted: &Entries) -> Result<usize, Full> {
        let mut strays = Vec::new();
        for bucket in 0..self.buckets.len() {
            for slot in 0..BUCKET_SLOTS {
                let key = self.key(bucket, slot);
                let place = Some(&(bucket, slot));
                if key != 0 && (self.index.get(&key) != place || !wanted.contains_key(&key)) {
                    strays.push((bucket, slot));
                }
            }
        }
        for &(bucket, slot) in &strays {
            self.buckets.word(bucket, slot).store(0, Ordering::Release);
            self.freed.insert((bucket, slot), Instant::now());
        }
        let mut wrong = strays.len();
        let buckets = &self.buckets;
        self.index.retain(|&key, &mut (bucket, slot)| {
            buckets.word(bucket, slot).load(Ordering::Relaxed) == key
        });
        for (&key, &value) in wanted {
            let holds = self.index.get(&key).is_some_and(|&(bucket, slot)| {
                let word = self.buckets.word(bucket, BUCKET_SLOTS + slot);
                word.load(Ordering::Relaxed) == value
            });
            if !holds {
                wrong += 1;
                self.insert(key, value)?;
            }
        }
        Ok(wrong)
    }

    fn used(&self, bucket: usize) -> usize {
        (0..BUCKET_SLOTS)
            .filter(|&slot| self.key(bucket, slot) != 0)
            .count()
    }

    fn key(&self, bucket: usize, slot: usize) -> u64 {
        self.buckets.word(bucket, slot).load(Ordering::Relaxed)
    }

    /// A slot that nobody uses and nobody still looks at. When there is none but
    /// one was freed a moment ago, waits for the grace period.
    fn free_slot(&self, bucket: usize) -> Option<usize> {
        let free: Vec<_> = (0..BUCKET_SLOTS)
            .filter(|&slot| self.key(bucket, slot) == 0)
            .collect();
        let rest = |slot: &usize| {
            self.freed
                .get(&(bucket, *slot))
                .map_or(Duration::ZERO, |freed| {
                    GRACE.saturating_sub(freed.elapsed())
                })
        };
        let slot = free.into_iter().min_by_key(rest)?;
        std::thread::sleep(rest(&slot));
        Some(slot)
    }
}

#[cfg(test)]
mod tests {
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

    /// Shared memory that is not a BPF map: the same mapping code without root.
    fn memory(buckets: u32) -> OwnedFd {
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
        let mut table = BucketTable::new(SharedArray::new(&fd, 64).unwrap());
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
            assert!(fits(keys, buckets_for(count)), "{count} keys");
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_corrected() {
        let fd = memory(64);
        let mut table = BucketTable::new(SharedArray::new(&fd, 64).unwrap());
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
        let mut table = BucketTable::new(SharedArray::new(&fd, 1).unwrap());
        for key in 1..=4 {
            table.insert(key, key).unwrap();
        }
        assert_eq!(table.insert(5, 5), Err(Full));
        assert!(!fits(1..=5, 1));
    }

    /// Readers run while a writer inserts, changes and removes: a key that is
    /// always in is always found, and no value ever belongs to another key.
    #[test]
    fn readers_never_see_a_half_entry() {
        const BUCKETS: u32 = 64;
        let fd = memory(BUCKETS);
        let mut table = BucketTable::new(SharedArray::new(&fd, BUCKETS).unwrap());
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
