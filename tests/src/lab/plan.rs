//! From a site to what is to be made of it: nodes, veth pairs, addresses. Pure.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;
use lingyun::config::{InstanceId, Mac};
use serde::Serialize;

use super::{
    config::{VM_MTU, Vswitch},
    names::{Ports, mac},
    site::{NodeKind, Site},
};

/// Name of an instance's only interface.
pub(super) const VM_INTERFACE: &str = "eth0";

/// One end of a veth pair.
#[derive(Clone, Debug, Serialize)]
pub struct Device {
    /// Node: a name of the topology; instances are `vpc/name`.
    pub node: String,
    /// Interface.
    pub interface: String,
    /// MAC that its node uses there.
    pub mac: Mac,
    /// MTU in bytes.
    pub mtu: u32,
    /// Its addresses; none on the port of a virtual switch.
    pub addresses: Vec<IpNet>,
    /// Node and interface at the other end.
    pub peer: (String, String),
}

/// A node and how it comes up.
#[derive(Debug)]
pub(super) struct Node {
    /// Name of the topology; instances are `vpc/name`.
    pub name: String,
    /// What it is.
    pub kind: NodeKind,
    /// Commands for `ip -batch` in its namespace, after the links are there.
    pub commands: Vec<String>,
}

/// All of it.
#[derive(Debug)]
pub(super) struct Plan {
    /// Nodes.
    pub nodes: Vec<Node>,
    /// Devices: the ends of link `n` are at `2n` and `2n + 1`.
    pub devices: Vec<Device>,
    ports: HashMap<InstanceId, String>,
}

impl Plan {
    /// Plans a site.
    pub(super) fn new(site: &Site) -> Self {
        let mut plan = Self {
            nodes: Vec::new(),
            devices: Vec::new(),
            ports: HashMap::new(),
        };
        let mut taken: HashMap<String, Ports> = HashMap::new();
        for link in &site.lab.links {
            for (end, addresses, peer) in link.ends() {
                taken
                    .entry(end.node.clone())
                    .or_default()
                    .take(&end.interface);
                plan.devices.push(Device {
                    node: end.node.clone(),
                    interface: end.interface.clone(),
                    mac: mac(&end.node, &end.interface),
                    mtu: link.mtu,
                    addresses: addresses.to_vec(),
                    peer: (peer.node.clone(), peer.interface.clone()),
                });
            }
        }
        for (id, instance) in site.topology.instances() {
            let node = site.instance_name(id);
            let host = &site.topology.hosts[instance.host].name;
            let port = taken.entry(host.clone()).or_default().vm(&instance.name);
            let addresses = instance.ips().map(|ip| {
                let length = site.topology.subnet_with(id.vpc, ip).cidr.prefix_len();
                IpNet::new(ip, length).expect("a subnet's prefix length fits")
            });
            plan.devices.push(Device {
                node: node.clone(),
                interface: VM_INTERFACE.to_owned(),
                mac: instance.mac,
                mtu: VM_MTU,
                addresses: addresses.collect(),
                peer: (host.clone(), port.clone()),
            });
            plan.devices.push(Device {
                node: host.clone(),
                interface: port.clone(),
                mac: mac(host, &port),
                mtu: VM_MTU,
                addresses: Vec::new(),
                peer: (node, VM_INTERFACE.to_owned()),
            });
            plan.ports.insert(id, port);
        }
        for (name, kind) in site.nodes() {
            let commands = plan.commands(site, &name, kind);
            plan.nodes.push(Node {
                name,
                kind,
                commands,
            });
        }
        plan
    }

    /// The port of an instance on its host.
    pub(super) fn port(&self, instance: InstanceId) -> &str {
        &self.ports[&instance]
    }

    /// The two ends of each veth pair.
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&Device, &Device)> {
        self.devices
            .chunks_exact(2)
            .map(|pair| (&pair[0], &pair[1]))
    }

    /// Whether a node has an IPv6 address, besides those that come and go.
    pub(super) fn speaks_ipv6(&self, node: &str) -> bool {
        let mut addresses = self.devices_of(node).flat_map(|device| &device.addresses);
        addresses.any(|address| address.addr().is_ipv6())
    }

    /// The devices of a node.
    pub(super) fn devices_of(&self, node: &str) -> impl Iterator<Item = &Device> {
        self.devices
            .iter()
            .filter(move |device| device.node == node)
    }

    fn commands(&self, site: &Site, node: &str, kind: NodeKind) -> Vec<String> {
        let mut commands = vec!["link set dev lo up".to_owned()];
        let by_switch = matches!(kind, NodeKind::Host(_, Vswitch::Openvswitch));
        for device in self.devices_of(node) {
            let name = &device.interface;
            // Open vSwitch ends the tunnels: its bridge has the addresses.
            if !by_switch {
                let addresses = device.addresses.iter();
                commands.extend(addresses.map(|ip| format!("address add {ip} dev {name}")));
            }
            commands.push(format!("link set dev {name} up"));
        }
        let via = |router: IpAddr, interface: &str| {
            format!("route add default via {router} dev {interface}")
        };
        match kind {
            NodeKind::Client | NodeKind::Host(_, Vswitch::Kernel) => {
                let (interface, routers) = site.uplink(node);
                commands.extend(routers.into_iter().map(|router| via(router, interface)));
            }
            NodeKind::Gateway(index) => {
                let vtep = site.topology.gateways[index].vtep;
                commands.push(format!("address add {} dev lo", IpNet::from(vtep)));
            }
            NodeKind::Instance(id) => {
                let ips = site.topology.instance(id).ips();
                let subnets = ips.map(|ip| site.topology.subnet_with(id.vpc, ip));
                commands.extend(subnets.map(|subnet| via(subnet.router, VM_INTERFACE)));
            }
            NodeKind::Router { .. } | NodeKind::Host(_, Vswitch::Openvswitch) => {}
        }
        commands
    }
}
