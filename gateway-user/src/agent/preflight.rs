//! What can be known to be missing before anything is touched, said in one go.

use anyhow::{Result, bail};

use super::offload;
use crate::{
    config::{Gateway, Topology},
    model,
    reachability::Reachability,
    status,
};

/// Capabilities by their bit (linux/capability.h).
const NET_ADMIN: (u32, &str) = (12, "CAP_NET_ADMIN");
const BPF: (u32, &str) = (39, "CAP_BPF");
const SYS_ADMIN: u32 = 21;

/// The agent may do what it has to.
pub(super) fn privileges() -> Result<()> {
    // Unreadable only where /proc is not mounted; then the kernel will say no.
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    match missing_capabilities(&status) {
        missing if missing.is_empty() => Ok(()),
        missing => bail!(
            "the agent lacks {}: run it as root, or give it the capabilities (in a systemd unit: \
             AmbientCapabilities={})",
            missing.join(" and "),
            missing.join(" ")
        ),
    }
}

/// What is missing by the text of `/proc/self/status`.
fn missing_capabilities(status: &str) -> Vec<&'static str> {
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let Some(Ok(effective)) = effective.map(|hex| u64::from_str_radix(hex.trim(), 16)) else {
        return Vec::new();
    };
    let has = |bit: u32| effective >> bit & 1 == 1;
    // Before Linux 5.8, and still, CAP_SYS_ADMIN includes CAP_BPF.
    let lacks = |(bit, _): &(u32, &str)| !(has(*bit) || *bit == BPF.0 && has(SYS_ADMIN));
    [NET_ADMIN, BPF]
        .into_iter()
        .filter(lacks)
        .map(|(_, name)| name)
        .collect()
}

/// The interfaces that the topology gives to the node exist here.
pub(super) fn interfaces(gateway: &Gateway, reach: &Reachability) -> Result<()> {
    let missing: Vec<_> = status::interface_names(gateway)
        .into_iter()
        .filter(|name| !reach.interfaces.contains_key(*name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (noun, verb) = if missing.len() == 1 {
        ("interface", "is")
    } else {
        ("interfaces", "are")
    };
    bail!(
        "{noun} {} of gateway {} {verb} not on this machine: compare the topology with `ip link`, \
         or choose another gateway with --node",
        missing.join(", "),
        gateway.name
    )
}

/// What will not work as the topology says, though the agent can run: one sentence each.
pub(super) fn warnings(
    topology: &Topology,
    gateway: &Gateway,
    reach: &Reachability,
) -> Vec<String> {
    let mut warnings = small_underlay(topology, gateway, reach);
    // Unreadable only where /proc is not mounted.
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    warnings.extend(jumbo_redirect(reach, release.trim()));
    warnings.extend(missing_vlans(gateway, reach));
    if gateway.public_vlans.is_empty() {
        return warnings;
    }
    for name in &gateway.public {
        // What cannot be asked has no such offload.
        if offload::takes_tags_off(name).unwrap_or(false) {
            warnings.push(format!(
                "{name} takes VLAN tags off before XDP sees the frames, which are then passed \
                 as untagged: switch it off with `ethtool -K {name} rxvlan off`"
            ));
        }
    }
    warnings
}

/// The first kernel that redirects frames in several buffers.
const JUMBO_REDIRECT: (u32, u32) = (6, 3);

/// Jumbo frames on a kernel that drops them behind our back.
fn jumbo_redirect(reach: &Reachability, release: &str) -> Option<String> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || numbers.next()?.parse().ok();
    let version: (u32, u32) = (number()?, number()?);
    (model::has_jumbo(reach) && version < JUMBO_REDIRECT).then(|| {
        format!(
            "frames that the driver puts into several buffers are dropped by this kernel \
             ({release}; 6.3 redirects them): lower the MTU of the interfaces, to 3498 or less \
             on most drivers, or take a later kernel"
        )
    })
}

/// Interfaces whose packets are smaller than the topology promises.
fn small_underlay(topology: &Topology, gateway: &Gateway, reach: &Reachability) -> Vec<String> {
    let promised = topology.underlay_mtu;
    let known = gateway.underlay.iter().filter_map(|name| {
        let mtu = reach.interfaces.get(name)?.mtu;
        Some((name, mtu)).filter(|_| mtu < promised)
    });
    known
        .map(|(name, mtu)| {
            format!(
                "the MTU of {name} is {mtu}, and underlay_mtu says {promised}: larger packets \
                 are refused; raise it with `ip link set {name} mtu {promised}`"
            )
        })
        .collect()
}

/// VLANs that the kernel has no device for, and so no routes and no neighbours.
pub(super) fn missing_vlans(gateway: &Gateway, reach: &Reachability) -> Vec<String> {
    let pairs = gateway
        .public
        .iter()
        .flat_map(|name| gateway.public_vlans.iter().map(move |&id| (name, id)));
    let missing = pairs.filter(|(name, id)| reach.vlan(name, *id).is_none());
    missing
        .map(|(name, id)| {
            format!(
                "VLAN {id} on {name} has no device, and so no routes: `ip link add link {name} \
                 name {name}.{id} type vlan id {id}`"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capabilities_are_told_by_name() {
        let status = |caps: u64| format!("Name:\tx\nCapEff:\t{caps:016x}\nCapBnd:\tffff\n");
        assert_eq!(
            missing_capabilities(&status(0)),
            ["CAP_NET_ADMIN", "CAP_BPF"]
        );
        assert_eq!(missing_capabilities(&status(1 << 12)), ["CAP_BPF"]);
        assert!(missing_capabilities(&status(1 << 12 | 1 << 39)).is_empty());
        assert!(
            missing_capabilities(&status(1 << 12 | 1 << 21)).is_empty(),
            "root of old"
        );
        assert!(
            missing_capabilities("no such line").is_empty(),
            "the kernel will say"
        );
    }

    #[test]
    fn a_small_underlay_and_missing_vlans_are_told() {
        let text = std::fs::read_to_string("../topologies/minimal.yaml").unwrap();
        let vlans = text.replace("interface: eth0", "interface: eth0, vlan: [100, 200]");
        let topology = crate::config::parse("x", &vlans).unwrap().topology;
        let gateway = &topology.gateways[0];
        let mut reach = Reachability::default();
        let interface = crate::reachability::Interface {
            ifindex: 2,
            mac: Default::default(),
            mtu: 1500,
            up: true,
            v4: None,
            v6: None,
        };
        reach.interfaces.insert("eth1".into(), interface);
        let vlan = crate::reachability::Vlan {
            parent: "eth0".into(),
            id: 200,
            mac: Default::default(),
            mtu: 1500,
            up: true,
            v4: None,
            v6: None,
        };
        reach.vlans.insert("outside".into(), vlan);
        let said = warnings(&topology, gateway, &reach).join("\n");
        assert!(
            said.contains("MTU of eth1 is 1500, and underlay_mtu says 1600"),
            "{said}"
        );
        assert!(
            said.contains("name eth0.100 type vlan id 100") && !said.contains("200"),
            "{said}"
        );
    }

    #[test]
    fn jumbo_frames_need_a_kernel_that_redirects_them() {
        let mut reach = Reachability::default();
        let interface = crate::reachability::Interface {
            ifindex: 2,
            mac: Default::default(),
            mtu: 9000,
            up: true,
            v4: None,
            v6: None,
        };
        reach.interfaces.insert("eth1".into(), interface);
        let warns = |reach: &Reachability, release| jumbo_redirect(reach, release).is_some();
        assert!(warns(&reach, "6.1.0-28-amd64") && warns(&reach, "5.15.0"));
        assert!(!warns(&reach, "6.3.0") && !warns(&reach, "6.12.57+deb13-amd64"));
        assert!(!warns(&reach, "7.0.1") && !warns(&reach, ""));
        assert!(!warns(&Reachability::default(), "6.1.0"));
    }

    #[test]
    fn missing_interfaces_are_named() {
        let gateway = Gateway {
            name: "gw1".into(),
            public: vec!["eth0".into()],
            public_vlans: vec![],
            underlay: vec!["eth1".into()],
            vtep: [10, 0, 0, 11].into(),
        };
        let error = interfaces(&gateway, &Reachability::default())
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("eth0, eth1 of gateway gw1 are not"),
            "{error}"
        );
    }
}
