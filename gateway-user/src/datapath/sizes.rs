//! How large the maps are made.

use std::collections::BTreeMap;

use gateway_common::{Bucket, WideBucket, map};

use super::{
    guard, snat,
    table::{self, Layout},
};
use crate::model::Tables;

/// Entries of each map.
pub(super) struct Sizes {
    pub(super) addresses: u32,
    pub(super) endpoints: u32,
    pub(super) instance_keys: u32,
    pub(super) reverse: u32,
    pub(super) guarded: u32,
    pub(super) guard: guard::Sizes,
    pub(super) ring: u32,
    pub(super) backends: u32,
    pub(super) tunnels: u32,
    pub(super) instances: u32,
    pub(super) source_nats: u32,
    pub(super) ranges: u32,
    pub(super) networks: u32,
    pub(super) snat: snat::Sizes,
}

impl Sizes {
    /// Twice what is needed, so that a topology can grow without a new load.
    pub(super) fn of(tables: &Tables) -> Self {
        let list = |len: usize| (len * 2).max(16) as u32;
        fn buckets<B: Layout>(entries: &BTreeMap<B::Key, u64>) -> u32 {
            let mut buckets = table::buckets_for::<B>(entries.len());
            while !table::fits::<B>(entries.keys().copied(), buckets) {
                buckets *= 2;
            }
            buckets
        }
        Self {
            addresses: buckets::<WideBucket>(&tables.addresses),
            endpoints: buckets::<Bucket>(&tables.endpoints),
            instance_keys: buckets::<Bucket>(&tables.instance_keys),
            reverse: buckets::<Bucket>(&tables.reverse),
            guarded: buckets::<Bucket>(&tables.guard.guarded),
            guard: guard::Sizes::of(&tables.guard, tables.config.guard),
            ring: list(tables.ring.len()),
            backends: list(tables.backends.len()),
            tunnels: list(tables.tunnels.len()),
            instances: list(tables.instances.len()),
            source_nats: list(tables.source_nats.len()),
            ranges: list(tables.ranges.len()),
            networks: list(tables.networks.len()),
            snat: snat::Sizes::of(tables),
        }
    }

    pub(super) fn by_name(&self) -> [(&'static str, u32); 15] {
        [
            (map::ADDRESSES, self.addresses),
            (map::ENDPOINTS, self.endpoints),
            (map::INSTANCE_KEYS, self.instance_keys),
            (map::REVERSE, self.reverse),
            (map::GUARDED, self.guarded),
            (map::RING, self.ring),
            (map::TRACKS, self.ring),
            (map::BACKENDS, self.backends),
            (map::TUNNELS, self.tunnels),
            (map::INSTANCES, self.instances),
            (map::SOURCE_NATS, self.source_nats),
            (map::COUNTERS, self.backends),
            (map::INSIDE_RANGES, self.ranges),
            (map::ROUTED, self.networks),
            (map::SNAT_ADDRESSES, self.snat.addresses),
        ]
    }
}
