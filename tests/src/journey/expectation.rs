//! What the topology says the journey must look like.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

use anyhow::{Result, bail};
use lingyun::config::{InstanceId, Mac, Topology};

/// All that [`trace`](super::trace) and the story need to know of the site.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Who orders.
    pub client: Client,
    /// Public address and port of the service.
    pub vip: SocketAddrV4,
    /// All gateways.
    pub gateways: Vec<Gateway>,
    /// The tunnel endpoint that the gateways share.
    pub anycast_vtep: Ipv4Addr,
    /// VXLAN network of the VPC.
    pub vni: u32,
    /// MAC of the VPC's virtual router.
    pub router_mac: Mac,
    /// The HAProxy VMs.
    pub proxies: Vec<Service>,
    /// The Controller VMs.
    pub controllers: Vec<Service>,
    /// Where the order is written, if this part is to be shown.
    pub database: Option<Database>,
    /// What to call a MAC: `namespace:device`, or a VM's or router's name.
    pub mac_names: BTreeMap<Mac, String>,
}

/// Who orders.
#[derive(Clone, Debug)]
pub struct Client {
    /// Label of its namespace, as in the capture's points.
    pub namespace: String,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Port of the connection to follow; without it, the last one that carries data.
    pub port: Option<u16>,
}

/// A gateway.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// Label of its namespace.
    pub namespace: String,
    /// MACs of its public interfaces.
    pub public_macs: Vec<Mac>,
    /// MACs of its underlay interfaces.
    pub underlay_macs: Vec<Mac>,
}

/// Something that listens in a VM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Label of the VM's namespace.
    pub namespace: String,
    /// Private address and port.
    pub address: SocketAddrV4,
    /// MAC of the VM.
    pub mac: Mac,
    /// Name of the VM's host.
    pub host: String,
    /// Tunnel endpoint of the host.
    pub vtep: Ipv4Addr,
}

impl Service {
    /// A service of an instance, in the namespace with this label.
    pub fn new(topology: &Topology, id: InstanceId, port: u16, namespace: &str) -> Result<Self> {
        let instance = topology.instance(id);
        let host = &topology.hosts[instance.host];
        let (IpAddr::V4(ip), IpAddr::V4(vtep)) = (instance.ip, host.vtep) else {
            bail!(
                "the journey of {} is not IPv4: it cannot be told yet",
                instance.name
            );
        };
        Ok(Self {
            namespace: namespace.to_owned(),
            address: SocketAddrV4::new(ip, port),
            mac: instance.mac,
            host: host.name.clone(),
            vtep,
        })
    }
}

/// The database behind the Controllers.
#[derive(Clone, Debug)]
pub struct Database {
    /// PostgreSQL.
    pub service: Service,
    /// Bytes that only this order's statement carries: its idempotency key.
    pub needle: Vec<u8>,
}

impl Expectation {
    /// The HAProxy with this address.
    pub(super) fn proxy(&self, ip: Ipv4Addr) -> Option<&Service> {
        self.proxies.iter().find(|proxy| *proxy.address.ip() == ip)
    }

    /// The Controller with this address.
    pub(super) fn controller(&self, ip: Ipv4Addr) -> Option<&Service> {
        self.controllers
            .iter()
            .find(|controller| *controller.address.ip() == ip)
    }

    /// What to call a MAC.
    pub(super) fn mac_name(&self, mac: Mac) -> String {
        self.mac_names
            .get(&mac)
            .cloned()
            .unwrap_or_else(|| mac.to_string())
    }

    /// The gateway one of whose interfaces has this MAC.
    pub(super) fn gateway_of(&self, mac: Mac) -> Option<&Gateway> {
        self.gateways
            .iter()
            .find(|g| g.public_macs.contains(&mac) || g.underlay_macs.contains(&mac))
    }
}
