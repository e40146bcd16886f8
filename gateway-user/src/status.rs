//! What the agent tells about itself: the JSON of `GET /status` and of
//! `lingyun status --json`, and the source of all metrics. See docs/agent.md.
//!
//! [`Status`] is built from what the agent knows at one moment; that is pure.

use std::net::IpAddr;

use gateway_common::{ABI_VERSION, Counter, Reason, ReasonCount};
use serde::{Deserialize, Serialize};

use crate::{
    config::{Gateway, InstanceId, Mac, Protocol, Topology},
    datapath::{Mode, Role},
    model::Label,
    netlink::Announcement,
    reachability::{NextHop, Reachability},
};

/// Version of this format. It rises when a field changes its meaning or goes;
/// readers must accept fields that they do not know.
pub const FORMAT: u32 = 1;

/// A gateway node at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// [`FORMAT`].
    pub format: u32,
    /// Name of the node.
    pub node: String,
    /// Version of the agent.
    pub version: String,
    /// Version of the layout that agent and program share.
    pub abi: u32,
    /// Seconds since the agent took over the node.
    pub uptime_seconds: f64,
    /// The node can carry traffic and says so to the network.
    pub ready: bool,
    /// Why it is not ready, one sentence each.
    pub not_ready: Vec<String>,
    /// Load-balanced services, in the order of the topology.
    pub load_balancers: Vec<LoadBalancer>,
    /// Floating IPs, in the order of the topology.
    pub floating_ips: Vec<FloatingIp>,
    /// The node's interfaces, in the order of the topology.
    pub interfaces: Vec<Interface>,
    /// Next hops to the public network.
    pub uplinks: Vec<NextHop>,
    /// Tunnel endpoints: the hosts, then the other gateways.
    pub tunnels: Vec<Tunnel>,
    /// Addresses that the node's router announces, see [`Announced::table`].
    pub announced: Vec<Announced>,
    /// Every exit of the program that is not "forwarded", those that never
    /// happened included.
    pub reasons: Vec<ReasonStatus>,
    /// How the agent keeps the tables true.
    pub updates: Updates,
}

/// A load-balanced service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadBalancer {
    /// Name.
    pub name: String,
    /// Public address.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Public port.
    pub port: u16,
    /// Sum over the backends.
    pub traffic: Traffic,
    /// In the order of the topology.
    pub backends: Vec<Backend>,
}

/// One backend of a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Backend {
    /// VPC.
    pub vpc: String,
    /// Instance.
    pub instance: String,
    /// Private address.
    pub address: IpAddr,
    /// Private port.
    pub port: u16,
    /// Weight in the topology.
    pub weight: u16,
    /// Part of new flows that the ring gives it, 0 to 1.
    pub share: f64,
    /// What it carried.
    pub traffic: Traffic,
}

/// A floating IP.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FloatingIp {
    /// Public address.
    pub ip: IpAddr,
    /// VPC.
    pub vpc: String,
    /// Instance.
    pub instance: String,
    /// Private address.
    pub address: IpAddr,
    /// What it carried.
    pub traffic: Traffic,
}

/// Packets and bytes since the agent loaded the program. Bytes count from the
/// Ethernet header on, without the tunnel's headers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Packets from the public network to instances.
    pub in_packets: u64,
    /// Their bytes.
    pub in_bytes: u64,
    /// Packets from instances to the public network.
    pub out_packets: u64,
    /// Their bytes.
    pub out_bytes: u64,
}

/// An interface of the node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    /// Name.
    pub name: String,
    /// What it faces.
    pub role: Role,
    /// Where the program runs on it; absent while it is not attached.
    pub mode: Option<Mode>,
    /// The kernel has it, and it is up with carrier.
    pub up: bool,
    /// MAC; absent when the kernel has no such interface.
    pub mac: Option<Mac>,
    /// MTU in bytes; absent likewise.
    pub mtu: Option<u32>,
}

/// A tunnel endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tunnel {
    /// Host or gateway.
    pub name: String,
    /// Its VTEP.
    pub vtep: IpAddr,
    /// Next hops on the way there; none when there is no route.
    pub next_hops: Vec<NextHop>,
}

/// An announced address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announced {
    /// Address, as a /32 or /128.
    pub address: IpAddr,
    /// Routing table from which the router daemon learns it.
    pub table: u32,
}

/// How often one reason ended a packet's way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReasonStatus {
    /// Name of the reason.
    pub reason: String,
    /// `passed` to the kernel, `answered` by the program, or `dropped`.
    pub outcome: String,
    /// One sentence.
    pub text: String,
    /// Packets.
    pub packets: u64,
    /// Their bytes as they came in.
    pub bytes: u64,
}

/// How the agent keeps the tables true.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Updates {
    /// Times that a change of the surroundings was worked into the tables.
    pub count: u64,
    /// Times that the kernel refused a part of it.
    pub failures: u64,
    /// Table entries written.
    pub writes: u64,
    /// Seconds that all of it took.
    pub seconds: f64,
    /// Seconds that the last one took.
    pub last_seconds: f64,
}

/// What the agent knows at one moment, as the source of a [`Status`].
pub struct Moment<'a> {
    /// The site.
    pub topology: &'a Topology,
    /// This node.
    pub gateway: &'a Gateway,
    /// Its surroundings.
    pub reachability: &'a Reachability,
    /// What each counter stands for.
    pub labels: &'a [Label],
    /// Traffic by backend index.
    pub counters: &'a [Counter],
    /// Exits by reason.
    pub reasons: &'a [(Reason, ReasonCount)],
    /// Interfaces with the program on them.
    pub attached: &'a [(String, Mode)],
    /// Announced addresses.
    pub announced: Vec<Announcement>,
    /// Why the node is not ready.
    pub not_ready: Vec<String>,
    /// Updates so far.
    pub updates: Updates,
    /// Seconds since the agent took over.
    pub uptime_seconds: f64,
}

impl Status {
    /// Tells of a moment.
    pub fn new(moment: Moment<'_>) -> Self {
        let mut status = Self {
            format: FORMAT,
            node: moment.gateway.name.clone(),
            version: env!("CARGO_PKG_VERSION").into(),
            abi: ABI_VERSION,
            uptime_seconds: moment.uptime_seconds,
            ready: moment.not_ready.is_empty(),
            load_balancers: load_balancers(moment.topology),
            floating_ips: floating_ips(moment.topology),
            interfaces: interfaces(&moment),
            uplinks: moment.reachability.uplinks.clone(),
            tunnels: tunnels(&moment),
            announced: moment.announced.iter().map(Announced::from).collect(),
            reasons: moment.reasons.iter().map(ReasonStatus::from).collect(),
            updates: moment.updates,
            not_ready: moment.not_ready,
        };
        for (label, counter) in moment.labels.iter().zip(moment.counters) {
            status.count(label, Traffic::from(counter));
        }
        status
    }

    fn count(&mut self, label: &Label, traffic: Traffic) {
        match *label {
            Label::None => {}
            Label::Backend {
                load_balancer,
                backend,
                slots,
                ring,
            } => {
                let balancer = &mut self.load_balancers[load_balancer];
                balancer.traffic += traffic;
                let backend = &mut balancer.backends[backend];
                backend.traffic = traffic;
                backend.share = f64::from(slots) / f64::from(ring.max(1));
            }
            Label::Floating(index) => self.floating_ips[index].traffic = traffic,
        }
    }
}

/// What an interface faces, by the topology.
pub fn role(gateway: &Gateway, interface: &str) -> Role {
    let has = |names: &[String]| names.iter().any(|name| name == interface);
    match (has(&gateway.public), has(&gateway.underlay)) {
        (true, true) => Role::SingleArm,
        (false, true) => Role::Underlay,
        _ => Role::Public,
    }
}

/// Names of a gateway's interfaces, each once, in the order of the topology.
pub fn interface_names(gateway: &Gateway) -> Vec<&str> {
    let mut names: Vec<&str> = Vec::new();
    for name in gateway.public.iter().chain(&gateway.underlay) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names
}

fn load_balancers(topology: &Topology) -> Vec<LoadBalancer> {
    let backend = |backend: &crate::config::Backend| {
        let (vpc, instance, address) = whereabouts(topology, backend.instance);
        let (port, weight) = (backend.port, backend.weight);
        Backend {
            vpc,
            instance,
            address,
            port,
            weight,
            share: 0.0,
            traffic: Traffic::default(),
        }
    };
    let balancers = topology.load_balancers.iter().map(|balancer| LoadBalancer {
        name: balancer.name.clone(),
        vip: balancer.vip,
        protocol: balancer.protocol,
        port: balancer.port,
        traffic: Traffic::default(),
        backends: balancer.backends.iter().map(backend).collect(),
    });
    balancers.collect()
}

fn floating_ips(topology: &Topology) -> Vec<FloatingIp> {
    let floating = topology.floating_ips.iter().map(|floating| {
        let (vpc, instance, address) = whereabouts(topology, floating.instance);
        FloatingIp {
            ip: floating.ip,
            vpc,
            instance,
            address,
            traffic: Traffic::default(),
        }
    });
    floating.collect()
}

fn whereabouts(topology: &Topology, id: InstanceId) -> (String, String, IpAddr) {
    let instance = topology.instance(id);
    (
        topology.vpcs[id.vpc].name.clone(),
        instance.name.clone(),
        instance.ip,
    )
}

fn interfaces(moment: &Moment<'_>) -> Vec<Interface> {
    let interface = |name: &str| {
        let known = moment.reachability.interfaces.get(name);
        let attached = moment
            .attached
            .iter()
            .find(|(attached, _)| attached == name);
        Interface {
            name: name.into(),
            role: role(moment.gateway, name),
            mode: attached.map(|(_, mode)| *mode),
            up: known.is_some_and(|interface| interface.up),
            mac: known.map(|interface| interface.mac),
            mtu: known.map(|interface| interface.mtu),
        }
    };
    interface_names(moment.gateway)
        .into_iter()
        .map(interface)
        .collect()
}

fn tunnels(moment: &Moment<'_>) -> Vec<Tunnel> {
    let hosts = moment
        .topology
        .hosts
        .iter()
        .map(|host| (&host.name, host.vtep));
    let peers = moment
        .topology
        .gateways
        .iter()
        .filter(|peer| peer.name != moment.gateway.name);
    let peers = peers.map(|peer| (&peer.name, peer.vtep));
    let tunnels = hosts.chain(peers).map(|(name, vtep)| Tunnel {
        name: name.clone(),
        vtep,
        next_hops: moment
            .reachability
            .tunnels
            .get(&vtep)
            .cloned()
            .unwrap_or_default(),
    });
    tunnels.collect()
}

impl From<&Counter> for Traffic {
    fn from(counter: &Counter) -> Self {
        let Counter {
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
        } = *counter;
        Self {
            in_packets,
            in_bytes,
            out_packets,
            out_bytes,
        }
    }
}

impl std::ops::AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.in_packets += other.in_packets;
        self.in_bytes += other.in_bytes;
        self.out_packets += other.out_packets;
        self.out_bytes += other.out_bytes;
    }
}

impl From<&Announcement> for Announced {
    fn from(&Announcement { table, address }: &Announcement) -> Self {
        Self { address, table }
    }
}

impl From<&(Reason, ReasonCount)> for ReasonStatus {
    fn from((reason, count): &(Reason, ReasonCount)) -> Self {
        Self {
            reason: reason.name().into(),
            outcome: reason.outcome().name().into(),
            text: reason.text().into(),
            packets: count.packets,
            bytes: count.bytes,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{
        config::{self, Host, Subnet, Vpc},
        reachability::{self, NeighbourState},
    };

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn topology() -> Topology {
        let instance = |name: &str, last: u8| config::Instance {
            name: name.into(),
            ip: [172, 16, 1, last].into(),
            mac: Mac([2, 0xaa, 0, 0, 1, last]),
            host: 0,
        };
        let backend = |instance, weight| config::Backend {
            instance: InstanceId { vpc: 0, instance },
            port: 443,
            weight,
        };
        let gateway = |name: &str, last| Gateway {
            name: name.into(),
            public: vec!["public".into()],
            underlay: vec!["underlay".into()],
            vtep: [10, 0, 0, last].into(),
        };
        Topology {
            anycast_vtep: ip("10.0.0.100"),
            seed: [0; 2],
            gateways: vec![gateway("gw1", 11), gateway("gw2", 12)],
            hosts: vec![
                Host {
                    name: "host-a".into(),
                    vtep: ip("10.0.1.2"),
                },
                Host {
                    name: "host-b".into(),
                    vtep: ip("10.0.2.2"),
                },
            ],
            vpcs: vec![Vpc {
                name: "shop".into(),
                vni: 5001,
                cidrs: vec!["172.16.1.0/24".parse().unwrap()],
                router_mac: Mac([2, 0, 0, 0, 0, 1]),
                subnets: vec![Subnet {
                    name: "zone-1".into(),
                    cidr: "172.16.1.0/24".parse().unwrap(),
                    router: ip("172.16.1.1"),
                }],
                instances: vec![
                    instance("haproxy-1", 11),
                    instance("haproxy-2", 12),
                    instance("bastion", 20),
                ],
            }],
            load_balancers: vec![config::LoadBalancer {
                name: "orders".into(),
                vip: ip("203.0.113.10"),
                protocol: Protocol::Tcp,
                port: 443,
                backends: vec![backend(0, 1), backend(1, 3)],
            }],
            floating_ips: vec![config::FloatingIp {
                ip: ip("203.0.113.20"),
                instance: InstanceId {
                    vpc: 0,
                    instance: 2,
                },
            }],
        }
    }

    fn reachability() -> Reachability {
        let interface = |last| reachability::Interface {
            ifindex: 2,
            mac: Mac([2, 0, 0, 0, 1, last]),
            mtu: 1500,
            up: true,
        };
        let hop = |interface: &str, address, mac: Option<u8>| NextHop {
            interface: interface.into(),
            address: ip(address),
            mac: mac.map(|last| Mac([2, 0, 0, 0, 0, last])),
            state: mac.map_or(NeighbourState::Failed, |_| NeighbourState::Reachable),
        };
        Reachability {
            interfaces: BTreeMap::from([
                ("public".into(), interface(1)),
                ("underlay".into(), interface(2)),
            ]),
            tunnels: BTreeMap::from([
                (ip("10.0.1.2"), vec![hop("underlay", "10.0.11.1", Some(1))]),
                (ip("10.0.0.12"), vec![hop("underlay", "10.0.11.1", None)]),
            ]),
            uplinks: vec![hop("public", "192.0.2.9", Some(9))],
        }
    }

    /// A node with something in every part, numbers up to the longest.
    pub(crate) fn sample() -> Status {
        let topology = topology();
        let backend = |backend, slots| Label::Backend {
            load_balancer: 0,
            backend,
            slots,
            ring: 100,
        };
        let counter = |n| Counter {
            in_packets: n,
            in_bytes: n * 99,
            out_packets: n,
            out_bytes: n * 999,
        };
        let count = |reason: &Reason| match reason.name() {
            "no_reverse" => ReasonCount {
                packets: 12,
                bytes: 1_234,
            },
            "not_ours" => ReasonCount {
                packets: 987_654_321,
                bytes: 98_765_432_100,
            },
            "arp_reply" => ReasonCount {
                packets: 3,
                bytes: 180,
            },
            _ => ReasonCount::default(),
        };
        let reasons: Vec<_> = Reason::ALL
            .iter()
            .map(|reason| (*reason, count(reason)))
            .collect();
        let announced = |table, address| Announcement {
            table,
            address: ip(address),
        };
        Status::new(Moment {
            gateway: &topology.gateways[0],
            reachability: &reachability(),
            labels: &[
                Label::None,
                backend(0, 25),
                backend(1, 75),
                Label::Floating(0),
            ],
            counters: &[0, 1_000, 123_456_789, 7].map(counter),
            reasons: &reasons,
            attached: &[
                ("public".into(), Mode::Native),
                ("underlay".into(), Mode::Generic),
            ],
            announced: vec![
                announced(100, "203.0.113.10"),
                announced(100, "203.0.113.20"),
                announced(101, "10.0.0.100"),
            ],
            not_ready: vec![
                "there is no route to any host by underlay, and this sentence is so long that it \
                 needs a second line"
                    .into(),
            ],
            updates: Updates {
                count: 3,
                failures: 0,
                writes: 20,
                seconds: 0.5,
                last_seconds: 0.25,
            },
            uptime_seconds: 12_345.0,
            topology: &topology,
        })
    }

    #[test]
    fn counters_find_their_owners() {
        let status = sample();
        let orders = &status.load_balancers[0];
        assert_eq!(orders.backends[0].traffic.in_packets, 1_000);
        assert_eq!(orders.backends[1].traffic.out_bytes, 123_456_789 * 999);
        assert_eq!(
            orders.traffic.in_packets,
            1_000 + 123_456_789,
            "the sum of its backends"
        );
        assert_eq!(status.floating_ips[0].traffic.in_packets, 7);
        assert!((orders.backends[1].share - 0.75).abs() < 1e-9);
    }

    #[test]
    fn tunnels_are_hosts_and_the_other_gateways() {
        let names: Vec<_> = sample()
            .tunnels
            .into_iter()
            .map(|tunnel| tunnel.name)
            .collect();
        assert_eq!(names, ["host-a", "host-b", "gw2"]);
    }

    #[test]
    fn json_says_the_same() {
        let status = sample();
        let json = serde_json::to_string(&status).unwrap();
        assert_eq!(serde_json::from_str::<Status>(&json).unwrap(), status);
    }

    #[test]
    fn an_interface_on_both_sides_is_single_arm() {
        let mut gateway = topology().gateways.remove(0);
        gateway.underlay = gateway.public.clone();
        assert_eq!(role(&gateway, "public"), Role::SingleArm);
        assert_eq!(interface_names(&gateway), ["public"]);
    }
}
