//! Instances, load-balanced services and floating IPs as map entries.

use std::net::IpAddr;

use gateway_common::{
    Backend, Endpoint, Instance, InstanceKey, Reference, ReverseKey, SourceNat, Tunnel, macs,
    vni_word,
};
use gateway_ebpf::checksum;

use super::{
    BackendId, Condition, Course, Label, ServiceId, Tables, VmId, address, addresses, inside::Hulls,
};
use crate::config::{self, Affinity, InstanceId, Topology};

/// Adds every instance and virtual router.
pub(super) fn add_instances(tables: &mut Tables, topology: &Topology, course: &Course) {
    let hulls: Vec<_> = (0..topology.vpcs.len())
        .map(|vpc| Hulls::new(topology, vpc))
        .collect();
    for vpc in &topology.vpcs {
        let vni = vni_word(vpc.vni);
        tables
            .instance_keys
            .insert(InstanceKey::vni(vni).0, Reference::new(Reference::VNI, 0).0);
        let router = course.vm(&VmId::router(vpc.vni));
        tables.instances[router as usize] = Instance {
            macs: macs(vpc.router_mac.0, vpc.router_mac.0),
            vni,
            flags: Instance::FLAG_VALID,
            ..Instance::default()
        };
        for subnet in &vpc.subnets {
            let who = Reference::new(Reference::ROUTER, router);
            addresses::add_inner(tables, vni, subnet.router, who);
        }
    }
    for (id, ip) in topology.instance_ips() {
        let (vpc, instance) = (&topology.vpcs[id.vpc], topology.instance(id));
        let vni = vni_word(vpc.vni);
        let index = course.vm(&VmId::at(vpc.vni, ip));
        let host = topology.hosts[instance.host].vtep;
        tables.instances[index as usize] = Instance {
            host: address(host),
            macs: macs(vpc.router_mac.0, instance.mac.0),
            tunnel: course.tunnel(host),
            vni,
            floating: 0,
            flags: Instance::FLAG_VALID,
            inside: hulls[id.vpc].of(ip),
            network: course.network(vpc.vni),
            address: address(ip),
            router: address(topology.subnet_with(id.vpc, ip).router),
            ..Instance::default()
        };
        let who = Reference::new(Reference::INSTANCE, index);
        addresses::add_inner(tables, vni, ip, who);
        if ip.is_ipv6() {
            addresses::add_mac(tables, vni, instance.mac, who);
        }
    }
}

/// Adds every load-balanced service: endpoint, backends, reverse entries. Its ring is
/// the course's.
pub(super) fn add_services(tables: &mut Tables, topology: &Topology, course: &Course) {
    for (number, service) in topology.load_balancers.iter().enumerate() {
        addresses::own(tables, course, service.vip, Endpoint::address());
        let id = ServiceId::from(service);
        for (position, backend) in service.backends.iter().enumerate() {
            let backend_id = BackendId::served(topology, id, backend);
            let translation = Translation::new(
                (service.vip, service.port),
                (backend_id.inside(), backend.port),
            );
            let index = course.backend(&backend_id);
            let condition = course.condition(&backend_id);
            let flags = match condition {
                Condition::Dead => 0,
                _ => Backend::FLAG_VALID,
            };
            add_backend(
                tables,
                topology,
                course,
                backend.instance,
                (index, &translation, flags),
            );
            let (slots, ring) = course.rings.share(&id, index);
            tables.labels[index as usize] = Label::Backend {
                load_balancer: number,
                backend: position,
                slots,
                ring,
                condition,
            };
            let key = ReverseKey::new(
                course.vm(&backend_id.vm()),
                service.protocol.number(),
                backend.port.to_be(),
            );
            tables
                .reverse
                .insert(key.0, Reference::new(Reference::SOURCE_NAT, index).0);
        }
        let key = addresses::service(course, &id);
        let endpoint = match service.affinity {
            Affinity::Flow => course.rings.endpoint(&id),
            Affinity::SourceIp => course.rings.endpoint(&id).by_source(),
        };
        tables.endpoints.insert(key.0, endpoint.0);
    }
}

/// Adds every floating IP, both ways.
pub(super) fn add_floating_ips(tables: &mut Tables, topology: &Topology, course: &Course) {
    for (number, floating) in topology.floating_ips.iter().enumerate() {
        let id = BackendId::floating(topology, floating);
        let translation = Translation::new((floating.ip, 0), (id.inside(), 0));
        let flags = Backend::FLAG_VALID | Backend::FLAG_KEEP_PORT;
        let index = course.backend(&id);
        add_backend(
            tables,
            topology,
            course,
            floating.instance,
            (index, &translation, flags),
        );
        tables.labels[index as usize] = Label::Floating(number);
        addresses::own(tables, course, floating.ip, Endpoint::floating(index));
        tables.instances[course.vm(&id.vm()) as usize].floating = index;
    }
}

/// Writes a translation and what undoes it, both at the backend's index.
fn add_backend(
    tables: &mut Tables,
    topology: &Topology,
    course: &Course,
    id: InstanceId,
    (index, translation, flags): (u32, &Translation, u16),
) {
    let vpc = &topology.vpcs[id.vpc];
    let instance: &config::Instance = topology.instance(id);
    // To a dead backend there is no way: the program asks for nothing else.
    let tunnel = match flags & Backend::FLAG_VALID {
        0 => Tunnel::default(),
        _ => tables.tunnels[course.tunnel(topology.hosts[instance.host].vtep) as usize],
    };
    tables.backends[index as usize] = Backend {
        address: address(translation.to.0),
        macs: macs(instance.mac.0, vpc.router_mac.0),
        port: translation.to.1.to_be(),
        flags,
        vni: vni_word(vpc.vni),
        counter: index,
        l3_delta: translation.l3_delta(),
        l4_delta: translation.l4_delta(),
        reserved: [0; 20],
        tunnel,
    };
    // What a dead backend still sends is translated all the same.
    let flags = flags | Backend::FLAG_VALID;
    tables.source_nats[index as usize] = translation.reversed().source_nat(index, flags);
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
        let halves = |ip| address(ip).map(checksum::halves);
        let (from, to) = (halves(self.from.0), halves(self.to.0));
        checksum::delta(from.as_flattened(), to.as_flattened())
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
            flags,
            counter,
            l3_delta: self.l3_delta(),
            l4_delta: self.l4_delta(),
            reserved: [0; 4],
        }
    }
}
