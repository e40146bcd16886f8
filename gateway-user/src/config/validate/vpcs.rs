//! Tenant networks: ranges, subnets, instances.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::{Names, names::unique};
use crate::config::{
    defaults,
    document::{Document, Instance, Subnet, Vpc},
    list::Entries,
    problem::Problems,
    read::{At, Optional},
    scalar::{Address, MacAddress, Prefix},
};

/// How many ranges of a VPC an instance's record in the data plane has room for.
const MAX_RANGES: usize = 2;

/// Longest prefix of a subnet: network, router, one instance, broadcast.
const LONGEST_SUBNET: u8 = 30;

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
        check_address(instance, vpc, problems);
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
        let cover = defaults::cover(vpc);
        if let (Some(cover), Some(name)) = (cover, &*vpc.name)
            && !defaults::is_private(cover)
        {
            // Two subnets can stand for themselves; more need somebody's thought.
            let example: Vec<_> = subnets().map(|cidr| cidr.to_string()).collect();
            let example = match example.len() {
                ..=MAX_RANGES => example.join(", "),
                _ => "172.16.0.0/16".into(),
            };
            problems.error(
                name.at,
                format!("the smallest range that holds all subnets is {cover}, not a private one"),
                format!(
                    "say which ranges are the VPC's own, at most {MAX_RANGES}, as in \
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
    if ranges.len() > MAX_RANGES {
        problems.error(
            at,
            format!("`cidrs` has {} ranges", ranges.len()),
            format!("a VPC can have {MAX_RANGES} at most: join neighbours into a larger range"),
        );
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
    if net.prefix_len() > LONGEST_SUBNET {
        problems.error(
            cidr.at,
            format!("{net} has no room for a virtual router and an instance"),
            format!("use a /{LONGEST_SUBNET} or larger"),
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
fn reserved(net: Ipv4Net, ip: Ipv4Addr) -> Option<&'static str> {
    match ip {
        ip if ip == net.network() => Some("network"),
        ip if ip == net.broadcast() => Some("broadcast"),
        _ => None,
    }
}

/// An instance has an address of a subnet that nobody else has.
fn check_address(instance: &At<Instance>, vpc: &At<Vpc>, problems: &mut Problems) {
    let Some(ip) = &*instance.ip else { return };
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
    let ips = instances().filter_map(|vm| vm.ip.as_ref());
    unique(ips.map(|ip| (ip.value, ip.at)), |ip, at, line| {
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
