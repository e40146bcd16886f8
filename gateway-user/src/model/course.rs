//! What the tables depend on beside the topology: who has which index, what an
//! operator drains, and which flows are still on their way from one backend to
//! another. Pure; the agent keeps it in a file and in the pinned maps.
//!
//! Tables are a function of the topology, the gateway, its surroundings and this.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use super::{
    AccountId, Allocation, BackendId, ServiceId, VmId,
    allocation::Seconds,
    rings::{Clock, Rings, Target},
};
use crate::{
    config::{self, InstanceId, LoadBalancer, Protocol, Topology},
    ring::Member,
};

/// A UDP flow that is silent for so long is over (RFC 4787, REQ-5).
const UDP_SILENCE: Seconds = 120;

/// A backend that an operator drains: `VPC/INSTANCE`, or `VPC/INSTANCE:PORT`.
pub type BackendName = String;

/// How an operator drains a backend.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Drain {
    /// Its flows move at once, as if it were dead.
    pub now: bool,
}

/// A backend that takes no new flows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Draining {
    since: Seconds,
    /// Its packets when it was last looked at.
    packets: u64,
    /// Since when these are the same.
    quiet_since: Seconds,
}

/// What a backend does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Condition {
    /// It takes new flows.
    #[default]
    Serving,
    /// It keeps the flows that it has and takes no new ones.
    Draining,
    /// The topology names it no more; it keeps the flows that it has.
    Leaving,
    /// It takes no packets at all.
    Dead,
}

/// See the [module](self).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Course {
    /// Who has which index.
    pub allocation: Allocation,
    /// What an operator drains.
    pub drains: BTreeMap<BackendName, Drain>,
    #[serde(with = "as_list")]
    draining: BTreeMap<BackendId, Draining>,
    /// Which of them the topology names no more.
    leaving: BTreeSet<BackendId>,
    dead: BTreeSet<BackendId>,
    /// Read back from the maps.
    #[serde(skip)]
    pub rings: Rings,
}

impl Course {
    /// The course of a gateway that starts with this topology, and what it serves.
    pub fn fresh(topology: &Topology) -> (Self, Topology) {
        Self::default().follow(topology, Clock::default())
    }

    /// A course that knows of nothing but what an operator drains.
    pub fn draining(drains: BTreeMap<BackendName, Drain>) -> Self {
        Self {
            drains,
            ..Self::default()
        }
    }

    /// Goes on with a topology. Also gives the topology as it is served: drained
    /// backends without weight, and those that are leaving with it.
    #[must_use]
    pub fn follow(mut self, topology: &Topology, clock: Clock) -> (Self, Topology) {
        let mut served = topology.clone();
        self.take_weight(&mut served);
        self.leaving = self.keep_leaving(&mut served, clock.seconds);
        self.note_draining(&served, clock.seconds);
        self.dead = self.find_dead(&served, clock.seconds);
        self.allocation.hold(&served, clock.seconds);

        let targets = served.load_balancers.iter().map(|service| {
            let id = ServiceId::from(service);
            (id, self.target(&served, service))
        });
        let targets: BTreeMap<_, _> = targets.collect();
        let backends = &self.allocation.backends;
        let alive: BTreeSet<u32> = (backends.held())
            .filter(|(id, _)| !self.dead.contains(id))
            .map(|(_, index)| index)
            .collect();
        self.rings
            .lead(targets, |index| !alive.contains(&index), clock);
        (self, served)
    }

    /// Settles slots that are quiet by the marks of the program, and takes note of
    /// what draining backends still carry. True if it is time to [follow](Self::follow).
    pub fn observe(
        &mut self,
        topology: &Topology,
        seen: impl Fn(u32) -> u32,
        packets: impl Fn(u32) -> u64,
        now: Seconds,
    ) -> bool {
        let drain = topology.drain;
        let mut changed = self.rings.settle(seen, drain.idle, now);
        for (id, draining) in &mut self.draining {
            let index = self.allocation.backends.get(id).unwrap_or_default();
            let count = packets(index);
            if count != draining.packets {
                (draining.packets, draining.quiet_since) = (count, now);
            }
            let late = now.saturating_sub(draining.since) >= drain.max;
            changed |= late && !self.dead.contains(id);
            changed |=
                self.leaving.contains(id) && is_empty(draining, id, &self.rings, index, drain, now);
        }
        changed
    }

    /// What a backend does.
    pub fn condition(&self, id: &BackendId) -> Condition {
        match id {
            id if self.dead.contains(id) => Condition::Dead,
            id if self.leaving.contains(id) => Condition::Leaving,
            id if self.draining.contains_key(id) => Condition::Draining,
            _ => Condition::Serving,
        }
    }

    /// Index of a backend of what is served.
    pub(super) fn backend(&self, id: &BackendId) -> u32 {
        (self.allocation.backends.get(id)).expect("every backend that is served has an index")
    }

    /// Index of an instance or router of what is served.
    pub(super) fn vm(&self, id: &VmId) -> u32 {
        (self.allocation.vms.get(id)).expect("every instance that is served has an index")
    }

    /// Index of the tunnel to a host of what is served.
    pub(super) fn tunnel(&self, vtep: IpAddr) -> u32 {
        (self.allocation.tunnels.get(&vtep)).expect("every host has an index")
    }

    /// Number of a public IPv6 address of what is served.
    pub(super) fn public(&self, ip: &Ipv6Addr) -> u32 {
        (self.allocation.public.get(ip)).expect("every public IPv6 address has a number")
    }

    /// Index of an address that instances share.
    pub(super) fn shared(&self, public: Ipv4Addr) -> u32 {
        (self.allocation.shared.get(&public)).expect("every shared address has an index")
    }

    /// Index of what a VPC uses of a pool.
    pub(super) fn account(&self, id: &AccountId) -> u32 {
        (self.allocation.accounts.get(id)).expect("every account has an index")
    }

    /// Index of a VPC of what is served.
    pub(super) fn network(&self, vni: u32) -> u32 {
        (self.allocation.networks.get(&vni)).expect("every VPC has an index")
    }

    /// Takes the weight of backends that an operator drains.
    fn take_weight(&self, topology: &mut Topology) {
        if self.drains.is_empty() {
            return;
        }
        let mut services = std::mem::take(&mut topology.load_balancers);
        for backend in services
            .iter_mut()
            .flat_map(|service| &mut service.backends)
        {
            if self.drained(topology, backend).is_some() {
                backend.weight = 0;
            }
        }
        topology.load_balancers = services;
    }

    fn drained(&self, topology: &Topology, backend: &config::Backend) -> Option<Drain> {
        let name = member_name(topology, backend);
        let (instance, _) = name.rsplit_once(':')?;
        let drains = [instance, &name].map(|name| self.drains.get(name));
        let now = drains.iter().flatten().any(|drain| drain.now);
        drains.iter().flatten().next().map(|_| Drain { now })
    }

    /// Adds backends, without weight, that the topology named before and names no
    /// more, as long as their instance is there and they may still have flows.
    fn keep_leaving(&self, topology: &mut Topology, now: Seconds) -> BTreeSet<BackendId> {
        let named = backends(topology);
        let gone: Vec<_> = (self.allocation.backends.held())
            .filter(|(id, _)| !named.contains(id))
            .collect();
        if gone.is_empty() {
            return BTreeSet::new();
        }
        // The way back belongs to whom the topology gives it.
        let mut ways_back: BTreeSet<_> = named.iter().filter_map(way_back).collect();
        let vms: BTreeMap<VmId, InstanceId> = (topology.instance_ips())
            .map(|(id, ip)| (VmId::at(topology.vpcs[id.vpc].vni, ip), id))
            .collect();
        let mut leaving = BTreeSet::new();
        for (id, index) in gone {
            let BackendId::Served { service, vm, port } = id else {
                continue;
            };
            let drain = topology.drain;
            let over = self.draining.get(id).is_some_and(|draining| {
                now.saturating_sub(draining.since) >= drain.max
                    || is_empty(draining, id, &self.rings, index, drain, now)
            });
            let balancer = (topology.load_balancers.iter_mut())
                .find(|balancer| ServiceId::from(&**balancer) == *service);
            let (Some(balancer), Some(&instance), false) = (balancer, vms.get(vm), over) else {
                continue;
            };
            let is_free = way_back(id).is_some_and(|way| ways_back.insert(way));
            if is_free && is_tracked(balancer) {
                balancer.backends.push(config::Backend {
                    instance,
                    port: *port,
                    weight: 0,
                });
                leaving.insert(*id);
            }
        }
        leaving
    }

    fn note_draining(&mut self, served: &Topology, now: Seconds) {
        let weightless = each_backend(served)
            .filter(|(_, backend)| backend.weight == 0)
            .map(|(id, _)| id);
        let before = std::mem::take(&mut self.draining);
        let new = Draining {
            since: now,
            packets: 0,
            quiet_since: now,
        };
        self.draining = weightless
            .map(|id| (id, before.get(&id).copied().unwrap_or(new)))
            .collect();
    }

    fn find_dead(&self, served: &Topology, now: Seconds) -> BTreeSet<BackendId> {
        let is_dead = |id: &BackendId, backend: &config::Backend| {
            let late = self
                .draining
                .get(id)
                .is_some_and(|draining| now.saturating_sub(draining.since) >= served.drain.max);
            late || self.drained(served, backend).is_some_and(|drain| drain.now)
        };
        each_backend(served)
            .filter(|(id, backend)| is_dead(id, backend))
            .map(|(id, _)| id)
            .collect()
    }

    fn target(&self, topology: &Topology, service: &LoadBalancer) -> Target {
        let id = ServiceId::from(service);
        let members = service.backends.iter().map(|backend| {
            let name = member_name(topology, backend);
            let weight = backend.weight;
            let index = self.backend(&BackendId::served(topology, id, backend));
            (Member { name, weight }, index)
        });
        Target {
            // Leaving backends are no part of the ring: its size must not depend on them.
            members: members
                .zip(&service.backends)
                .filter(|(_, backend)| {
                    !self
                        .leaving
                        .contains(&BackendId::served(topology, id, backend))
                })
                .map(|(member, _)| member)
                .collect(),
            tracked: is_tracked(service),
            forget: (service.protocol == Protocol::Udp).then_some(UDP_SILENCE),
        }
    }
}

/// Whether flows of a service stay where they are when its ring changes.
fn is_tracked(service: &LoadBalancer) -> bool {
    service.protocol == Protocol::Tcp || service.udp_tracking
}

/// Whether a draining backend has no flows that anybody hears of.
fn is_empty(
    draining: &Draining,
    id: &BackendId,
    rings: &Rings,
    index: u32,
    drain: config::Drain,
    now: Seconds,
) -> bool {
    let BackendId::Served { service, .. } = id else {
        return false;
    };
    now.saturating_sub(draining.quiet_since) >= drain.idle && !rings.mentions(service, index)
}

/// The name by which a backend has its place in a ring: `VPC/INSTANCE:PORT`.
pub fn member_name(topology: &Topology, backend: &config::Backend) -> String {
    let vpc = &topology.vpcs[backend.instance.vpc].name;
    let instance = &topology.instance(backend.instance).name;
    format!("{vpc}/{instance}:{}", backend.port)
}

/// Every backend of every service.
fn each_backend(topology: &Topology) -> impl Iterator<Item = (BackendId, &config::Backend)> {
    topology.load_balancers.iter().flat_map(move |service| {
        let id = ServiceId::from(service);
        let backends = service.backends.iter();
        backends.map(move |backend| (BackendId::served(topology, id, backend), backend))
    })
}

fn backends(topology: &Topology) -> BTreeSet<BackendId> {
    let floating = topology.floating_ips.iter();
    let floating = floating.map(|floating| BackendId::floating(topology, floating));
    each_backend(topology)
        .map(|(id, _)| id)
        .chain(floating)
        .collect()
}

/// What an answer is known by: instance, protocol, port.
fn way_back(id: &BackendId) -> Option<(VmId, Protocol, u16)> {
    match id {
        BackendId::Served { service, vm, port } => Some((*vm, service.protocol, *port)),
        BackendId::Floating { .. } | BackendId::Shared { .. } => None,
    }
}

/// A map as a list of pairs, since JSON has no maps with keys of this kind.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{BackendId, Draining};

    pub(super) fn serialize<S: Serializer>(
        map: &BTreeMap<BackendId, Draining>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<BackendId, Draining>, D::Error> {
        let pairs = Vec::deserialize(deserializer)?;
        Ok(pairs.into_iter().collect())
    }
}
