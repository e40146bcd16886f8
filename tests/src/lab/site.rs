//! A topology file, both parts read, checked against each other.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use lingyun::config::{InstanceId, Topology};
use serde::Deserialize;

use super::config::{Kind, LabConfig, Vswitch};

/// A site that the lab can build.
#[derive(Debug)]
pub struct Site {
    /// The file.
    pub path: PathBuf,
    /// The product's part.
    pub topology: Topology,
    /// The lab's part.
    pub lab: LabConfig,
}

/// What a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// Sends and receives.
    Client,
    /// Routes and speaks BGP.
    Router {
        /// Its autonomous system.
        asn: u32,
    },
    /// Index of a gateway.
    Gateway(usize),
    /// Index of a host, and its switch.
    Host(usize, Vswitch),
    /// A VM.
    Instance(InstanceId),
}

/// The rest of the file is the product's.
#[derive(Deserialize)]
struct File {
    lab: Option<LabConfig>,
}

impl Site {
    /// Reads a topology file.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let topology = lingyun::config::parse(&path.display().to_string(), &text)?.topology;
        let file: File = serde_saphyr::from_str(&text)
            .with_context(|| format!("{}: the `lab` part", path.display()))?;
        let lab = file.lab.with_context(|| {
            format!(
                "{} has no `lab` part: topologies/order.yaml shows one",
                path.display()
            )
        })?;
        let site = Self {
            path: path.to_owned(),
            topology,
            lab,
        };
        let problems = site.problems();
        if !problems.is_empty() {
            let list = problems.join("\n  ");
            bail!("{}: the lab cannot be built:\n  {list}", path.display());
        }
        Ok(site)
    }

    /// Name of an instance's node.
    pub fn instance_name(&self, id: InstanceId) -> String {
        let vpc = &self.topology.vpcs[id.vpc];
        format!("{}/{}", vpc.name, vpc.instances[id.instance].name)
    }

    /// The instance with this node name.
    pub fn instance(&self, name: &str) -> Option<InstanceId> {
        self.topology
            .instances()
            .map(|(id, _)| id)
            .find(|&id| self.instance_name(id) == name)
    }

    /// Node name and address of another instance of the same VPC.
    pub fn neighbour(&self, of: InstanceId, name: &str) -> Option<(String, IpAddr)> {
        let vpc = &self.topology.vpcs[of.vpc];
        let found = vpc
            .instances
            .iter()
            .find(|instance| instance.name == name)?;
        Some((format!("{}/{name}", vpc.name), found.ip))
    }

    /// Every node.
    pub fn nodes(&self) -> Vec<(String, NodeKind)> {
        let clients = self
            .lab
            .clients
            .iter()
            .map(|c| (c.name.clone(), NodeKind::Client));
        let routers = self.lab.routers.iter();
        let routers = routers.map(|r| (r.name.clone(), NodeKind::Router { asn: r.asn }));
        let gateways = self.topology.gateways.iter().enumerate();
        let gateways = gateways.map(|(index, g)| (g.name.clone(), NodeKind::Gateway(index)));
        let hosts = self.topology.hosts.iter().enumerate();
        let hosts = hosts.filter_map(|(index, host)| {
            let switch = self
                .lab
                .hosts
                .iter()
                .find(|lab| lab.name == host.name)?
                .vswitch;
            Some((host.name.clone(), NodeKind::Host(index, switch)))
        });
        let instances = self.topology.instances();
        let instances = instances.map(|(id, _)| (self.instance_name(id), NodeKind::Instance(id)));
        clients
            .chain(routers)
            .chain(gateways)
            .chain(hosts)
            .chain(instances)
            .collect()
    }

    /// The interface of a client or host, and the router at its other end, by each of its
    /// addresses.
    pub fn uplink(&self, node: &str) -> (&str, Vec<IpAddr>) {
        let sides = self.lab.links.iter().flat_map(|link| link.sides());
        let own: Vec<_> = sides.filter(|(end, ..)| end.node == node).collect();
        let (end, ..) = own.first().expect("validation gives each of them one link");
        let routers = own.iter().map(|(_, _, _, router)| *router);
        (&end.interface, routers.collect())
    }

    /// The services of one kind, with their instances.
    pub fn services(&self) -> impl Iterator<Item = (InstanceId, String, Kind<'_>)> {
        self.lab.services.iter().map(|service| {
            let id = self
                .instance(&service.instance)
                .expect("validation resolves instances");
            (
                id,
                service.instance.clone(),
                service.kind().expect("validation counts kinds"),
            )
        })
    }
}
