//! What egress NAT uses.

use std::net::Ipv4Addr;

use gateway_common::SnatClass;
use serde::{Deserialize, Serialize};

use super::{Moment, Traffic};
use crate::{
    datapath::{AddressUse, Usage},
    model::Account,
};

/// Part of an address's ports in use from which on a warning is due.
const HIGH: f64 = 0.8;

/// An SNAT pool, on this gateway.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnatPool {
    /// Name.
    pub name: String,
    /// In the order of the topology.
    pub addresses: Vec<SnatAddress>,
    /// The VPCs that use it, in the order of the topology.
    pub tenants: Vec<SnatTenant>,
}

/// An address of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SnatAddress {
    /// Public address.
    pub ip: Ipv4Addr,
    /// What it carried.
    pub traffic: Traffic,
    /// By protocol.
    pub ports: Vec<SnatPorts>,
}

/// Ports (or echo identifiers) of an address that this gateway hands out, when they were
/// last looked through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatPorts {
    /// `tcp`, `udp` or `echo`.
    pub protocol: String,
    /// With a live mapping.
    pub used: u64,
    /// Expired; others may have them after a while.
    pub resting: u64,
    /// Free at once.
    pub free: u64,
}

/// What a VPC uses of a pool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnatTenant {
    /// VPC.
    pub vpc: String,
    /// Its ports, those that rest included.
    pub used: u64,
    /// Most that it may have.
    pub quota: Option<u32>,
    /// Packets dropped because no port was left for them.
    pub exhausted: u64,
    /// Packets dropped because of the quota.
    pub over_quota: u64,
}

impl SnatPorts {
    /// Whether soon there will be none left.
    pub fn is_high(&self) -> bool {
        let all = self.used + self.resting + self.free;
        all > 0 && (self.used + self.resting) as f64 >= HIGH * all as f64
    }
}

/// Every pool of the topology.
pub(super) fn pools(moment: &Moment<'_>, usage: &Usage) -> Vec<SnatPool> {
    let topology = moment.topology;
    let pool = |(number, pool): (usize, &crate::config::SnatPool)| SnatPool {
        name: pool.name.clone(),
        addresses: (pool.ips.iter())
            .map(|&ip| address(moment, usage, (number, ip)))
            .collect(),
        tenants: (pool.vpcs.iter())
            .map(|&vpc| SnatTenant {
                quota: pool.quota,
                ..tenant(moment, usage, Account { pool: number, vpc })
            })
            .collect(),
    };
    topology.snat.pools.iter().enumerate().map(pool).collect()
}

fn address(moment: &Moment<'_>, usage: &Usage, owner: (usize, Ipv4Addr)) -> SnatAddress {
    let mut owners = moment.tables.snat.owners.iter();
    let index = owners.position(|known| *known == Some(owner));
    let counter = index.and_then(|index| moment.tables.snat.addresses.get(index));
    let traffic = counter.and_then(|address| moment.counters.get(address.counter as usize));
    let found = index.and_then(|index| usage.addresses.get(index)).copied();
    let ports = SnatClass::ALL.map(|class| {
        let found = found.unwrap_or_default();
        let AddressUse {
            used,
            resting,
            ports,
        } = found[class as usize];
        SnatPorts {
            protocol: class.name().into(),
            used,
            resting,
            free: ports.saturating_sub(used + resting),
        }
    });
    SnatAddress {
        ip: owner.1,
        traffic: traffic.copied().unwrap_or_default(),
        ports: ports.into(),
    }
}

fn tenant(moment: &Moment<'_>, usage: &Usage, account: Account) -> SnatTenant {
    let mut accounts = moment.tables.snat.accounts.iter();
    let index = accounts.position(|known| *known == Some(account));
    let found = index.and_then(|index| usage.accounts.get(index));
    let found = found.copied().unwrap_or_default();
    SnatTenant {
        vpc: moment.topology.vpcs[account.vpc].name.clone(),
        used: found.used,
        quota: None,
        exhausted: found.exhausted,
        over_quota: found.over_quota,
    }
}
