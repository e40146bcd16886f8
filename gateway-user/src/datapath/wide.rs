//! IPv6 addresses in their buckets: see [`Layout`].

use std::sync::atomic::{Ordering, fence};

use gateway_common::{Address, WIDE_SLOTS, WideBucket, WideSlot};
use gateway_ebpf::{
    bucket,
    family::{Family, V6},
};
use zerocopy::{FromBytes, IntoBytes};

use super::{
    shared::SharedArray,
    table::{Layout, Place},
};

/// Words in a slot.
const WORDS: usize = size_of::<WideSlot>() / 8;

/// The word of a slot that holds its value.
const VALUE: usize = core::mem::offset_of!(WideSlot, value) / 8;

/// A slot is free while its value is 0. Its address stays until it is used again.
impl Layout for WideBucket {
    /// Scope and address.
    type Key = (u32, Address);

    const SLOTS: usize = WIDE_SLOTS;
    const ROOM: usize = 8;

    fn places((scope, address): Self::Key) -> [u32; 2] {
        bucket::wide_places(scope, V6::address(&address))
    }

    fn read(buckets: &SharedArray<Self>, (bucket, slot): Place) -> Option<(Self::Key, u64)> {
        let word = |offset| {
            buckets
                .word(bucket, slot * WORDS + offset)
                .load(Ordering::Relaxed)
        };
        let words: [u64; WORDS] = std::array::from_fn(word);
        let entry = WideSlot::read_from_bytes(words.as_bytes()).expect("as many bytes as it has");
        (entry.value != 0).then_some(((entry.scope, entry.address), entry.value))
    }

    fn fill(buckets: &SharedArray<Self>, at: Place, (scope, address): Self::Key, value: u64) {
        let entry = WideSlot {
            address,
            scope,
            ..WideSlot::default()
        };
        let words = entry.as_bytes().chunks_exact(8).take(VALUE);
        for (offset, chunk) in words.enumerate() {
            let word = u64::from_ne_bytes(chunk.try_into().expect("chunks of 8 bytes"));
            let place = buckets.word(at.0, at.1 * WORDS + offset);
            place.store(word, Ordering::Release);
        }
        fence(Ordering::SeqCst);
        Self::change(buckets, at, value);
    }

    fn change(buckets: &SharedArray<Self>, (bucket, slot): Place, value: u64) {
        let word = buckets.word(bucket, slot * WORDS + VALUE);
        word.store(value, Ordering::Release);
    }

    fn free(buckets: &SharedArray<Self>, at: Place) {
        Self::change(buckets, at, 0);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::BTreeMap,
        os::fd::OwnedFd,
        sync::atomic::AtomicBool,
        time::{Duration, Instant},
    };

    use super::{
        super::table::{BucketTable, Full, buckets_for, fits, tests::memory},
        *,
    };

    const BUCKETS: u32 = 128;

    /// Addresses that share all but a few bits, in two scopes.
    fn key(number: u32) -> (u32, Address) {
        let scope = [WideSlot::PUBLIC, gateway_common::vni_word(5001)][number as usize % 2];
        let [a, b] = [0xfd00_0001_u32, number / 2].map(u32::to_be);
        (scope, [a, 0, 0, b])
    }

    fn reader(fd: &OwnedFd) -> impl Fn((u32, Address)) -> Option<u64> {
        let shared = SharedArray::<WideBucket>::new(fd, BUCKETS).unwrap();
        move |(scope, address)| {
            bucket::find_wide(scope, V6::address(&address), |place| {
                let place = (place & (BUCKETS - 1)) as usize;
                // SAFETY: a bucket is plain words in mapped memory; `find_wide` reads
                // them one by one, as the program does.
                Some(unsafe { &*std::ptr::from_ref(shared.word(place, 0)).cast::<WideBucket>() })
            })
        }
    }

    #[test]
    fn what_is_inserted_is_found_until_removed() {
        let fd = memory(BUCKETS);
        let mut table = BucketTable::<WideBucket>::new(SharedArray::new(&fd, BUCKETS).unwrap());
        let get = reader(&fd);
        for number in 1..=40 {
            table.insert(key(number), u64::from(number)).unwrap();
        }
        table.insert(key(7), 71).unwrap();
        table.remove(key(8));
        assert_eq!(get(key(7)), Some(71));
        assert_eq!(get(key(8)), None);
        assert_eq!(get(key(9)), Some(9));
        let (_, address) = key(9);
        assert_eq!(get((gateway_common::vni_word(5002), address)), None);
        table.insert(key(8), 81).unwrap();
        assert_eq!(get(key(8)), Some(81));
    }

    /// Neighbouring addresses, networks and scopes all spread.
    #[test]
    fn tables_of_the_recommended_size_fit() {
        for count in [1_u32, 100, 10_000, 100_000] {
            for word in 0..4 {
                let keys = (0..count).map(|number| {
                    let (scope, mut address) = key(1);
                    address[word] ^= number.to_be();
                    (scope, address)
                });
                let buckets = buckets_for::<WideBucket>(count as usize);
                assert!(
                    fits::<WideBucket>(keys, buckets),
                    "{count} keys, word {word}"
                );
            }
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_corrected() {
        let fd = memory(BUCKETS);
        let mut table = BucketTable::<WideBucket>::new(SharedArray::new(&fd, BUCKETS).unwrap());
        let wanted: BTreeMap<_, _> = (1..=40).map(|number| (key(number), 5)).collect();
        for (&key, &value) in &wanted {
            table.insert(key, value).unwrap();
        }
        assert_eq!(table.verify(&wanted), Ok(0));
        let shared = SharedArray::<WideBucket>::new(&fd, BUCKETS).unwrap();
        let mut taken = (0..BUCKETS as usize)
            .flat_map(|bucket| [(bucket, 0), (bucket, 1)])
            .filter(|&at| WideBucket::read(&shared, at).is_some());
        let [forgotten, changed, foreign] = [(); 3].map(|()| taken.next().unwrap());
        WideBucket::free(&shared, forgotten);
        WideBucket::change(&shared, changed, 6);
        WideBucket::fill(&shared, foreign, key(999), 5);
        assert_eq!(
            table.verify(&wanted),
            Ok(4),
            "one of them twice: too many and missing"
        );
        assert_eq!(table.verify(&wanted), Ok(0));
        let get = reader(&fd);
        assert!(wanted.keys().all(|&key| get(key) == Some(5)));
        assert_eq!(get(key(999)), None);
    }

    #[test]
    fn a_full_table_says_so() {
        let fd = memory(1);
        let mut table = BucketTable::<WideBucket>::new(SharedArray::new(&fd, 1).unwrap());
        table.insert(key(1), 1).unwrap();
        table.insert(key(2), 2).unwrap();
        assert_eq!(table.insert(key(3), 3), Err(Full));
        assert!(!fits::<WideBucket>((1..=3).map(key), 1));
    }

    /// Readers run while a writer inserts, changes and removes: an address that is
    /// always in is always found, and no value ever belongs to another address.
    #[test]
    fn readers_never_see_a_half_entry() {
        let fd = memory(BUCKETS);
        let mut table = BucketTable::<WideBucket>::new(SharedArray::new(&fd, BUCKETS).unwrap());
        for number in 1..=25 {
            table.insert(key(number), u64::from(number) << 32).unwrap();
        }
        let stop = AtomicBool::new(false);
        let lookups = std::thread::scope(|scope| {
            let reading = scope.spawn(|| {
                let get = reader(&fd);
                let mut lookups = 0;
                while !stop.load(Ordering::Relaxed) {
                    for number in 1..=45 {
                        let value = get(key(number));
                        let owner = value.map(|value| value >> 32);
                        assert!(
                            owner.is_none_or(|owner| owner == u64::from(number)),
                            "{number}"
                        );
                        assert!(number > 25 || value.is_some(), "{number} was always in");
                        lookups += 1;
                    }
                }
                lookups
            });
            let end = Instant::now() + Duration::from_millis(600);
            let mut round = 0;
            while Instant::now() < end {
                round += 1;
                for number in 26..=45 {
                    match (number + round) % 3 {
                        0 => table.remove(key(number)),
                        _ => {
                            let value = u64::from(number) << 32 | u64::from(round);
                            table.insert(key(number), value).unwrap();
                        }
                    }
                }
            }
            stop.store(true, Ordering::Relaxed);
            reading.join().unwrap()
        });
        assert!(lookups > 1_000, "the reader ran");
    }
}
