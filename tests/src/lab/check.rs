//! What is wrong with a site: the lab's part against the product's. Finds all at once.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::{
    config::{Kind, Service, VM_MTU, Vswitch},
    names::Ports,
    site::{NodeKind, Site},
};

/// What VXLAN puts in front of a VM's packet, outer Ethernet aside.
const fn vxlan_overhead(vtep: IpAddr) -> u32 {
    match vtep {
        IpAddr::V4(_) => 50,
        IpAddr::V6(_) => 70,
    }
}

impl Site {
    /// One sentence a problem.
    pub(super) fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut kinds = HashMap::new();
        for host in &self.topology.hosts {
            if !self.lab.hosts.iter().any(|lab| lab.name == host.name) {
                problems.push(format!(
                    "host {0}: say which switch it has, in lab.hosts: \
                     {{ name: {0}, vswitch: kernel }}",
                    host.name
                ));
                // Counted all the same, so that its links are no further problem.
                kinds.insert(host.name.clone(), NodeKind::Host(0, Vswitch::Kernel));
            }
        }
        for host in &self.lab.hosts {
            if !self
                .topology
                .hosts
                .iter()
                .any(|known| known.name == host.name)
            {
                problems.push(format!(
                    "lab.hosts: `{}` is not one of the hosts",
                    host.name
                ));
            }
        }
        for (name, kind) in self.nodes() {
            if kinds.insert(name.clone(), kind).is_some() {
                problems.push(format!("two nodes have the name `{name}`"));
            }
        }
        self.check_links(&kinds, &mut problems);
        self.check_uplinks(&kinds, &mut problems);
        let mut taken = HashSet::new();
        for service in &self.lab.services {
            if let Err(problem) = self.check_service(service) {
                problems.push(problem);
                continue;
            }
            if let Ok(port) = service.kind().map(Kind::tcp_port)
                && !taken.insert((&service.instance, port))
            {
                problems.push(format!(
                    "service on {}: two services listen on TCP port {port}",
                    service.instance
                ));
            }
        }
        problems
    }

    fn check_links(&self, kinds: &HashMap<String, NodeKind>, problems: &mut Vec<String>) {
        let mut taken = HashSet::new();
        for link in &self.lab.links {
            for (end, ..) in link.ends() {
                if !kinds.contains_key(&end.node) || end.node.contains('/') {
                    problems.push(format!(
                        "link {end}: there is no client, router, gateway or host `{}`",
                        end.node
                    ));
                }
                if end.interface.is_empty() || end.interface.len() > Ports::MAX {
                    problems.push(format!(
                        "link {end}: an interface name has 1 to {} characters",
                        Ports::MAX
                    ));
                }
                if !taken.insert(end.to_string()) {
                    problems.push(format!("link {end}: another link ends there too"));
                }
            }
            let (a, b) = (&link.a_ip.0, &link.b_ip.0);
            let families: HashSet<_> = a.iter().map(|ip| ip.addr().is_ipv4()).collect();
            if a.len() != b.len() || a.len() != families.len() || a.is_empty() {
                problems.push(format!(
                    "link {} - {}: give both ends one address, or one of each family in the same \
                     order",
                    link.a, link.b
                ));
                continue;
            }
            for (a, b) in a.iter().zip(b) {
                if a.trunc() != b.trunc() || a.addr() == b.addr() {
                    problems.push(format!(
                        "link {} - {}: {a} and {b} must be two addresses of one network",
                        link.a, link.b
                    ));
                }
            }
        }
    }

    fn check_uplinks(&self, kinds: &HashMap<String, NodeKind>, problems: &mut Vec<String>) {
        let links_of = |node: &str| {
            let links = self.lab.links.iter();
            let ends = links.flat_map(|link| link.ends().map(|end| (link.mtu, end)));
            ends.filter(|(_, (end, ..))| end.node == node)
                .collect::<Vec<_>>()
        };
        let needed = VM_MTU + vxlan_overhead(self.topology.anycast_vtep);
        let narrow = |node: &str, mtu: u32| {
            format!("{node}: its underlay link has MTU {mtu}; VXLAN needs at least {needed}")
        };
        for (name, kind) in kinds {
            let links = links_of(name);
            if matches!(kind, NodeKind::Client | NodeKind::Host(..)) && links.len() != 1 {
                problems.push(format!(
                    "{name}: has {} links, needs exactly one",
                    links.len()
                ));
            }
        }
        for host in &self.topology.hosts {
            for (mtu, (end, addresses, _)) in links_of(&host.name) {
                if !addresses.iter().any(|address| address.addr() == host.vtep) {
                    let own = addresses.iter().map(|address| address.addr().to_string());
                    problems.push(format!(
                        "link {end}: its address {} should be the host's VTEP {}",
                        own.collect::<Vec<_>>().join(", "),
                        host.vtep
                    ));
                }
                if mtu < needed {
                    problems.push(narrow(&host.name, mtu));
                }
            }
        }
        for gateway in &self.topology.gateways {
            let links = links_of(&gateway.name);
            for interface in gateway.public.iter().chain(&gateway.underlay) {
                let link = links
                    .iter()
                    .find(|(_, (end, ..))| end.interface == *interface);
                match link {
                    None => problems.push(format!("{}:{interface} has no link", gateway.name)),
                    Some((mtu, _)) if gateway.underlay.contains(interface) && *mtu < needed => {
                        problems.push(narrow(&gateway.name, *mtu));
                    }
                    Some(_) => {}
                }
            }
        }
    }

    fn check_service(&self, service: &Service) -> Result<(), String> {
        let name = &service.instance;
        let id = self.instance(name).ok_or_else(|| {
            format!("service on `{name}`: there is no such instance; write VPC/INSTANCE")
        })?;
        let known = |other: &str| {
            self.neighbour(id, other)
                .map(|(node, _)| node)
                .ok_or_else(|| format!("service on {name}: its VPC has no instance `{other}`"))
        };
        match service.kind()? {
            Kind::Haproxy(haproxy) => haproxy
                .servers
                .iter()
                .try_for_each(|server| known(server).map(drop)),
            Kind::OrderService(orders) => {
                let database = known(&orders.database)?;
                let runs = |other: &Service| {
                    other.instance == database && matches!(other.kind(), Ok(Kind::Postgresql(_)))
                };
                if self.lab.services.iter().any(runs) {
                    return Ok(());
                }
                Err(format!(
                    "service on {name}: no postgresql runs on {database}"
                ))
            }
            Kind::Postgresql(_) | Kind::Peer(_) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const ORDER: &str = include_str!("../../../topologies/order.yaml");

    /// What the lab says to its topology with one passage changed.
    fn complaint(passage: &str, instead: &str) -> String {
        assert!(ORDER.contains(passage), "no `{passage}` in order.yaml");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("changed.yaml");
        fs::write(&file, ORDER.replacen(passage, instead, 1)).unwrap();
        let error = Site::load(&file).expect_err("it must be refused");
        format!("{error:#}")
    }

    #[test]
    fn the_topologies_are_sound() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topologies");
        for (name, nodes) in [("order", 16), ("dual-stack", 11), ("ipv6-underlay", 11)] {
            let site = Site::load(&folder.join(name).with_extension("yaml")).unwrap();
            assert_eq!(site.nodes().len(), nodes, "{name}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        let cases = [
            ("\"phone:radio\"", "radio", "write NODE:INTERFACE"),
            (
                "\"phone:radio\"",
                "\"fone:radio\"",
                "there is no client, router, gateway or host `fone`",
            ),
            (
                "\"phone:radio\"",
                "\"phone:a-name-that-is-long\"",
                "1 to 15 characters",
            ),
            (
                "b_ip: 192.0.2.2/30",
                "b_ip: 192.0.2.6/30",
                "two addresses of one network",
            ),
            (
                "b_ip: 192.0.2.2/30",
                "b_ip: [192.0.2.2/30, \"2001:db8::1/64\"]",
                "one of each family in the same order",
            ),
            ("b_ip: 192.0.2.2/30", "b_ip: no", "such as [192.0.2.1/30"),
            (
                "\"border:gw2\"",
                "\"border:gw1\"",
                "another link ends there too",
            ),
            (
                "\"gw1:public\"",
                "\"gw1:outside\"",
                "gw1:public has no link",
            ),
            (
                "b_ip: 10.0.1.2/30, mtu: 1600",
                "b_ip: 10.0.1.2/30",
                "VXLAN needs at least 1550",
            ),
            (
                "b_ip: 10.0.11.2/30, mtu: 1600",
                "b_ip: 10.0.11.2/30",
                "gw1: its underlay link",
            ),
            (
                "a: \"spine:host-a\", a_ip: 10.0.1.1/30, b: \"host-a:uplink\", b_ip: 10.0.1.2/30",
                "a: \"spine:host-a\", a_ip: 10.0.1.2/30, b: \"host-a:uplink\", b_ip: 10.0.1.1/30",
                "should be the host's VTEP",
            ),
            (
                "{ name: spine, asn: 64502 }",
                "{ name: border, asn: 64502 }",
                "two nodes have the name",
            ),
            (
                "    - { name: host-b, vswitch: kernel }\n",
                "",
                "say which switch it has",
            ),
            (
                "name: host-b, vswitch: kernel",
                "name: host-c, vswitch: kernel",
                "`host-c` is not one",
            ),
            ("vswitch: kernel", "vswitch: magic", "magic"),
            (
                "shop/haproxy-1, haproxy",
                "shop/haproxy-9, haproxy",
                "no such instance",
            ),
            (
                "servers: [controller-1",
                "servers: [controller-9",
                "no instance `controller-9`",
            ),
            (
                "shop/postgres, postgresql: {}",
                "shop/postgres, peer: { tcp: 1, udp: 1 }",
                "no postgresql runs on",
            ),
            (
                "postgresql: {}",
                "postgresql: {}, peer: { tcp: 1, udp: 1 }",
                "give exactly one of",
            ),
            (
                "order_service: { port: 8443",
                "order_service: { port: 8000",
                "two services listen",
            ),
            ("asn: 64500", "as: 64500", "as"),
            ("\nlab:", "\nlaboratory:", "laboratory"),
        ];
        for (passage, instead, expected) in cases {
            let complaint = complaint(passage, instead);
            assert!(
                complaint.contains(expected),
                "{passage} -> {instead}: {complaint}"
            );
        }
    }
}
