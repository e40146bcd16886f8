//! What things are, wherever the file lists them: the names that indices belong to.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::config::{self, Guarded, InstanceId, LoadBalancer, Protocol, SnatPool, Topology};

/// An instance, or the virtual router of its VPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VmId {
    /// VXLAN network identifier.
    pub vni: u32,
    /// Private address; none for the virtual router, which has several.
    pub address: Option<IpAddr>,
}

/// A load-balanced service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceId {
    /// Public address.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Public port.
    pub port: u16,
}

/// A translation, there and back. What a record of `BACKENDS` rewrites follows from
/// this alone, so a record that packets use never changes its addresses, ports or
/// checksum deltas; MACs and tunnel may change in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum BackendId {
    /// A backend of a service.
    Served {
        /// The service.
        service: ServiceId,
        /// The instance.
        vm: VmId,
        /// Its port.
        port: u16,
    },
    /// A floating IP.
    Floating {
        /// Public address.
        public: IpAddr,
        /// The instance.
        vm: VmId,
    },
    /// An address that instances share: only its counter is used.
    Shared {
        /// Public address.
        public: Ipv4Addr,
    },
}

/// What one VPC uses of one SNAT pool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct AccountId {
    /// Name of the pool.
    pub pool: String,
    /// VXLAN network identifier.
    pub vni: u32,
}

impl AccountId {
    /// What a VPC uses of a pool.
    pub fn of(topology: &Topology, pool: &SnatPool, vpc: usize) -> Self {
        Self {
            pool: pool.name.clone(),
            vni: topology.vpcs[vpc].vni,
        }
    }
}

/// What can have a guard of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum GuardedId {
    /// A load-balanced service.
    Service(ServiceId),
    /// A floating IP.
    Floating(IpAddr),
}

impl GuardedId {
    /// The name of what a topology lists somewhere.
    pub fn of(topology: &Topology, what: Guarded) -> Self {
        match what {
            Guarded::LoadBalancer(index) => {
                Self::Service(ServiceId::from(&topology.load_balancers[index]))
            }
            Guarded::FloatingIp(index) => Self::Floating(topology.floating_ips[index].ip),
        }
    }
}

impl VmId {
    /// An instance, by one of its addresses: what is known of it is of one family.
    pub const fn at(vni: u32, address: IpAddr) -> Self {
        Self {
            vni,
            address: Some(address),
        }
    }

    /// An instance as it stands behind a public address.
    fn behind(topology: &Topology, id: InstanceId, public: IpAddr) -> Self {
        Self::at(topology.vpcs[id.vpc].vni, topology.behind(public, id))
    }

    /// A VPC's virtual router.
    pub const fn router(vni: u32) -> Self {
        Self { vni, address: None }
    }
}

impl From<&LoadBalancer> for ServiceId {
    fn from(service: &LoadBalancer) -> Self {
        Self {
            vip: service.vip,
            protocol: service.protocol,
            port: service.port,
        }
    }
}

impl BackendId {
    /// A backend of a service.
    pub fn served(topology: &Topology, service: ServiceId, backend: &config::Backend) -> Self {
        Self::Served {
            service,
            vm: VmId::behind(topology, backend.instance, service.vip),
            port: backend.port,
        }
    }

    /// A floating IP.
    pub fn floating(topology: &Topology, floating: &config::FloatingIp) -> Self {
        Self::Floating {
            public: floating.ip,
            vm: VmId::behind(topology, floating.instance, floating.ip),
        }
    }

    /// The private address of the instance behind it.
    pub(super) fn inside(&self) -> IpAddr {
        (self.vm().address).expect("no virtual router stands behind a public address")
    }

    /// The instance behind it: an address that instances share has none.
    pub const fn vm(&self) -> VmId {
        match self {
            Self::Served { vm, .. } | Self::Floating { vm, .. } => *vm,
            Self::Shared { .. } => panic!("many instances are behind a shared address"),
        }
    }
}
