//! Gateways, hosts and the underlay between them.

use std::{collections::BTreeSet, net::IpAddr};

use gateway_common::{MAX_INTERFACES, VXLAN_OVERHEAD_V4, VXLAN_OVERHEAD_V6};

use super::names::unique;
use crate::config::{
    address::family,
    defaults,
    document::{Document, Gateway},
    list::{Entries, OneOrMore},
    number::{Number, Vlan},
    problem::{Place, Problems},
    read::{At, Optional},
    scalar::Interface,
};

/// Full-size packets inside.
const FULL_SIZE: u32 = 1500;

/// Packets this large pass every path (RFC 8200, section 5); hosts may rely on it.
const LEAST_SIZE: u32 = 1280;

pub(super) fn check(document: &At<Document>, problems: &mut Problems) {
    check_mtu(document, problems);
    check_secret(document, problems);
    check_vteps(document, problems);
    check_family(document, problems);
    check_checksum(document, problems);
    for gateway in document.gateways.entries() {
        check_interfaces(gateway, problems);
    }
}

fn check_mtu(document: &At<Document>, problems: &mut Problems) {
    let Some(Number(bytes)) = document
        .underlay_mtu
        .or_default(|| Number(defaults::UNDERLAY_MTU))
    else {
        return;
    };
    let given = document.underlay_mtu.given().map(|mtu| mtu.at);
    // Where the key would stand, more or less.
    let nearby = || {
        document
            .anycast_vtep
            .as_ref()
            .map_or(document.at, |vtep| vtep.at)
    };
    let at = given.unwrap_or_else(nearby);
    let overhead = match &*document.anycast_vtep {
        Some(vtep) if vtep.0.is_ipv6() => VXLAN_OVERHEAD_V6,
        _ => VXLAN_OVERHEAD_V4,
    };
    let inside = bytes.saturating_sub(overhead);
    if inside < LEAST_SIZE {
        problems.error(
            at,
            format!(
                "an underlay MTU of {bytes} is too small: VXLAN takes {overhead} bytes \
                 and leaves {inside} for packets, less than {LEAST_SIZE}"
            ),
            format!(
                "raise the MTU of the underlay to {} or more, and write it here",
                FULL_SIZE + overhead
            ),
        );
    } else if inside < FULL_SIZE {
        let origin = if given.is_some() {
            ""
        } else {
            " (the default)"
        };
        problems.warning(
            at,
            format!(
                "an underlay MTU of {bytes}{origin} leaves {inside} bytes for packets: full-size \
                 ones of {FULL_SIZE} do not fit through VXLAN"
            ),
            format!(
                "raise the MTU of the underlay and write `underlay_mtu: {}` or more, or set the \
                 MTU of the instances to {inside}",
                FULL_SIZE + overhead
            ),
        );
    }
}

fn check_secret(document: &Document, problems: &mut Problems) {
    let gateways = document.gateways.entries();
    if gateways.len() > 1 && document.secret.is_none() {
        problems.warning(
            gateways[0].at,
            "several gateways share a flow hash whose seed anybody can guess",
            "add `secret:` with the output of `openssl rand -hex 16`, in quotes",
        );
    }
}

/// Every tunnel endpoint, with what it belongs to.
pub(super) fn vteps(document: &Document) -> impl Iterator<Item = (IpAddr, Place)> {
    let gateways = document
        .gateways
        .entries()
        .iter()
        .filter_map(|gateway| gateway.underlay.as_ref()?.vtep.as_ref());
    let hosts = document
        .hosts
        .entries()
        .iter()
        .filter_map(|host| host.vtep.as_ref());
    document
        .anycast_vtep
        .iter()
        .chain(gateways)
        .chain(hosts)
        .map(|vtep| (vtep.0, vtep.at))
}

fn check_vteps(document: &Document, problems: &mut Problems) {
    unique(vteps(document), |vtep, at, line| {
        let anycast = document
            .anycast_vtep
            .as_ref()
            .is_some_and(|anycast| anycast.0 == vtep);
        let (what, hint) = match anycast {
            true => (
                format!("VTEP {vtep} is the one that all gateways share (line {line})"),
                "every gateway and host also needs a VTEP of its own",
            ),
            false => (
                format!("VTEP {vtep} is already used on line {line}"),
                "give every gateway and host an underlay address of its own",
            ),
        };
        problems.error(at, what, hint);
    });
}

/// One family for the whole underlay: a tunnel has one at both ends.
fn check_family(document: &Document, problems: &mut Problems) {
    let Some(anycast) = &*document.anycast_vtep else {
        return;
    };
    let other = |(vtep, _): &(IpAddr, Place)| vtep.is_ipv4() != anycast.0.is_ipv4();
    for (vtep, at) in vteps(document).filter(other) {
        problems.error(
            at,
            format!(
                "VTEP {vtep} is of {}, anycast_vtep (line {}) of {}",
                family(vtep),
                anycast.at.line,
                family(anycast.0)
            ),
            "the underlay has one family: give all VTEPs addresses of the same",
        );
    }
}

/// Over IPv4 no tunnel has a UDP checksum (RFC 7348, section 5).
fn check_checksum(document: &Document, problems: &mut Problems) {
    let (Some(switch), Some(vtep)) = (
        document.underlay_udp_checksum.given(),
        &*document.anycast_vtep,
    ) else {
        return;
    };
    if switch.value.0 && vtep.0.is_ipv4() {
        problems.warning(
            switch.at,
            "`underlay_udp_checksum` has no effect here: the underlay is IPv4",
            "leave it out",
        );
    }
}

fn check_interfaces(gateway: &At<Gateway>, problems: &mut Problems) {
    fn of(list: &Option<At<OneOrMore<Interface>>>) -> &[At<Interface>] {
        list.as_ref().map_or(&[], |list| &list.0)
    }
    let public = gateway
        .public
        .as_ref()
        .map_or(&[][..], |side| of(&side.interface));
    let underlay = gateway
        .underlay
        .as_ref()
        .map_or(&[][..], |side| of(&side.interface));
    for side in [public, underlay] {
        unique(
            side.iter()
                .map(|interface| (&interface.value, interface.at)),
            |name, at, _| {
                problems.error(
                    at,
                    format!("`{name}` is listed twice"),
                    "name each interface once",
                );
            },
        );
    }
    check_vlans(gateway, public.len(), problems);
    let all: BTreeSet<_> = public
        .iter()
        .chain(underlay)
        .map(|interface| &interface.value)
        .collect();
    if all.len() > MAX_INTERFACES as usize {
        problems.error(
            gateway.at,
            format!("this gateway has {} interfaces", all.len()),
            format!("a gateway can have {MAX_INTERFACES} at most: bond some, or add a gateway"),
        );
    }
}

/// Each VLAN once, and with each interface no more of them than the data plane has room for.
fn check_vlans(gateway: &At<Gateway>, interfaces: usize, problems: &mut Problems) {
    let key = gateway.public.as_ref().and_then(|side| side.vlan.given());
    let Some(At {
        value: OneOrMore(vlans),
        at,
    }) = key
    else {
        return;
    };
    let ids = vlans.iter().map(|vlan: &At<Vlan>| (vlan.0, vlan.at));
    unique(ids, |id, at, _| {
        problems.error(
            at,
            format!("VLAN {id} is listed twice"),
            "name each VLAN once",
        );
    });
    let count = interfaces * vlans.len();
    if count > MAX_INTERFACES as usize {
        problems.error(
            *at,
            format!("this gateway has {count} VLANs on its public interfaces, all told"),
            format!("a gateway can have {MAX_INTERFACES} at most: add a gateway for the others"),
        );
    }
}
