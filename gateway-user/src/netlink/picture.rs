//! From what the kernel says (links, routes, neighbours) to a [`Reachability`].
//! Pure: no sockets here, so every rule below is tested without a kernel.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::{
    config::{Gateway, Mac, Topology},
    reachability::{Interface, NeighbourState, NextHop, Reachability, Vlan},
};

/// What a node has to know of its surroundings, by its topology.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Names of the interfaces that face the public network.
    pub public: BTreeSet<String>,
    /// The public network's VLANs on them; none when it is untagged.
    pub public_vlans: BTreeSet<u16>,
    /// Names of the interfaces that face the underlay.
    pub underlay: BTreeSet<String>,
    /// Tunnel endpoints: the hosts and the other gateways.
    pub endpoints: BTreeSet<IpAddr>,
    /// The node has public IPv4 addresses, so it needs IPv4 routes outward.
    pub outward_v4: bool,
    /// The same for IPv6.
    pub outward_v6: bool,
}

impl Wanted {
    /// What this gateway needs.
    pub fn new(topology: &Topology, gateway: &Gateway) -> Self {
        let hosts = topology.hosts.iter().map(|host| host.vtep);
        let peers = topology.gateways.iter().map(|peer| peer.vtep);
        let public_ips = public_ips(topology);
        Self {
            public: gateway.public.iter().cloned().collect(),
            public_vlans: gateway.public_vlans.iter().copied().collect(),
            underlay: gateway.underlay.iter().cloned().collect(),
            endpoints: hosts
                .chain(peers)
                .filter(|vtep| *vtep != gateway.vtep)
                .collect(),
            outward_v4: public_ips.iter().any(|ip| ip.is_ipv4()),
            outward_v6: public_ips.iter().any(|ip| ip.is_ipv6()),
        }
    }

    /// Whether the topology gives this interface to the node.
    pub fn has_interface(&self, name: &str) -> bool {
        self.public.contains(name) || self.underlay.contains(name)
    }

    /// Whether a link is a VLAN of ours, on an interface of ours that is among `links`.
    pub(super) fn has_vlan(&self, link: &Link, links: &BTreeMap<u32, Link>) -> bool {
        link.vlan.is_some_and(|vlan| {
            let parent = links.get(&vlan.parent);
            self.public_vlans.contains(&vlan.id)
                && parent.is_some_and(|parent| self.public.contains(&parent.name))
        })
    }

    /// Whether a link leads to the public network: an interface, or only its VLANs.
    pub(super) fn is_public(&self, link: &Link, links: &BTreeMap<u32, Link>) -> bool {
        match self.public_vlans.is_empty() {
            true => self.public.contains(&link.name),
            false => self.has_vlan(link, links),
        }
    }

    /// `true` for IPv6, `false` for IPv4: the families that must have a way out.
    fn families(&self) -> impl Iterator<Item = bool> + use<> {
        [(false, self.outward_v4), (true, self.outward_v6)]
            .into_iter()
            .filter_map(|(v6, wanted)| wanted.then_some(v6))
    }
}

/// The addresses that the world reaches this site by: VIPs and floating IPs.
pub fn public_ips(topology: &Topology) -> BTreeSet<IpAddr> {
    let vips = topology.load_balancers.iter().map(|balancer| balancer.vip);
    let floating = topology.floating_ips.iter().map(|floating| floating.ip);
    let shared = topology
        .snat
        .pools
        .iter()
        .flat_map(|pool| &pool.ips)
        .map(|&ip| ip.into());
    vips.chain(floating).chain(shared).collect()
}

/// A neighbour is named by the interface's index and its address.
pub type NeighbourKey = (u32, IpAddr);

/// What the kernel said last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// The node's interfaces, and the public network's VLANs on them, by index.
    pub links: BTreeMap<u32, Link>,
    /// Their addresses that reach beyond the link, in the kernel's order.
    pub addresses: BTreeMap<u32, Vec<IpAddr>>,
    /// The kernel's own answer to "how would you reach this endpoint".
    pub endpoints: BTreeMap<IpAddr, Vec<Hop>>,
    /// Routes of the main table out of the node's public interfaces.
    pub outward: Vec<Route>,
    /// Neighbour entries on the node's interfaces.
    pub neighbours: BTreeMap<NeighbourKey, Neighbour>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Name.
    pub name: String,
    /// MAC; all zero on devices that have none.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u32,
    /// Administratively up and with carrier.
    pub up: bool,
    /// It is a VLAN on another interface.
    pub vlan: Option<VlanOn>,
}

/// The first address of each family.
fn firsts(addresses: &[IpAddr]) -> (Option<Ipv4Addr>, Option<Ipv6Addr>) {
    let v4 = addresses.iter().find_map(|ip| match ip {
        IpAddr::V4(v4) => Some(*v4),
        IpAddr::V6(_) => None,
    });
    let v6 = addresses.iter().find_map(|ip| match ip {
        IpAddr::V6(v6) => Some(*v6),
        IpAddr::V4(_) => None,
    });
    (v4, v6)
}

/// Which VLAN, and on which interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VlanOn {
    /// Index of the interface.
    pub parent: u32,
    /// 802.1Q identifier.
    pub id: u16,
}

impl Link {
    fn interface(&self, ifindex: u32, addresses: &[IpAddr]) -> (String, Interface) {
        let Self {
            name, mac, mtu, up, ..
        } = self.clone();
        let (v4, v6) = firsts(addresses);
        let interface = Interface {
            ifindex,
            mac,
            mtu,
            up,
            v4,
            v6,
        };
        (name, interface)
    }
}

/// One way that a route offers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hop {
    /// Interface it leaves by.
    pub ifindex: u32,
    /// Router; none when the destination is on the link.
    pub gateway: Option<IpAddr>,
    /// The kernel would use it: neither dead nor without carrier.
    pub alive: bool,
}

/// One unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// IPv6 rather than IPv4.
    pub v6: bool,
    /// Length of its prefix: 0 is the default route.
    pub prefix_len: u8,
    /// Metric; the kernel prefers the lowest.
    pub metric: u32,
    /// Ways it offers.
    pub hops: Vec<Hop>,
}

/// One neighbour entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// MAC, while the kernel holds it valid.
    pub mac: Option<Mac>,
    /// State.
    pub state: NeighbourState,
    /// The kernel keeps it fresh by itself (NTF_EXT_MANAGED).
    pub managed: bool,
}

impl Picture {
    /// The neighbours that must be resolved for the node to do its work.
    pub fn needed(&self, wanted: &Wanted) -> BTreeSet<NeighbourKey> {
        let tunnels = wanted
            .endpoints
            .iter()
            .flat_map(|endpoint| self.towards(wanted, *endpoint));
        let uplinks = wanted.families().flat_map(|v6| self.uplinks(wanted, v6));
        tunnels.chain(uplinks).collect()
    }

    /// What the rest of the agent sees.
    pub fn reachability(&self, wanted: &Wanted) -> Reachability {
        let tunnels = wanted.endpoints.iter().map(|endpoint| {
            let hops = self.towards(wanted, *endpoint);
            (*endpoint, self.next_hops(hops))
        });
        Reachability {
            interfaces: self
                .links
                .iter()
                .filter(|(_, link)| wanted.has_interface(&link.name))
                .map(|(index, link)| link.interface(*index, self.addresses_of(*index)))
                .collect(),
            vlans: self.vlans(wanted).collect(),
            tunnels: tunnels.collect(),
            uplinks: self.next_hops(self.uplinks(wanted, false)),
            uplinks_v6: self.next_hops(self.uplinks(wanted, true)),
        }
    }

    fn addresses_of(&self, ifindex: u32) -> &[IpAddr] {
        self.addresses.get(&ifindex).map_or(&[], |all| all)
    }

    fn vlans(&self, wanted: &Wanted) -> impl Iterator<Item = (String, Vlan)> {
        let ours = |(_, link): &(&u32, &Link)| wanted.has_vlan(link, &self.links);
        self.links.iter().filter(ours).filter_map(|(index, link)| {
            let VlanOn { parent, id } = link.vlan?;
            let parent = self.links.get(&parent)?.name.clone();
            let Link {
                name, mac, mtu, up, ..
            } = link.clone();
            let (v4, v6) = firsts(self.addresses_of(*index));
            let vlan = Vlan {
                parent,
                id,
                mac,
                mtu,
                up,
                v4,
                v6,
            };
            Some((name, vlan))
        })
    }

    /// How many leading bits a route may have and still change the uplinks.
    /// Lets the watcher ignore the thousands of longer ones that BGP may bring.
    pub fn outward_len(&self, wanted: &Wanted) -> u8 {
        let families = wanted.families();
        families
            .map(|v6| self.most_general(wanted, v6).unwrap_or(u8::MAX))
            .max()
            .unwrap_or(0)
    }

    /// Neighbours on the way to an endpoint. Only through the underlay: were the
    /// underlay's route gone, a default route would carry the tenants' traffic
    /// out to the public network in clear.
    fn towards(&self, wanted: &Wanted, endpoint: IpAddr) -> BTreeSet<NeighbourKey> {
        let hops = self.endpoints.get(&endpoint).into_iter().flatten();
        let underlay = |link: &Link| wanted.underlay.contains(&link.name);
        hops.filter(|hop| self.is_alive(hop, underlay))
            .map(|hop| (hop.ifindex, hop.gateway.unwrap_or(endpoint)))
            .collect()
    }

    /// Routers of a family's default route out of the public interfaces, or of the
    /// most general routes there are; none if no public address is of the family.
    fn uplinks(&self, wanted: &Wanted, v6: bool) -> BTreeSet<NeighbourKey> {
        let most_general = match wanted.families().any(|family| family == v6) {
            true => self.most_general(wanted, v6),
            false => None,
        };
        let Some(prefix_len) = most_general else {
            return BTreeSet::new();
        };
        let routes = || {
            self.outward
                .iter()
                .filter(move |route| route.v6 == v6 && route.prefix_len == prefix_len)
        };
        let usable = |route: &&Route| self.routers(route, wanted).next().is_some();
        let metric = routes().filter(usable).map(|route| route.metric).min();
        let best = routes().filter(|route| Some(route.metric) == metric);
        best.flat_map(|route| self.routers(route, wanted)).collect()
    }

    fn most_general(&self, wanted: &Wanted, v6: bool) -> Option<u8> {
        let routes = self.outward.iter().filter(|route| route.v6 == v6);
        routes
            .filter(|route| self.routers(route, wanted).next().is_some())
            .map(|route| route.prefix_len)
            .min()
    }

    fn routers(&self, route: &Route, wanted: &Wanted) -> impl Iterator<Item = NeighbourKey> {
        route
            .hops
            .iter()
            .filter(|hop| self.is_alive(hop, |link| wanted.is_public(link, &self.links)))
            .filter_map(|hop| Some((hop.ifindex, hop.gateway?)))
    }

    fn is_alive(&self, hop: &Hop, faces: impl Fn(&Link) -> bool) -> bool {
        let link = self.links.get(&hop.ifindex);
        hop.alive && link.is_some_and(|link| link.up && faces(link))
    }

    /// Sorted by interface name and address, so that the same surroundings always
    /// fill the tables in the same order.
    fn next_hops(&self, keys: BTreeSet<NeighbourKey>) -> Vec<NextHop> {
        let mut hops: Vec<_> = keys
            .into_iter()
            .filter_map(|key| {
                let neighbour = self.neighbours.get(&key);
                Some(NextHop {
                    interface: self.links.get(&key.0)?.name.clone(),
                    address: key.1,
                    mac: neighbour.and_then(|neighbour| neighbour.mac),
                    state: neighbour.map_or(NeighbourState::Incomplete, |n| n.state),
                })
            })
            .collect();
        hops.sort_by(|a, b| (&a.interface, a.address).cmp(&(&b.interface, b.address)));
        hops
    }
}

#[cfg(test)]
pub(super) mod tests;
