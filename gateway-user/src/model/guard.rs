//! The guard as map entries.

use std::{collections::BTreeMap, net::IpAddr};

use gateway_common::{
    Endpoint, EndpointKey, Guard, GuardBits, HINTS, Limit, Listed, PrefixKey, WideSlot,
};
use gateway_ebpf::meter::POINT;
use ipnet::IpNet;

use super::{Entries, GuardedId, Indices, Tables, address, word};
use crate::{
    config::{self, Bogons, Challenge, Gateway, Guarded, Lists, Rate, Rates, Topology},
    reachability::Reachability,
};

/// For how many seconds a challenge stays on after the last SYN that was too many.
const HOLD: u64 = 10;

/// Sources that no machine has when it sends to us over the Internet: "this network",
/// loopback, link-local, multicast, reserved (RFC 6890, section 2.2).
const MARTIANS: &[&str] = &[
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "::ffff:0:0/96",
    "fe80::/10",
    "ff00::/8",
];

/// Ranges that are not routed on the Internet: private, shared, for documentation and
/// benchmarks (RFC 6890, section 2.2, with RFC 9637 and RFC 9602).
const PRIVATE: &[&str] = &[
    "10.0.0.0/8",
    "100.64.0.0/10",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "64:ff9b:1::/48",
    "100::/64",
    "2001:2::/48",
    "2001:db8::/32",
    "3fff::/20",
    "5f00::/16",
    "fc00::/7",
];

/// Everything that packets can see of the guard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GuardTables {
    /// `PREFIXES`: see [`Listed`] for the values.
    pub prefixes: BTreeMap<PrefixKey, u32>,
    /// `HINTS`; none while no prefix is listed.
    pub hints: Vec<u64>,
    /// `GUARDED`: endpoint to index.
    pub guarded: Entries,
    /// `GUARDS` before the kernel's clock is known; index 0 is each source's.
    pub rules: Vec<Rules>,
    /// What each index stands for; none at 0.
    pub labels: Vec<Option<Guarded>>,
}

impl GuardTables {
    /// Whether any service challenges.
    pub fn challenges(&self) -> bool {
        self.rules.iter().any(|rules| rules.challenge.is_some())
    }
}

/// A guard in units of people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Limits.
    pub rates: Rates,
    /// When unknown sources are challenged.
    pub challenge: Option<Challenge>,
    /// Seconds that a source is known for.
    pub verified_for: u64,
}

impl Rules {
    /// The guard in the units of a kernel with so many jiffies in a second.
    pub fn guard(&self, hz: u64) -> Guard {
        let limit = |rate: Option<Rate>| rate.map_or(Limit::default(), |rate| limit(rate, hz));
        let mut guard = Guard {
            packets: limit(self.rates.packets),
            flows: limit(self.rates.new_flows),
            ..Guard::default()
        };
        if self.challenge.is_some() {
            (guard.hold, guard.verified) = (HOLD * hz, self.verified_for * hz);
        }
        match self.challenge {
            None => {}
            Some(Challenge::Always) => guard.flags = Guard::FLAG_ALWAYS,
            Some(Challenge::Above { above, below }) => {
                guard.flags = Guard::FLAG_CHALLENGE;
                (guard.above, guard.below) = (limit(Some(above)), limit(Some(below)));
            }
        }
        guard
    }
}

/// A rate whose packets may all come at once.
fn limit(rate: Rate, hz: u64) -> Limit {
    let period = (hz * u64::from(rate.seconds)) << POINT;
    let cost = (period / u64::from(rate.count)).max(1);
    Limit {
        cost,
        burst: cost * u64::from(rate.count),
    }
}

/// Adds the guard. After all endpoints.
pub(super) fn add(
    tables: &mut Tables,
    topology: &Topology,
    gateway: &Gateway,
    reach: &Reachability,
    indices: &Indices<GuardedId>,
) {
    let guard = &topology.guard;
    add_lists(tables, topology, gateway, reach);
    tables.guard.rules = vec![Rules::default(); indices.end() as usize];
    tables.guard.labels = vec![None; indices.end() as usize];
    tables.guard.rules[0].rates = guard.source;
    for (&what, service) in &guard.services {
        let Some(endpoint) = endpoint(tables, topology, what) else {
            continue;
        };
        let guarded = Endpoint(*endpoint).guarded();
        // Without any backend there is nothing to guard, and nothing to tell it by.
        if Endpoint(*endpoint) == Endpoint::single(0) {
            continue;
        }
        *endpoint = guarded.0;
        let Some(index) = indices.get(&GuardedId::of(topology, what)) else {
            continue;
        };
        let rules = Rules {
            rates: service.rates,
            challenge: service.challenge,
            verified_for: guard.verified_for,
        };
        tables
            .guard
            .guarded
            .insert(guarded.guard_key(), index.into());
        tables.guard.rules[index as usize] = rules;
        tables.guard.labels[index as usize] = Some(what);
    }
    let bits = [
        (GuardBits::LISTS, has_lists(guard, gateway)),
        (GuardBits::MALFORMED, guard.malformed),
        (GuardBits::SOURCE_PACKETS, guard.source.packets.is_some()),
        (GuardBits::SOURCE_FLOWS, guard.source.new_flows.is_some()),
        (GuardBits::SERVICES, !guard.services.is_empty()),
        (GuardBits::BY_INTERFACE, by_interface(guard, gateway)),
    ];
    for (bit, is_on) in bits {
        tables.config.guard |= if is_on { bit } else { 0 };
    }
}

/// The entry of what has a guard.
fn endpoint<'t>(tables: &'t mut Tables, topology: &Topology, what: Guarded) -> Option<&'t mut u64> {
    let (ip, service) = match what {
        Guarded::LoadBalancer(index) => {
            let balancer = &topology.load_balancers[index];
            let port = balancer.port.to_be();
            (balancer.vip, Some((balancer.protocol.number(), port)))
        }
        Guarded::FloatingIp(index) => (topology.floating_ips[index].ip, None),
    };
    let key = match (ip, service) {
        (IpAddr::V4(ip), None) => EndpointKey::address_v4(word(ip)),
        (IpAddr::V4(ip), Some((protocol, port))) => EndpointKey::v4(word(ip), protocol, port),
        (IpAddr::V6(_), service) => {
            let entry = tables.addresses.get_mut(&(WideSlot::PUBLIC, address(ip)))?;
            let Some((protocol, port)) = service else {
                return Some(entry);
            };
            EndpointKey::v6(Endpoint(*entry).number(), protocol, port)
        }
    };
    tables.endpoints.get_mut(&key.0)
}

/// Lists that some public interfaces of a gateway have for themselves.
fn own_lists<'t>(
    guard: &'t config::Guard,
    gateway: &Gateway,
) -> impl Iterator<Item = &'t config::InterfaceLists> {
    let name = gateway.name.clone();
    guard
        .interfaces
        .iter()
        .filter(move |lists| lists.gateway == name)
}

fn by_interface(guard: &config::Guard, gateway: &Gateway) -> bool {
    own_lists(guard, gateway).next().is_some()
}

fn has_lists(guard: &config::Guard, gateway: &Gateway) -> bool {
    guard.bogons != Bogons::None || guard.lists != Lists::default() || by_interface(guard, gateway)
}

/// Adds the lists, each interface's on its own where they differ. What is added later
/// wins where prefixes are equal: a list of the topology over bogons, one for an
/// interface over one for all.
fn add_lists(tables: &mut Tables, topology: &Topology, gateway: &Gateway, reach: &Reachability) {
    let guard = &topology.guard;
    let mut common: BTreeMap<IpNet, u32> = BTreeMap::new();
    let known = |list: &'static [&'static str]| {
        list.iter()
            .map(|text| text.parse::<IpNet>().expect("a range"))
            .map(|net| (net, Listed::BOGON))
    };
    if guard.bogons != Bogons::None {
        common.extend(known(MARTIANS));
        let own = crate::netlink::public_ips(topology).into_iter();
        common.extend(own.map(|ip| (ip.into(), Listed::OWN)));
    }
    if guard.bogons == Bogons::Strict {
        common.extend(known(PRIVATE));
    }
    common.extend(listed(&guard.lists));
    if !by_interface(guard, gateway) {
        return add_scope(tables, 0, &common);
    }
    for name in &gateway.public {
        let Some(interface) = reach.interfaces.get(name) else {
            continue;
        };
        let mut own = common.clone();
        for lists in own_lists(guard, gateway) {
            if lists.interface.as_ref().is_none_or(|only| only == name) {
                own.extend(listed(&lists.lists));
            }
        }
        add_scope(tables, interface.ifindex, &own);
    }
}

fn listed(lists: &Lists) -> impl Iterator<Item = (IpNet, u32)> {
    let allow = lists.allow.iter().map(|net| (*net, Listed::ALLOWED));
    let deny = lists.deny.iter().map(|net| (*net, Listed::DENIED));
    allow.chain(deny)
}

fn add_scope(tables: &mut Tables, interface: u32, prefixes: &BTreeMap<IpNet, u32>) {
    let guard = &mut tables.guard;
    for (net, &verdict) in prefixes {
        guard.hints.resize((HINTS / u64::BITS) as usize, 0);
        let key = PrefixKey {
            length: PrefixKey::SCOPE_BITS + u32::from(net.prefix_len()),
            scope: PrefixKey::scope(interface, matches!(net, IpNet::V6(_))),
            address: address(net.network()),
        };
        guard.prefixes.insert(key, verdict);
        for place in places(net) {
            guard.hints[place / u64::BITS as usize] |= 1 << (place % u64::BITS as usize);
        }
    }
}

/// Bits of the hints that sources of a prefix look at.
fn places(net: &IpNet) -> impl Iterator<Item = usize> {
    let length = u32::from(net.prefix_len());
    // The 16 bits that tell, and how many of them the prefix fixes.
    let (bits, fixed, base) = match net {
        IpNet::V4(net) => ((net.network().to_bits() >> 16) as u16, length, 0),
        IpNet::V6(net) => {
            let bits = (net.network().to_bits() >> 96) as u16;
            (bits, length.saturating_sub(16), 1 << 16)
        }
    };
    // What begins like link-local and multicast addresses is looked up in any case.
    let is_special = |net: &ipnet::Ipv6Net| net.prefix_len() >= 7 && net.addr().octets()[0] >= 0xfe;
    let count = match net {
        IpNet::V6(net) if is_special(net) => 0,
        _ => 1_u32 << 16_u32.saturating_sub(fixed),
    };
    (0..count).map(move |low| base + usize::from((bits | low as u16).to_be()))
}

#[cfg(test)]
mod tests;
