//! Prometheus metrics, all of them made from a [`Status`]: the two can never
//! tell different stories. OpenMetrics text, names and units by its conventions.

mod snat;

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, text::encode as encode_text},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::{Registry, Unit},
};

use crate::{
    model::Condition,
    status::{Status, Traffic},
};

/// Content type of [`render`]'s text.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one moment.
pub fn render(status: Status) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Metrics(status)));
    let mut text = String::new();
    encode_text(&mut text, &registry).expect("writing to a String cannot fail");
    text
}

#[derive(Debug)]
struct Metrics(Status);

/// Labels and value of one sample.
type Sample<V> = (Vec<(&'static str, String)>, V);

/// A value. Packets and bytes stay whole numbers: a float counts to 2^53 only.
#[derive(Clone, Copy)]
enum Value {
    Count(u64),
    Number(f64),
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let out = &mut Out(&mut encoder);
        self.traffic(out)?;
        self.snat(out)?;
        self.reasons(out)?;
        self.challenges(out)?;
        self.surroundings(out)?;
        self.agent(out)
    }
}

impl Metrics {
    fn traffic(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let services = self.0.load_balancers.iter().flat_map(|service| {
            let labels = vec![
                ("load_balancer", service.name.clone()),
                ("vip", service.vip.to_string()),
                ("protocol", service.protocol.to_string()),
                ("port", service.port.to_string()),
            ];
            directions(labels, service.traffic)
        });
        let services: Vec<_> = services.collect();
        out.packets(
            "load_balancer",
            "of a load-balanced service, by direction",
            &services,
        )?;
        out.bytes(
            "load_balancer",
            "of a load-balanced service, by direction",
            &services,
        )?;

        let backends = self.0.load_balancers.iter().flat_map(|service| {
            service.backends.iter().map(move |backend| {
                let labels = vec![
                    ("load_balancer", service.name.clone()),
                    ("vpc", backend.vpc.clone()),
                    ("instance", backend.instance.clone()),
                    ("address", backend.address.to_string()),
                    ("port", backend.port.to_string()),
                ];
                (labels, backend)
            })
        });
        let shares = backends
            .clone()
            .map(|(labels, backend)| (labels, backend.share));
        let traffic: Vec<_> = backends
            .flat_map(|(labels, backend)| directions(labels, backend.traffic))
            .collect();
        out.packets(
            "backend",
            "of one backend of a service, by direction",
            &traffic,
        )?;
        out.bytes(
            "backend",
            "of one backend of a service, by direction",
            &traffic,
        )?;
        out.gauges(
            "lingyun_backend_share_ratio",
            "Part of a service's new flows that its ring gives to a backend, 0 to 1",
            shares,
        )?;

        let floating = self.0.floating_ips.iter().flat_map(|floating| {
            let labels = vec![
                ("ip", floating.ip.to_string()),
                ("vpc", floating.vpc.clone()),
                ("instance", floating.instance.clone()),
            ];
            directions(labels, floating.traffic)
        });
        let floating: Vec<_> = floating.collect();
        out.packets("floating_ip", "of a floating IP, by direction", &floating)?;
        out.bytes("floating_ip", "of a floating IP, by direction", &floating)?;

        let routed = self.0.vpcs.iter().flat_map(|vpc| {
            let labels = vec![("vpc", vpc.name.clone()), ("vni", vpc.vni.to_string())];
            directions(labels, vpc.routed)
        });
        let routed: Vec<_> = routed.collect();
        let what = "routed between instances: in to those of a VPC, out from them";
        out.packets("vpc_routed", what, &routed)?;
        out.bytes("vpc_routed", what, &routed)
    }

    fn reasons(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let reasons: Vec<_> = self
            .0
            .reasons
            .iter()
            .map(|count| {
                let labels = vec![
                    ("reason", count.reason.clone()),
                    ("outcome", count.outcome.clone()),
                ];
                (labels, (count.packets, count.bytes))
            })
            .collect();
        let what = "that the program did not forward, by reason and by what became of them";
        out.packets("reason", what, &reasons)?;
        out.bytes("reason", what, &reasons)
    }

    fn challenges(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let services = self.0.load_balancers.iter().map(|service| {
            let name = service.name.clone();
            (vec![("load_balancer", name)], service.challenge)
        });
        let floating = self.0.floating_ips.iter().map(|floating| {
            let ip = floating.ip.to_string();
            (vec![("floating_ip", ip)], floating.challenge)
        });
        out.gauges(
            "lingyun_challenge_on",
            "Whether the guard challenges unknown sources of a service: 1 or 0",
            services
                .chain(floating)
                .filter_map(|(labels, challenge)| Some((labels, number(challenge?.on)))),
        )
    }

    fn surroundings(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let labels = |interface: &crate::status::Interface| {
            vec![
                ("interface", interface.name.clone()),
                ("role", interface.role.to_string()),
            ]
        };
        let interfaces = || self.0.interfaces.iter();
        out.gauges(
            "lingyun_interface_up",
            "Whether an interface is up with carrier: 1 or 0",
            interfaces().map(|interface| (labels(interface), number(interface.up))),
        )?;
        out.gauges(
            "lingyun_interface_attached",
            "Whether the program is attached to an interface, and in which mode: 1 or 0",
            interfaces().map(|interface| {
                let mode = interface
                    .mode
                    .map_or("none".into(), |mode| mode.to_string());
                let labels = labels(interface)
                    .into_iter()
                    .chain([("mode", mode)])
                    .collect();
                (labels, number(interface.mode.is_some()))
            }),
        )?;
        let uplinks = self
            .0
            .uplinks
            .iter()
            .map(|hop| ("uplink", "public".to_owned(), hop));
        let tunnels = self.0.tunnels.iter().flat_map(|tunnel| {
            tunnel
                .next_hops
                .iter()
                .map(|hop| ("tunnel", tunnel.name.clone(), hop))
        });
        out.gauges(
            "lingyun_next_hop_usable",
            "Whether the MAC of a next hop is known, so that packets can be sent there: 1 or 0",
            uplinks.chain(tunnels).map(|(kind, towards, hop)| {
                let labels = vec![
                    ("kind", kind.to_owned()),
                    ("towards", towards),
                    ("interface", hop.interface.clone()),
                    ("address", hop.address.to_string()),
                ];
                (labels, number(hop.is_usable()))
            }),
        )?;
        out.gauges(
            "lingyun_tunnel_next_hops",
            "Next hops towards a host or another gateway, 0 when there is no route",
            self.0.tunnels.iter().map(|tunnel| {
                let labels = vec![
                    ("towards", tunnel.name.clone()),
                    ("vtep", tunnel.vtep.to_string()),
                ];
                (labels, tunnel.next_hops.len() as f64)
            }),
        )?;
        out.gauges(
            "lingyun_announced_prefixes",
            "Addresses held in a routing table for the router daemon to announce",
            tables(&self.0).map(|(table, count)| (vec![("table", table.to_string())], count)),
        )
    }

    fn agent(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let updates = &self.0.updates;
        let alone = |value| std::iter::once((Vec::new(), value));
        out.gauges(
            "lingyun_ready",
            "Whether the node can carry traffic and announces its addresses: 1 or 0",
            alone(number(self.0.ready)),
        )?;
        out.counters(
            "lingyun_table_updates",
            "Changes of the surroundings that were worked into the tables",
            std::iter::once((Vec::new(), updates.count)),
        )?;
        out.counters(
            "lingyun_table_update_failures",
            "Table updates of which the kernel refused a part; each is tried again",
            std::iter::once((Vec::new(), updates.failures)),
        )?;
        out.counters(
            "lingyun_table_writes",
            "Table entries written after the program was loaded",
            std::iter::once((Vec::new(), updates.writes)),
        )?;
        out.seconds(
            "lingyun_table_update",
            "Time spent on table updates",
            MetricType::Counter,
            updates.seconds,
        )?;
        out.seconds(
            "lingyun_table_update_last",
            "Time that the last table update took",
            MetricType::Gauge,
            updates.last_seconds,
        )?;
        out.counters(
            "lingyun_table_mismatches",
            "Times that the maps were read back and did not hold what they should",
            std::iter::once((Vec::new(), updates.mismatches)),
        )?;
        out.counters(
            "lingyun_table_loads",
            "Times that a second, complete data path was loaded",
            std::iter::once((Vec::new(), updates.loads)),
        )?;
        self.reload(out)?;
        self.tracking(out)?;
        out.seconds(
            "lingyun_uptime",
            "Time since the agent took over",
            MetricType::Gauge,
            self.0.uptime_seconds,
        )?;
        let build = vec![
            ("node", self.0.node.clone()),
            ("version", self.0.version.clone()),
            ("abi", self.0.abi.to_string()),
        ];
        out.gauges(
            "lingyun_build_info",
            "Always 1; the labels tell node, agent version and ABI version",
            std::iter::once((build, 1.0)),
        )
    }
}

impl Metrics {
    fn reload(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let reload = &self.0.reload;
        out.gauges(
            "lingyun_reload_ok",
            "Whether the topology file in its last form was taken over: 1 or 0",
            std::iter::once((Vec::new(), number(reload.ok))),
        )?;
        out.seconds(
            "lingyun_reload_timestamp",
            "When the topology file last changed, since 1970; 0 if it has not",
            MetricType::Gauge,
            reload.at,
        )?;
        let results = [("ok", reload.count), ("refused", reload.failures)];
        out.counters(
            "lingyun_reloads",
            "Changes of the topology file, by what came of them",
            results
                .into_iter()
                .map(|(result, count)| (vec![("result", result.to_owned())], count)),
        )
    }

    /// Flows that are looked up while backends change.
    fn tracking(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let tracking = &self.0.tracking;
        let events = [
            ("begun", tracking.begun),
            ("remembered", tracking.remembered),
            ("kept", tracking.kept),
        ];
        out.counters(
            "lingyun_tracking",
            "Flows begun and remembered, and packets kept at another backend than a new flow's, \
             while backends change; nothing in the steady state",
            events
                .into_iter()
                .map(|(event, count)| (vec![("event", event.to_owned())], count)),
        )?;
        let slots = self.0.load_balancers.iter().map(|service| {
            let labels = vec![("load_balancer", service.name.clone())];
            (labels, service.tracked_slots as f64)
        });
        out.gauges(
            "lingyun_tracked_slots",
            "Slots of a service's ring whose flows are looked up",
            slots,
        )?;
        let drained = self.0.load_balancers.iter().flat_map(|service| {
            service.backends.iter().map(move |backend| {
                let labels = vec![
                    ("load_balancer", service.name.clone()),
                    ("vpc", backend.vpc.clone()),
                    ("instance", backend.instance.clone()),
                    ("port", backend.port.to_string()),
                ];
                (labels, number(backend.condition != Condition::Serving))
            })
        });
        out.gauges(
            "lingyun_backend_drained",
            "Whether a backend takes no new flows: drained, leaving or dead",
            drained,
        )
    }
}

/// Addresses by table.
fn tables(status: &Status) -> impl Iterator<Item = (u32, f64)> {
    let mut tables = std::collections::BTreeMap::new();
    for announced in &status.announced {
        *tables.entry(announced.table).or_insert(0.0) += 1.0;
    }
    tables.into_iter()
}

fn number(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

/// Packets and bytes of both directions.
fn directions(
    labels: Vec<(&'static str, String)>,
    traffic: Traffic,
) -> impl Iterator<Item = Sample<(u64, u64)>> {
    let inward = ("in", (traffic.in_packets, traffic.in_bytes));
    let outward = ("out", (traffic.out_packets, traffic.out_bytes));
    [inward, outward]
        .into_iter()
        .map(move |(direction, count)| {
            let direction = ("direction", direction.to_owned());
            (labels.iter().cloned().chain([direction]).collect(), count)
        })
}

/// Writes families of samples.
struct Out<'a, 'e>(&'a mut DescriptorEncoder<'e>);

impl Out<'_, '_> {
    fn packets(&mut self, of: &str, what: &str, samples: &[Sample<(u64, u64)>]) -> fmt::Result {
        let samples = samples
            .iter()
            .map(|(labels, (packets, _))| (labels.clone(), *packets));
        self.counters(
            &format!("lingyun_{of}_packets"),
            &format!("Packets {what}"),
            samples,
        )
    }

    fn bytes(&mut self, of: &str, what: &str, samples: &[Sample<(u64, u64)>]) -> fmt::Result {
        let name = format!("lingyun_{of}");
        let help = format!("Bytes, Ethernet header included, {what}");
        let samples = samples
            .iter()
            .map(|(labels, (_, bytes))| (labels.clone(), *bytes));
        let samples = samples.map(|(labels, bytes)| (labels, Value::Count(bytes)));
        self.family(
            &name,
            &help,
            Some(&Unit::Bytes),
            MetricType::Counter,
            samples,
        )
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = Sample<u64>>,
    ) -> fmt::Result {
        let samples = samples.map(|(labels, count)| (labels, Value::Count(count)));
        self.family(name, help, None, MetricType::Counter, samples)
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        samples: impl Iterator<Item = Sample<f64>>,
    ) -> fmt::Result {
        let samples = samples.map(|(labels, number)| (labels, Value::Number(number)));
        self.family(name, help, None, MetricType::Gauge, samples)
    }

    fn seconds(&mut self, name: &str, help: &str, kind: MetricType, value: f64) -> fmt::Result {
        let sample = std::iter::once((Vec::new(), Value::Number(value)));
        self.family(name, help, Some(&Unit::Seconds), kind, sample)
    }

    fn family(
        &mut self,
        name: &str,
        help: &str,
        unit: Option<&Unit>,
        kind: MetricType,
        samples: impl Iterator<Item = Sample<Value>>,
    ) -> fmt::Result {
        let mut family = self.0.encode_descriptor(name, help, unit, kind)?;
        for (labels, value) in samples {
            if labels.is_empty() {
                return encode(family, kind, value);
            }
            encode(family.encode_family(&labels)?, kind, value)?;
        }
        Ok(())
    }
}

fn encode(sample: MetricEncoder<'_>, kind: MetricType, value: Value) -> fmt::Result {
    match (kind, value) {
        (MetricType::Counter, Value::Count(n)) => ConstCounter::new(n).encode(sample),
        (MetricType::Counter, Value::Number(n)) => ConstCounter::new(n).encode(sample),
        (_, Value::Count(n)) => ConstGauge::new(n).encode(sample),
        (_, Value::Number(n)) => ConstGauge::new(n).encode(sample),
    }
}

#[cfg(test)]
mod tests;
