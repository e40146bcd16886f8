//! Makes the plan's namespaces, links and addresses.

use std::{fs, io, thread};

use anyhow::{Context, Result, anyhow};

use super::{
    ethtool::{self, Offload},
    names::RunId,
    ns,
    plan::{Node, Plan},
    site::NodeKind,
    tool::batch,
};

/// A kernel setting below /proc/sys/net.
pub(super) type Setting<'s> = (&'s str, &'s str);

/// Settings of every namespace: answers may come in where the questions did not go out.
pub(super) const EVERYWHERE: &[Setting<'_>] = &[
    ("ipv4/conf/all/rp_filter", "0"),
    ("ipv4/conf/default/rp_filter", "0"),
];

/// Settings of nodes without IPv6: no noise in captures.
pub(super) const WITHOUT_IPV6: &[Setting<'_>] = &[
    ("ipv6/conf/all/disable_ipv6", "1"),
    ("ipv6/conf/default/disable_ipv6", "1"),
];

/// Settings of nodes with IPv6: an address is there as soon as it is given, without a
/// second's look whether it is free, and stays while its link is down, as one of IPv4 does;
/// nobody asks for routers that do not advertise.
const WITH_IPV6: &[Setting<'_>] = &[
    ("ipv6/conf/all/accept_dad", "0"),
    ("ipv6/conf/default/accept_dad", "0"),
    ("ipv6/conf/default/accept_ra", "0"),
    ("ipv6/conf/all/keep_addr_on_down", "1"),
    ("ipv6/conf/default/keep_addr_on_down", "1"),
    ("ipv6/conf/default/router_solicitations", "0"),
];

/// Settings of nodes that forward: flows are spread by their ports too.
pub(super) const FORWARDING: &[Setting<'_>] = &[
    ("ipv4/ip_forward", "1"),
    ("ipv4/fib_multipath_hash_policy", "1"),
    ("ipv4/conf/all/send_redirects", "0"),
    ("ipv4/conf/default/send_redirects", "0"),
    ("ipv6/conf/all/forwarding", "1"),
    ("ipv6/fib_multipath_hash_policy", "1"),
];

/// Makes it all; the namespaces must not exist yet.
pub(super) fn build(run: &RunId, plan: &Plan) -> Result<()> {
    ns::prepare()?;
    on_all(plan, |node| {
        ns::create(&run.namespace(&node.name), || {
            EVERYWHERE.iter().try_for_each(sysctl)?;
            let ipv6 = match plan.speaks_ipv6(&node.name) {
                true => WITH_IPV6,
                false => WITHOUT_IPV6,
            };
            ipv6.iter().try_for_each(sysctl)?;
            if matches!(node.kind, NodeKind::Router { .. } | NodeKind::Gateway(_)) {
                FORWARDING.iter().try_for_each(sysctl)?;
            }
            Ok(())
        })
    })?;
    batch(run, &["ip", "-batch", "-"], &links(run, plan)).context("make the links")?;
    on_all(plan, |node| {
        let namespace = run.namespace(&node.name);
        batch(
            run,
            &["ip", "-n", &namespace, "-batch", "-"],
            &node.commands,
        )
        .with_context(|| format!("configure {}", node.name))?;
        ns::enter(&namespace, || devices(plan, node))?
    })
}

/// Does the work for all nodes, on as many threads as there are cores.
fn on_all(plan: &Plan, work: impl Fn(&Node) -> Result<()> + Sync) -> Result<()> {
    let threads = thread::available_parallelism().map_or(2, usize::from);
    let share = plan.nodes.len().div_ceil(threads).max(1);
    thread::scope(|scope| {
        let workers: Vec<_> = plan
            .nodes
            .chunks(share)
            .map(|nodes| scope.spawn(|| nodes.iter().try_for_each(&work)))
            .collect();
        workers.into_iter().try_for_each(|worker| {
            worker
                .join()
                .unwrap_or_else(|_| Err(anyhow!("a thread of the lab panicked")))
        })
    })
}

/// Both ends of each veth pair come to be where they belong: no moving.
fn links(run: &RunId, plan: &Plan) -> Vec<String> {
    let pairs = plan.pairs().map(|(a, b)| {
        format!(
            "link add {} netns {} address {} mtu {} type veth peer name {} netns {} address {} mtu {}",
            a.interface,
            run.namespace(&a.node),
            a.mac,
            a.mtu,
            b.interface,
            run.namespace(&b.node),
            b.mac,
            b.mtu,
        )
    });
    pairs.collect()
}

/// Checksums must be in the packets: Open vSwitch drops those without, and XDP
/// rewrites them by their difference. And native XDP sends only into a veth whose
/// other end polls (NAPI), which GRO turns on. A question for a neighbour that was lost, since
/// a switch was still starting, is sent again after 100 ms instead of a second.
fn devices(plan: &Plan, node: &Node) -> Result<()> {
    let is_gateway = |name: &str| {
        plan.nodes
            .iter()
            .any(|node| node.name == name && matches!(node.kind, NodeKind::Gateway(_)))
    };
    plan.devices_of(&node.name).try_for_each(|device| {
        ethtool::set(&device.interface, Offload::TransmitChecksum, false)?;
        for family in ["ipv4", "ipv6"] {
            let retry = format!("{family}/neigh/{}/retrans_time_ms", device.interface);
            sysctl(&(&retry, "100"))?;
        }
        if is_gateway(&device.peer.0) {
            ethtool::set(&device.interface, Offload::GenericReceive, true)?;
        }
        Ok(())
    })
}

/// Writes a setting below /proc/sys/net, in the calling thread's namespace.
pub(super) fn sysctl((name, value): &Setting<'_>) -> Result<()> {
    match fs::write(format!("/proc/sys/net/{name}"), value) {
        // A kernel without IPv6 has nothing to set.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name.starts_with("ipv6") => Ok(()),
        result => result.with_context(|| format!("set net/{name} to {value}")),
    }
}
