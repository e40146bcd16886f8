//! Instances, load-balanced services and floating IPs as map entries.

use std::net::IpAddr;

use gateway_common::{
    Backend, Endpoint, EndpointKey, Hull, Instance, InstanceKey, Reference, ReverseKey, RingSlot,
    SourceNat, macs, vni_word,
};
use gateway_ebpf::checksum;
use ipnet::IpNet;

use super::{InstanceIndex, Label, Tables, address, paths, v4, word};
use crate::{
    config::{self, InstanceId, Topology},
    ring,
};

/// Adds every instance and virtual router.
pub(super) fn add_instances(tables: &mut Tables, topology: &Topology) -> InstanceIndex {
    let mut index_of = InstanceIndex::new();
    for vpc in &topology.vpcs {
        let vni = vni_word(vpc.vni);
        tables
            .instance_keys
            .insert(InstanceKey::vni(vni).0, Reference::new(Reference::VNI, 0).0);
        let router = push(
            &mut tables.instances,
            Instance {
                macs: macs(vpc.router_mac.0, vpc.router_mac.0),
                vni,
                flags: Instance::FLAG_VALID,
                inside: inside(&vpc.cidrs),
                ..Instance::default()
            },
        );
        for subnet in &vpc.subnets {
            let key = InstanceKey::v4(vni, word(v4(subnet.router)));
            tables
                .instance_keys
                .insert(key.0, Reference::new(Reference::ROUTER, router).0);
        }
    }
    for (id, instance) in topology.instances() {
        let vpc = &topology.vpcs[id.vpc];
        let vni = vni_word(vpc.vni);
        let index = push(
            &mut tables.instances,
            Instance {
                host: address(topology.hosts[instance.host].vtep),
                macs: macs(vpc.router_mac.0, instance.mac.0),
                tunnel: paths::tunnel_of(instance.host),
                vni,
                floating: 0,
                flags: Instance::FLAG_VALID,
                inside: inside(&vpc.cidrs),
                network: id.vpc as u32 + 1,
                address: address(instance.ip),
                reserved: [0; 12],
            },
        );
        index_of.insert(id, index);
        let key = InstanceKey::v4(vni, word(v4(instance.ip)));
        tables
            .instance_keys
            .insert(key.0, Reference::new(Reference::INSTANCE, index).0);
    }
    index_of
}

/// Adds every load-balanced service: endpoint, ring, backends, reverse entries.
pub(super) fn add_services(tables: &mut Tables, topology: &Topology, index_of: &InstanceIndex) {
    for (number, service) in topology.load_balancers.iter().enumerate() {
        own(tables, service.vip);
        let members: Vec<_> = service
            .backends
            .iter()
            .map(|backend| ring::Member {
                name: format!(
                    "{}/{}:{}",
                    topology.vpcs[backend.instance.vpc].name,
                    topology.instance(backend.instance).name,
                    backend.port
                ),
                weight: backend.weight,
            })
            .collect();
        let slots = slots(&members);
        let mut indices = Vec::new();
        for (position, backend) in service.backends.iter().enumerate() {
            let translation = Translation::new(
                (service.vip, service.port),
                (topology.instance(backend.instance).ip, backend.port),
            );
            let index = add_backend(tables, topology, backend.instance, &translation, 0);
            tables.labels.push(Label::Backend {
                load_balancer: number,
                backend: position,
                slots: slots.iter().filter(|&&member| member == position).count() as u32,
                ring: slots.len().max(1) as u32,
            });
            let nat = push(
                &mut tables.source_nats,
                translation.reversed().source_nat(index, 0),
            );
            let key = ReverseKey::new(
                index_of[&backend.instance],
                service.protocol.number(),
                backend.port.to_be(),
            );
            tables
                .reverse
                .insert(key.0, Reference::new(Reference::SOURCE_NAT, nat).0);
            indices.push(index);
        }
        let endpoint = match slots[..] {
            // Nobody serves: packets are dropped as "no backend", not as "no service".
            [] => Endpoint::single(0),
            [only] => Endpoint::single(indices[only]),
            _ => {
                let first = tables.ring.len() as u32;
                tables.ring.extend(
                    slots
                        .iter()
                        .map(|&member| RingSlot::new(indices[member], indices[member]).0),
                );
                Endpoint::service(first, slots.len() as u32)
            }
        };
        let key = EndpointKey::v4(
            word(v4(service.vip)),
            service.protocol.number(),
            service.port.to_be(),
        );
        tables.endpoints.insert(key.0, endpoint.0);
    }
}

/// Who takes each slot of a service's ring: one slot is enough for one member.
fn slots(members: &[ring::Member]) -> Vec<usize> {
    let serving: Vec<_> = (0..members.len())
        .filter(|&member| members[member].weight > 0)
        .collect();
    match serving[..] {
        [] | [_] => serving,
        _ => ring::build(members, ring::size(members.len())),
    }
}

/// Adds every floating IP, both ways.
pub(super) fn add_floating_ips(tables: &mut Tables, topology: &Topology, index_of: &InstanceIndex) {
    for (number, floating) in topology.floating_ips.iter().enumerate() {
        let inside = topology.instance(floating.instance).ip;
        let translation = Translation::new((floating.ip, 0), (inside, 0));
        let flags = Backend::FLAG_KEEP_PORT;
        let index = add_backend(tables, topology, floating.instance, &translation, flags);
        tables.labels.push(Label::Floating(number));
        let key = EndpointKey::address_v4(word(v4(floating.ip)));
        tables.endpoints.insert(key.0, Endpoint::floating(index).0);
        let nat = push(
            &mut tables.source_nats,
            translation.reversed().source_nat(index, flags),
        );
        tables.instances[index_of[&floating.instance] as usize].floating = nat;
    }
}

/// Makes an address the gateway's own: it answers ARP and echo for it.
fn own(tables: &mut Tables, ip: IpAddr) {
    let key = EndpointKey::address_v4(word(v4(ip)));
    tables
        .endpoints
        .entry(key.0)
        .or_insert(Endpoint::address().0);
}

fn add_backend(
    tables: &mut Tables,
    topology: &Topology,
    id: InstanceId,
    translation: &Translation,
    flags: u16,
) -> u32 {
    let vpc = &topology.vpcs[id.vpc];
    let instance: &config::Instance = topology.instance(id);
    let counter = tables.backends.len() as u32;
    push(
        &mut tables.backends,
        Backend {
            address: address(translation.to.0),
            macs: macs(instance.mac.0, vpc.router_mac.0),
            port: translation.to.1.to_be(),
            flags: flags | Backend::FLAG_VALID,
            vni: vni_word(vpc.vni),
            tunnel: paths::tunnel_of(instance.host),
            counter,
            l3_delta: translation.l3_delta(),
            l4_delta: translation.l4_delta(),
            reserved: [0; 16],
        },
    )
}

/// One end of a flow becomes another.
struct Translation {
    from: (IpAddr, u16),
    to: (IpAddr, u16),
}

impl Translation {
    const fn new(from: (IpAddr, u16), to: (IpAddr, u16)) -> Self {
        Self { from, to }
    }

    const fn reversed(&self) -> Self {
        Self {
            from: self.to,
            to: self.from,
        }
    }

    fn addresses_delta(&self) -> u16 {
        let halves = |ip| checksum::halves(word(v4(ip)));
        checksum::delta(&halves(self.from.0), &halves(self.to.0))
    }

    /// What the rewrite adds to the IPv4 header checksum, the TTL's decrement included.
    fn l3_delta(&self) -> u16 {
        checksum::add(self.addresses_delta(), checksum::TTL_DELTA)
    }

    /// What it adds to the TCP or UDP checksum: pseudo header and port.
    fn l4_delta(&self) -> u16 {
        let port = checksum::delta(&[self.from.1.to_be()], &[self.to.1.to_be()]);
        checksum::add(self.addresses_delta(), port)
    }

    fn source_nat(&self, counter: u32, flags: u16) -> SourceNat {
        SourceNat {
            address: address(self.to.0),
            port: self.to.1.to_be(),
            flags: flags | Backend::FLAG_VALID,
            counter,
            l3_delta: self.l3_delta(),
            l4_delta: self.l4_delta(),
            reserved: [0; 4],
        }
    }
}

/// The VPC's IPv4 ranges as the program compares them.
fn inside(cidrs: &[IpNet]) -> Hull {
    let mut hull = [!0, 0, !0, 0];
    let ranges = cidrs.iter().filter_map(|cidr| match cidr {
        IpNet::V4(v4) => Some(v4),
        IpNet::V6(_) => None,
    });
    for (pair, range) in hull.chunks_exact_mut(2).zip(ranges) {
        pair.copy_from_slice(&[word(range.network()), word(range.netmask())]);
    }
    hull
}

/// Appends a record and returns its index.
fn push<T>(list: &mut Vec<T>, record: T) -> u32 {
    list.push(record);
    list.len() as u32 - 1
}
