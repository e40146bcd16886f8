//! Maglev rings (Eisenbud et al., NSDI 2016, section 3.4), weighted.
//!
//! A ring is a function of names and weights alone, so that every gateway
//! computes the same one, in whatever order its file lists the backends.

/// A backend's place in a ring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Stable name; two members of a ring never share one.
    pub name: String,
    /// Share of the flows, relative to the others; 0 takes none.
    pub weight: u16,
}

/// Ring sizes, far apart, so that adding a backend seldom changes the size (which
/// moves nearly every new flow). Each divides the next, so that a slot of a larger
/// ring takes part of one slot of a smaller: flows can be followed from one ring to
/// the other (see `model::rings`). Powers of two serve as well as the primes of the
/// paper: a walk visits every slot if its step has no divisor in common with the size.
const SIZES: [usize; 3] = [1_024, 8_192, 65_536];

/// Slots that a ring should have for each backend: shares then are within a few
/// per cent of the weights.
const SLOTS_PER_MEMBER: usize = 100;

/// Most backends of one service. Below 16 slots a backend, shares get coarse.
pub const MAX_MEMBERS: usize = 4_096;

/// Slots of a ring for so many members.
pub fn size(members: usize) -> usize {
    let wanted = members * SLOTS_PER_MEMBER;
    SIZES
        .into_iter()
        .find(|&size| size >= wanted)
        .unwrap_or(SIZES[SIZES.len() - 1])
}

/// Fills a ring: for each slot, the index into `members` of who takes it.
/// Empty when no member has weight.
///
/// Every member walks the slots in an order of its own and takes the first free
/// one when it is its turn; heavier members have more turns.
pub fn build(members: &[Member], size: usize) -> Vec<usize> {
    let heaviest = members
        .iter()
        .map(|member| u64::from(member.weight))
        .max()
        .unwrap_or(0);
    if heaviest == 0 {
        return Vec::new();
    }
    let mut walkers: Vec<Walker> = members
        .iter()
        .enumerate()
        .filter(|(_, member)| member.weight > 0)
        .map(|(index, member)| Walker::new(index, member, size))
        .collect();
    // The order of turns must not depend on the order in the file.
    walkers.sort_by(|a, b| members[a.index].name.cmp(&members[b.index].name));

    const FREE: usize = usize::MAX;
    let mut ring = vec![FREE; size];
    let mut left = size;
    loop {
        for walker in &mut walkers {
            walker.credit += walker.weight;
            if walker.credit < heaviest {
                continue;
            }
            walker.credit -= heaviest;
            while ring[walker.next] != FREE {
                walker.step(size);
            }
            ring[walker.next] = walker.index;
            left -= 1;
            if left == 0 {
                return ring;
            }
        }
    }
}

/// One member's walk through the slots.
struct Walker {
    index: usize,
    weight: u64,
    credit: u64,
    next: usize,
    skip: usize,
}

impl Walker {
    fn new(index: usize, member: &Member, size: usize) -> Self {
        let hash = hash_name(&member.name);
        Self {
            index,
            weight: u64::from(member.weight),
            credit: 0,
            next: (hash >> 32) as usize % size,
            // Sizes are powers of two, so any odd step visits every slot.
            skip: (hash & 0xffff_ffff) as usize & (size - 1) | 1,
        }
    }

    fn step(&mut self, size: usize) {
        self.next = (self.next + self.skip) % size;
    }
}

/// FNV-1a with a finalizer: stable for all time, which the standard library's
/// hashers don't promise. Changing it moves flows on every gateway.
pub fn hash_name(name: &str) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn members(weights: &[u16]) -> Vec<Member> {
        weights
            .iter()
            .enumerate()
            .map(|(i, &weight)| Member {
                name: format!("shop/vm-{i}:443"),
                weight,
            })
            .collect()
    }

    fn shares(ring: &[usize], members: usize) -> Vec<usize> {
        let mut shares = vec![0; members];
        for &member in ring {
            shares[member] += 1;
        }
        shares
    }

    /// Turns are dealt by weight. When the ring is full, every member is owed less than
    /// one slot, and these debts come out of all shares by weight: a share is off by its
    /// part of as many slots as there are members, and two for rounding.
    fn is_fair(share: usize, weight: u16, total: f64, size: usize, members: usize) -> bool {
        let part = f64::from(weight) / total;
        (share as f64 - size as f64 * part).abs() <= 2.0 + members as f64 * part
    }

    #[test]
    fn without_weight_there_is_no_ring() {
        assert!(build(&[], 1_024).is_empty());
        assert!(build(&members(&[0, 0]), 1_024).is_empty());
    }

    #[test]
    fn a_drained_member_takes_nothing() {
        let ring = build(&members(&[1, 0, 1]), 1_024);
        assert_eq!(shares(&ring, 3)[1], 0);
    }

    /// Weights that a bound of two slots does not hold for.
    #[test]
    fn uneven_weights_stay_within_the_bound() {
        let weights = [
            20, 16, 15, 3, 4, 3, 6, 9, 13, 3, 3, 15, 1, 11, 10, 7, 6, 3, 3, 8, 7, 16, 3, 13, 1, 10,
            15, 18,
        ];
        let members = members(&weights);
        let size = size(members.len());
        let shares = shares(&build(&members, size), members.len());
        let total: u16 = weights.iter().sum();
        for (share, weight) in shares.into_iter().zip(weights) {
            assert!(
                is_fair(share, weight, f64::from(total), size, members.len()),
                "{share}"
            );
        }
    }

    #[test]
    fn sizes_are_nested_powers_of_two() {
        assert!(SIZES.iter().all(|size| size.is_power_of_two()));
        assert!(SIZES.is_sorted());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn shares_follow_weights(weights in prop::collection::vec(0u16..=20, 1..40)) {
            prop_assume!(weights.iter().any(|&w| w > 0));
            let members = members(&weights);
            let size = size(members.len());
            let total: f64 = weights.iter().map(|&w| f64::from(w)).sum();
            for (share, &weight) in shares(&build(&members, size), members.len()).iter().zip(&weights) {
                prop_assert!(is_fair(*share, weight, total, size, members.len()), "{share} slots");
            }
        }

        #[test]
        fn order_in_the_file_does_not_matter(weights in prop::collection::vec(1u16..=9, 2..20), by in 1usize..20) {
            let before = members(&weights);
            let mut after = before.clone();
            after.rotate_left(by % before.len());
            let size = size(before.len());
            let names = |ring: Vec<usize>, members: &[Member]| -> Vec<String> {
                ring.into_iter().map(|i| members[i].name.clone()).collect()
            };
            prop_assert_eq!(names(build(&before, size), &before), names(build(&after, size), &after));
        }

        /// Removing one of n members moves its own slots and, of the others', few.
        #[test]
        fn removal_moves_little(count in 2usize..60, gone in 0usize..60) {
            let before = members(&vec![1; count]);
            let gone = gone % count;
            let mut after = before.clone();
            after.remove(gone);
            let size = size(before.len());
            let (old, new) = (build(&before, size), build(&after, size));
            let moved = old
                .iter()
                .zip(&new)
                .filter(|&(&o, &n)| o != gone && before[o].name != after[n].name)
                .count();
            prop_assert!(moved * 4 <= size, "{moved} of {size} slots moved besides the {} of the removed one", size / count);
        }
    }
}
