//! Egress NAT as map entries: shared addresses, who has which, what tenants may use,
//! and the way to the gateways that hand out the other shares.

use std::net::Ipv4Addr;

use gateway_common::{
    Address, Endpoint, EndpointKey, Reference, SNAT_FIRST_PORT, SNAT_SLOTS, SnatAddress, SnatClass,
    SnatOwner, SnatSetting, vni_word,
};
use gateway_ebpf::{
    checksum,
    family::{Family, V6},
    hash,
    stages::snat::place,
};
use zerocopy::IntoBytes;

use super::{AccountId, BackendId, Course, Label, Tables, VmId, address, addresses, word};
use crate::config::{Filtering, Gateway, SnatPool, Topology};

/// What the maps of egress NAT should hold. Index 0 of every list is unused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snat {
    /// `SNAT_ADDRESSES`, with timeouts in seconds: ticks are the loader's.
    pub addresses: Vec<SnatAddress>,
    /// Quotas of `SNAT_ACCOUNTS`; 0 is none.
    pub quotas: Vec<u64>,
    /// `SNAT_SHARES`: tunnels.
    pub shares: Vec<u64>,
    /// Whose each account is, for people.
    pub accounts: Vec<Option<Account>>,
    /// Whose each address is, for people: an index into the pools, and the address.
    pub owners: Vec<Option<(usize, Ipv4Addr)>>,
}

/// What one VPC uses of one pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    /// Index into the pools.
    pub pool: usize,
    /// Index into [`Topology::vpcs`].
    pub vpc: usize,
}

impl Snat {
    /// Buckets of `SNAT_PORTS` for so many addresses.
    pub fn buckets(share_shift: u32, addresses: usize) -> u32 {
        (addresses * SnatClass::ALL.len()) as u32 * place::buckets(share_shift)
    }

    /// Whether there is any pool.
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

/// Adds everything about egress NAT.
pub(super) fn add(tables: &mut Tables, topology: &Topology, gateway: &Gateway, course: &Course) {
    let snat = &topology.snat;
    if snat.pools.is_empty() {
        return;
    }
    let allocation = &course.allocation;
    tables.snat = Snat {
        addresses: super::empty(allocation.shared.end()),
        owners: super::empty(allocation.shared.end()),
        quotas: super::empty(allocation.accounts.end()),
        accounts: super::empty(allocation.accounts.end()),
        shares: Vec::new(),
    };
    add_shares(tables, topology, gateway, course);
    for (number, pool) in snat.pools.iter().enumerate() {
        for &ip in &pool.ips {
            let index = add_address(tables, pool, ip, course);
            tables.snat.owners[index as usize] = Some((number, ip));
            let key = EndpointKey::address_v4(word(ip));
            tables.endpoints.insert(key.0, Endpoint::snat(index).0);
        }
        for &vpc in &pool.vpcs {
            let account = course.account(&AccountId::of(topology, pool, vpc));
            tables.snat.quotas[account as usize] = pool.quota.unwrap_or(0).into();
            tables.snat.accounts[account as usize] = Some(Account { pool: number, vpc });
            add_members(tables, topology, course, (pool, vpc, account));
        }
    }
}

/// Gives the instances of a VPC their address of the pool.
fn add_members(
    tables: &mut Tables,
    topology: &Topology,
    course: &Course,
    (pool, vpc, account): (&SnatPool, usize, u32),
) {
    let ips = topology.instance_ips();
    for (_, ip) in ips.filter(|(id, ip)| id.vpc == vpc && ip.is_ipv4()) {
        let subnet = topology.subnet_with(vpc, ip).cidr;
        if !pool.subnets.is_empty() && !pool.subnets.contains(&subnet) {
            continue;
        }
        let inner = address(ip);
        let network = topology.vpcs[vpc].vni;
        let vni = vni_word(network);
        let record = &mut tables.instances[course.vm(&VmId::at(network, ip)) as usize];
        record.snat = course.shared(paired(topology, pool, mix(vni, inner)));
        record.snat_account = account;
        record.snat_tag = (mix(vni, inner) >> 41) as u32 & SnatOwner::TAG;
        record.sum = checksum::sum(inner.as_bytes()).into();
    }
}

/// This gateway's share, and the way to the others.
fn add_shares(tables: &mut Tables, topology: &Topology, gateway: &Gateway, course: &Course) {
    let snat = &topology.snat;
    let vni = vni_word(snat.handover_vni);
    let own = topology
        .gateways
        .iter()
        .position(|other| other.name == gateway.name);
    let share = own.and_then(|own| snat.share_of(own)).unwrap_or(0);
    let shift = u16::BITS - snat.shares.len().ilog2();
    tables.config.snat[SnatSetting::SHARE] = share as u32;
    tables.config.snat[SnatSetting::SHARE_SHIFT] = shift;
    tables.config.snat[SnatSetting::HANDOVER] = vni;
    let tunnel = |owner: &Option<usize>| match *owner {
        Some(owner) if Some(owner) != own => course.tunnel(topology.gateways[owner].vtep).into(),
        _ => 0,
    };
    tables.snat.shares = snat.shares.iter().map(tunnel).collect();
    for (index, peer) in topology.gateways.iter().enumerate() {
        if Some(index) != own {
            let gateway = Reference::new(Reference::GATEWAY, 0);
            addresses::add_inner(tables, vni, peer.vtep, gateway);
        }
    }
}

/// Adds one address of a pool. Gives its index.
fn add_address(tables: &mut Tables, pool: &SnatPool, ip: Ipv4Addr, course: &Course) -> u32 {
    // Its traffic is counted where backends' is; no ring mentions the record.
    let counter = course.backend(&BackendId::Shared { public: ip });
    let index = course.shared(ip);
    tables.labels[counter as usize] = Label::Snat(index);
    let shift = tables.config.snat[SnatSetting::SHARE_SHIFT];
    let first_share = tables.config.snat[SnatSetting::SHARE] == 0;
    let filter = match pool.filtering {
        Filtering::EndpointIndependent => 0,
        Filtering::AddressDependent => SnatAddress::FLAG_FILTER_ADDRESS,
        Filtering::AddressAndPortDependent => SnatAddress::FLAG_FILTER_PORT,
    };
    let refresh = match pool.refresh_inbound {
        true => SnatAddress::FLAG_REFRESH_INBOUND,
        false => 0,
    };
    let ip = address(ip.into());
    tables.snat.addresses[index as usize] = SnatAddress {
        address: ip,
        first: Snat::buckets(shift, index as usize - 1),
        skipped: match first_share {
            true => SNAT_FIRST_PORT / SNAT_SLOTS as u32,
            false => 0,
        },
        udp: pool.timeouts.udp,
        echo: pool.timeouts.icmp,
        established: pool.timeouts.tcp_established,
        transitory: pool.timeouts.tcp_transitory,
        hold: pool.timeouts.hold,
        sum: checksum::sum(ip.as_bytes()).into(),
        counter,
        flags: SnatAddress::FLAG_VALID | filter | refresh,
        reserved: [0; 2],
    };
    index
}

/// Which of a pool's addresses an instance shares, whatever it talks to (RFC 4787,
/// REQ-2: paired). The same on every gateway, and a new address takes only its part
/// of the instances from the others: the highest hash wins.
fn paired(topology: &Topology, pool: &SnatPool, inner: u64) -> Ipv4Addr {
    let score = |&ip: &Ipv4Addr| hash::flow(&topology.seed, inner, mix(0, address(ip.into())));
    (pool.ips.iter().copied())
        .max_by_key(score)
        .expect("a pool has an address")
}

fn mix(scope: u32, address: Address) -> u64 {
    hash::mix(scope.into(), V6::address(&address))
}
