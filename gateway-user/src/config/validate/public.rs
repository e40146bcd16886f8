//! Public addresses: each means one thing, and none of them lies inside.

use std::{collections::BTreeMap, net::IpAddr};

use super::{gateways::vteps, names::unique};
use crate::config::{
    address::Address,
    defaults,
    document::{Document, Vpc},
    list::Entries,
    problem::{Place, Problems},
    read::At,
};

pub(super) fn check(document: &At<Document>, problems: &mut Problems) {
    let services = document.load_balancers.entries();
    let floating = document.floating_ips.entries();
    if services.is_empty()
        && floating.is_empty()
        && document.snat.entries().is_empty()
        && document.snat.is_complete()
        && document.load_balancers.is_complete()
        && document.floating_ips.is_complete()
    {
        problems.warning(
            document.at,
            "nothing is reachable from outside: no load balancer, no floating IP, no SNAT pool",
            "add `load_balancers`, `floating_ips` or `snat`",
        );
    }

    let vips = || services.iter().filter_map(|service| service.vip.as_ref());
    let floating = || floating.iter().filter_map(|floating| floating.ip.as_ref());
    unique(floating().map(|ip| (ip.value, ip.at)), |ip, at, line| {
        problems.error(
            at,
            format!("{ip} is already the floating IP on line {line}"),
            "a floating IP stands for one instance: choose another address",
        );
    });
    // Backwards, so that the first line of several stays.
    let vip_lines: BTreeMap<_, _> = vips().rev().map(|vip| (vip.value, vip.at.line)).collect();
    for ip in floating() {
        if let Some(line) = vip_lines.get(&ip.value) {
            problems.error(
                ip.at,
                format!("floating IP {} is also the VIP on line {line}", ip.value),
                "a floating IP takes all ports of its address: choose another one",
            );
        }
    }

    let shared = || {
        document
            .snat
            .entries()
            .iter()
            .flat_map(|pool| pool.ips.entries())
    };
    check_shared(
        shared(),
        vips().chain(floating()).map(|ip| (ip.value, ip.at.line)),
        problems,
    );

    let vteps: BTreeMap<IpAddr, Place> = vteps(document).collect();
    for ip in vips().chain(floating()).chain(shared()) {
        if let Some(vtep) = vteps.get(&ip.0) {
            problems.error(
                ip.at,
                format!(
                    "public address {} is also the VTEP on line {}",
                    ip.value, vtep.line
                ),
                "public and underlay addresses must differ: choose another one",
            );
        }
        for vpc in document.vpcs.entries() {
            check_outside(ip, vpc, problems);
        }
    }
}

/// An address that instances share is nothing else: its ports are handed out.
fn check_shared<'d>(
    shared: impl Iterator<Item = &'d At<Address>> + Clone,
    others: impl Iterator<Item = (Address, u32)>,
    problems: &mut Problems,
) {
    unique(
        shared.clone().map(|ip| (ip.value, ip.at)),
        |ip, at, line| {
            problems.error(
                at,
                format!("{ip} is already in the pool on line {line}"),
                "name each address once",
            );
        },
    );
    let lines: BTreeMap<_, _> = others.collect();
    for ip in shared {
        if let Some(line) = lines.get(&ip.value) {
            problems.error(
                ip.at,
                format!("{} is also the public address on line {line}", ip.value),
                "SNAT hands out the ports of its addresses: give it one of its own",
            );
        }
    }
}

/// What an instance sends to its own VPC's ranges never leaves it, so it could not
/// reach a public address in them.
fn check_outside(ip: &At<Address>, vpc: &At<Vpc>, problems: &mut Problems) {
    let Some(name) = &*vpc.name else { return };
    let range = defaults::ranges(vpc)
        .into_iter()
        .find(|range| range.contains(&ip.0));
    if let Some(range) = range {
        problems.error(
            ip.at,
            format!(
                "public address {} is inside VPC `{}` ({range})",
                ip.value, name.value
            ),
            "choose an address outside the VPC's ranges, or narrow its `cidrs`",
        );
    }
}
