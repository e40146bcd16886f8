//! Metrics of egress NAT.

use super::*;
use crate::status::SnatPool;

impl Metrics {
    pub(super) fn snat(&self, out: &mut Out<'_, '_>) -> fmt::Result {
        let pools = || self.0.snat.iter();
        let traffic: Vec<_> = pools().flat_map(address_traffic).collect();
        let what = "behind an address that instances share, by direction";
        out.packets("snat", what, &traffic)?;
        out.bytes("snat", what, &traffic)?;
        out.gauges(
            "lingyun_snat_ports",
            "Public ports that this gateway hands out, by what they are: used, resting before \
             another instance gets them, or free",
            pools().flat_map(ports),
        )?;
        out.gauges(
            "lingyun_snat_ports_high",
            "Whether four fifths of an address's ports or more are used or resting: 1 or 0. Add \
             an address to the pool before packets are dropped",
            pools().flat_map(high),
        )?;
        let tenants = || {
            pools().flat_map(|pool| {
                pool.tenants.iter().map(|tenant| {
                    let labels = vec![("pool", pool.name.clone()), ("vpc", tenant.vpc.clone())];
                    (labels, tenant)
                })
            })
        };
        out.gauges(
            "lingyun_snat_tenant_ports",
            "Public ports that a VPC has of a pool on this gateway, resting ones included",
            tenants().map(|(labels, tenant)| (labels, tenant.used as f64)),
        )?;
        out.gauges(
            "lingyun_snat_tenant_quota",
            "Most public ports that a VPC may have of a pool on this gateway",
            tenants().filter_map(|(labels, tenant)| Some((labels, tenant.quota?.into()))),
        )?;
        out.counters(
            "lingyun_snat_dropped_packets",
            "Packets of new flows that got no port, by VPC and reason",
            tenants().flat_map(|(labels, tenant)| {
                let reasons = [
                    ("snat_exhausted", tenant.exhausted),
                    ("snat_quota", tenant.over_quota),
                ];
                reasons.map(|(reason, count)| {
                    let mut labels = labels.clone();
                    labels.push(("reason", reason.to_owned()));
                    (labels, count)
                })
            }),
        )
    }
}

fn address_traffic(pool: &SnatPool) -> impl Iterator<Item = Sample<(u64, u64)>> {
    pool.addresses.iter().flat_map(|address| {
        let labels = vec![("pool", pool.name.clone()), ("ip", address.ip.to_string())];
        directions(labels, address.traffic)
    })
}

/// Labels of an address and protocol, and its ports.
fn each(
    pool: &SnatPool,
) -> impl Iterator<Item = (Vec<(&'static str, String)>, &crate::status::SnatPorts)> {
    pool.addresses.iter().flat_map(|address| {
        address.ports.iter().map(|ports| {
            let labels = vec![
                ("pool", pool.name.clone()),
                ("ip", address.ip.to_string()),
                ("protocol", ports.protocol.clone()),
            ];
            (labels, ports)
        })
    })
}

fn ports(pool: &SnatPool) -> impl Iterator<Item = Sample<f64>> {
    each(pool).flat_map(|(labels, ports)| {
        let states = [
            ("used", ports.used),
            ("resting", ports.resting),
            ("free", ports.free),
        ];
        states.map(|(state, count)| {
            let mut labels = labels.clone();
            labels.push(("state", state.to_owned()));
            (labels, count as f64)
        })
    })
}

fn high(pool: &SnatPool) -> impl Iterator<Item = Sample<f64>> {
    each(pool).map(|(labels, ports)| (labels, number(ports.is_high())))
}
