//! Whether the node can carry traffic. Pure.
//!
//! A node that announces its addresses without a way out, or without a way in,
//! draws traffic from the gateways that could serve it.

use std::net::IpAddr;

use crate::{
    config::{Gateway, Topology},
    netlink::public_ips,
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
    missing.extend(ways_out(topology, reach).filter_map(|(what, hops)| {
        if hops.is_empty() {
            let public = gateway.public.join(", ");
            return Some(format!(
                "there is no {what}route to the public network by {public}"
            ));
        }
        let names = || names(hops);
        (!hops.iter().any(NextHop::is_usable))
            .then(|| format!("no {what}router answers on the public side: {}", names()))
    }));
    if ways_out(topology, reach).any(|(_, hops)| hops.is_empty()) {
        missing.extend(super::preflight::missing_vlans(gateway, reach));
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

/// The ways to the public network that must be there, one for each family that has public
/// addresses: an address that is announced where it cannot be answered for draws traffic
/// from other gateways.
fn ways_out<'r>(
    topology: &Topology,
    reach: &'r Reachability,
) -> impl Iterator<Item = (&'static str, &'r [NextHop])> {
    let public = public_ips(topology);
    let v4 = public.is_empty() || public.iter().any(IpAddr::is_ipv4);
    let v6 = public.iter().any(IpAddr::is_ipv6);
    let ways = [
        (v4, "", &reach.uplinks[..]),
        (v6, "IPv6 ", &reach.uplinks_v6[..]),
    ];
    ways.into_iter()
        .filter_map(|(needed, what, hops)| needed.then_some((what, hops)))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::{Host, Mac},
        reachability::{Interface, NeighbourState},
    };

    fn site() -> Topology {
        Topology {
            anycast_vtep: [10, 0, 0, 100].into(),
            underlay_mtu: 1600,
            peerings: vec![],
            udp_checksum: false,
            seed: [0; 2],
            icmp_errors_per_second: 1_000,
            tcp_mss: 0,
            gateways: vec![Gateway {
                name: "gw1".into(),
                public: vec!["eth0".into()],
                public_vlans: vec![],
                underlay: vec!["eth1".into()],
                vtep: [10, 0, 0, 11].into(),
            }],
            hosts: vec![
                Host {
                    name: "a".into(),
                    vtep: [10, 0, 1, 2].into(),
                },
                Host {
                    name: "b".into(),
                    vtep: [10, 0, 2, 2].into(),
                },
            ],
            vpcs: vec![],
            load_balancers: vec![],
            guard: Default::default(),
            floating_ips: vec![],
            drain: crate::config::Drain::default(),
            snat: Default::default(),
        }
    }

    /// Host a can be reached, host b cannot: enough.
    fn surroundings() -> Reachability {
        let interface = Interface {
            ifindex: 2,
            mac: Mac::default(),
            mtu: 1500,
            up: true,
            v4: None,
            v6: None,
        };
        let hop = |interface: &str, last| NextHop {
            interface: interface.into(),
            address: [10, 0, 11, last].into(),
            mac: Some(Mac([2, 0, 0, 0, 0, last])),
            state: NeighbourState::Reachable,
        };
        Reachability {
            interfaces: ["eth0", "eth1"]
                .map(|name| (name.into(), interface.clone()))
                .into(),
            vlans: BTreeMap::new(),
            tunnels: BTreeMap::from([
                ([10, 0, 1, 2].into(), vec![hop("eth1", 1)]),
                ([10, 0, 2, 2].into(), vec![]),
            ]),
            uplinks: vec![hop("eth0", 9)],
            uplinks_v6: vec![],
        }
    }

    fn what_is_missing(change: impl Fn(&mut Reachability)) -> String {
        let (site, mut reach) = (site(), surroundings());
        change(&mut reach);
        missing(&site, &site.gateways[0], &reach, |_| true).join("; ")
    }

    #[test]
    fn one_way_in_and_one_way_out_are_enough() {
        assert_eq!(what_is_missing(|_| {}), "");
    }

    #[test]
    fn each_thing_that_is_missing_is_said() {
        for (change, said) in [
            (
                (|reach| reach.uplinks.clear()) as fn(&mut Reachability),
                "there is no route to the public network by eth0",
            ),
            (
                |reach| reach.uplinks[0].mac = None,
                "no router answers on the public side: 10.0.11.9 on eth0",
            ),
            (
                |reach| reach.tunnels.clear(),
                "there is no route to any host by eth1",
            ),
            (
                |reach| {
                    reach
                        .tunnels
                        .values_mut()
                        .flatten()
                        .for_each(|hop| hop.mac = None)
                },
                "no next hop answers on the underlay: 10.0.11.1 on eth1",
            ),
            (
                |reach| reach.interfaces.retain(|name, _| name != "eth1"),
                "interface eth1 is gone",
            ),
        ] {
            assert_eq!(what_is_missing(change), said);
        }
    }

    /// Public addresses of one family need no way out for the other.
    #[test]
    fn each_family_with_public_addresses_needs_a_way_out() {
        let mut site = site();
        let floating = |ip: &str| crate::config::FloatingIp {
            ip: ip.parse().expect("an address"),
            instance: crate::config::InstanceId {
                vpc: 0,
                instance: 0,
            },
        };
        let missing = |site: &Topology, reach: &Reachability| {
            missing(site, &site.gateways[0], reach, |_| true).join("; ")
        };
        site.floating_ips = vec![floating("203.0.113.20"), floating("2001:db8::20")];
        let mut reach = surroundings();
        let v6 = "there is no IPv6 route to the public network by eth0";
        assert_eq!(missing(&site, &reach), v6);
        reach.uplinks_v6 = std::mem::take(&mut reach.uplinks);
        let v4 = "there is no route to the public network by eth0";
        assert_eq!(missing(&site, &reach), v4);
        site.floating_ips.remove(0);
        assert_eq!(missing(&site, &reach), "");
        reach.uplinks_v6[0].mac = None;
        let silent = "no IPv6 router answers on the public side: 10.0.11.9 on eth0";
        assert_eq!(missing(&site, &reach), silent);
    }

    #[test]
    fn a_program_that_is_not_attached_carries_nothing() {
        let site = site();
        let missing = missing(&site, &site.gateways[0], &surroundings(), |name| {
            name == "eth0"
        });
        assert_eq!(missing, ["the program is not attached to eth1"]);
    }
}
