//! What a gateway knows: the validated topology and its surroundings, in plain maps.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use lingyun::{
    config::{Gateway, Instance, InstanceId, LoadBalancer, Topology},
    reachability::{NextHop, Reachability},
    ring,
};

use super::{
    ip::{Own, Packet},
    wire::Mac,
};

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
    /// The VLAN that it is.
    pub(super) vlan: Option<u16>,
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
    /// Which backend of which load balancer an instance is with a protocol and port,
    /// over IPv6 or not.
    pub(super) serving: BTreeMap<(InstanceId, bool, u8, u16), (usize, usize)>,
    /// The floating IP of an instance, over IPv6 or not.
    pub(super) floating: BTreeMap<(InstanceId, bool), usize>,
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
                let sends = (
                    backend.instance,
                    service.vip.is_ipv6(),
                    protocol,
                    backend.port,
                );
                site.serving.insert(sends, (index, position));
            }
        }
        for (index, floating) in topology.floating_ips.iter().enumerate() {
            site.addresses.insert(floating.ip, Address::Floating(index));
            site.floating
                .insert((floating.instance, floating.ip.is_ipv6()), index);
        }
        for (index, vpc) in topology.vpcs.iter().enumerate() {
            site.vpcs.insert(vpc.vni, index);
            site.routers
                .extend(vpc.subnets.iter().map(|subnet| (index, subnet.router)));
        }
        for (id, instance) in topology.instances() {
            for ip in instance.ips() {
                site.instances.insert((id.vpc, ip), id);
            }
        }
        site
    }

    /// This gateway's name.
    pub(super) fn gateway_name(&self) -> &str {
        &self.gateway.name
    }

    /// New flows go to the backends that a file names. Those that are only leaving come
    /// behind them in each list.
    pub(super) fn share_among(&mut self, file: &Topology) {
        let services = file.load_balancers.iter();
        self.rings = services.map(|service| ring_of(file, service)).collect();
    }

    /// Whether hosts send tunnels to this address.
    pub(super) fn is_vtep(&self, address: IpAddr) -> bool {
        address == self.topology.anycast_vtep || address == self.gateway.vtep
    }

    /// Whether the public network is in VLANs.
    pub(super) fn is_tagged(&self) -> bool {
        !self.gateway.public_vlans.is_empty()
    }

    /// Whether this is one of our VLANs.
    pub(super) fn is_our_vlan(&self, device: u32, id: u16) -> bool {
        self.gateway.public_vlans.contains(&id) && self.public_name(device).is_some()
    }

    /// Our address where a frame came in, of the family that `like` has.
    pub(super) fn public_address(
        &self,
        (device, vlan): (u32, Option<u16>),
        like: IpAddr,
    ) -> Option<IpAddr> {
        let name = self.public_name(device)?;
        let (v4, v6) = match vlan {
            Some(id) => {
                let vlan = self.reach.vlan(name, id)?;
                (vlan.v4, vlan.v6)
            }
            None => {
                let interface = self.reach.interfaces.get(name)?;
                (interface.v4, interface.v6)
            }
        };
        match like {
            IpAddr::V4(_) => v4.map(IpAddr::from),
            IpAddr::V6(_) => v6.map(IpAddr::from),
        }
    }

    /// The public interface with this index.
    pub(super) fn public_name(&self, device: u32) -> Option<&String> {
        let mut names = self.gateway.public.iter();
        names.find(|name| {
            let interface = self.reach.interfaces.get(*name);
            interface.is_some_and(|interface| interface.ifindex == device)
        })
    }

    /// Our MAC on a public interface, or on a VLAN there whose device may have its own.
    pub(super) fn public_mac(&self, (device, vlan): (u32, Option<u16>)) -> Option<Mac> {
        let name = self.public_name(device)?;
        let vlan = vlan.and_then(|id| self.reach.vlan(name, id));
        match vlan {
            Some(vlan) => Some(vlan.mac.0),
            None => Some(self.reach.interfaces.get(name)?.mac.0),
        }
    }

    /// Whether an address is in a range of a VPC or of one of its peers.
    pub(super) fn is_inside(&self, vpc: usize, address: IpAddr) -> bool {
        self.seen_from(vpc).into_iter().any(|vpc| {
            let ranges = &self.topology.vpcs[vpc].cidrs;
            ranges.iter().any(|range| range.contains(&address))
        })
    }

    /// Who has an address inside, as a VPC sees it.
    pub(super) fn neighbour(&self, vpc: usize, address: IpAddr) -> Option<InstanceId> {
        let mut vpcs = self.seen_from(vpc).into_iter();
        vpcs.find_map(|vpc| self.instances.get(&(vpc, address)).copied())
    }

    /// A VPC and its peers.
    fn seen_from(&self, vpc: usize) -> Vec<usize> {
        let peers = self.topology.peerings.iter().filter_map(|&[a, b]| {
            let is_it = a == vpc || b == vpc;
            is_it.then_some(if a == vpc { b } else { a })
        });
        [vpc].into_iter().chain(peers).collect()
    }

    /// The link towards a host, by its index.
    pub(super) fn to_host(&self, host: usize) -> Option<Link> {
        let hops = self.reach.tunnels.get(&self.topology.hosts[host].vtep)?;
        self.link(hops, host)
    }

    /// The link to the public network for a flow that came out of a tunnel with this
    /// UDP source port: its two bytes pick one of the slots, which the usable next
    /// hops fill in turn.
    pub(super) fn to_public(&self, packet: &Packet, [high, low]: [u8; 2]) -> Option<Link> {
        let slot = usize::from(high ^ low) % UPLINK_SLOTS;
        let hops = match packet.own {
            Own::V4 { .. } => &self.reach.uplinks,
            Own::V6 { .. } => &self.reach.uplinks_v6,
        };
        self.link(hops, slot)
    }

    /// One of the next hops whose MAC is known, if its interface is up.
    fn link(&self, hops: &[NextHop], number: usize) -> Option<Link> {
        let usable: Vec<_> = hops.iter().filter(|hop| hop.mac.is_some()).collect();
        let hop = *usable.get(number.checked_rem(usable.len())?)?;
        let next_hop = hop.mac?.0;
        if let Some(vlan) = self.reach.vlans.get(&hop.interface) {
            let parent = self.reach.interfaces.get(&vlan.parent)?;
            return vlan.up.then_some(Link {
                device: parent.ifindex,
                mtu: vlan.mtu as usize,
                our_mac: vlan.mac.0,
                next_hop,
                vlan: Some(vlan.id),
            });
        }
        let ours = self.gateway.public.iter().chain(&self.gateway.underlay);
        let name = ours.into_iter().find(|name| **name == hop.interface)?;
        let interface = self.reach.interfaces.get(name)?;
        interface.up.then_some(Link {
            device: interface.ifindex,
            mtu: interface.mtu as usize,
            our_mac: interface.mac.0,
            next_hop,
            vlan: None,
        })
    }
}

/// The address of an instance that packets for a public one are translated to.
pub(super) fn address_like(instance: &Instance, public: IpAddr) -> IpAddr {
    let mut ips = instance.ips();
    let same_version = |ip: &IpAddr| ip.is_ipv6() == public.is_ipv6();
    ips.find(same_version)
        .expect("no topology translates from one version to the other")
}

/// The backend of every slot. One backend needs no ring, none has none.
pub(super) fn ring_of(topology: &Topology, service: &LoadBalancer) -> Vec<usize> {
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
