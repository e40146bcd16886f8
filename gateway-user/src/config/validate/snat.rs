//! Egress NAT: each gateway has a share, each instance one pool, each timeout is long
//! enough.

use std::collections::BTreeMap;

use gateway_common::SNAT_MAX_SHARES;

use super::{
    Names,
    names::{unique, unique_names},
};
use crate::config::{
    choice::Time,
    document::{Document, SnatPool, SnatTimeouts as Timeouts},
    list::Entries,
    number::Number,
    problem::{Place, Problems},
    read::{At, Maybe, Optional},
    snat::{DEFAULT_HANDOVER_VNI, DEFAULT_SHARES, SnatTimeouts},
};

pub(super) fn check(document: &At<Document>, names: &Names<'_>, problems: &mut Problems) {
    let pools = document.snat.entries();
    unique_names("SNAT pool", pools.iter().map(|pool| &*pool.name), problems);
    check_shares(document, problems);
    if pools.is_empty() {
        return;
    }
    check_handover(document, problems);
    let mut members = BTreeMap::new();
    for pool in pools {
        check_ips(pool, problems);
        check_members(pool, names, &mut members, problems);
        if let Some(timeouts) = pool.timeouts.given() {
            check_timeouts(timeouts, problems);
        }
    }
}

/// How many shares there are.
fn shares(document: &Document) -> u32 {
    let gateways = document.gateways.entries().len() as u32;
    let least = DEFAULT_SHARES.max(gateways.next_power_of_two());
    let given = document.snat_shares.or_default(|| Number(least));
    given.map_or(least, |number| number.0)
}

/// Each gateway's share: the one it says, or the first that is left.
pub(in crate::config) fn owners(document: &Document) -> Vec<Option<usize>> {
    let gateways = document.gateways.entries();
    let mut owners = vec![None; shares(document) as usize];
    for (index, gateway) in gateways.iter().enumerate() {
        let given = gateway.snat_share.given();
        if let Some(owner) = given.and_then(|share| owners.get_mut(share.0 as usize)) {
            *owner = Some(index);
        }
    }
    let silent = gateways.iter().enumerate();
    for (index, _) in silent.filter(|(_, gateway)| gateway.snat_share.is_none()) {
        if let Some(owner) = owners.iter_mut().find(|owner| owner.is_none()) {
            *owner = Some(index);
        }
    }
    owners
}

fn check_shares(document: &Document, problems: &mut Problems) {
    let gateways = document.gateways.entries();
    let count = shares(document);
    if let Some(at) = document.snat_shares.given().map(|given| given.at) {
        if !count.is_power_of_two() {
            let near = count.next_power_of_two().min(SNAT_MAX_SHARES);
            problems.error(
                at,
                format!("{count} is no power of two: a port's first bits tell its share"),
                format!("write `snat_shares: {near}`"),
            );
        }
        if gateways.len() > count as usize {
            problems.error(
                at,
                format!("{} gateways cannot have {count} shares", gateways.len()),
                "write at least as many as there will ever be gateways: changing it later breaks \
                 every connection through SNAT",
            );
        }
    } else if gateways.len() > SNAT_MAX_SHARES as usize && !document.snat.entries().is_empty() {
        problems.error(
            gateways[SNAT_MAX_SHARES as usize].at,
            format!("more than {SNAT_MAX_SHARES} gateways cannot share SNAT's ports"),
            "split the site into two groups of gateways",
        );
    }
    let given = gateways
        .iter()
        .filter_map(|gateway| gateway.snat_share.given());
    for share in given.clone().filter(|share| share.0 >= count) {
        problems.error(
            share.at,
            format!(
                "there is no share {}: of {count} shares the last is {}",
                share.0,
                count - 1
            ),
            "choose a smaller one, or raise `snat_shares` before there are connections",
        );
    }
    unique(given.map(|share| (share.0, share.at)), |share, at, line| {
        problems.error(
            at,
            format!("share {share} already belongs to the gateway on line {line}"),
            "give each gateway a share of its own",
        );
    });
}

fn check_handover(document: &Document, problems: &mut Problems) {
    let default = || Number(DEFAULT_HANDOVER_VNI);
    let Some(Number(vni)) = document.handover_vni.or_default(default) else {
        return;
    };
    let vpcs = document.vpcs.entries().iter();
    for vpc in vpcs.filter_map(|vpc| vpc.vni.as_ref()) {
        if vpc.0 == vni {
            problems.error(
                vpc.at,
                format!("VNI {vni} is the one with which gateways hand packets over"),
                "give the VPC another one, or set `handover_vni` to one that nobody uses",
            );
        }
    }
}

fn check_ips(pool: &At<SnatPool>, problems: &mut Problems) {
    for ip in pool.ips.entries().iter().filter(|ip| ip.0.is_ipv6()) {
        problems.error(
            ip.at,
            format!("{} is an IPv6 address: only IPv4 ones are shared", ip.value),
            "give instances IPv6 floating IPs instead",
        );
    }
}

/// An instance can share one pool's addresses only.
fn check_members(
    pool: &At<SnatPool>,
    names: &Names<'_>,
    members: &mut BTreeMap<(usize, Option<String>), u32>,
    problems: &mut Problems,
) {
    let vpcs = pool.vpc.as_ref().map_or(&[][..], |list| &list.value.0);
    if let (Some(subnets), true) = (&pool.subnets, vpcs.len() > 1) {
        problems.error(
            subnets.as_ref().map_or(pool.at, |subnets| subnets.at),
            "`subnets` of several VPCs could mean any of them",
            "make a pool for each VPC, or leave `subnets` out",
        );
        return;
    }
    for name in vpcs {
        let Some(vpc) = names.vpc(&Some(name.clone()), problems) else {
            continue;
        };
        let mut places: Vec<(Option<String>, Place)> = Vec::new();
        for subnet in pool.subnets.entries() {
            match names.subnet(vpc, subnet, problems) {
                Some(_) => places.push((Some(subnet.value.0.clone()), subnet.at)),
                None => return,
            }
        }
        if pool.subnets.is_none() {
            places.push((None, name.at));
        }
        for (subnet, at) in places {
            let taken = |key: &(usize, Option<String>)| {
                key.0 == vpc && (key.1 == subnet || key.1.is_none() || subnet.is_none())
            };
            if let Some((_, line)) = members.iter().find(|(key, _)| taken(key)) {
                problems.error(
                    at,
                    format!("these instances already share the pool of line {line}"),
                    "an instance has one public address to share: name each VPC or subnet in one \
                     pool only",
                );
            } else {
                members.insert((vpc, subnet), at.line);
            }
        }
    }
}

fn check_timeouts(timeouts: &At<Timeouts>, problems: &mut Problems) {
    let least = SnatTimeouts {
        udp: 120,
        ..SnatTimeouts::DEFAULT
    };
    let keys: [(&str, &Maybe<Time>, u32, &str); 5] = [
        ("udp", &timeouts.udp, least.udp, "RFC 4787, REQ-5"),
        ("icmp", &timeouts.icmp, least.icmp, "RFC 5508, REQ-2"),
        (
            "tcp_established",
            &timeouts.tcp_established,
            least.tcp_established,
            "RFC 5382, REQ-5",
        ),
        (
            "tcp_transitory",
            &timeouts.tcp_transitory,
            least.tcp_transitory,
            "RFC 5382, REQ-5",
        ),
        ("hold", &timeouts.hold, least.hold, "RFC 6888, REQ-8"),
    ];
    for (key, given, least, rfc) in keys {
        if let Some(time) = given.given().filter(|time| time.0 < least.into()) {
            let least = Time(least.into());
            problems.warning(
                time.at,
                format!("`{key}: {}` is less than the {least} of {rfc}", time.value),
                "connections may break that other NATs would keep: raise it, unless you know that \
                 nothing needs it",
            );
        }
    }
}
