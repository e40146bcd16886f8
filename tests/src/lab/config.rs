//! The `lab` part of a topology file: what stands around the gateways, hosts and
//! instances that the product's part names.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use serde::{Deserialize, Deserializer};

/// The whole `lab` part.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabConfig {
    /// Nodes that only send and receive, such as a phone.
    #[serde(default)]
    pub clients: Vec<Client>,
    /// Nodes that route and speak BGP.
    #[serde(default)]
    pub routers: Vec<Router>,
    /// Autonomous system of all gateways.
    pub gateway_asn: u32,
    /// Failure detection on both sides of the gateways.
    #[serde(default)]
    pub bfd: Bfd,
    /// Point-to-point links.
    pub links: Vec<Link>,
    /// The virtual switch of each host.
    pub hosts: Vec<Host>,
    /// What runs in the instances.
    #[serde(default)]
    pub services: Vec<Service>,
}

/// A node that only sends and receives.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Name.
    pub name: String,
}

/// A node with a BIRD.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Router {
    /// Name.
    pub name: String,
    /// Its autonomous system.
    pub asn: u32,
}

/// Timers of BFD (RFC 5880).
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bfd {
    /// Between two packets.
    pub interval_ms: u32,
    /// So many lost packets are a dead neighbour.
    pub multiplier: u32,
}

impl Default for Bfd {
    fn default() -> Self {
        Self {
            interval_ms: 100,
            multiplier: 3,
        }
    }
}

/// A veth pair between two nodes.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// One end.
    pub a: End,
    /// Its addresses.
    pub a_ip: Addresses,
    /// The other end.
    pub b: End,
    /// Its addresses, of the same families in the same order.
    pub b_ip: Addresses,
    /// MTU of both.
    #[serde(default = "default_mtu")]
    pub mtu: u32,
}

const fn default_mtu() -> u32 {
    VM_MTU
}

/// MTU inside the instances, and of links that do not say theirs.
pub(super) const VM_MTU: u32 = 1500;

impl Link {
    /// Both ends: (this end, its addresses, other end).
    pub fn ends(&self) -> [(&End, &[IpNet], &End); 2] {
        [
            (&self.a, &self.a_ip.0, &self.b),
            (&self.b, &self.b_ip.0, &self.a),
        ]
    }

    /// Both ends, once from each side for each family: (this end, its address, other end,
    /// its address).
    pub fn sides(&self) -> impl Iterator<Item = (&End, IpNet, &End, IpAddr)> {
        let families = self.a_ip.0.iter().zip(&self.b_ip.0);
        families.flat_map(|(&a, &b)| {
            [
                (&self.a, a, &self.b, b.addr()),
                (&self.b, b, &self.a, a.addr()),
            ]
        })
    }
}

/// The addresses of an interface with their networks: one, or one of each family.
#[derive(Clone, Debug, Deserialize)]
#[serde(from = "OneOrBoth")]
pub struct Addresses(pub Vec<IpNet>);

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "an address with its prefix length, such as 192.0.2.1/30, or a list with one of \
                 each family, such as [192.0.2.1/30, \"2001:db8::1/64\"]"
)]
enum OneOrBoth {
    One(IpNet),
    Both(Vec<IpNet>),
}

impl From<OneOrBoth> for Addresses {
    fn from(addresses: OneOrBoth) -> Self {
        Self(match addresses {
            OneOrBoth::One(address) => vec![address],
            OneOrBoth::Both(addresses) => addresses,
        })
    }
}

/// One end of a link, written `node:interface`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// The node.
    pub node: String,
    /// Its interface.
    pub interface: String,
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.node, self.interface)
    }
}

impl<'de> Deserialize<'de> for End {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let (node, interface) = text.split_once(':').ok_or_else(|| {
            serde::de::Error::custom(format!(
                "`{text}`: write NODE:INTERFACE, such as phone:radio"
            ))
        })?;
        Ok(Self {
            node: node.to_owned(),
            interface: interface.to_owned(),
        })
    }
}

/// How a host switches between its instances and VXLAN.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Name, one of the product part's hosts.
    pub name: String,
    /// Its virtual switch.
    pub vswitch: Vswitch,
}

/// A kind of virtual switch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Vswitch {
    /// Open vSwitch with its userspace datapath.
    Openvswitch,
    /// The kernel's vxlan device and bridge.
    Kernel,
}

/// What runs in an instance: one of the kinds below.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Service {
    /// Where, written `vpc/instance`.
    pub instance: String,
    haproxy: Option<Haproxy>,
    order_service: Option<OrderService>,
    postgresql: Option<Postgresql>,
    peer: Option<Peer>,
}

/// One kind of service.
#[derive(Clone, Copy, Debug)]
pub enum Kind<'c> {
    /// HAProxy.
    Haproxy(&'c Haproxy),
    /// The shop.
    OrderService(&'c OrderService),
    /// The database.
    Postgresql(Postgresql),
    /// A test server.
    Peer(&'c Peer),
}

impl Kind<'_> {
    /// The TCP port that it listens on.
    pub(crate) fn tcp_port(self) -> u16 {
        match self {
            Self::Haproxy(haproxy) => haproxy.listen,
            Self::OrderService(orders) => orders.port,
            Self::Postgresql(_) => super::postgres::PORT,
            Self::Peer(peer) => peer.tcp,
        }
    }
}

impl Service {
    /// The kind; an error unless there is exactly one.
    pub fn kind(&self) -> Result<Kind<'_>, String> {
        let mut kinds = [
            self.haproxy.as_ref().map(Kind::Haproxy),
            self.order_service.as_ref().map(Kind::OrderService),
            self.postgresql.map(Kind::Postgresql),
            self.peer.as_ref().map(Kind::Peer),
        ]
        .into_iter()
        .flatten();
        match (kinds.next(), kinds.next()) {
            (Some(kind), None) => Ok(kind),
            _ => Err(format!(
                "service on {}: give exactly one of haproxy, order_service, postgresql, peer \
                 (several services on one instance are several entries)",
                self.instance
            )),
        }
    }
}

/// HAProxy in TCP mode.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Haproxy {
    /// Its port.
    pub listen: u16,
    /// Instances of the same VPC behind it.
    pub servers: Vec<String>,
    /// Their port.
    pub port: u16,
}

/// The order service.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrderService {
    /// Its port, TLS.
    pub port: u16,
    /// The instance of the same VPC with the database.
    pub database: String,
}

/// PostgreSQL on its usual port.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Postgresql {}

/// A TCP and HTTP server and a UDP echo.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Peer {
    /// TCP port.
    pub tcp: u16,
    /// UDP port.
    pub udp: u16,
}
