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
        && document.load_balancers.is_complete()
        && document.floating_ips.is_complete()
    {
        problems.warning(
            document.at,
            "nothing is reachable from outside: no load balancer, no floating IP",
            "add `load_balancers` or `floating_ips`",
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

    let vteps: BTreeMap<IpAddr, Place> = vteps(document).collect();
    for ip in vips().chain(floating()) {
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
