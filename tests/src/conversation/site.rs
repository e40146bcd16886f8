//! The site that conversations play at: that of the cases, with a second gateway, a
//! third tenant, and pools of public addresses that instances share.

use std::net::Ipv4Addr;

use lingyun::{
    config::{Filtering, Gateway, Snat, SnatPool, SnatTimeouts, Topology},
    model::{self, Tables},
    reachability::Reachability,
};

use crate::{
    cases::site::{self, HOST_A, HOST_B, HOST_C, LOST, OTHER, SHOP, WEB_1, WEB_2},
    packet::Mac,
};

/// VNI of the third tenant.
pub const LAB: u32 = 5_003;
/// VNI with which gateways hand packets over.
pub const HANDOVER: u32 = 0xff_ffff;
/// The other gateway's own VTEP.
pub const OTHER_VTEP: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 12);
/// What the shop's instances share.
pub const SHARED: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 40);
/// What the other tenant's instances share: four ports, and strangers are kept out.
pub const STRICT: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 41);
/// What the third tenant's instances share: addresses that were never sent to are kept
/// out.
pub const WIDE: [Ipv4Addr; 2] = [
    Ipv4Addr::new(203, 0, 113, 42),
    Ipv4Addr::new(203, 0, 113, 43),
];

/// Most ports of the other tenant.
pub const QUOTA: u32 = 4;
/// Shares of each port space.
pub const SHARES: usize = 4;
/// How long mappings live here.
pub const TIMEOUTS: SnatTimeouts = SnatTimeouts::DEFAULT;

/// An instance, as conversations name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vm {
    /// Of its tenant.
    pub vni: u32,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its host.
    pub host: Ipv4Addr,
}

const fn vm(vni: u32, ip: Ipv4Addr, host: Ipv4Addr) -> Vm {
    Vm { vni, ip, host }
}

/// An instance of the shop.
pub const SHOP_1: Vm = vm(SHOP, WEB_1, HOST_A);
/// Another one, on another host.
pub const SHOP_2: Vm = vm(SHOP, WEB_2, HOST_B);
/// One on a host that cannot be reached.
pub const SHOP_LOST: Vm = vm(SHOP, LOST, HOST_C);
/// An instance of the other tenant.
pub const STRICT_1: Vm = vm(OTHER, WEB_1, HOST_B);
/// Instances of the third tenant.
pub const LAB_1: Vm = vm(LAB, WEB_1, HOST_A);
/// See above.
pub const LAB_2: Vm = vm(LAB, WEB_2, HOST_B);

impl Vm {
    /// MAC of its virtual router.
    pub fn router_mac(self) -> Mac {
        [0x02, 0x5e, 0, 0, 0, (self.vni - 5_000) as u8]
    }

    /// Its own MAC.
    pub fn mac(self) -> Mac {
        site::mac_of(self.vni, self.ip)
    }
}

fn pool(name: &str, vpc: usize, ips: &[Ipv4Addr]) -> SnatPool {
    SnatPool {
        name: name.into(),
        vpcs: vec![vpc],
        subnets: vec![],
        ips: ips.to_vec(),
        quota: None,
        timeouts: TIMEOUTS,
        filtering: Filtering::EndpointIndependent,
        refresh_inbound: false,
    }
}

/// The site's topology.
pub fn topology() -> Topology {
    let mut topology = site::topology();
    topology.gateways.push(Gateway {
        name: "gw2".into(),
        vtep: OTHER_VTEP.into(),
        ..topology.gateways[0].clone()
    });
    let shop = &topology.vpcs[0];
    let mut lab = shop.clone();
    lab.name = "lab".into();
    lab.vni = LAB;
    lab.router_mac.0 = LAB_1.router_mac();
    lab.instances.truncate(2);
    for (instance, vm) in lab.instances.iter_mut().zip([LAB_1, LAB_2]) {
        instance.mac.0 = vm.mac();
    }
    topology.vpcs.push(lab);
    topology.snat = Snat {
        pools: vec![
            pool("out", 0, &[SHARED]),
            SnatPool {
                quota: Some(QUOTA),
                filtering: Filtering::AddressAndPortDependent,
                ..pool("strict", 1, &[STRICT])
            },
            SnatPool {
                filtering: Filtering::AddressDependent,
                refresh_inbound: true,
                ..pool("wide", 2, &WIDE)
            },
        ],
        shares: (0..SHARES)
            .map(|share| (share < 2).then_some(share))
            .collect(),
        handover_vni: HANDOVER,
    };
    topology
}

/// What netlink would say at each gateway.
pub fn reachability() -> Reachability {
    let mut reach = site::reachability();
    let hops = reach.tunnels[&HOST_A.into()].clone();
    for vtep in [site::OWN_VTEP, OTHER_VTEP] {
        reach.tunnels.insert(vtep.into(), hops.clone());
    }
    reach
}

/// What the agent of a gateway would write.
pub fn tables(topology: &Topology, gateway: usize) -> Tables {
    model::build(topology, &topology.gateways[gateway], &reachability())
}
