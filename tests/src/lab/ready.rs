//! When is the lab ready? When packets find their ways, not when processes run.

use std::{
    net::{IpAddr, SocketAddr, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use lingyun::config::{InstanceId, Protocol};

use super::{
    running::Lab,
    up::{PATIENCE, Task},
};

impl Lab {
    /// The neighbours of the gateways know the ways through each of them.
    pub(super) fn wait_for_routes(&self) -> Result<String> {
        let public = self.public_addresses();
        for gateway in &self.site.topology.gateways {
            self.wait_for_routes_of(&gateway.name)?;
        }
        let count = self.site.topology.gateways.len();
        Ok(format!(
            "{} public addresses by {count} gateways",
            public.len()
        ))
    }

    /// The neighbours of one gateway know the ways through it.
    pub(super) fn wait_for_routes_of(&self, gateway: &str) -> Result<()> {
        let topology = &self.site.topology;
        let gateway = topology
            .gateway(gateway)
            .with_context(|| format!("no gateway {gateway}"))?;
        let public = self.public_addresses();
        let tunnels = [topology.anycast_vtep, gateway.vtep];
        for device in self.plan.devices_of(&gateway.name) {
            let is_public = gateway.public.contains(&device.interface);
            let (neighbour, interface) = &device.peer;
            for address in if is_public { &public[..] } else { &tunnels[..] } {
                self.wait(PATIENCE, &[], || {
                    self.has_route(neighbour, *address, interface)
                })?;
            }
        }
        Ok(())
    }

    fn public_addresses(&self) -> Vec<IpAddr> {
        let topology = &self.site.topology;
        let balanced = topology.load_balancers.iter().map(|service| service.vip);
        let floating = topology.floating_ips.iter().map(|floating| floating.ip);
        let mut public: Vec<_> = balanced.chain(floating).collect();
        public.sort();
        public.dedup();
        public
    }

    /// Whether a node sends (part of) an address's traffic out by an interface.
    fn has_route(&self, node: &str, address: IpAddr, interface: &str) -> Result<()> {
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let output = self.exec(node, &["ip", family, "route", "show", &address.to_string()])?;
        let text = String::from_utf8_lossy(&output.stdout);
        if text.split_whitespace().any(|word| word == interface) {
            return Ok(());
        }
        bail!(
            "{node} has no route to {address} by {interface}, only `{}`",
            text.trim()
        )
    }

    /// In each VPC, an instance of each host reaches one on each other host, and
    /// its virtual router, by each family that it has.
    pub(super) fn wait_for_tunnels(&self) -> Result<String> {
        let topology = &self.site.topology;
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for (vpc, network) in topology.vpcs.iter().enumerate() {
            let instances = network.instances.iter().enumerate();
            let all = instances.map(|(instance, vm)| (vm.host, InstanceId { vpc, instance }));
            let mut firsts: Vec<(usize, InstanceId)> = Vec::new();
            for (host, id) in all {
                if firsts.iter().all(|(known, _)| *known != host) {
                    firsts.push((host, id));
                }
            }
            for &(host, from) in &firsts {
                let others = firsts.iter().filter(|(other, _)| *other > host);
                let others = others.flat_map(|(_, to)| topology.instance(*to).ips());
                let own = || topology.instance(from).ips();
                let routers = own().map(|ip| topology.subnet_with(vpc, ip).router);
                let common = others.filter(|ip| own().any(|own| own.is_ipv4() == ip.is_ipv4()));
                for address in common.chain(routers) {
                    let name = self.site.instance_name(from);
                    tasks.push(Box::new(move || self.ping(&name, address)));
                }
            }
        }
        self.side_by_side(tasks)?;
        Ok("instances reach each other across hosts, and their routers".to_owned())
    }

    /// The clients reach every service over TCP and every floating IP.
    pub(super) fn wait_for_front_door(&self) -> Result<String> {
        let topology = &self.site.topology;
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for client in &self.site.lab.clients {
            for service in &topology.load_balancers {
                let to = SocketAddr::new(service.vip, service.port);
                if service.protocol == Protocol::Tcp {
                    tasks.push(Box::new(move || self.connect(&client.name, to)));
                }
            }
            for floating in &topology.floating_ips {
                tasks.push(Box::new(|| self.ping(&client.name, floating.ip)));
            }
        }
        self.side_by_side(tasks)?;
        Ok("clients reach the public addresses".to_owned())
    }

    fn ping(&self, node: &str, address: IpAddr) -> Result<()> {
        let address = address.to_string();
        self.wait(PATIENCE, &[], || {
            // One lost packet is usual: the first one waits for a neighbour.
            let output = self.exec(node, &["ping", "-n", "-q", "-c1", "-W0.1", &address])?;
            if !output.status.success() {
                bail!("{node} gets no answer from {address}");
            }
            Ok(())
        })
    }

    /// Waits until a node can open a TCP connection.
    pub(super) fn connect(&self, node: &str, to: SocketAddr) -> Result<()> {
        self.wait(PATIENCE, &[], || {
            let limit = Duration::from_millis(200);
            self.enter(node, || TcpStream::connect_timeout(&to, limit))?
                .map(drop)
                .with_context(|| format!("{node} cannot connect to {to}"))
        })
    }
}
