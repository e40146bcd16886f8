//! Values that mean something at a site: who has an address there, and who listens.

use std::net::{IpAddr, Ipv4Addr};

use lingyun::config::Topology;

use crate::cases::site::{BORDER, CLIENT, NODE};

/// What fields can be set to so that a packet gets far.
#[derive(Clone, Debug, Default)]
pub(super) struct Words {
    pub(super) addresses: Vec<[u8; 4]>,
    pub(super) addresses6: Vec<[u8; 16]>,
    pub(super) macs: Vec<[u8; 6]>,
    pub(super) ports: Vec<u16>,
    pub(super) vnis: Vec<u32>,
}

impl Words {
    pub(super) fn of(topology: &Topology) -> Self {
        let mut words = Self {
            macs: vec![[0xff; 6], [0x01, 0, 0x5e, 0, 0, 1]],
            ports: vec![0, 443, 4_789, 49_152, 65_535],
            vnis: vec![0, 0x00ff_ffff],
            ..Self::default()
        };
        let mut addresses: Vec<IpAddr> = vec![topology.anycast_vtep];
        addresses.extend(topology.gateways.iter().map(|gateway| gateway.vtep));
        addresses.extend(topology.hosts.iter().map(|host| host.vtep));
        addresses.extend(topology.floating_ips.iter().map(|floating| floating.ip));
        for service in &topology.load_balancers {
            addresses.push(service.vip);
            words.ports.push(service.port);
            let backends = service.backends.iter();
            words.ports.extend(backends.map(|backend| backend.port));
        }
        for vpc in &topology.vpcs {
            words.vnis.push(vpc.vni);
            words.macs.push(vpc.router_mac.0);
            addresses.extend(vpc.subnets.iter().map(|subnet| subnet.router));
        }
        for (_, instance) in topology.instances() {
            addresses.extend(instance.ips());
            words.macs.push(instance.mac.0);
        }
        let others = [
            CLIENT,
            NODE,
            BORDER,
            Ipv4Addr::UNSPECIFIED,
            Ipv4Addr::BROADCAST,
        ];
        addresses.extend(others.map(IpAddr::from));
        // A link-local one, and the groups that neighbour discovery asks and tells.
        let others = [
            "::",
            "2001:db8:c::1",
            "fe80::1",
            "ff02::1",
            "ff02::1:ff00:1",
        ];
        addresses.extend(others.map(|ip| ip.parse::<IpAddr>().expect("an address")));
        for address in addresses {
            match address {
                IpAddr::V4(address) => words.addresses.push(address.octets()),
                IpAddr::V6(address) => words.addresses6.push(address.octets()),
            }
        }
        words
    }
}
