//! From what the agent knows at one moment to a [`Status`]. Pure.

use std::net::IpAddr;

use gateway_common::{ABI_VERSION, Counter, Reason, ReasonCount};

use super::*;
use crate::{
    config::{self, Gateway, Guarded, InstanceId, Topology},
    datapath::{Challenging, Usage},
    model::{Condition, Label, Tables},
    netlink::Announcement,
    reachability::Reachability,
};

/// What the agent knows at one moment, as the source of a [`Status`].
pub struct Moment<'a> {
    /// The site.
    pub topology: &'a Topology,
    /// This node.
    pub gateway: &'a Gateway,
    /// Its surroundings.
    pub reachability: &'a Reachability,
    /// What the maps hold, and what it stands for.
    pub tables: &'a Tables,
    /// Traffic by backend index.
    pub counters: &'a [Traffic],
    /// Packets routed inside, by index of the VPC.
    pub routed: &'a [Traffic],
    /// Ports of egress NAT.
    pub snat: &'a Usage,
    /// Exits by reason.
    pub reasons: &'a [(Reason, ReasonCount)],
    /// Which challenges are on.
    pub challenging: &'a [Challenging],
    /// Interfaces with the program on them.
    pub attached: &'a [(String, Mode)],
    /// Announced addresses.
    pub announced: Vec<Announcement>,
    /// Why the node is not ready.
    pub not_ready: Vec<String>,
    /// Updates so far.
    pub updates: Updates,
    /// How the topology file was followed.
    pub reload: Reload,
    /// How flows are tracked.
    pub tracking: Tracking,
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
            vpcs: vpcs(&moment),
            snat: super::snat::pools(&moment, moment.snat),
            interfaces: interfaces(&moment),
            uplinks: moment.reachability.all_uplinks().cloned().collect(),
            tunnels: tunnels(&moment),
            announced: moment.announced.iter().map(Announced::from).collect(),
            reasons: moment.reasons.iter().map(ReasonStatus::from).collect(),
            updates: moment.updates,
            reload: moment.reload,
            tracking: moment.tracking,
            not_ready: moment.not_ready,
        };
        for (label, counter) in moment.tables.labels.iter().zip(moment.counters) {
            status.count(label, *counter);
        }
        for (balancer, tracked) in status.load_balancers.iter_mut().zip(&moment.tables.tracked) {
            balancer.tracked_slots = *tracked;
        }
        for challenging in moment.challenging {
            let guarded = moment.tables.guard.labels.get(challenging.index as usize);
            if let Some(&Some(guarded)) = guarded {
                status.tell_challenge(moment.topology, guarded, challenging.on_for);
            }
        }
        status
    }

    fn tell_challenge(&mut self, topology: &Topology, guarded: Guarded, on_for: Option<f64>) {
        let guard = topology.guard.services.get(&guarded);
        let challenge = guard
            .and_then(|guard| guard.challenge)
            .map(|challenge| Challenge {
                on: challenge == config::Challenge::Always || on_for.is_some(),
                on_for_seconds: on_for,
            });
        match guarded {
            Guarded::LoadBalancer(index) => self.load_balancers[index].challenge = challenge,
            Guarded::FloatingIp(index) => self.floating_ips[index].challenge = challenge,
        }
    }

    fn count(&mut self, label: &Label, traffic: Traffic) {
        match *label {
            Label::None | Label::Snat(_) => {}
            Label::Backend {
                load_balancer,
                backend,
                slots,
                ring,
                condition,
            } => {
                let balancer = &mut self.load_balancers[load_balancer];
                balancer.traffic += traffic;
                let backend = &mut balancer.backends[backend];
                backend.traffic = traffic;
                backend.share = f64::from(slots) / f64::from(ring.max(1));
                backend.condition = condition;
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
    let backend = |vip, backend: &config::Backend| {
        let (vpc, instance, address) = whereabouts(topology, vip, backend.instance);
        let (port, weight) = (backend.port, backend.weight);
        Backend {
            vpc,
            instance,
            address,
            port,
            weight,
            share: 0.0,
            condition: Condition::Serving,
            traffic: Traffic::default(),
        }
    };
    let balancers = topology.load_balancers.iter().map(|balancer| LoadBalancer {
        name: balancer.name.clone(),
        vip: balancer.vip,
        protocol: balancer.protocol,
        port: balancer.port,
        tracked_slots: 0,
        traffic: Traffic::default(),
        challenge: None,
        backends: (balancer.backends.iter())
            .map(|served| backend(balancer.vip, served))
            .collect(),
    });
    balancers.collect()
}

fn floating_ips(topology: &Topology) -> Vec<FloatingIp> {
    let floating = topology.floating_ips.iter().map(|floating| {
        let (vpc, instance, address) = whereabouts(topology, floating.ip, floating.instance);
        FloatingIp {
            ip: floating.ip,
            vpc,
            instance,
            address,
            challenge: None,
            traffic: Traffic::default(),
        }
    });
    floating.collect()
}

fn vpcs(moment: &Moment<'_>) -> Vec<Vpc> {
    let all = &moment.topology.vpcs;
    let networks = &moment.tables.networks;
    let routed = |vni: u32| {
        let index = networks.iter().position(|&network| network == vni)?;
        moment.routed.get(index).copied()
    };
    let vpcs = all.iter().enumerate().map(|(index, vpc)| Vpc {
        name: vpc.name.clone(),
        vni: vpc.vni,
        peers: moment
            .topology
            .peers_of(index)
            .map(|peer| all[peer].name.clone())
            .collect(),
        routed: routed(vpc.vni).unwrap_or_default(),
    });
    vpcs.collect()
}

/// VPC, name and address of an instance behind a public address.
fn whereabouts(topology: &Topology, public: IpAddr, id: InstanceId) -> (String, String, IpAddr) {
    (
        topology.vpcs[id.vpc].name.clone(),
        topology.instance(id).name.clone(),
        topology.behind(public, id),
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
