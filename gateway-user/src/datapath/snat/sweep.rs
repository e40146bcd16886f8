//! Looking through the ports now and then: what is expired or nobody's is freed, and
//! what is used is counted. Packets do not depend on it: the program takes expired ports
//! over by itself.

use std::sync::atomic::Ordering;

use gateway_common::{Bucket, Instance, SNAT_SLOTS, SnatAddress, SnatClass, SnatOwner, SnatState};
use gateway_ebpf::stages::snat::{place, state};

use super::{Account, EXHAUSTED, OVER_QUOTA, Snat, USED};
use crate::{
    datapath::shared::SharedArray,
    model::{self, Tables},
};

/// What was found in use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// By index of `SNAT_ADDRESSES`; the first is unused.
    pub addresses: Vec<[AddressUse; SnatClass::ALL.len()]>,
    /// By index of `SNAT_ACCOUNTS`.
    pub accounts: Vec<AccountUse>,
    /// Expired and abandoned ones that were freed so far.
    pub freed: u64,
}

/// What one VPC uses of one pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccountUse {
    /// Mappings that it pays for.
    pub used: u64,
    /// Packets dropped because no port was left.
    pub exhausted: u64,
    /// Packets dropped because of the quota.
    pub over_quota: u64,
}

/// Ports of one address and class on this gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressUse {
    /// Ports with a live mapping.
    pub used: u64,
    /// Expired ones that rest.
    pub resting: u64,
    /// Ports there are.
    pub ports: u64,
}

/// Part of an address's ports that is worth a warning.
const HIGH: f64 = 0.8;

/// Part below which it was a false alarm.
const LOW: f64 = 0.7;

impl Snat {
    /// Goes through all ports. With `recount`, accounts are set to what was found: an
    /// agent that died may have left them wrong.
    pub(in crate::datapath) fn sweep(
        &mut self,
        tables: &Tables,
        jiffies: u64,
        recount: bool,
    ) -> &Usage {
        let now = self.ticks.at(jiffies);
        let shift = self.stamp.shift();
        let mut usage = Usage {
            addresses: vec![Default::default(); tables.snat.addresses.len()],
            accounts: vec![AccountUse::default(); tables.snat.quotas.len()],
            freed: self.usage.freed,
        };
        for index in 1..tables.snat.addresses.len() {
            // One that is gone may have left mappings: its place follows from its index.
            let shared = self.addresses.get(index);
            let start = model::Snat::buckets(shift, index - 1);
            for class in SnatClass::ALL {
                let first = start + place::buckets(shift) * class as u32;
                let mut region = Region {
                    ports: &self.ports,
                    accounts: &self.accounts,
                    instances: &tables.instances,
                    shared: &shared,
                    index: index as u32,
                    class,
                    now,
                };
                let end = first + place::buckets(shift);
                let buckets = match shared.flags & SnatAddress::FLAG_VALID {
                    0 => first..end,
                    _ => first + shared.skipped..end,
                };
                usage.addresses[index][class as usize] = region.sweep(buckets, &mut usage);
            }
        }
        if recount {
            for (index, account) in usage.accounts.iter().enumerate().skip(1) {
                let word = self.accounts.word(index, USED);
                word.store(account.used, Ordering::Release);
            }
        }
        self.usage = usage;
        self.warn();
        &self.usage
    }

    /// What the last sweep found, with what accounts say now.
    pub(in crate::datapath) fn usage(&self) -> Usage {
        let mut usage = self.usage.clone();
        for (index, account) in usage.accounts.iter_mut().enumerate().skip(1) {
            let word = |offset| self.accounts.word(index, offset).load(Ordering::Acquire);
            *account = AccountUse {
                used: word(USED),
                exhausted: word(EXHAUSTED),
                over_quota: word(OVER_QUOTA),
            };
        }
        usage
    }

    /// Says so before ports run out.
    fn warn(&mut self) {
        let parts = self.usage.addresses.iter().flatten();
        let part = |usage: &AddressUse| (usage.used + usage.resting) as f64 / usage.ports as f64;
        let most = parts.filter(|usage| usage.ports > 0).map(part);
        let most = most.fold(0.0, f64::max);
        if most >= HIGH && !self.high {
            log::warn!(
                "SNAT: {:.0} % of an address's ports are in use or resting; soon new connections \
                 will be dropped (snat_exhausted): add an address to the pool",
                most * 100.0
            );
        }
        self.high = most >= if self.high { LOW } else { HIGH };
    }
}

/// The ports of one address and class.
struct Region<'a> {
    ports: &'a SharedArray<Bucket>,
    accounts: &'a SharedArray<Account>,
    instances: &'a [Instance],
    shared: &'a SnatAddress,
    index: u32,
    class: SnatClass,
    now: u32,
}

impl Region<'_> {
    fn sweep(&mut self, buckets: std::ops::Range<u32>, usage: &mut Usage) -> AddressUse {
        let mut found = AddressUse {
            ports: u64::from(buckets.end - buckets.start) * SNAT_SLOTS as u64,
            ..AddressUse::default()
        };
        for bucket in buckets {
            for slot in 0..SNAT_SLOTS {
                let word = self.ports.word(bucket as usize, SNAT_SLOTS + slot);
                let state = SnatState(word.load(Ordering::Acquire));
                if state.phase() == SnatState::FREE {
                    continue;
                }
                let owner = self.ports.word(bucket as usize, slot);
                let owner = SnatOwner(owner.load(Ordering::Acquire));
                if self.is_over(owner, state) && self.free(bucket, slot, state) {
                    usage.freed += 1;
                    continue;
                }
                match state::is_expired(self.shared, self.class, state, self.now) {
                    true => found.resting += 1,
                    false => found.used += 1,
                }
                if let Some(account) = usage.accounts.get_mut(state.account() as usize) {
                    account.used += 1;
                }
            }
        }
        found
    }

    /// Whether nobody needs the mapping: it is expired and has rested, or its instance
    /// is gone, is another one, or shares another address now.
    fn is_over(&self, owner: SnatOwner, state: SnatState) -> bool {
        if state.phase() & SnatState::PHASE == SnatState::CLAIMED {
            return state::is_free(self.shared, self.class, (owner, state), owner, self.now);
        }
        let instance = self.instances.get(owner.instance() as usize);
        let is_theirs = instance.is_some_and(|instance| {
            instance.flags & Instance::FLAG_VALID != 0
                && instance.snat_tag == owner.tag()
                && instance.snat == self.index
                && instance.snat_account == state.account()
        });
        let nobody = SnatOwner(0);
        !is_theirs || state::is_free(self.shared, self.class, (owner, state), nobody, self.now)
    }

    /// Frees a slot by the program's own rules; false if a packet was faster.
    fn free(&self, bucket: u32, slot: usize, state: SnatState) -> bool {
        let word = self.ports.word(bucket as usize, SNAT_SLOTS + slot);
        let claimed = SnatState::new(SnatState::CLAIMED, self.now, state.account());
        let exchanged =
            word.compare_exchange(state.0, claimed.0, Ordering::SeqCst, Ordering::SeqCst);
        if exchanged.is_err() {
            return false;
        }
        let owner = self.ports.word(bucket as usize, slot);
        owner.store(0, Ordering::Release);
        word.store(0, Ordering::Release);
        if (state.account() as usize) < self.accounts.len() {
            let used = self.accounts.word(state.account() as usize, USED);
            used.fetch_sub(1, Ordering::SeqCst);
        }
        true
    }
}
