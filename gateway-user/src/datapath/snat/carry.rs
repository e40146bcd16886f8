//! From an earlier load's ports to this one's.

use std::sync::atomic::Ordering;

use aya::maps::MapData;
use gateway_common::{Bucket, SNAT_SLOTS, SnatSetting, SnatState};

use super::{Account, Snat, USED, array};
use crate::{datapath::shared::SharedArray, model::Tables};

/// Words of the unused first account that say how the ports are to be read.
const SHARE: usize = 6;
const SHIFT: usize = 7;

/// What the content of the ports depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Stamp {
    share: u64,
    shift: u64,
}

impl Stamp {
    /// How these tables read it.
    pub(in crate::datapath) fn of(tables: &Tables) -> Self {
        Self {
            share: tables.config.snat[SnatSetting::SHARE].into(),
            shift: tables.config.snat[SnatSetting::SHARE_SHIFT].into(),
        }
    }

    /// How far to shift a port right to get its share.
    pub(super) fn shift(self) -> u32 {
        self.shift as u32
    }

    /// Whether ports that an earlier load left are read as this one reads them. Ports
    /// of another share would be somebody else's.
    pub(in crate::datapath) fn is_on(self, accounts: &MapData, entries: u32) -> bool {
        let Ok(accounts) = array::<Account>(accounts, "accounts", entries) else {
            return false;
        };
        let word = |offset| accounts.word(0, offset).load(Ordering::Acquire);
        let found = Self {
            share: word(SHARE),
            shift: word(SHIFT),
        };
        if found != self && found.shift != 0 {
            log::warn!(
                "SNAT's ports are shared out anew: connections through it break \
                 (snat_shares or this gateway's share changed)"
            );
        }
        found == self
    }

    pub(super) fn write(self, accounts: &SharedArray<Account>) {
        let store = |offset, value| accounts.word(0, offset).store(value, Ordering::Release);
        store(SHARE, self.share);
        store(SHIFT, self.shift);
    }
}

impl Snat {
    /// Takes over the mappings that earlier programs made since [`carry`](Self::carry),
    /// now that they have seen their last packet.
    pub(in crate::datapath) fn carry_rest(&mut self) {
        self.carry();
        self.earlier = None;
    }

    /// Takes over the mappings of an earlier load whose table was too small, and that
    /// this one has not.
    pub(in crate::datapath) fn carry(&self) {
        let Some(earlier) = &self.earlier else {
            return;
        };
        let mut carried = 0;
        for bucket in 0..earlier.len().min(self.ports.len()) {
            for slot in 0..SNAT_SLOTS {
                carried += usize::from(self.carry_one(earlier, bucket, slot));
            }
        }
        log::info!("SNAT's tables have grown: {carried} mappings were carried over");
    }

    fn carry_one(&self, earlier: &SharedArray<Bucket>, bucket: usize, slot: usize) -> bool {
        let words = |ports: &SharedArray<Bucket>, offset| {
            let word = ports.word(bucket, offset);
            word.load(Ordering::Acquire)
        };
        let state = words(earlier, SNAT_SLOTS + slot);
        let phase = SnatState(state).phase() & SnatState::PHASE;
        if phase <= SnatState::CLAIMED {
            return false;
        }
        let claimed = SnatState::new(SnatState::CLAIMED, SnatState(state).tick(), 0);
        let word = self.ports.word(bucket, SNAT_SLOTS + slot);
        let order = Ordering::SeqCst;
        if word.compare_exchange(0, claimed.0, order, order).is_err() {
            return false;
        }
        let owner = words(earlier, slot);
        self.ports.word(bucket, slot).store(owner, order);
        word.store(state, order);
        let account = SnatState(state).account() as usize;
        if account < self.accounts.len() {
            self.accounts.word(account, USED).fetch_add(1, order);
        }
        true
    }
}
