//! The maps of egress NAT. Its ports the program itself hands out, so they outlive the
//! agent (see [`lasting`](super::lasting)).

mod carry;
mod sweep;

use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use aya::maps::MapData;
use gateway_common::{
    Bucket, SNAT_MAX_SHARES, SNAT_SLOTS, SnatAddress, SnatSetting, SnatState, map,
};

pub(super) use carry::Stamp;
pub use sweep::{AccountUse, AddressUse, Usage};

use super::{
    Maps,
    jiffies::Ticks,
    lasting::{Inheritance, Lasting},
    shared,
    shared::SharedArray,
};
use crate::model::{self, Tables};

/// Peers that pools with a filter remember, for all of them together.
const PEERS: u32 = 1 << 17;

/// Words of an account, see `SnatAccount`.
type Account = [u64; 8];
const USED: usize = 0;
const QUOTA: usize = 1;
const EXHAUSTED: usize = 2;
const OVER_QUOTA: usize = 3;

/// Entries of the maps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) addresses: u32,
    pub(super) ports: u32,
    pub(super) accounts: u32,
    pub(super) peers: u32,
}

impl Sizes {
    /// Twice what is needed, so that a topology can grow without a new load; next to
    /// nothing where there is no pool.
    pub(super) fn of(tables: &Tables) -> Self {
        let snat = &tables.snat;
        if snat.is_empty() {
            return Self {
                addresses: 1,
                ports: 1,
                accounts: 1,
                peers: 1,
            };
        }
        let addresses = snat.addresses.len() * 2;
        let shift = tables.config.snat[SnatSetting::SHARE_SHIFT];
        Self {
            addresses: addresses as u32,
            ports: model::Snat::buckets(shift, addresses - 1),
            accounts: (snat.quotas.len() * 2) as u32,
            peers: if has_filter(tables) { PEERS } else { 1 },
        }
    }
}

/// Whether any pool asks who was sent to.
fn has_filter(tables: &Tables) -> bool {
    let filters = |shared: &SnatAddress| shared.flags & SnatAddress::FILTERS != 0;
    tables.snat.addresses.iter().any(filters)
}

/// The loaded maps.
pub(super) struct Snat {
    addresses: SharedArray<SnatAddress>,
    ports: SharedArray<Bucket>,
    accounts: SharedArray<Account>,
    shares: SharedArray<u64>,
    peers: u32,
    ticks: Ticks,
    stamp: Stamp,
    /// Ports of an earlier load that were too few; mappings are carried over.
    earlier: Option<SharedArray<Bucket>>,
    usage: Usage,
    high: bool,
}

impl Snat {
    /// Takes the maps of a loaded object.
    pub(super) fn new(
        maps: &mut Maps<'_>,
        sizes: &Sizes,
        (inheritance, lasting): (&mut Inheritance, &Lasting),
        stamp: Stamp,
        ticks: Ticks,
    ) -> Result<Self> {
        let earlier = match inheritance.outgrown(map::SNAT_PORTS) {
            Some(data) => {
                let entries = data.info()?.max_entries();
                Some(array(&data, map::SNAT_PORTS, entries)?)
            }
            None => None,
        };
        let [ports, accounts] = [map::SNAT_PORTS, map::SNAT_ACCOUNTS].map(|name| {
            let data = lasting.array(name)?;
            anyhow::Ok((data, inheritance.size(name)))
        });
        let ((ports, port_count), (accounts, account_count)) = (ports?, accounts?);
        let snat = Self {
            addresses: shared(maps, map::SNAT_ADDRESSES, sizes.addresses)?,
            shares: shared(maps, map::SNAT_SHARES, SNAT_MAX_SHARES)?,
            ports: array(ports, map::SNAT_PORTS, port_count)?,
            accounts: array(accounts, map::SNAT_ACCOUNTS, account_count)?,
            peers: inheritance.size(map::SNAT_PEERS),
            ticks,
            stamp,
            earlier,
            usage: Usage::default(),
            high: false,
        };
        stamp.write(&snat.accounts);
        Ok(snat)
    }

    pub(super) fn set_address(&self, index: u32, value: &SnatAddress) {
        self.addresses.set(index as usize, &self.in_ticks(value));
    }

    pub(super) fn set_quota(&self, index: u32, quota: u64) {
        let word = self.accounts.word(index as usize, QUOTA);
        word.store(quota, Ordering::Release);
    }

    pub(super) fn set_share(&self, share: u32, tunnel: u64) {
        self.shares.set(share as usize, &tunnel);
    }

    /// See [`Datapath::lapse`](super::Datapath::lapse).
    pub(super) fn lapse(&self, seconds: u32) {
        let ticks = self.ticks.of_seconds(seconds);
        for bucket in 0..self.ports.len() {
            for slot in SNAT_SLOTS..2 * SNAT_SLOTS {
                let word = self.ports.word(bucket, slot);
                let state = SnatState(word.load(Ordering::Acquire));
                if state.phase() != SnatState::FREE {
                    let tick = state.tick().wrapping_sub(ticks);
                    let older = SnatState::new(state.phase(), tick, state.account());
                    word.store(older.0, Ordering::Release);
                }
            }
        }
    }

    /// Whether these tables have room.
    pub(super) fn fits(&self, tables: &Tables) -> bool {
        let snat = &tables.snat;
        let shift = tables.config.snat[SnatSetting::SHARE_SHIFT];
        let addresses = snat.addresses.len().saturating_sub(1);
        snat.addresses.len() <= self.addresses.len()
            && model::Snat::buckets(shift, addresses) as usize <= self.ports.len()
            && snat.quotas.len() <= self.accounts.len()
            && (!has_filter(tables) || self.peers >= PEERS)
    }

    /// Compares what the agent wrote with what it should have, corrects it, and names
    /// maps that differed, with the number of entries.
    pub(super) fn verify(&self, tables: &Tables) -> [(&'static str, usize); 3] {
        let snat = &tables.snat;
        let addresses: Vec<_> = snat.addresses.iter().map(|a| self.in_ticks(a)).collect();
        let mut wrong_quotas = 0;
        for (index, &quota) in (0..).zip(&snat.quotas) {
            let held = self.accounts.word(index as usize, QUOTA);
            if held.load(Ordering::Acquire) != quota {
                self.set_quota(index, quota);
                wrong_quotas += 1;
            }
        }
        [
            (
                map::SNAT_ADDRESSES,
                super::verify::array(&self.addresses, &addresses),
            ),
            (
                map::SNAT_SHARES,
                super::verify::array(&self.shares, &snat.shares),
            ),
            (map::SNAT_ACCOUNTS, wrong_quotas),
        ]
    }

    /// The model speaks of seconds, the program of ticks.
    fn in_ticks(&self, value: &SnatAddress) -> SnatAddress {
        let ticks = |seconds| self.ticks.of_seconds(seconds);
        SnatAddress {
            udp: ticks(value.udp),
            echo: ticks(value.echo),
            established: ticks(value.established),
            transitory: ticks(value.transitory),
            hold: ticks(value.hold),
            ..*value
        }
    }
}

fn array<T>(data: &MapData, name: &str, entries: u32) -> Result<SharedArray<T>>
where
    T: zerocopy::FromBytes + zerocopy::IntoBytes + zerocopy::Immutable,
{
    SharedArray::new(data.fd(), entries).with_context(|| format!("cannot map {name} into memory"))
}
