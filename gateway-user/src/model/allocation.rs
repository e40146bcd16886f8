//! Which index each thing has. Indices are kept over reloads and over restarts of the
//! agent, since packets in flight and remembered flows mention them; one that became
//! free rests before another thing gets it.
//!
//! Nothing here asks for the time: seconds come as an argument, from a clock that
//! goes on while the machine sleeps and starts with the machine.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{AccountId, BackendId, GuardedId, ServiceId, VmId};
use crate::config::Topology;

/// Seconds.
pub type Seconds = u64;

/// How long a free index rests. Remembered flows of a load balancer are told apart by
/// epochs and dead backends, but state that others keep (SNAT) may mention an index
/// for as long as an idle TCP connection is kept: 2 h 4 min (RFC 5382, REQ-5).
const REST: Seconds = 3 * 3600;

/// Indices of one table, from 1 on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(bound = "K: Ord + Serialize + DeserializeOwned")]
pub struct Indices<K> {
    /// A list, since JSON has no maps with keys of this kind.
    #[serde(with = "pairs")]
    held: BTreeMap<K, u32>,
    /// Freed ones and since when, in that order.
    resting: VecDeque<(Seconds, u32)>,
    /// The first that was never used.
    next: u32,
}

impl<K> Default for Indices<K> {
    fn default() -> Self {
        Self {
            held: BTreeMap::new(),
            resting: VecDeque::new(),
            next: 1,
        }
    }
}

impl<K: Ord + Clone> Indices<K> {
    /// The index of a thing that has one.
    pub fn get(&self, key: &K) -> Option<u32> {
        self.held.get(key).copied()
    }

    /// Everything that has an index.
    pub fn held(&self) -> impl Iterator<Item = (&K, u32)> {
        self.held.iter().map(|(key, &index)| (key, index))
    }

    /// One more than the largest index that was ever used.
    pub fn end(&self) -> u32 {
        self.next
    }

    /// Gives an index to everything in `wanted`, the one that it has where it has one,
    /// and frees all others.
    pub fn hold(&mut self, wanted: impl IntoIterator<Item = K>, now: Seconds) {
        let wanted: Vec<K> = wanted.into_iter().collect();
        let known: BTreeSet<K> = wanted.iter().cloned().collect();
        let (resting, held) = (&mut self.resting, &mut self.held);
        held.retain(|key, index| {
            let keep = known.contains(key);
            if !keep {
                resting.push_back((now, *index));
            }
            keep
        });
        for key in wanted {
            if !self.held.contains_key(&key) {
                let index = self.take(now);
                self.held.insert(key, index);
            }
        }
    }

    fn take(&mut self, now: Seconds) -> u32 {
        match self.resting.front() {
            // A clock that went backwards (another machine's file) frees nothing.
            Some(&(since, index)) if now.saturating_sub(since) >= REST => {
                self.resting.pop_front();
                index
            }
            _ => {
                self.next += 1;
                self.next - 1
            }
        }
    }

    /// Whether indices are as this code would have given them: each in use once.
    fn is_sound(&self) -> bool {
        let resting = self.resting.iter().map(|&(_, index)| index);
        let mut seen = BTreeSet::new();
        self.held
            .values()
            .copied()
            .chain(resting)
            .all(|index| (1..self.next).contains(&index) && seen.insert(index))
    }
}

/// Indices of all tables whose records are mentioned elsewhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// `BACKENDS`, `SOURCE_NATS` and `COUNTERS`: the record that undoes a backend's
    /// translation has the backend's index.
    pub backends: Indices<BackendId>,
    /// `INSTANCES`.
    pub vms: Indices<VmId>,
    /// `TUNNELS`, by tunnel endpoint.
    pub tunnels: Indices<IpAddr>,
    /// VPCs, by VNI: see `Instance::network`.
    pub networks: Indices<u32>,
    /// `GUARDS` and `GUARD_STATES`.
    #[serde(default)]
    pub guards: Indices<GuardedId>,
    /// Public IPv6 addresses: see `EndpointKey::v6`.
    #[serde(default)]
    pub public: Indices<Ipv6Addr>,
    /// `SNAT_ADDRESSES`: places in `SNAT_PORTS` follow from it.
    #[serde(default)]
    pub shared: Indices<Ipv4Addr>,
    /// `SNAT_ACCOUNTS`.
    #[serde(default)]
    pub accounts: Indices<AccountId>,
}

impl Allocation {
    /// Gives an index to everything in the topology and frees all others.
    pub fn hold(&mut self, topology: &Topology, now: Seconds) {
        let served = topology.load_balancers.iter().flat_map(|service| {
            let id = ServiceId::from(service);
            let backends = service.backends.iter();
            backends.map(move |backend| BackendId::served(topology, id, backend))
        });
        let floating = topology.floating_ips.iter();
        let floating = floating.map(|floating| BackendId::floating(topology, floating));
        let pools = &topology.snat.pools;
        let shared = || pools.iter().flat_map(|pool| pool.ips.iter().copied());
        let counted = shared().map(|public| BackendId::Shared { public });
        self.backends
            .hold(served.chain(floating).chain(counted), now);
        self.shared.hold(shared(), now);
        let accounts = pools.iter().flat_map(|pool| {
            let vpcs = pool.vpcs.iter();
            vpcs.map(|&vpc| AccountId::of(topology, pool, vpc))
        });
        self.accounts.hold(accounts, now);
        self.networks
            .hold(topology.vpcs.iter().map(|vpc| vpc.vni), now);
        let routers = topology.vpcs.iter().map(|vpc| VmId::router(vpc.vni));
        let vms = (topology.instance_ips()).map(|(id, ip)| VmId::at(topology.vpcs[id.vpc].vni, ip));
        self.vms.hold(routers.chain(vms), now);
        let hosts = topology.hosts.iter().map(|host| host.vtep);
        let gateways = topology.gateways.iter().map(|gateway| gateway.vtep);
        self.tunnels.hold(hosts.chain(gateways), now);
        let guarded = topology.guard.services.keys();
        let guarded = guarded.map(|&what| GuardedId::of(topology, what));
        self.guards.hold(guarded, now);
        let public = crate::netlink::public_ips(topology).into_iter();
        let public = public.filter_map(|ip| match ip {
            IpAddr::V6(v6) => Some(v6),
            IpAddr::V4(_) => None,
        });
        self.public.hold(public, now);
    }

    /// Whether every index is in use once: a file may hold anything.
    pub fn is_sound(&self) -> bool {
        self.backends.is_sound()
            && self.vms.is_sound()
            && self.tunnels.is_sound()
            && self.networks.is_sound()
            && self.guards.is_sound()
            && self.public.is_sound()
            && self.shared.is_sound()
            && self.accounts.is_sound()
    }
}

/// A map as a list of pairs.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(super) fn serialize<K: Serialize, S: Serializer>(
        map: &BTreeMap<K, u32>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, K: Ord + Deserialize<'de>, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<K, u32>, D::Error> {
        let pairs = Vec::<(K, u32)>::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_free_index_rests_before_it_is_used_again() {
        let mut indices = Indices::default();
        indices.hold([10, 20], 0);
        assert_eq!((indices.get(&10), indices.get(&20)), (Some(1), Some(2)));
        indices.hold([20, 30], 100);
        assert_eq!((indices.get(&10), indices.get(&30)), (None, Some(3)));
        indices.hold([20, 30, 40], 99 + REST);
        assert_eq!(indices.get(&40), Some(4), "1 still rests");
        indices.hold([20, 30, 40, 50], 100 + REST);
        assert_eq!(indices.get(&50), Some(1), "it has rested");
    }

    proptest! {
        /// Whatever comes and goes: what stays keeps its index, no two things share
        /// one, and none is used again too early.
        #[test]
        fn indices_are_kept(steps in prop::collection::vec((prop::collection::btree_set(0u8..20, 0..12), 0u64..REST), 1..30)) {
            let mut indices = Indices::default();
            let mut freed = BTreeMap::new();
            let mut now = 0;
            for (wanted, pause) in steps {
                now += pause;
                let before: BTreeMap<u8, u32> = indices.held().map(|(&key, index)| (key, index)).collect();
                indices.hold(wanted.iter().copied(), now);
                let after: BTreeMap<u8, u32> = indices.held().map(|(&key, index)| (key, index)).collect();
                prop_assert!(after.keys().eq(wanted.iter()));
                prop_assert!(indices.is_sound());
                for (key, index) in &before {
                    match after.get(key) {
                        Some(kept) => prop_assert_eq!(kept, index),
                        None => drop(freed.insert(*index, now)),
                    }
                }
                for (key, index) in &after {
                    if !before.contains_key(key) && let Some(since) = freed.remove(index) {
                        prop_assert!(now - since >= REST);
                    }
                }
            }
        }

        #[test]
        fn it_survives_a_file(wanted in prop::collection::btree_set(0u32..99, 0..9)) {
            let mut allocation = Allocation::default();
            let vms = || wanted.iter().map(|&vni| VmId::router(vni));
            allocation.vms.hold(vms(), 7);
            allocation.vms.hold([], 9);
            allocation.vms.hold(vms(), 9);
            let text = serde_json::to_string(&allocation).unwrap();
            prop_assert_eq!(serde_json::from_str::<Allocation>(&text).unwrap(), allocation);
        }
    }

    #[test]
    fn an_index_used_twice_is_found() {
        let file = r#"{ "held": [[1, 1], [2, 1]], "resting": [], "next": 2 }"#;
        let indices: Indices<u32> = serde_json::from_str(file).unwrap();
        assert!(!indices.is_sound());
    }
}
