//! The validated topology: plain types, every reference resolved to an index,
//! every default filled in. All later code works on these and checks nothing again.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::Snat;

/// A whole site: what every gateway of the group knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The VTEP that all gateways share; hosts send everything there. All VTEPs are of
    /// one family.
    pub anycast_vtep: IpAddr,
    /// MTU of the underlay in bytes.
    pub underlay_mtu: u32,
    /// Over an IPv6 underlay: tunnels have a UDP checksum rather than 0.
    pub udp_checksum: bool,
    /// Seed of the flow hash, the same on every gateway.
    pub seed: [u64; 2],
    /// ICMP errors that each CPU of a gateway sends at most in a second.
    pub icmp_errors_per_second: u32,
    /// Largest TCP segment that a SYN over IPv4 may ask for, over IPv6 20 bytes less; 0:
    /// any.
    pub tcp_mss: u32,
    /// Gateway nodes. At least one.
    pub gateways: Vec<Gateway>,
    /// Hosts with VMs.
    pub hosts: Vec<Host>,
    /// Tenant networks.
    pub vpcs: Vec<Vpc>,
    /// Which of them reach each other: pairs of indices, disjoint ranges.
    pub peerings: Vec<[usize; 2]>,
    /// Load-balanced services.
    pub load_balancers: Vec<LoadBalancer>,
    /// 1:1 NAT.
    pub floating_ips: Vec<FloatingIp>,
    /// How flows leave a backend.
    pub drain: Drain,
    /// What the public side lets in.
    pub guard: super::Guard,
    /// Egress NAT.
    pub snat: Snat,
}

/// How flows leave a backend that should not have them any more. Times are seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// A flow that is silent for so long counts as ended.
    pub idle: u64,
    /// A backend that takes no new flows keeps its old ones at most for so long.
    pub max: u64,
    /// Flows that can be remembered at a time.
    pub flows: u32,
}

impl Default for Drain {
    /// 15 minutes is what IPVS, Linux's own load balancer, gives an idle TCP
    /// connection. An hour ends what would never end by itself.
    fn default() -> Self {
        Self {
            idle: 15 * 60,
            max: 60 * 60,
            flows: 1 << 18,
        }
    }
}

impl Topology {
    /// The gateway with this name.
    pub fn gateway(&self, name: &str) -> Option<&Gateway> {
        self.gateways.iter().find(|gateway| gateway.name == name)
    }

    /// The instance that a reference names.
    pub fn instance(&self, id: InstanceId) -> &Instance {
        &self.vpcs[id.vpc].instances[id.instance]
    }

    /// The subnet that holds an instance's first address.
    pub fn subnet_of(&self, id: InstanceId) -> &Subnet {
        self.subnet_with(id.vpc, self.instance(id).ip)
    }

    /// The subnet of a VPC that holds an instance's address.
    pub fn subnet_with(&self, vpc: usize, ip: IpAddr) -> &Subnet {
        let subnets = &self.vpcs[vpc].subnets;
        subnets
            .iter()
            .find(|subnet| subnet.cidr.contains(&ip))
            .expect("validation places every instance in a subnet")
    }

    /// The address of an instance that a public address stands for.
    pub fn behind(&self, public: IpAddr, id: InstanceId) -> IpAddr {
        let ip = self.instance(id).ip_like(public);
        ip.expect("validation lets nobody translate between families")
    }

    /// The VPCs that a VPC is peered with.
    pub fn peers_of(&self, vpc: usize) -> impl Iterator<Item = usize> {
        self.peerings.iter().filter_map(move |&[a, b]| match vpc {
            _ if vpc == a => Some(b),
            _ if vpc == b => Some(a),
            _ => None,
        })
    }

    /// Every instance of every VPC.
    pub fn instances(&self) -> impl Iterator<Item = (InstanceId, &Instance)> {
        self.vpcs.iter().enumerate().flat_map(|(vpc, v)| {
            v.instances
                .iter()
                .enumerate()
                .map(move |(instance, i)| (InstanceId { vpc, instance }, i))
        })
    }

    /// Every address of every instance.
    pub fn instance_ips(&self) -> impl Iterator<Item = (InstanceId, IpAddr)> {
        self.instances()
            .flat_map(|(id, instance)| instance.ips().map(move |ip| (id, ip)))
    }
}

/// One gateway node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Name, as in `lingyun run --node`.
    pub name: String,
    /// Interfaces that face the public network. At least one.
    pub public: Vec<String>,
    /// The public network's VLANs on them, 1..=4094; none when it is untagged.
    pub public_vlans: Vec<u16>,
    /// Interfaces that face the underlay. At least one; may be the same as the public one.
    pub underlay: Vec<String>,
    /// Its own VTEP.
    pub vtep: IpAddr,
}

/// One host with VMs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    /// Name.
    pub name: String,
    /// Its VTEP.
    pub vtep: IpAddr,
}

/// One tenant network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vpc {
    /// Name.
    pub name: String,
    /// VXLAN network identifier, 1..=16777215.
    pub vni: u32,
    /// Its address ranges: what an instance sends there stays inside. At most two of each family.
    pub cidrs: Vec<IpNet>,
    /// MAC of its virtual router.
    pub router_mac: Mac,
    /// Subnets, disjoint.
    pub subnets: Vec<Subnet>,
    /// Instances, with unique addresses.
    pub instances: Vec<Instance>,
}

/// One subnet of a VPC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subnet {
    /// Name.
    pub name: String,
    /// Range.
    pub cidr: IpNet,
    /// Address of the virtual router, by default the first of the range.
    pub router: IpAddr,
}

/// One VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Name, unique in its VPC.
    pub name: String,
    /// Private address.
    pub ip: IpAddr,
    /// IPv6 address, if `ip` is an IPv4 one and it has both.
    pub ip6: Option<Ipv6Addr>,
    /// MAC of its interface.
    pub mac: Mac,
    /// Index into [`Topology::hosts`].
    pub host: usize,
}

impl Instance {
    /// All its addresses: one, or one of each family.
    pub fn ips(&self) -> impl Iterator<Item = IpAddr> + use<> {
        [Some(self.ip), self.ip6.map(IpAddr::V6)]
            .into_iter()
            .flatten()
    }

    /// Its address of the other address's family, as a translation needs it.
    pub fn ip_like(&self, other: IpAddr) -> Option<IpAddr> {
        self.ips().find(|ip| ip.is_ipv4() == other.is_ipv4())
    }
}

/// Names an instance: indices into [`Topology::vpcs`] and [`Vpc::instances`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId {
    /// Index of the VPC.
    pub vpc: usize,
    /// Index of the instance in it.
    pub instance: usize,
}

/// One load-balanced service: an address, a protocol, a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadBalancer {
    /// Name, unique.
    pub name: String,
    /// Public address.
    pub vip: IpAddr,
    /// TCP or UDP.
    pub protocol: Protocol,
    /// Public port.
    pub port: u16,
    /// Who serves it.
    pub backends: Vec<Backend>,
    /// What decides which backend a flow gets.
    pub affinity: Affinity,
    /// UDP flows stay with their backend as TCP connections do.
    pub udp_tracking: bool,
}

/// What decides which backend a flow gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Affinity {
    /// Addresses, ports and protocol: each flow for itself.
    #[default]
    Flow,
    /// Addresses alone: all flows of a client go to one backend.
    SourceIp,
}

/// One backend of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backend {
    /// The instance.
    pub instance: InstanceId,
    /// Its port.
    pub port: u16,
    /// Share of the flows, relative to the other backends; 0 drains.
    pub weight: u16,
}

/// A public address that stands for one instance, both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatingIp {
    /// Public address.
    pub ip: IpAddr,
    /// The instance.
    pub instance: InstanceId,
}

/// A layer-4 protocol with ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Protocol {
    /// IP protocol number.
    pub const fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// A MAC address, written `02:aa:00:00:01:11`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mac(pub [u8; 6]);

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || format!("`{text}` is not a MAC address such as 02:aa:00:00:01:11");
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts
                .next()
                .filter(|part| part.len() == 2)
                .ok_or_else(wrong)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| wrong())?;
        }
        if parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self(mac))
    }
}

impl Serialize for Mac {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Mac {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}
