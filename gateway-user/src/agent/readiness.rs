//! Whether the node can carry traffic. Pure.
//!
//! A node that announces its addresses without a way out, or without a way in,
//! draws traffic from the gateways that could serve it.

use crate::{
    config::{Gateway, Topology},
    reachability::{NextHop, Reachability},
    status,
};

/// What keeps the node from carrying traffic, one sentence each; nothing when it can.
pub(super) fn missing(
    topology: &Topology,
    gateway: &Gateway,
    reach: &Reachability,
    is_attached: impl Fn(&str) -> bool,
) -> Vec<String> {
    let mut missing = Vec::new();
    for name in status::interface_names(gateway) {
        match reach.interfaces.get(name) {
            None => missing.push(format!("interface {name} is gone")),
            Some(_) if !is_attached(name) => {
                missing.push(format!("the program is not attached to {name}"));
            }
            Some(_) => {}
        }
    }
    if reach.uplinks.is_empty() {
        let public = gateway.public.join(", ");
        missing.push(format!(
            "there is no route to the public network by {public}"
        ));
    } else if !reach.uplinks.iter().any(NextHop::is_usable) {
        missing.push(format!(
            "no router answers on the public side: {}",
            names(&reach.uplinks)
        ));
    }
    let towards = |host: &crate::config::Host| reach.tunnels.get(&host.vtep);
    let hops: Vec<_> = topology
        .hosts
        .iter()
        .filter_map(towards)
        .flatten()
        .cloned()
        .collect();
    if !topology.hosts.is_empty() && hops.is_empty() {
        let underlay = gateway.underlay.join(", ");
        missing.push(format!("there is no route to any host by {underlay}"));
    } else if !topology.hosts.is_empty() && !hops.iter().any(NextHop::is_usable) {
        missing.push(format!(
            "no next hop answers on the underlay: {}",
            names(&hops)
        ));
    }
    missing
}

fn names(hops: &[NextHop]) -> String {
    let mut names: Vec<_> = hops
        .iter()
        .map(|hop| format!("{} on {}", hop.address, hop.interface))
        .collect();
    names.sort();
    names.dedup();
    names.join(", ")
}
