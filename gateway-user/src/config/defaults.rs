//! What a file may leave out. docs/topology.md describes these to users.

use std::net::IpAddr;

use gateway_common::{VXLAN_OVERHEAD_V4, VXLAN_OVERHEAD_V6};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{document::Vpc, list::Entries, topology::Mac};

/// ICMP errors that a CPU sends at most in a second: as many as Linux does
/// (`net.ipv4.icmp_msgs_per_sec`).
pub(super) const ICMP_ERRORS_PER_SECOND: u32 = 1_000;
/// MTU of the underlay, in bytes.
pub(super) const UNDERLAY_MTU: u32 = 1500;

/// The TCP segment that makes the longest packet which fits through the tunnel.
pub(super) fn tcp_mss(underlay_mtu: u32, vtep: IpAddr) -> u32 {
    const IPV4_AND_TCP: u32 = 20 + 20;
    let overhead = match vtep {
        IpAddr::V4(_) => VXLAN_OVERHEAD_V4,
        IpAddr::V6(_) => VXLAN_OVERHEAD_V6,
    };
    underlay_mtu.saturating_sub(overhead + IPV4_AND_TCP)
}

/// Longest IPv6 range that is a VPC's own: the data plane compares the first half of
/// an address.
pub(super) const LONGEST_V6: u8 = 64;

/// The virtual router's address in a subnet: the first that a machine can have. In IPv6
/// the one before it stands for any router (RFC 4291, section 2.6.1).
pub(super) fn router(subnet: IpNet) -> IpAddr {
    match subnet {
        IpNet::V4(v4) => v4.hosts().next().unwrap_or(v4.network()).into(),
        IpNet::V6(v6) => IpAddr::V6((v6.network().to_bits() | 1).into()),
    }
}

/// The virtual router's MAC in a VPC: locally administered, 02:4c:59 ("LY") and the VNI.
pub(super) fn router_mac(vni: u32) -> Mac {
    let [_, a, b, c] = vni.to_be_bytes();
    Mac([0x02, 0x4c, 0x59, a, b, c])
}

/// The ranges of a VPC: the given ones, or the smallest that hold all subnets. None
/// if they were reported as wrong or missing.
pub(super) fn ranges(vpc: &Vpc) -> Vec<IpNet> {
    match &vpc.cidrs {
        Some(cidrs) => cidrs.entries().iter().map(|cidr| cidr.0).collect(),
        None => cover(vpc).filter(|cover| is_private(*cover)).collect(),
    }
}

/// Of each family the smallest range that holds all subnets of a VPC.
pub(super) fn cover(vpc: &Vpc) -> impl Iterator<Item = IpNet> {
    let subnets = || {
        vpc.subnets
            .entries()
            .iter()
            .filter_map(|subnet| subnet.cidr.as_ref())
    };
    let v4 = smallest(
        subnets()
            .map(|cidr| cidr.0)
            .filter(|cidr| cidr.addr().is_ipv4()),
    );
    let v6 = smallest(
        subnets()
            .map(|cidr| cidr.0)
            .filter(|cidr| cidr.addr().is_ipv6()),
    );
    v4.into_iter().chain(v6.map(shorten))
}

/// The range, or the larger one that holds it if it is longer than the data plane knows.
fn shorten(range: IpNet) -> IpNet {
    match range {
        IpNet::V6(v6) if v6.prefix_len() > LONGEST_V6 => {
            IpNet::V6(Ipv6Net::new_assert(v6.network(), LONGEST_V6).trunc())
        }
        range => range,
    }
}

/// The smallest range that holds all others, which are of one family.
fn smallest(mut subnets: impl Iterator<Item = IpNet>) -> Option<IpNet> {
    let first = subnets.next()?;
    Some(subnets.fold(first, |mut cover, subnet| {
        while !cover.contains(&subnet) {
            // Ends at /0, which holds everything.
            let Some(wider) = cover.supernet() else { break };
            cover = wider;
        }
        cover
    }))
}

/// Whether a range lies in private space (RFC 1918, RFC 6598, RFC 4193).
pub(super) fn is_private(range: IpNet) -> bool {
    const PRIVATE_V4: [([u8; 4], u8); 4] = [
        ([10, 0, 0, 0], 8),
        ([172, 16, 0, 0], 12),
        ([192, 168, 0, 0], 16),
        ([100, 64, 0, 0], 10),
    ];
    match range {
        IpNet::V4(v4) => PRIVATE_V4.iter().any(|(address, length)| {
            Ipv4Net::new((*address).into(), *length).is_ok_and(|space| space.contains(&v4))
        }),
        IpNet::V6(v6) => v6.prefix_len() >= 7 && v6.network().is_unique_local(),
    }
}

/// The flow hash's seed when there is no secret: two FNV-1a hashes of the anycast
/// VTEP. It depends on nothing that changes while a site grows, since another seed
/// sends every flow to another backend.
pub(super) fn seed(anycast_vtep: IpAddr) -> [u64; 2] {
    [0, 1].map(|half| fnv1a(format!("lingyun/{half}/{anycast_vtep}").as_bytes()))
}

/// FNV-1a, 64 bits (draft-eastlake-fnv): the same in every build, unlike the
/// standard library's hasher.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(text: &str) -> IpNet {
        text.parse().expect("a range")
    }

    #[test]
    fn the_smallest_range_holds_all() {
        assert_eq!(smallest([].into_iter()), None);
        assert_eq!(
            smallest([net("172.16.1.0/24")].into_iter()),
            Some(net("172.16.1.0/24"))
        );
        let neighbours = [net("172.16.2.0/24"), net("172.16.3.0/24")];
        assert_eq!(smallest(neighbours.into_iter()), Some(net("172.16.2.0/23")));
        let far = [net("10.0.0.0/24"), net("192.168.0.0/24")];
        assert_eq!(smallest(far.into_iter()), Some(net("0.0.0.0/0")));
        let v6 = [net("fd00:1::/64"), net("fd00:1:0:1::/64")];
        assert_eq!(smallest(v6.into_iter()), Some(net("fd00:1::/63")));
        assert_eq!(shorten(net("fd00:1::8:0/112")), net("fd00:1::/64"));
        assert_eq!(shorten(net("fd00:1::/48")), net("fd00:1::/48"));
    }

    #[test]
    fn private_space_has_sharp_edges() {
        for inside in [
            "10.0.0.0/8",
            "172.31.255.0/24",
            "192.168.0.0/16",
            "100.127.0.0/16",
            "fc00::/7",
            "fdff:ffff::/32",
        ] {
            assert!(is_private(net(inside)), "{inside}");
        }
        for outside in [
            "0.0.0.0/0",
            "172.32.0.0/16",
            "172.0.0.0/8",
            "203.0.113.0/24",
            "fc00::/6",
            "fe00::/16",
            "2001:db8::/32",
        ] {
            assert!(!is_private(net(outside)), "{outside}");
        }
    }

    #[test]
    fn the_router_is_the_first_machine_and_its_mac_carries_the_vni() {
        for (subnet, first) in [
            ("172.16.1.0/24", "172.16.1.1"),
            ("fd00:1::/64", "fd00:1::1"),
        ] {
            assert_eq!(
                router(net(subnet)),
                first.parse::<IpAddr>().expect("an address")
            );
        }
        assert_eq!(router_mac(5001).to_string(), "02:4c:59:00:13:89");
    }

    /// Gateways of different builds share flows: the values may never change.
    #[test]
    fn the_seed_is_fixed() {
        assert_eq!(
            fnv1a(b"a"),
            0xaf63_dc4c_8601_ec8c,
            "test vector of the FNV draft"
        );
        let vtep = |ip: &str| ip.parse::<IpAddr>().expect("an address");
        assert_eq!(
            seed(vtep("10.0.0.100")),
            [0, 1].map(|half| fnv1a(format!("lingyun/{half}/10.0.0.100").as_bytes())),
        );
        assert_ne!(seed(vtep("10.0.0.100")), seed(vtep("10.0.0.101")));
    }
}
