//! What is inside for each VPC: its own ranges and those of its peers, who has which
//! address there, and which public addresses are our own.

use std::net::IpAddr;

use gateway_common::{EndpointKey, FILTER_WORDS, Hull, Range, Reference, WideSlot, vni_word};
use gateway_ebpf::{
    family::{Family, V4, V6},
    stages::hairpin,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Course, Tables, VmId, address, addresses, word};
use crate::config::Topology;

/// Longest IPv6 prefix of a hull.
const LONGEST_V6: u8 = 64;

/// The ranges that are inside for a VPC: its own, and its peers'.
fn ranges(topology: &Topology, vpc: usize) -> impl Iterator<Item = IpNet> {
    let all = [vpc].into_iter().chain(topology.peers_of(vpc));
    all.flat_map(|vpc| topology.vpcs[vpc].cidrs.iter().copied())
}

/// What may be inside for a VPC's instances.
pub(super) struct Hulls {
    v4: Hull,
    v6: Hull,
}

impl Hulls {
    pub(super) fn new(topology: &Topology, vpc: usize) -> Self {
        Self::over(&ranges(topology, vpc).collect::<Vec<_>>())
    }

    fn over(ranges: &[IpNet]) -> Self {
        Self {
            v4: hull_v4(ranges),
            v6: hull_v6(ranges),
        }
    }

    /// For an instance or router with this address.
    pub(super) const fn of(&self, ip: IpAddr) -> Hull {
        match ip {
            IpAddr::V4(_) => self.v4,
            IpAddr::V6(_) => self.v6,
        }
    }
}

fn hull_v4(ranges: &[IpNet]) -> Hull {
    let mut ranges: Vec<Ipv4Net> = ranges
        .iter()
        .filter_map(|range| match range {
            IpNet::V4(range) => Some(*range),
            IpNet::V6(_) => None,
        })
        .collect();
    ranges.sort();
    let mut hull = [!0, 0, !0, 0];
    for (pair, range) in hull.chunks_exact_mut(2).zip(two_covers(&ranges)) {
        pair.copy_from_slice(&[word(range.network()), word(range.netmask())]);
    }
    hull
}

fn hull_v6(ranges: &[IpNet]) -> Hull {
    let ranges: Vec<Ipv6Net> = ranges
        .iter()
        .filter_map(|range| match range {
            IpNet::V4(_) => None,
            IpNet::V6(range) => Some(*range),
        })
        .collect();
    let Some(cover) = cover(&ranges) else {
        return [!0, !0, 0, 0];
    };
    let cover = Ipv6Net::new(cover.addr(), cover.prefix_len().min(LONGEST_V6))
        .expect("a shorter prefix than before")
        .trunc();
    let [a, b, ..] = address(IpAddr::V6(cover.network()));
    let [c, d, ..] = address(IpAddr::V6(cover.netmask()));
    [a, b, c, d]
}

/// At most two ranges that hold all of a sorted list, as small as possible together.
///
/// The best two are covers of a start and the rest of the list: ranges lie side by side
/// or within each other.
fn two_covers(sorted: &[Ipv4Net]) -> Vec<Ipv4Net> {
    let splits = (1..=sorted.len()).map(|middle| {
        let (start, rest) = sorted.split_at(middle);
        [start, rest].into_iter().filter_map(cover).collect()
    });
    let size = |covers: &Vec<Ipv4Net>| -> u64 {
        covers.iter().map(|net| 1 << (32 - net.prefix_len())).sum()
    };
    splits.min_by_key(size).unwrap_or_default()
}

/// A kind of prefix that knows the one it is a half of.
trait Prefix: Copy {
    fn holds(&self, other: &Self) -> bool;
    fn wider(&self) -> Option<Self>;
}

impl Prefix for Ipv4Net {
    fn holds(&self, other: &Self) -> bool {
        self.contains(other)
    }

    fn wider(&self) -> Option<Self> {
        self.supernet()
    }
}

impl Prefix for Ipv6Net {
    fn holds(&self, other: &Self) -> bool {
        self.contains(other)
    }

    fn wider(&self) -> Option<Self> {
        self.supernet()
    }
}

/// The smallest prefix that holds all others.
fn cover<N: Prefix>(ranges: &[N]) -> Option<N> {
    let (&first, rest) = ranges.split_first()?;
    Some(rest.iter().fold(first, |mut cover, range| {
        while !cover.holds(range) {
            // Ends at length 0, which holds everything.
            let Some(wider) = cover.wider() else { break };
            cover = wider;
        }
        cover
    }))
}

/// Adds the ranges of every VPC, and its peers' instances under its own VNI.
pub(super) fn add(tables: &mut Tables, topology: &Topology, course: &Course) {
    for (number, vpc) in topology.vpcs.iter().enumerate() {
        tables.networks[course.network(vpc.vni) as usize] = vpc.vni;
        let vni = vni_word(vpc.vni);
        for range in ranges(topology, number) {
            let version = if range.addr().is_ipv4() { 4 } else { 6 };
            let bits = Range::SCOPE_BITS + u32::from(range.prefix_len());
            let range = Range::new(vni, version, address(range.network()));
            tables.ranges.insert((bits, range));
        }
    }
    for (id, ip) in topology.instance_ips() {
        let vm = VmId::at(topology.vpcs[id.vpc].vni, ip);
        let peer = Reference::new(Reference::PEER, course.vm(&vm));
        for other in topology.peers_of(id.vpc) {
            addresses::add_inner(tables, vni_word(topology.vpcs[other].vni), ip, peer);
        }
    }
}

/// The filter over all public addresses in the tables.
pub(super) fn filter(tables: &Tables) -> Vec<u64> {
    let mut filter = vec![0; FILTER_WORDS as usize];
    let mut set = |(word, bit): (u32, u32)| filter[word as usize] |= 1_u64 << bit;
    for &key in tables.endpoints.keys() {
        if let Some(address) = EndpointKey(key).address() {
            set(hairpin::place::<V4>(address));
        }
    }
    for &(scope, address) in tables.addresses.keys() {
        if scope == WideSlot::PUBLIC {
            set(hairpin::place::<V6>(V6::address(&address)));
        }
    }
    filter
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<Ipv4Net> {
        let mut nets: Vec<_> = texts
            .iter()
            .map(|text| text.parse().expect("a range"))
            .collect();
        nets.sort();
        nets
    }

    #[test]
    fn two_ranges_stand_for_themselves() {
        for ranges in [&["10.1.0.0/16"][..], &["10.1.0.0/16", "192.168.7.0/24"]] {
            assert_eq!(two_covers(&nets(ranges)), nets(ranges));
        }
        assert_eq!(two_covers(&[]), []);
    }

    #[test]
    fn neighbours_share_a_cover() {
        let ranges = nets(&["172.16.1.0/24", "10.0.0.0/16", "10.1.0.0/16"]);
        assert_eq!(two_covers(&ranges), nets(&["10.0.0.0/15", "172.16.1.0/24"]));
    }

    fn is_inside(ranges: &[&str], ip: &str) -> bool {
        let ranges: Vec<IpNet> = ranges.iter().map(|range| range.parse().unwrap()).collect();
        let ip: IpAddr = ip.parse().unwrap();
        let hull = Hulls::over(&ranges).of(ip);
        match ip {
            IpAddr::V4(_) => V4::is_inside(&hull, V4::address(&address(ip))),
            IpAddr::V6(_) => V6::is_inside(&hull, V6::address(&address(ip))),
        }
    }

    #[test]
    fn the_ranges_of_an_address_are_those_of_its_family() {
        let both = ["172.16.0.0/16", "fd00:1::/64", "10.0.0.0/8"];
        for inside in ["172.16.3.4", "10.9.9.9", "fd00:1::9"] {
            assert!(is_inside(&both, inside), "{inside}");
        }
        for outside in ["172.17.0.1", "fd00:1:0:1::1", "2001:db8::1", "::"] {
            assert!(!is_inside(&both, outside), "{outside}");
        }
        assert!(!is_inside(&["fd00:1::/64"], "0.0.0.0"));
        assert!(!is_inside(&["172.16.0.0/16"], "2001:db8::1"));
    }

    #[test]
    fn ipv6_ranges_are_held_together_and_never_longer_than_half_an_address() {
        let two = ["fd00:1::/64", "fd00:1:0:8000::/65"];
        assert!(is_inside(&two, "fd00:1::1") && is_inside(&two, "fd00:1:0:8000::1"));
        assert!(is_inside(&two, "fd00:1:0:8000:8000::1"), "it may hold more");
        assert!(!is_inside(&two, "fd00:2::1"));
    }

    /// Link-local addresses and groups have no business outside.
    #[test]
    fn what_no_router_forwards_stays_inside() {
        for inside in ["fe80::1", "ff02::1", "ff0e::1"] {
            assert!(is_inside(&["fd00:1::/64"], inside), "{inside}");
        }
    }

    proptest! {
        /// Whatever the ranges, each lies within a cover, and there are two at most.
        #[test]
        fn covers_hold_all_ranges(ranges in prop::collection::vec((any::<u32>(), 8u8..=32), 1..12)) {
            let mut ranges: Vec<_> = ranges
                .into_iter()
                .map(|(ip, len)| Ipv4Net::new(Ipv4Addr::from(ip), len).expect("a length").trunc())
                .collect();
            ranges.sort();
            let covers = two_covers(&ranges);
            prop_assert!(covers.len() <= 2);
            for range in &ranges {
                prop_assert!(covers.iter().any(|cover| cover.contains(range)), "{range}");
            }
        }
    }
}
