//! Load-balanced services: their backends, and the way back from these.

use std::collections::{BTreeMap, BTreeSet};

use super::Names;
use crate::{
    config::{
        address::{Address, family},
        document::{Backend, Document, LoadBalancer},
        list::Entries,
        number::Number,
        problem::{Place, Problems},
        read::{At, Optional},
        scalar::Listen,
        topology::Protocol,
    },
    ring::MAX_MEMBERS,
};

/// An instance by one of its addresses: VPC, index, whether the address is IPv6.
type Inside = (usize, usize, bool);

/// Where packets of a backend come from: instance, protocol, port.
type Source = (Inside, Protocol, u16);

/// A backend as far as the way back is concerned.
struct Serving<'d> {
    source: Source,
    service: &'d LoadBalancer,
    listen: Listen,
    at: Place,
}

pub(super) fn check(document: &Document, names: &Names<'_>, problems: &mut Problems) {
    check_listeners(document, problems);
    let mut serving = Vec::new();
    for service in document.load_balancers.entries() {
        check_weights(service, problems);
        check_tracking(service, problems);
        collect(service, names, &mut serving, problems);
    }
    let taken = serving.iter().map(|serving| serving.source).collect();
    check_way_back(&serving, &taken, names, problems);
    let owners = floating(document, names, problems);
    check_hidden(&owners, &serving, &taken, names, problems);
}

/// One service per address, protocol and port.
fn check_listeners(document: &Document, problems: &mut Problems) {
    let listeners = document
        .load_balancers
        .entries()
        .iter()
        .filter_map(|service| {
            let (vip, listen) = (service.vip.as_ref()?, service.listen.as_ref()?);
            Some(((vip.value, listen.protocol, listen.port), listen.at))
        });
    super::names::unique(listeners, |(vip, protocol, port), at, line| {
        problems.error(
            at,
            format!(
                "{protocol}/{port} of {vip} is already served by the load balancer on line {line}"
            ),
            "choose another port or VIP, or put all backends into one load balancer",
        );
    });
}

fn check_weights(service: &At<LoadBalancer>, problems: &mut Problems) {
    let Some(at) = service.backends.as_ref().map(|list| list.at) else {
        return;
    };
    let backends = service.backends.entries();
    let count = backends.len();
    if count > MAX_MEMBERS {
        problems.error(
            at,
            format!("{count} backends are more than a ring can share flows among fairly"),
            format!("use {MAX_MEMBERS} at most, or spread the service over several VIPs"),
        );
    }
    let drained = |backend: &At<Backend>| backend.0.weight.given().is_some_and(|w| w.0 == 0);
    if count > 0 && service.backends.is_complete() && backends.iter().all(drained) {
        problems.warning(
            at,
            "all backends have weight 0: connections go on, new ones are refused",
            "give a weight of 1 or more to at least one of them, unless the service is to end",
        );
    }
}

/// What has no effect on a service of its protocol.
fn check_tracking(service: &At<LoadBalancer>, problems: &mut Problems) {
    let (Some(tracking), Some(listen)) = (service.udp_tracking.given(), &*service.listen) else {
        return;
    };
    if listen.protocol == Protocol::Tcp {
        problems.warning(
            tracking.at,
            "`udp_tracking` has no effect here: TCP connections always stay where they are",
            "leave it out",
        );
    }
}

/// Resolves the backends of a service.
fn collect<'d>(
    service: &'d At<LoadBalancer>,
    names: &Names<'_>,
    serving: &mut Vec<Serving<'d>>,
    problems: &mut Problems,
) {
    let Some(vpc) = names.vpc(&service.vpc, problems) else {
        return;
    };
    for backend in service.backends.entries() {
        let keys = &backend.0;
        let Some(instance) = names.instance(vpc, &keys.instance, problems) else {
            continue;
        };
        let Some(listen) = service.listen.as_ref().map(|listen| listen.value) else {
            continue;
        };
        let Some(port) = keys.port.or_default(|| Number(listen.port.into())) else {
            continue;
        };
        let at = keys.instance.as_ref().map_or(backend.at, |name| name.at);
        let vip = &*service.vip;
        if let Some(vip) = vip {
            check_inside(at, vip, (vpc, instance), names, problems);
        }
        let is_v6 = vip.as_ref().is_some_and(|vip| vip.0.is_ipv6());
        let source = ((vpc, instance, is_v6), listen.protocol, port.get());
        serving.push(Serving {
            source,
            service,
            listen,
            at,
        });
    }
}

/// A public address stands for a private one of its own family.
fn check_inside(
    at: Place,
    public: &At<Address>,
    (vpc, instance): (usize, usize),
    names: &Names<'_>,
    problems: &mut Problems,
) {
    let Some(ips) = &*names.vm(vpc, instance).ip else {
        return;
    };
    if ips.0.iter().any(|ip| ip.0.is_ipv4() == public.0.is_ipv4()) {
        return;
    }
    let (family, name) = (family(public.0), name(names, vpc, instance));
    problems.error(
        at,
        format!(
            "`{name}` has no {family} address that {} (line {}) could stand for",
            public.value, public.at.line
        ),
        format!("give `{name}` one of each family, as in `ip: [172.16.1.11, \"fd00:1::11\"]`"),
    );
}

/// Answers are translated back by instance, protocol and port alone, so these may
/// belong to one service only.
fn check_way_back(
    serving: &[Serving<'_>],
    taken: &BTreeSet<Source>,
    names: &Names<'_>,
    problems: &mut Problems,
) {
    let mut first: BTreeMap<Source, &Serving<'_>> = BTreeMap::new();
    for serving in serving {
        let Some(other) = first.get(&serving.source) else {
            first.insert(serving.source, serving);
            continue;
        };
        let ((vpc, instance, _), protocol, port) = serving.source;
        let name = name(names, vpc, instance);
        if std::ptr::eq(other.service, serving.service) {
            problems.error(
                serving.at,
                format!(
                    "`{name}` is already a backend of this service (line {})",
                    other.at.line
                ),
                format!("list it once; a larger share is `{{ instance: {name}, weight: 2 }}`"),
            );
            continue;
        }
        let service = other
            .service
            .name
            .as_ref()
            .map_or("another", |name| &name.0);
        let free = free_port(serving.source, taken);
        problems.error(
            serving.at,
            format!(
                "{protocol}/{port} of `{name}` already serves `{service}` (line {}): its answers \
                 could belong to either",
                other.at.line
            ),
            match free {
                Some(free) => format!(
                    "let `{name}` listen on a second port, and write \
                     `{{ instance: {name}, port: {free} }}`"
                ),
                None => "use another instance".into(),
            },
        );
    }
}

/// A port of the instance that serves nothing yet, near the wanted one.
fn free_port(wanted: Source, taken: &BTreeSet<Source>) -> Option<u16> {
    let (inside, protocol, port) = wanted;
    (port..=u16::MAX)
        .chain(1024..port)
        .find(|port| !taken.contains(&(inside, protocol, *port)))
}

/// The instances with a floating IP. Each has one of a family at most.
fn floating<'d>(
    document: &'d Document,
    names: &Names<'_>,
    problems: &mut Problems,
) -> BTreeMap<Inside, &'d At<Address>> {
    let mut owners: BTreeMap<_, &At<Address>> = BTreeMap::new();
    for floating in document.floating_ips.entries() {
        let Some(vpc) = names.vpc(&floating.vpc, problems) else {
            continue;
        };
        let Some(instance) = names.instance(vpc, &floating.instance, problems) else {
            continue;
        };
        let Some(ip) = &*floating.ip else { continue };
        let at = floating
            .instance
            .as_ref()
            .map_or(floating.at, |name| name.at);
        check_inside(at, ip, (vpc, instance), names, problems);
        let inside = (vpc, instance, ip.0.is_ipv6());
        let Some(other) = owners.get(&inside) else {
            owners.insert(inside, ip);
            continue;
        };
        problems.error(
            at,
            format!(
                "`{}` already has the floating IP {} (line {})",
                name(names, vpc, instance),
                other.value,
                other.at.line
            ),
            "an instance can have one of a family: its own packets could leave with either",
        );
    }
    owners
}

/// A service on an instance with a floating IP hides that port of the floating IP.
fn check_hidden(
    owners: &BTreeMap<Inside, &At<Address>>,
    serving: &[Serving<'_>],
    taken: &BTreeSet<Source>,
    names: &Names<'_>,
    problems: &mut Problems,
) {
    for Serving {
        source,
        service,
        listen,
        at,
    } in serving
    {
        let (inside, protocol, port) = *source;
        let (Some(floating), Some(vip)) = (owners.get(&inside), &*service.vip) else {
            continue;
        };
        let name = name(names, inside.0, inside.1);
        let free = free_port(*source, taken).unwrap_or(port);
        problems.warning(
            *at,
            format!(
                "{protocol}/{port} of `{name}` answers as {} {listen}: connections to its floating \
                 IP {} on that port will not work",
                vip.value, floating.value
            ),
            format!(
                "let `{name}` serve the VIP on a port of its own, as in \
                 `{{ instance: {name}, port: {free} }}`, or use another instance"
            ),
        );
    }
}

fn name<'d>(names: &Names<'d>, vpc: usize, instance: usize) -> &'d str {
    names
        .vm(vpc, instance)
        .name
        .as_ref()
        .map_or("this instance", |name| &name.0)
}
