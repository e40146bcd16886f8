//! Where a gateway is tried: the fixtures' site, or a random one.

mod guard;

use std::collections::BTreeMap;

use fastrand::Rng;
use gateway_common::Reason;
use lingyun::{
    config::{self, Gateway, Mac, Topology},
    model::{self, Clock, Course, Tables},
    reachability::{Interface, NeighbourState, NextHop, Reachability, Vlan},
};
use serde_json::{Value, json};

use crate::{
    cases::site::{PUBLIC_INDEX, Site, UNDERLAY_INDEX},
    packet,
};

/// A gateway's topology and surroundings.
#[derive(Clone, Debug)]
pub struct Setting {
    /// What to type to have it again; nothing for the fixtures' site.
    pub seed: Option<u64>,
    /// The topology as it is served: with backends that are leaving.
    pub topology: Topology,
    /// If backends have changed a moment ago: the topology before, and as the file has
    /// it now.
    pub past: Option<(Topology, Topology)>,
    course: Course,
    /// Which gateway it is: an index into the topology's.
    pub gateway: usize,
    /// What netlink would say.
    pub reach: Reachability,
}

impl Setting {
    /// The fixtures' site.
    pub fn usual() -> Self {
        let (topology, reach) = Site::Usual.surroundings();
        let (course, topology) = Course::fresh(&topology);
        Self {
            seed: None,
            topology,
            past: None,
            course,
            gateway: 0,
            reach,
        }
    }

    /// A random site, the same one for the same seed: services with none to several
    /// backends of any weight, tenants with the same addresses, some of them peered,
    /// several interfaces and next hops, some of which are down or not resolved, and now
    /// and then VLANs.
    pub fn random(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        let (file, members) = topology(&mut random);
        let parsed = |file: &Value| {
            let text = file.to_string();
            match config::parse("random.json", &text) {
                Ok(loaded) => loaded.topology,
                Err(report) => panic!("random sites are sound: {report}\n{text}"),
            }
        };
        let now = parsed(&file);
        let before = random
            .bool()
            .then(|| parsed(&before(&mut random, file, &members)));
        let (course, topology) = match &before {
            None => Course::fresh(&now),
            Some(before) => {
                let later = Clock {
                    seconds: 1,
                    milliseconds: 1_000,
                };
                Course::fresh(before).0.follow(&now, later)
            }
        };
        let gateway = random.usize(..topology.gateways.len());
        let reach = surroundings(&mut random, &topology, gateway);
        Self {
            seed: Some(seed),
            topology,
            past: before.map(|before| (before, now)),
            course,
            gateway,
            reach,
        }
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.topology.gateways[self.gateway]
    }

    /// What the agent would write.
    pub fn tables(&self) -> Tables {
        model::tables(&self.topology, self.gateway(), &self.reach, &self.course)
    }

    /// Exits that frames cannot reach here.
    pub const UNREACHABLE: [Reason; 2] = [Reason::HeadRoom, Reason::Internal];
}

/// A topology as a file would have it, and the families of each VPC's instances.
fn topology(random: &mut Rng) -> (Value, Vec<Vec<Families>>) {
    let over_v6 = random.u8(..3) == 0;
    // The same numbers in the address of either family.
    let vtep = |network: usize, host: usize| match over_v6 {
        true => format!("fd00:ee:{network}::{host}"),
        false => format!("10.0.{network}.{host}"),
    };
    let hosts: Vec<Value> = (0..random.usize(1..5))
        .map(|host| json!({ "name": format!("host-{host}"), "vtep": vtep(1, 1 + host) }))
        .collect();
    let single_arm = random.u8(..4) == 0;
    let tagged = random.u8(..4) == 0;
    let gateways: Vec<Value> = (0..random.usize(1..4))
        .map(|gateway| {
            let public = interfaces(random, "public");
            let underlay = match single_arm {
                true => public.clone(),
                false => interfaces(random, "underlay"),
            };
            let mut public = json!({ "interface": public });
            if tagged {
                public["vlan"] = json!(VLANS[..random.usize(1..=VLANS.len())]);
            }
            json!({
                "name": format!("gw-{gateway}"),
                "public": public,
                "underlay": { "interface": underlay, "vtep": vtep(0, 11 + gateway) },
            })
        })
        .collect();
    let members: Vec<Vec<Families>> = (0..random.usize(1..4)).map(|_| families(random)).collect();
    let vpcs: Vec<Value> = (0..members.len())
        .map(|vpc| tenant(random, vpc, &members[vpc], hosts.len()))
        .collect();
    // One tenant has peers: those whose addresses nobody else has whom it sees.
    let hub = random.usize(..vpcs.len());
    let mut seen = vec![&vpcs[hub]["subnets"]];
    let mut peerings = Vec::new();
    for (number, vpc) in vpcs.iter().enumerate() {
        if random.bool() && !seen.contains(&&vpc["subnets"]) {
            seen.push(&vpc["subnets"]);
            peerings.push(json!({ "vpcs": [format!("vpc-{hub}"), format!("vpc-{number}")] }));
        }
    }
    let balancers: Vec<Value> = (0..random.usize(..6))
        .map(|number| balancer(random, number, &members))
        .collect();
    let mut floating = Vec::new();
    for (vpc, members) in members.iter().enumerate() {
        for (member, &families) in members.iter().enumerate() {
            for family in families.each() {
                if random.u8(..3) > 0 {
                    continue;
                }
                let ip = match family {
                    Family::V4 => format!("198.18.{vpc}.{member}"),
                    Family::V6 => format!("2001:db8:1:{vpc}::{}", 1 + member),
                };
                floating.push(json!({
                    "ip": ip,
                    "vpc": format!("vpc-{vpc}"),
                    "instance": format!("vm-{member}"),
                }));
            }
        }
    }
    let errors = [0, 10, 1_000_000][random.usize(..3)];
    let segments = [0, 536, 1_410][random.usize(..3)];
    let mut file = json!({
        "version": 1,
        "anycast_vtep": vtep(0, 100),
        "underlay_udp_checksum": over_v6 && random.bool(),
        "secret": format!("{:032x}", random.u128(..)),
        "icmp_errors_per_second": errors,
        "tcp_mss": segments,
        "gateways": gateways,
        "hosts": hosts,
        "vpcs": vpcs,
        "peerings": peerings,
        "load_balancers": balancers,
        "floating_ips": floating,
    });
    if random.bool() {
        guard::add(random, &mut file);
    }
    (file, members)
}

fn interfaces(random: &mut Rng, side: &str) -> Vec<String> {
    (0..random.usize(1..3))
        .map(|number| format!("{side}{number}"))
        .collect()
}

/// VLANs that a public side can have.
const VLANS: [u16; 3] = [100, 4_094, 1];

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

/// The families of an instance's addresses.
#[derive(Clone, Copy, Debug)]
struct Families {
    v4: bool,
    v6: bool,
}

impl Families {
    fn each(self) -> impl Iterator<Item = Family> {
        let has = [(Family::V4, self.v4), (Family::V6, self.v6)];
        has.into_iter()
            .filter(|(_, has)| *has)
            .map(|(family, _)| family)
    }

    fn has(self, family: Family) -> bool {
        self.each().any(|each| each == family)
    }
}

/// Families of a tenant's instances. The first one has both, so that every service
/// finds somebody.
fn families(random: &mut Rng) -> Vec<Families> {
    let count = random.usize(1..9);
    let mut members: Vec<Families> = (0..count)
        .map(|_| match random.u8(..4) {
            0 => Families {
                v4: true,
                v6: false,
            },
            1 => Families {
                v4: false,
                v6: true,
            },
            _ => Families { v4: true, v6: true },
        })
        .collect();
    members[0] = Families { v4: true, v6: true };
    members
}

/// A tenant network. Some tenants use the same addresses.
fn tenant(random: &mut Rng, vpc: usize, members: &[Families], hosts: usize) -> Value {
    let networks = [
        ("172.16", "fd00:1:0"),
        ("172.18", "fd00:2:0"),
        ("10.7", "fd00:3:0"),
    ];
    let (v4, v6) = networks[random.usize(..networks.len())];
    let instances: Vec<Value> = members
        .iter()
        .enumerate()
        .map(|(member, &families)| {
            // Both subnets have some.
            let ips = families.each().map(|family| match family {
                Family::V4 => format!("{v4}.{}.{}", member % 2, 10 + member),
                Family::V6 => format!("{v6}:{}::{:x}", member % 2, 10 + member),
            });
            json!({
                "name": format!("vm-{member}"),
                "ip": ips.collect::<Vec<_>>(),
                "mac": format!("02:aa:00:00:{vpc:02x}:{member:02x}"),
                "host": format!("host-{}", random.usize(..hosts)),
            })
        })
        .collect();
    json!({
        "name": format!("vpc-{vpc}"),
        "vni": 5_000 + vpc,
        "subnets": [
            { "name": "even", "cidr": format!("{v4}.0.0/24") },
            {
                "name": "odd",
                "cidr": format!("{v4}.1.0/24"),
                "router": format!("{v4}.1.254"),
            },
            { "name": "even-v6", "cidr": format!("{v6}::/64") },
            {
                "name": "odd-v6",
                "cidr": format!("{v6}:1::/64"),
                "router": format!("{v6}:1::fe"),
            },
        ],
        "instances": instances,
    })
}

/// A service. Ports differ, so that no two services share an instance's port.
fn balancer(random: &mut Rng, number: usize, members: &[Vec<Families>]) -> Value {
    let vpc = random.usize(..members.len());
    let protocol = if random.bool() { "tcp" } else { "udp" };
    let family = match random.bool() {
        true => Family::V4,
        false => Family::V6,
    };
    let vip = match family {
        Family::V4 => format!("203.0.113.{}", number / 2),
        Family::V6 => format!("2001:db8:2::{}", 1 + number / 2),
    };
    json!({
        "name": format!("service-{number}"),
        "vip": vip,
        "listen": format!("{protocol}/{}", 80 + number),
        "vpc": format!("vpc-{vpc}"),
        "backends": backends(random, number, &members[vpc], family),
        "affinity": if random.u8(..4) == 0 { "source_ip" } else { "flow" },
        "udp_tracking": protocol == "udp" && random.bool(),
    })
}

/// Some of a VPC's instances, with addresses of a family.
fn backends(random: &mut Rng, number: usize, members: &[Families], family: Family) -> Vec<Value> {
    let mut instances: Vec<usize> = (0..members.len())
        .filter(|&member| members[member].has(family))
        .collect();
    random.shuffle(&mut instances);
    instances.truncate(random.usize(1..=instances.len()));
    instances
        .into_iter()
        .enumerate()
        .map(|(position, member)| {
            // Somebody must serve.
            let least = usize::from(position == 0);
            json!({
                "instance": format!("vm-{member}"),
                "port": 8_000 + number,
                "weight": random.usize(least..4),
            })
        })
        .collect()
}

/// The file as it was before: most services had other backends.
fn before(random: &mut Rng, mut file: Value, members: &[Vec<Families>]) -> Value {
    let services = file["load_balancers"].as_array_mut();
    for (number, service) in services.into_iter().flatten().enumerate() {
        let vpc = service["vpc"]
            .as_str()
            .and_then(|name| name[4..].parse().ok());
        let vpc: usize = vpc.expect("VPCs are called vpc-0, vpc-1 and so on");
        if random.u8(..4) > 0 {
            let is_v6 = service["vip"].as_str().is_some_and(|vip| vip.contains(':'));
            let family = if is_v6 { Family::V6 } else { Family::V4 };
            service["backends"] = backends(random, number, &members[vpc], family).into();
        }
    }
    file
}

/// What netlink would say around a gateway.
fn surroundings(random: &mut Rng, topology: &Topology, gateway: usize) -> Reachability {
    let gateway = &topology.gateways[gateway];
    let mut interfaces = BTreeMap::new();
    for (number, name) in gateway.public.iter().enumerate() {
        // A test run arrives by loopback: the first public interface is that.
        let index = match number {
            0 => PUBLIC_INDEX,
            number => UNDERLAY_INDEX + 10 + number as u32,
        };
        interfaces.insert(name.clone(), interface(random, index));
    }
    for (number, name) in gateway.underlay.iter().enumerate() {
        let index = UNDERLAY_INDEX + number as u32;
        let interface = interface(random, index);
        interfaces.entry(name.clone()).or_insert(interface);
    }
    let tunnels = topology.hosts.iter().map(|host| {
        let hops = next_hops(random, &gateway.underlay, 11);
        (host.vtep, hops)
    });
    let tunnels = tunnels.collect();
    let vlans = vlans(random, gateway);
    let outward = match gateway.public_vlans.is_empty() {
        true => gateway.public.clone(),
        false => vlans.keys().cloned().collect(),
    };
    let mut uplinks = |network| match outward.is_empty() {
        true => Vec::new(),
        false => next_hops(&mut Rng::with_seed(random.u64(..)), &outward, network),
    };
    Reachability {
        interfaces,
        vlans,
        tunnels,
        uplinks: uplinks(9),
        uplinks_v6: uplinks(6),
    }
}

/// The kernel's devices for a gateway's VLANs; some are missing.
fn vlans(random: &mut Rng, gateway: &Gateway) -> BTreeMap<String, Vlan> {
    let mut vlans = BTreeMap::new();
    for parent in &gateway.public {
        for &id in &gateway.public_vlans {
            let Interface {
                mac,
                mtu,
                up,
                v4,
                v6,
                ..
            } = interface(random, id.into());
            let vlan = Vlan {
                parent: parent.clone(),
                id,
                mac,
                mtu,
                up,
                v4,
                v6,
            };
            if random.u8(..8) > 0 {
                vlans.insert(format!("{parent}.{id}"), vlan);
            }
        }
    }
    vlans
}

fn interface(random: &mut Rng, ifindex: u32) -> Interface {
    let mtus = [1_280, 1_500, 1_550, 1_600];
    Interface {
        ifindex,
        mac: Mac([0x02, 0, 0, 0, 0xee, ifindex as u8]),
        mtu: mtus[random.usize(..mtus.len())],
        up: random.u8(..8) > 0,
        v4: random.bool().then_some([192, 0, 2, ifindex as u8].into()),
        v6: (random.bool()).then_some([0x2001, 0xdb8, 0, 0, 0, 0, 0, ifindex as u16].into()),
    }
}

/// One to three next hops, now and then none; most have a MAC.
fn next_hops(random: &mut Rng, interfaces: &[String], network: u8) -> Vec<NextHop> {
    let count = match random.u8(..16) {
        0 => 0,
        _ => random.usize(1..4),
    };
    (0..count)
        .map(|number| {
            let mac: packet::Mac = [0x02, 0, 0, 1, network, number as u8];
            let resolved = random.u8(..4) > 0;
            NextHop {
                interface: interfaces[random.usize(..interfaces.len())].clone(),
                address: [10, network, 0, number as u8].into(),
                mac: resolved.then_some(Mac(mac)),
                state: match resolved {
                    true => NeighbourState::Reachable,
                    false => NeighbourState::Incomplete,
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_sites_are_sound_and_repeat_themselves() {
        for seed in 0..200 {
            let setting = Setting::random(seed);
            assert_eq!(setting.topology, Setting::random(seed).topology);
            setting.tables();
        }
    }
}
