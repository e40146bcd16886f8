//! From a sound document to the [`Topology`].

mod guard;

use std::net::IpAddr;

use super::{
    address::Address,
    choice::{self, Switch, Time},
    defaults,
    document::{self, Document},
    list::{Entries, OneOrMore},
    lists::AllLists,
    number::Number,
    problem::Problems,
    read::{At, Maybe, Optional},
    scalar::{Interface, MacAddress, Secret},
    snat::*,
    topology::*,
    validate::{Names, owners},
};

/// Builds the topology; `None` if a value is missing, which validation has reported.
pub(super) fn build(document: &Document, lists: AllLists) -> Option<Topology> {
    // Names were resolved before, so nothing new can turn up here.
    let silent = &mut Problems::default();
    let names = Names::new(document, silent);
    let anycast_vtep = document.anycast_vtep.as_ref()?.0;
    let underlay_mtu = document
        .underlay_mtu
        .or_default(|| Number(defaults::UNDERLAY_MTU))?
        .0;
    Some(Topology {
        guard: guard::build(document, lists)?,
        anycast_vtep,
        udp_checksum: document
            .underlay_udp_checksum
            .or_default(|| Switch(false))?
            .0,
        underlay_mtu: document
            .underlay_mtu
            .or_default(|| Number(defaults::UNDERLAY_MTU))?
            .0,
        seed: document
            .secret
            .or_default(|| Secret(defaults::seed(anycast_vtep)))?
            .0,
        icmp_errors_per_second: document
            .icmp_errors_per_second
            .or_default(|| Number(defaults::ICMP_ERRORS_PER_SECOND))?
            .0,
        tcp_mss: document
            .tcp_mss
            .or_default(|| Number(defaults::tcp_mss(underlay_mtu, anycast_vtep)))?
            .0,
        gateways: document
            .gateways
            .entries()
            .iter()
            .map(gateway)
            .collect::<Option<_>>()?,
        hosts: document
            .hosts
            .entries()
            .iter()
            .map(host)
            .collect::<Option<_>>()?,
        vpcs: names
            .vpcs()
            .iter()
            .map(|v| vpc(v, &names, silent))
            .collect::<Option<_>>()?,
        peerings: document
            .peerings
            .entries()
            .iter()
            .map(|peering| {
                let [a, b] = peering.vpcs.entries() else {
                    return None;
                };
                Some([names.vpc_at(a, silent)?, names.vpc_at(b, silent)?])
            })
            .collect::<Option<_>>()?,
        load_balancers: names
            .services()
            .iter()
            .map(|service| load_balancer(service, &names, silent))
            .collect::<Option<_>>()?,
        floating_ips: document
            .floating_ips
            .entries()
            .iter()
            .map(|floating| {
                let vpc = names.vpc(&floating.vpc, silent)?;
                let instance = names.instance(vpc, &floating.instance, silent)?;
                let ip = floating.ip.as_ref()?.0;
                Some(FloatingIp {
                    ip,
                    instance: InstanceId { vpc, instance },
                })
            })
            .collect::<Option<_>>()?,
        drain: drain(document)?,
        snat: snat(document, &names, silent)?,
    })
}

fn drain(document: &Document) -> Option<Drain> {
    let default = Drain::default();
    let Some(given) = &document.drain else {
        return Some(default);
    };
    let given = given.as_ref()?;
    Some(Drain {
        idle: given.idle.or_default(|| Time(default.idle))?.0,
        max: given.max.or_default(|| Time(default.max))?.0,
        flows: given.flows.or_default(|| Number(default.flows))?.0,
    })
}

fn snat(document: &Document, names: &Names<'_>, silent: &mut Problems) -> Option<Snat> {
    let pools = document.snat.entries();
    if pools.is_empty() {
        return Some(Snat::default());
    }
    Some(Snat {
        pools: pools
            .iter()
            .map(|pool| snat_pool(pool, names, silent))
            .collect::<Option<_>>()?,
        shares: owners(document),
        handover_vni: document
            .handover_vni
            .or_default(|| Number(DEFAULT_HANDOVER_VNI))?
            .0,
    })
}

fn snat_pool(
    pool: &At<document::SnatPool>,
    names: &Names<'_>,
    silent: &mut Problems,
) -> Option<SnatPool> {
    let vpcs = (pool.vpc.as_ref()?.value.0.iter())
        .map(|name| names.vpc(&Some(name.clone()), silent))
        .collect::<Option<Vec<_>>>()?;
    let range = |name| {
        let vpc = *vpcs.first()?;
        let subnet = names.subnet(vpc, name, silent)?;
        let subnet = &names.vpcs()[vpc].subnets.entries()[subnet];
        Some(subnet.cidr.as_ref()?.0)
    };
    let v4 = |ip: &At<Address>| match ip.0 {
        IpAddr::V4(ip) => Some(ip),
        IpAddr::V6(_) => None,
    };
    let subnets = pool.subnets.entries().iter().map(range);
    let subnets = subnets.collect::<Option<_>>()?;
    let given = pool.timeouts.given();
    let time = |key: fn(&document::SnatTimeouts) -> &Maybe<Time>, default| {
        let given = given.and_then(|timeouts| key(timeouts).given());
        given.map_or(default, |time| time.0 as u32)
    };
    let default = SnatTimeouts::DEFAULT;
    let timeouts = SnatTimeouts {
        udp: time(|t| &t.udp, default.udp),
        icmp: time(|t| &t.icmp, default.icmp),
        tcp_established: time(|t| &t.tcp_established, default.tcp_established),
        tcp_transitory: time(|t| &t.tcp_transitory, default.tcp_transitory),
        hold: time(|t| &t.hold, default.hold),
    };
    Some(SnatPool {
        name: pool.name.as_ref()?.0.clone(),
        subnets,
        ips: pool.ips.entries().iter().map(v4).collect::<Option<_>>()?,
        quota: pool.quota_ports.given().map(|quota| quota.0),
        timeouts,
        filtering: pool
            .filtering
            .given()
            .map_or(Filtering::default(), |word| word.0),
        refresh_inbound: pool.refresh.given().is_some_and(|refresh| refresh.inbound),
        vpcs,
    })
}

fn gateway(gateway: &At<document::Gateway>) -> Option<Gateway> {
    let interfaces = |list: &Option<At<OneOrMore<Interface>>>| {
        Some(
            list.as_ref()?
                .0
                .iter()
                .map(|interface| interface.0.clone())
                .collect(),
        )
    };
    let (public, underlay) = (gateway.public.as_ref()?, gateway.underlay.as_ref()?);
    let vlans = match &public.vlan {
        None => &[][..],
        Some(vlans) => &vlans.as_ref()?.0,
    };
    Some(Gateway {
        name: gateway.name.as_ref()?.0.clone(),
        public: interfaces(&public.interface)?,
        public_vlans: vlans.iter().map(|vlan| vlan.get()).collect(),
        underlay: interfaces(&underlay.interface)?,
        vtep: underlay.vtep.as_ref()?.0,
    })
}

fn host(host: &At<document::Host>) -> Option<Host> {
    Some(Host {
        name: host.name.as_ref()?.0.clone(),
        vtep: host.vtep.as_ref()?.0,
    })
}

fn vpc(vpc: &At<document::Vpc>, names: &Names<'_>, silent: &mut Problems) -> Option<Vpc> {
    let vni = vpc.vni.as_ref()?.0;
    let subnets: Vec<_> = vpc
        .subnets
        .entries()
        .iter()
        .map(subnet)
        .collect::<Option<_>>()?;
    let instances = vpc.instances.entries().iter().map(|instance| {
        let ips = || instance.ip.iter().flat_map(|list| &list.0).map(|ip| ip.0);
        let ip6 = ips().find_map(|ip| match ip {
            IpAddr::V6(ip6) => Some(ip6),
            IpAddr::V4(_) => None,
        });
        let ip = ips().find(IpAddr::is_ipv4);
        Some(Instance {
            name: instance.name.as_ref()?.0.clone(),
            ip: ip.or(ip6.map(IpAddr::V6))?,
            ip6: ip.and(ip6),
            mac: instance.mac.as_ref()?.0,
            host: names.host(&instance.host, silent)?,
        })
    });
    Some(Vpc {
        name: vpc.name.as_ref()?.0.clone(),
        vni,
        cidrs: defaults::ranges(vpc),
        router_mac: vpc
            .router_mac
            .or_default(|| MacAddress(defaults::router_mac(vni)))?
            .0,
        instances: instances.collect::<Option<_>>()?,
        subnets,
    })
}

fn subnet(subnet: &At<document::Subnet>) -> Option<Subnet> {
    let cidr = subnet.cidr.as_ref()?.0;
    let router = subnet
        .router
        .or_default(|| Address(defaults::router(cidr)))?
        .0;
    Some(Subnet {
        name: subnet.name.as_ref()?.0.clone(),
        cidr,
        router,
    })
}

fn load_balancer(
    service: &At<document::LoadBalancer>,
    names: &Names<'_>,
    silent: &mut Problems,
) -> Option<LoadBalancer> {
    let listen = service.listen.as_ref()?.value;
    let vpc = names.vpc(&service.vpc, silent)?;
    let backends = service.backends.entries().iter().map(|backend| {
        let keys = &backend.0;
        Some(Backend {
            instance: InstanceId {
                vpc,
                instance: names.instance(vpc, &keys.instance, silent)?,
            },
            port: keys.port.or_default(|| Number(listen.port.into()))?.get(),
            weight: keys.weight.or_default(|| Number(1))?.get(),
        })
    });
    Some(LoadBalancer {
        name: service.name.as_ref()?.0.clone(),
        vip: service.vip.as_ref()?.0,
        protocol: listen.protocol,
        port: listen.port,
        backends: backends.collect::<Option<_>>()?,
        affinity: service
            .affinity
            .or_default(|| choice::Affinity(Affinity::Flow))?
            .0,
        udp_tracking: service.udp_tracking.or_default(|| Switch(false))?.0,
    })
}
