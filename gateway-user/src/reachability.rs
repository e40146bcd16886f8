//! What the agent knows of the network around the node: interfaces, routes and
//! neighbours. Filled from netlink, read by the pure [`model`](crate::model).

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use serde::{Deserialize, Serialize};

use crate::config::Mac;

/// A snapshot of the node's surroundings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reachability {
    /// The interfaces that the topology gives to this node, by name; one that is
    /// missing from the kernel is missing here.
    pub interfaces: BTreeMap<String, Interface>,
    /// VLANs on the public interfaces, by name of the kernel's device for each.
    pub vlans: BTreeMap<String, Vlan>,
    /// Next hops towards each tunnel endpoint, in a stable order. Empty: no route.
    pub tunnels: BTreeMap<IpAddr, Vec<NextHop>>,
    /// Next hops of the IPv4 default route out of the public interfaces, in a stable
    /// order.
    pub uplinks: Vec<NextHop>,
    /// The same of the IPv6 default route.
    pub uplinks_v6: Vec<NextHop>,
}

impl Reachability {
    /// Next hops towards the public network, of both families.
    pub fn all_uplinks(&self) -> impl Iterator<Item = &NextHop> {
        self.uplinks.iter().chain(&self.uplinks_v6)
    }
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Kernel's index.
    pub ifindex: u32,
    /// MAC.
    pub mac: Mac,
    /// MTU in bytes, IP header on.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Its first IPv4 address that reaches beyond the link.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

impl Reachability {
    /// The VLAN with this number on an interface.
    pub fn vlan(&self, interface: &str, id: u16) -> Option<&Vlan> {
        let mut vlans = self.vlans.values();
        vlans.find(|vlan| vlan.parent == interface && vlan.id == id)
    }
}

/// A VLAN on an interface of the node, such as `eth0.100`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Vlan {
    /// The interface that it is on, one of [`Reachability::interfaces`].
    pub parent: String,
    /// 802.1Q identifier.
    pub id: u16,
    /// MAC.
    pub mac: Mac,
    /// MTU in bytes, IP header on.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// Its first IPv4 address that reaches beyond the link.
    pub v4: Option<Ipv4Addr>,
    /// The same for IPv6.
    pub v6: Option<Ipv6Addr>,
}

/// One next hop.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextHop {
    /// Outgoing interface, one of [`Reachability::interfaces`] or [`Reachability::vlans`].
    pub interface: String,
    /// Address of the neighbour: the router's, or the destination's own when on-link.
    pub address: IpAddr,
    /// Its MAC, when resolved.
    pub mac: Option<Mac>,
    /// The kernel's word for the neighbour entry: reachable, stale, failed, ...
    pub state: NeighbourState,
}

impl NextHop {
    /// Whether packets can be sent there.
    pub const fn is_usable(&self) -> bool {
        self.mac.is_some()
    }
}

/// State of a neighbour entry (linux/neighbour.h, NUD_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NeighbourState {
    /// No entry, or resolution under way.
    Incomplete,
    /// Confirmed lately.
    Reachable,
    /// Known, not confirmed lately (stale, delay, probe).
    Stale,
    /// Configured by hand (permanent, noarp).
    Permanent,
    /// Resolution failed.
    Failed,
}
