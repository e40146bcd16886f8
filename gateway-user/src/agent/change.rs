//! Which changes of a topology a running agent can follow. Pure.

use crate::config::{Gateway, Topology};

/// The gateway in its new shape, or why the agent has to be started anew.
pub(super) fn follow<'t>(
    (topology, gateway): (&Topology, &Gateway),
    new: &'t Topology,
) -> Result<&'t Gateway, String> {
    let name = &gateway.name;
    let Some(wanted) = new.gateway(name) else {
        return Err(format!(
            "gateway {name}, which this agent is, is not in the file any more: stop the agent if \
             it is to go"
        ));
    };
    let changes = [
        ("anycast_vtep", topology.anycast_vtep != new.anycast_vtep),
        ("secret", topology.seed != new.seed),
        ("the interfaces of the gateway", {
            (&gateway.public, &gateway.underlay) != (&wanted.public, &wanted.underlay)
        }),
        ("the vlan of the gateway", {
            gateway.public_vlans != wanted.public_vlans
        }),
        ("the vtep of the gateway", gateway.vtep != wanted.vtep),
    ];
    let changed: Vec<_> = changes
        .into_iter()
        .filter_map(|(what, changed)| changed.then_some(what))
        .collect();
    if changed.is_empty() {
        return Ok(wanted);
    }
    Err(format!(
        "{} cannot change while the agent runs: restart it to take the file over",
        changed.join(", ")
    ))
}

/// What a change is about, in a sentence.
pub(super) fn summary(before: &Topology, after: &Topology) -> String {
    let counts = [
        ("hosts", before.hosts.len(), after.hosts.len()),
        ("VPCs", before.vpcs.len(), after.vpcs.len()),
        ("peerings", before.peerings.len(), after.peerings.len()),
        (
            "instances",
            before.instances().count(),
            after.instances().count(),
        ),
        (
            "load balancers",
            before.load_balancers.len(),
            after.load_balancers.len(),
        ),
        ("backends", backends(before), backends(after)),
        (
            "floating IPs",
            before.floating_ips.len(),
            after.floating_ips.len(),
        ),
        (
            "SNAT pools",
            before.snat.pools.len(),
            after.snat.pools.len(),
        ),
    ];
    let changed: Vec<_> = counts
        .into_iter()
        .filter(|(_, before, after)| before != after)
        .map(|(what, before, after)| format!("{before} -> {after} {what}"))
        .collect();
    match changed.is_empty() {
        true => "taken over".into(),
        false => format!("taken over: {}", changed.join(", ")),
    }
}

fn backends(topology: &Topology) -> usize {
    let services = topology.load_balancers.iter();
    services.map(|service| service.backends.len()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    fn load(text: &str) -> Topology {
        config::parse("site.yaml", text).unwrap().topology
    }

    const SITE: &str = include_str!("../../../topologies/minimal.yaml");

    #[test]
    fn services_and_networks_may_change() {
        let site = load(SITE);
        let now = (&site, &site.gateways[0]);
        let mut new = site.clone();
        new.load_balancers.clear();
        new.floating_ips.clear();
        assert_eq!(follow(now, &new), Ok(&new.gateways[0]));
    }

    #[test]
    fn what_the_gateway_is_may_not() {
        let site = load(SITE);
        let now = (&site, &site.gateways[0]);
        let refused = |change: fn(&mut Topology)| {
            let mut new = site.clone();
            change(&mut new);
            follow(now, &new).unwrap_err()
        };
        for (change, said) in [
            (
                (|new| new.gateways[0].name = "other".into()) as fn(&mut Topology),
                "gateway gw1, which this agent is, is not in the file",
            ),
            (|new| new.seed = [7; 2], "secret cannot change"),
            (
                |new| new.anycast_vtep = [10, 9, 9, 9].into(),
                "anycast_vtep cannot change",
            ),
            (
                |new| new.gateways[0].underlay.push("eth7".into()),
                "the interfaces of the gateway cannot change",
            ),
            (
                |new| new.gateways[0].public_vlans.push(7),
                "the vlan of the gateway cannot change",
            ),
            (
                |new| new.gateways[0].vtep = [10, 9, 9, 9].into(),
                "the vtep of the gateway cannot change",
            ),
        ] {
            let error = refused(change);
            assert!(error.contains(said), "{error}");
        }
    }
}
