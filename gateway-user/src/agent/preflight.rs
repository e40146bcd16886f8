//! What can be known to be missing before anything is touched, said in one go.

use anyhow::{Result, bail};

use crate::{config::Gateway, reachability::Reachability, status};

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
    fn missing_interfaces_are_named() {
        let gateway = Gateway {
            name: "gw1".into(),
            public: vec!["eth0".into()],
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
