//! What the maps should hold: a pure function of the topology, the node, what is
//! known of its surroundings, and the [`Course`]: who has which index, and which
//! flows are on their way from one backend to another.
//!
//! A virtual IP becomes map entries in [`services`]; next hops do in [`paths`].

mod addresses;
mod allocation;
mod course;
mod extents;
mod guard;
mod identity;
mod inside;
mod paths;
mod rings;
mod services;
mod snat;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr},
};

use gateway_common::{
    ALL_UPLINK_SLOTS, Address, Backend, Config, ErrorLimit, Instance, Interface, NextHop, Range,
    SourceNat, Tunnel, Underlay,
};

use crate::{
    config::{Gateway, Protocol, Topology},
    reachability::Reachability,
};

pub use allocation::{Allocation, Indices, Seconds};
pub use course::{BackendName, Condition, Course, Drain, member_name};
pub use guard::{GuardTables, Rules};
pub use identity::{AccountId, BackendId, GuardedId, ServiceId, VmId};
pub use paths::has_jumbo;
pub use rings::{Clock, Rings};
pub use snat::{Account, Snat};

/// An exact-match table: packed keys and values.
pub type Entries = BTreeMap<u64, u64>;

/// The table of IPv6 addresses: scope and address, and what is known of it.
pub type WideEntries = BTreeMap<(u32, Address), u64>;

/// Everything that packets can see. Index 0 of every list is unused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// Seed, VTEPs, limits; masks and jiffies are the loader's.
    pub config: Config,
    /// `ENDPOINTS`.
    pub endpoints: Entries,
    /// `INSTANCE_KEYS`.
    pub instance_keys: Entries,
    /// `REVERSE`.
    pub reverse: Entries,
    /// `ADDRESSES`: IPv6 addresses by scope.
    pub addresses: WideEntries,
    /// `PUBLIC_FILTER`.
    pub filter: Vec<u64>,
    /// `INSIDE_RANGES`: length of the prefix, scope included, and the range.
    pub ranges: BTreeSet<(u32, Range)>,
    /// VNIs by the VPC's index, which is its counter's in `ROUTED` too; 0 is none.
    pub networks: Vec<u32>,
    /// `RING`.
    pub ring: Vec<u64>,
    /// Epochs in `TRACKS`, by slot of `RING`; 0 where a slot is settled.
    pub epochs: Vec<u32>,
    /// `BACKENDS`; a backend's index is its counter's too.
    pub backends: Vec<Backend>,
    /// `TUNNELS`.
    pub tunnels: Vec<Tunnel>,
    /// `INSTANCES`.
    pub instances: Vec<Instance>,
    /// `SOURCE_NATS`.
    pub source_nats: Vec<SourceNat>,
    /// `UPLINKS`.
    pub uplinks: [NextHop; ALL_UPLINK_SLOTS as usize],
    /// `INTERFACES`, public ones.
    pub interfaces: Vec<Interface>,
    /// `PORTS`: kernel's interface indices; 0 is none.
    pub ports: Vec<u32>,
    /// Entries of `MOVED`.
    pub flows: u32,
    /// Everything of the guard.
    pub guard: GuardTables,
    /// What each backend index stands for, for people.
    pub labels: Vec<Label>,
    /// Slots of each load balancer's ring that are tracked, for people.
    pub tracked: Vec<usize>,
    /// Egress NAT.
    pub snat: Snat,
}

impl Tables {
    /// IP version of the underlay.
    pub fn underlay(&self) -> Underlay {
        match self.config.anycast_vtep {
            [_, 0, 0, 0] => Underlay::V4,
            _ => Underlay::V6,
        }
    }
}

/// What a backend index and its counter stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Label {
    /// Index 0.
    #[default]
    None,
    /// A backend of a load-balanced service.
    Backend {
        /// Index into [`Topology::load_balancers`].
        load_balancer: usize,
        /// Index into its backends.
        backend: usize,
        /// Slots of the ring that are its own.
        slots: u32,
        /// Slots of the whole ring.
        ring: u32,
        /// What it does.
        condition: Condition,
    },
    /// A floating IP: index into [`Topology::floating_ips`].
    Floating(usize),
    /// An address that instances share: index into `SNAT_ADDRESSES`.
    Snat(u32),
}

/// Computes the tables of a gateway that starts with this topology.
pub fn build(topology: &Topology, gateway: &Gateway, reach: &Reachability) -> Tables {
    let (course, served) = Course::fresh(topology);
    tables(&served, gateway, reach, &course)
}

/// Computes the tables of one gateway from what is served, see [`Course::follow`].
pub fn tables(
    served: &Topology,
    gateway: &Gateway,
    reach: &Reachability,
    course: &Course,
) -> Tables {
    let (ring, epochs) = course.rings.content();
    let Allocation {
        backends,
        vms,
        tunnels,
        networks,
        guards,
        public: _,
        ..
    } = &course.allocation;
    let mut tables = Tables {
        config: Config {
            seed: served.seed,
            anycast_vtep: address(served.anycast_vtep),
            own_vtep: address(gateway.vtep),
            mss: served.tcp_mss,
            only_port: paths::only_port(gateway),
            errors: error_limit(served.icmp_errors_per_second),
            tagged: (!gateway.public_vlans.is_empty()).into(),
            jumbo: paths::has_jumbo(reach).into(),
            ..Config::default()
        },
        ring,
        epochs,
        backends: empty(backends.end()),
        labels: empty(backends.end()),
        source_nats: empty(backends.end()),
        tunnels: empty(tunnels.end()),
        instances: empty(vms.end()),
        networks: empty(networks.end()),
        ports: vec![0],
        flows: served.drain.flows,
        tracked: (served.load_balancers.iter())
            .map(|service| course.rings.tracked(&ServiceId::from(service)))
            .collect(),
        ..Tables::default()
    };
    paths::add(&mut tables, served, gateway, reach, tunnels);
    services::add_instances(&mut tables, served, course);
    inside::add(&mut tables, served, course);
    services::add_services(&mut tables, served, course);
    services::add_floating_ips(&mut tables, served, course);
    snat::add(&mut tables, served, gateway, course);
    tables.filter = inside::filter(&tables);
    guard::add(&mut tables, served, gateway, reach, guards);
    tables
}

/// Records that stand for nothing.
fn empty<T: Clone + Default>(end: u32) -> Vec<T> {
    vec![T::default(); end as usize]
}

/// A token bucket for ICMP errors that holds a twentieth of a second's, as if a second
/// had one jiffy; the loader knows better.
fn error_limit(per_second: u32) -> ErrorLimit {
    ErrorLimit {
        rate: per_second,
        cost: 1,
        most: (per_second / 20).max(1),
        reserved: 0,
    }
}

/// An address as tables hold it.
pub fn address(ip: IpAddr) -> Address {
    match ip {
        IpAddr::V4(v4) => [word(v4), 0, 0, 0],
        IpAddr::V6(v6) => {
            let octets = v6.octets();
            std::array::from_fn(|i| {
                u32::from_ne_bytes(std::array::from_fn(|byte| octets[i * 4 + byte]))
            })
        }
    }
}

/// An IPv4 address as it lies in a packet, as a native word.
pub fn word(ip: Ipv4Addr) -> u32 {
    u32::from_ne_bytes(ip.octets())
}

/// Name of a service as people write it: `tcp/443`.
pub fn listen(protocol: Protocol, port: u16) -> String {
    format!("{protocol}/{port}")
}

#[cfg(test)]
mod tests;
