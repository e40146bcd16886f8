//! Tenant networks: ranges, subnets, instances.

use std::net::IpAddr;

use ipnet::IpNet;

use super::{Names, names::unique};
use crate::config::{
    address::{Address, Prefix},
    defaults::{self, LONGEST_V6},
    document::{Document, Instance, Subnet, Vpc},
    list::Entries,
    problem::Problems,
    read::{At, Optional},
    scalar::MacAddress,
};

/// How many IPv4 ranges of a VPC an instance's record in the data plane has room for.
const MAX_RANGES: usize = 2;

/// The same of IPv6.
const MAX_RANGES_V6: usize = 1;

/// Longest prefix of a subnet: network, router, one instance, broadcast.
const fn longest_subnet(net: IpNet) -> u8 {
    match net {
        IpNet::V4(_) => 30,
        IpNet::V6(_) => 126,
    }
}

pub(super) fn check_vnis(document: &Document, problems: &mut Problems) {
    let vnis = document
        .vpcs
        .entries()
        .iter()
        .filter_map(|vpc| vpc.vni.as_ref());
    unique(vnis.map(|vni| (vni.0, vni.at)), |vni, at, line| {
        problems.error(
            at,
            format!("VNI {vni} is already used by the VPC on line {line}"),
            "give every VPC a VNI of its own: it is what keeps tenants apart",
        );
    });
}

pub(super) fn check(vpc: &At<Vpc>, names: &Names<'_>, problems: &mut Problems) {
    check_ranges(vpc, problems);
    let subnets = vpc.subnets.entries();
    check_overlap(
        "subnet",
        subnets.iter().filter_map(|subnet| subnet.cidr.as_ref()),
        problems,
    );
    for subnet in subnets {
        check_subnet(subnet, problems);
    }
    for instance in vpc.instances.entries() {
        names.host(&instance.host, problems);
        check_families(instance, problems);
        for ip in ips(instance) {
            check_address(ip, vpc, problems);
        }
    }
    check_twice(vpc, problems);
}

/// The VPC's ranges hold its subnets; without ranges, the subnets must suggest one.
fn check_ranges(vpc: &At<Vpc>, problems: &mut Problems) {
    let subnets = || {
        vpc.subnets
            .entries()
            .iter()
            .filter_map(|subnet| subnet.cidr.as_ref())
    };
    let Some(key) = &vpc.cidrs else {
        let Some(name) = &*vpc.name else { return };
        for cover in defaults::cover(vpc).filter(|cover| !defaults::is_private(*cover)) {
            // Two subnets can stand for themselves; more need somebody's thought.
            let of_family = |cidr: &&At<Prefix>| cidr.0.addr().is_ipv4() == cover.addr().is_ipv4();
            let example = subnets().filter(of_family).map(|cidr| cidr.to_string());
            let example: Vec<_> = example.collect();
            let (most, other) = most_ranges(cover);
            let example = match example.len() <= most {
                true => example.join(", "),
                false => other.into(),
            };
            problems.error(
                name.at,
                format!("the smallest range that holds all subnets is {cover}, not a private one"),
                format!(
                    "say which ranges are the VPC's own, at most {most}, as in \
                     `cidrs: [{example}]`"
                ),
            );
        }
        return;
    };
    let Some(at) = key.as_ref().map(|list| list.at) else {
        return;
    };
    let ranges = key.entries();
    let is_v4 = |range: &&At<Prefix>| range.0.addr().is_ipv4();
    let (v4, v6): (Vec<&At<Prefix>>, Vec<&At<Prefix>>) = ranges.iter().partition(is_v4);
    for (ranges, of, most) in [(&v4, "", MAX_RANGES), (&v6, "IPv6 ", MAX_RANGES_V6)] {
        if ranges.len() > most {
            problems.error(
                at,
                format!("`cidrs` has {} {of}ranges", ranges.len()),
                format!("a VPC can have {most} at most: join neighbours into a larger range"),
            );
        }
    }
    for range in v6 {
        if range.0.prefix_len() > LONGEST_V6 {
            problems.error(
                range.at,
                format!("IPv6 range {} is smaller than a /{LONGEST_V6}", range.value),
                format!("write the /{LONGEST_V6} that holds it: subnets in it may be smaller"),
            );
        }
    }
    check_overlap("range", ranges.iter(), problems);
    if !key.is_complete() {
        return;
    }
    for cidr in subnets() {
        if !ranges.iter().any(|range| range.0.contains(&cidr.0)) {
            problems.error(
                cidr.at,
                format!(
                    "subnet {} is outside the VPC's `cidrs` (line {})",
                    cidr.value, at.line
                ),
                "move the subnet into a range of the VPC, or widen `cidrs`",
            );
        }
    }
}

/// How many ranges of a family a VPC can have, and an example.
fn most_ranges(like: IpNet) -> (usize, &'static str) {
    match like {
        IpNet::V4(_) => (MAX_RANGES, "172.16.0.0/16"),
        IpNet::V6(_) => (MAX_RANGES_V6, "\"fd00:1::/48\""),
    }
}

fn check_overlap<'d>(
    noun: &str,
    ranges: impl Iterator<Item = &'d At<Prefix>>,
    problems: &mut Problems,
) {
    let mut before: Vec<&At<Prefix>> = Vec::new();
    for range in ranges {
        let overlaps =
            |other: &&&At<Prefix>| other.0.contains(&range.0) || range.0.contains(&other.0);
        if let Some(other) = before.iter().find(overlaps) {
            problems.error(
                range.at,
                format!(
                    "{noun} {} overlaps {} on line {}",
                    range.value, other.value, other.at.line
                ),
                format!("every address of a VPC lies in one {noun}: use disjoint ones"),
            );
        }
        before.push(range);
    }
}

fn check_subnet(subnet: &At<Subnet>, problems: &mut Problems) {
    let Some(cidr) = &*subnet.cidr else { return };
    let net = cidr.0;
    let longest = longest_subnet(net);
    if net.prefix_len() > longest {
        problems.error(
            cidr.at,
            format!("{net} has no room for a virtual router and an instance"),
            format!("use a /{longest} or larger"),
        );
        return;
    }
    let Some(router) = subnet.router.given() else {
        return;
    };
    if !net.contains(&router.0) {
        problems.error(
            router.at,
            format!("router {} is outside its subnet {net}", router.value),
            format!(
                "leave `router` out for {}, or choose another of {net}",
                defaults::router(net)
            ),
        );
    } else if let Some(kind) = reserved(net, router.0) {
        problems.error(
            router.at,
            format!("router {} is the {kind} address of {net}", router.value),
            format!(
                "leave `router` out for {}, or choose another of {net}",
                defaults::router(net)
            ),
        );
    }
}

/// Addresses that no machine of a subnet can have.
fn reserved(net: IpNet, ip: IpAddr) -> Option<&'static str> {
    match net {
        // RFC 4291, section 2.6.1.
        IpNet::V6(_) if ip == net.network() => Some("subnet-router anycast"),
        IpNet::V6(_) => None,
        IpNet::V4(_) if ip == net.network() => Some("network"),
        IpNet::V4(_) if ip == net.broadcast() => Some("broadcast"),
        IpNet::V4(_) => None,
    }
}

/// The addresses of an instance that could be read.
fn ips(instance: &Instance) -> &[At<Address>] {
    instance.ip.as_ref().map_or(&[], |list| &list.0)
}

/// An instance has at most one address of each family.
fn check_families(instance: &Instance, problems: &mut Problems) {
    let families = ips(instance).iter().map(|ip| (ip.0.is_ipv6(), ip.at));
    unique(families, |is_v6, at, _| {
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        problems.error(
            at,
            format!("this instance already has an address of {family}"),
            "an instance can have one of each family: what it sends must have one way back",
        );
    });
}

/// An instance has an address of a subnet that nobody else has.
fn check_address(ip: &At<Address>, vpc: &At<Vpc>, problems: &mut Problems) {
    let subnets = vpc.subnets.entries();
    let holds = |subnet: &&At<Subnet>| {
        subnet
            .cidr
            .as_ref()
            .is_some_and(|cidr| cidr.0.contains(&ip.0))
    };
    let Some(subnet) = subnets.iter().find(holds) else {
        let known = subnets.iter().all(|subnet| subnet.cidr.is_some());
        if known && !subnets.is_empty() && vpc.subnets.is_complete() {
            let ranges: Vec<_> = subnets
                .iter()
                .filter_map(|subnet| subnet.cidr.as_ref().map(|cidr| cidr.to_string()))
                .collect();
            problems.error(
                ip.at,
                format!("{} is in no subnet of its VPC", ip.value),
                format!(
                    "choose an address of {}, or add a subnet",
                    ranges.join(", ")
                ),
            );
        }
        return;
    };
    let Some(net) = subnet.cidr.as_ref().map(|cidr| cidr.0) else {
        return;
    };
    let router = subnet.router.or_default(|| Address(defaults::router(net)));
    let kind = match reserved(net, ip.0) {
        None if router == Some(ip.value) => "virtual router's",
        Some(kind) => kind,
        None => return,
    };
    problems.error(
        ip.at,
        format!("{} is the {kind} address in {net}", ip.value),
        "choose another address of the subnet",
    );
}

/// Addresses and MACs are unique in a VPC, the virtual router's included.
fn check_twice(vpc: &At<Vpc>, problems: &mut Problems) {
    let instances = || vpc.instances.entries().iter();
    let all = instances().flat_map(|vm| ips(vm));
    unique(all.map(|ip| (ip.value, ip.at)), |ip, at, line| {
        problems.error(
            at,
            format!("{ip} is already the address of the instance on line {line}"),
            "give every instance of a VPC an address of its own",
        );
    });
    let macs = instances().filter_map(|vm| vm.mac.as_ref());
    unique(
        macs.clone().map(|mac| (mac.value, mac.at)),
        |mac, at, line| {
            problems.error(
                at,
                format!("{mac} is already the MAC of the instance on line {line}"),
                "give every instance of a VPC a MAC of its own",
            );
        },
    );
    let Some(vni) = &*vpc.vni else { return };
    let router = vpc
        .router_mac
        .or_default(|| MacAddress(defaults::router_mac(vni.0)));
    for mac in macs.filter(|mac| router == Some(mac.value)) {
        problems.error(
            mac.at,
            format!("{} is the MAC of the VPC's virtual router", mac.value),
            "write the MAC of the instance's own interface",
        );
    }
}
