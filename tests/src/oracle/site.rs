//! What a gateway knows: the validated topology and its surroundings, in plain maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lingyun::{
    config::{Gateway, InstanceId, LoadBalancer, Topology},
    reachability::{Interface, NextHop, Reachability},
    ring,
};

use super::wire::Mac;

/// Slots over which flows to the public network are spread.
const UPLINK_SLOTS: usize = 16;

/// Who is at a public address when no service is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Address {
    /// Nobody: the gateway answers pings, and that is all.
    Gateway,
    /// The instance of a floating IP, by its index.
    Floating(usize),
}

/// A link and who is at its other end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// Kernel's index of the interface.
    pub(super) device: u32,
    pub(super) mtu: usize,
    pub(super) our_mac: Mac,
    pub(super) next_hop: Mac,
}

/// The topology and the node's surroundings, and maps over them.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) topology: Topology,
    gateway: Gateway,
    reach: Reachability,
    /// Every address that the gateway owns.
    pub(super) addresses: BTreeMap<IpAddr, Address>,
    /// Load balancers by address, protocol and port.
    pub(super) services: BTreeMap<(IpAddr, u8, u16), usize>,
    /// For each load balancer, the backend of every slot of its ring.
    pub(super) rings: Vec<Vec<usize>>,
    /// Which backend of which load balancer an instance is with a protocol and port.
    pub(super) serving: BTreeMap<(InstanceId, u8, u16), (usize, usize)>,
    /// The floating IP of an instance.
    pub(super) floating: BTreeMap<InstanceId, usize>,
    /// VPCs by VNI.
    pub(super) vpcs: BTreeMap<u32, usize>,
    /// Instances by VPC and address.
    pub(super) instances: BTreeMap<(usize, IpAddr), InstanceId>,
    /// The virtual routers' addresses, with their VPCs.
    pub(super) routers: BTreeSet<(usize, IpAddr)>,
}

impl Site {
    pub(super) fn new(topology: Topology, gateway: Gateway, reach: Reachability) -> Self {
        let mut site = Self {
            gateway,
            reach,
            addresses: BTreeMap::new(),
            services: BTreeMap::new(),
            rings: topology
                .load_balancers
                .iter()
                .map(|service| ring_of(&topology, service))
                .collect(),
            serving: BTreeMap::new(),
            floating: BTreeMap::new(),
            vpcs: BTreeMap::new(),
            instances: BTreeMap::new(),
            routers: BTreeSet::new(),
            topology,
        };
        let topology = &site.topology;
        for (index, service) in topology.load_balancers.iter().enumerate() {
            let protocol = service.protocol.number();
            site.addresses.insert(service.vip, Address::Gateway);
            site.services
                .insert((service.vip, protocol, service.port), index);
            for (position, backend) in service.backends.iter().enumerate() {
                let sends = (backend.instance, protocol, backend.port);
                site.serving.insert(sends, (index, position));
            }
        }
        for (index, floating) in topology.floating_ips.iter().enumerate() {
            site.addresses.insert(floating.ip, Address::Floating(index));
            site.floating.insert(floating.instance, index);
        }
        for (index, vpc) in topology.vpcs.iter().enumerate() {
            site.vpcs.insert(vpc.vni, index);
            site.routers
                .extend(vpc.subnets.iter().map(|subnet| (index, subnet.router)));
        }
        for (id, instance) in topology.instances() {
            site.instances.insert((id.vpc, instance.ip), id);
        }
        site
    }

    /// Whether hosts send tunnels to this address.
    pub(super) fn is_vtep(&self, address: IpAddr) -> bool {
        address == self.topology.anycast_vtep || address == self.gateway.vtep
    }

    /// The public interface with this index.
    fn public_interface(&self, device: u32) -> Option<&Interface> {
        let interfaces = self.gateway.public.iter();
        interfaces
            .filter_map(|name| self.reach.interfaces.get(name))
            .find(|interface| interface.ifindex == device)
    }

    /// Our MAC on a public interface.
    pub(super) fn public_mac(&self, device: u32) -> Option<Mac> {
        Some(self.public_interface(device)?.mac.0)
    }

    /// Our address on a public interface, of the family that `like` has.
    pub(super) fn public_address(&self, device: u32, like: IpAddr) -> Option<IpAddr> {
        let interface = self.public_interface(device)?;
        match like {
            IpAddr::V4(_) => interface.v4.map(IpAddr::from),
            IpAddr::V6(_) => interface.v6.map(IpAddr::from),
        }
    }

    /// The link towards a host, by its index.
    pub(super) fn to_host(&self, host: usize) -> Option<Link> {
        let hops = self.reach.tunnels.get(&self.topology.hosts[host].vtep)?;
        self.link(hops, host)
    }

    /// The link to the public network for a flow that came out of a tunnel with this
    /// UDP source port: its two bytes pick one of the slots, which the usable next
    /// hops fill in turn.
    pub(super) fn to_public(&self, [high, low]: [u8; 2]) -> Option<Link> {
        let slot = usize::from(high ^ low) % UPLINK_SLOTS;
        self.link(&self.reach.uplinks, slot)
    }

    /// One of the next hops whose MAC is known, if its interface is up.
    fn link(&self, hops: &[NextHop], number: usize) -> Option<Link> {
        let usable: Vec<_> = hops.iter().filter(|hop| hop.mac.is_some()).collect();
        let hop = *usable.get(number.checked_rem(usable.len())?)?;
        let ours = self.gateway.public.iter().chain(&self.gateway.underlay);
        let name = ours.into_iter().find(|name| **name == hop.interface)?;
        let interface = self.reach.interfaces.get(name)?;
        interface.up.then_some(Link {
            device: interface.ifindex,
            mtu: interface.mtu as usize,
            our_mac: interface.mac.0,
            next_hop: hop.mac?.0,
        })
    }
}

/// The backend of every slot. One backend needs no ring, none has none.
fn ring_of(topology: &Topology, service: &LoadBalancer) -> Vec<usize> {
    let members: Vec<_> = service
        .backends
        .iter()
        .map(|backend| {
            let vpc = &topology.vpcs[backend.instance.vpc].name;
            let instance = &topology.instance(backend.instance).name;
            ring::Member {
                name: format!("{vpc}/{instance}:{}", backend.port),
                weight: backend.weight,
            }
        })
        .collect();
    let mut serving = (0..members.len()).filter(|&member| members[member].weight > 0);
    match (serving.next(), serving.next()) {
        (None, _) => Vec::new(),
        (Some(only), None) => vec![only],
        _ => ring::build(&members, ring::size(members.len())),
    }
}
