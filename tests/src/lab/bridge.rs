//! The kernel's virtual switch: per VPC a bridge and a vxlan device, with all
//! forwarding entries written down and nothing learned from the wire.

use std::net::IpAddr;

use anyhow::Result;
use lingyun::config::InstanceId;

use super::{network::sysctl, running::Lab, tool::batch};

impl Lab {
    /// Sets a host's bridges up.
    pub(super) fn start_bridges(&self, host: usize) -> Result<String> {
        let topology = &self.site.topology;
        let name = &topology.hosts[host].name;
        let mut links = Vec::new();
        let mut settings = Vec::new();
        let mut talking = Vec::new();
        let mut entries = Vec::new();
        let mut count = 0;
        for (vpc, network) in topology.vpcs.iter().enumerate() {
            if network
                .instances
                .iter()
                .all(|instance| instance.host != host)
            {
                continue;
            }
            count += 1;
            let (bridge, vxlan) = (format!("br-{}", network.vni), format!("vx-{}", network.vni));
            let local = topology.hosts[host].vtep;
            // Over IPv6 it takes datagrams without a checksum where the gateways send such.
            let without = match (local, topology.udp_checksum) {
                (IpAddr::V6(_), false) => "udp6zerocsumrx",
                _ => "",
            };
            if network
                .instances
                .iter()
                .any(|vm| vm.ips().any(|ip| ip.is_ipv6()))
            {
                // To answer for neighbours, a bridge needs IPv6, but no address: those who
                // have one talk.
                settings.push((format!("ipv6/conf/{bridge}/addr_gen_mode"), "1"));
                settings.push((format!("ipv6/conf/{bridge}/disable_ipv6"), "0"));
                settings.push((format!("ipv6/conf/{vxlan}/disable_ipv6"), "1"));
            }
            links.extend([
                // Multicast snooping would send queries of its own.
                format!("link add {bridge} type bridge mcast_snooping 0"),
                format!(
                    "link add {vxlan} type vxlan id {} local {local} dstport 4789 nolearning {without}",
                    network.vni
                ),
                format!("link set dev {vxlan} master {bridge}"),
            ]);
            talking.push(format!("link set dev {vxlan} up"));
            talking.push(format!("link set dev {bridge} up"));
            // The bridge answers for the neighbours that it knows elsewhere.
            entries.push(format!(
                "link set dev {vxlan} learning off neigh_suppress on"
            ));
            let mut remote = |mac, at: IpAddr| {
                entries.push(format!("fdb append {mac} dev {vxlan} dst {at} self static"));
                // Replaced, since the bridge may have learned it in the meantime.
                entries.push(format!("fdb replace {mac} dev {vxlan} master static"));
            };
            remote(network.router_mac, topology.anycast_vtep);
            for (instance, vm) in network.instances.iter().enumerate() {
                if vm.host == host {
                    let port = self.plan.port(InstanceId { vpc, instance });
                    links.push(format!("link set dev {port} master {bridge}"));
                    continue;
                }
                remote(vm.mac, topology.hosts[vm.host].vtep);
                talking.extend(vm.ips().map(|ip| {
                    let mac = vm.mac;
                    format!("neighbour replace {ip} lladdr {mac} dev {bridge} nud permanent")
                }));
            }
            // What is left to flood asks for the router: the gateways answer it.
            entries.push(format!(
                "fdb append 00:00:00:00:00:00 dev {vxlan} dst {} self permanent",
                topology.anycast_vtep
            ));
        }
        let namespace = self.namespace(name);
        let ip = ["ip", "-n", &namespace, "-batch", "-"];
        batch(self.run(), &ip, &links)?;
        self.enter(name, || {
            let mut settings = settings.iter();
            settings.try_for_each(|(name, value)| sysctl(&(name, value)))
        })??;
        batch(self.run(), &ip, &talking)?;
        batch(
            self.run(),
            &["bridge", "-n", &namespace, "-batch", "-"],
            &entries,
        )?;
        Ok(format!("{count} bridges"))
    }
}
