//! Collects claims, and looks up in the journey and in the topology what they need.

use std::net::{Ipv4Addr, SocketAddrV4};

use lingyun::config::Mac;

use super::{
    super::{Expectation, Hop, Journey, Macs, Outer, Row, Service},
    Claim, Verdict,
    judge::{equal, first, last, missing, same_inside, ttl},
};

/// Tunnel endpoints, sender's and receiver's.
type Ends = (Ipv4Addr, Ipv4Addr);

/// The work at hand.
pub(super) struct Checker<'j> {
    pub(super) journey: &'j Journey,
    pub(super) expected: &'j Expectation,
    pub(super) claims: Vec<Claim>,
}

impl<'j> Checker<'j> {
    pub(super) fn claim(&mut self, hop: Hop, text: &str, check: impl FnOnce(&Self) -> Verdict) {
        let (ok, seen) = match check(self) {
            Ok(seen) => (true, seen),
            Err(wrong) => (false, wrong),
        };
        self.claims.push(Claim {
            hop: Some(hop),
            claim: text.to_owned(),
            ok,
            seen,
        });
    }

    /// Two claims about a tunnel: its ends and network, and that its load is the same
    /// all the way.
    pub(super) fn tunnel(
        &mut self,
        hop: Hop,
        ends: &str,
        expected: impl Fn(&Self) -> Result<Ends, String>,
    ) {
        let text = format!("VXLAN with VNI {}, {ends}", self.expected.vni);
        self.claim(hop, &text, |checker| {
            let (source, destination) = expected(checker)?;
            let rows = checker.rows(hop);
            let tunnels: Vec<&Outer> = rows
                .iter()
                .filter_map(|r| r.headers.outer.as_ref())
                .collect();
            let Some(outer) = tunnels.first() else {
                return Err(missing("in a tunnel"));
            };
            for outer in &tunnels {
                equal("VNI", &outer.vni, &checker.expected.vni)?;
                equal("outer source", &outer.source, &source)?;
                equal("outer destination", &outer.destination, &destination)?;
            }
            Ok(format!(
                "{source} to {destination}, UDP port {}",
                outer.source_port
            ))
        });
        self.claim(
            hop,
            "in the tunnel, only outer MACs and TTL change",
            |checker| {
                let rows = checker.rows(hop);
                let tunnels: Vec<_> = rows
                    .into_iter()
                    .filter(|r| r.headers.outer.is_some())
                    .collect();
                // The row before, bare, is what went in.
                let inside = checker.before(first(&tunnels)?).unwrap_or(tunnels[0]);
                for row in &tunnels {
                    same_inside(&inside.headers, &row.headers)?;
                }
                let outers = || tunnels.iter().filter_map(|row| row.headers.outer.as_ref());
                for (before, after) in outers().zip(outers().skip(1)) {
                    equal("tunnel's UDP port", &after.source_port, &before.source_port)?;
                    ttl(after.ttl, before.ttl.wrapping_sub(1))?;
                    if after.macs == before.macs {
                        return Err("a router left the outer MACs as they were".to_owned());
                    }
                }
                Ok(format!("{} times on the underlay", tunnels.len()))
            },
        );
    }

    /// The packet without its tunnel, in the VM.
    pub(super) fn unwrapped(
        &mut self,
        hop: Hop,
        tunnel: Hop,
        vm: &str,
        expected: impl Fn(&Self, &Row) -> Result<&'j Service, String>,
    ) {
        self.claim(
            hop,
            &format!("unwrapped, it comes to the {vm} unchanged"),
            |checker| {
                let (before, after) = (last(&checker.rows(tunnel))?, last(&checker.rows(hop))?);
                same_inside(&before.headers, &after.headers)?;
                checker.at(after, false, &expected(checker, after)?.namespace)
            },
        );
    }

    pub(super) fn rows(&self, hop: Hop) -> Vec<&'j Row> {
        let rows = if hop.is_back {
            &self.journey.answer
        } else {
            &self.journey.request
        };
        rows.iter().filter(|row| row.hop == hop).collect()
    }

    /// The row before this one on the same connection, if it has no tunnel.
    pub(super) fn before(&self, row: &Row) -> Option<&'j Row> {
        let rows = if row.hop.is_back {
            &self.journey.answer
        } else {
            &self.journey.request
        };
        let at = rows.iter().position(|other| std::ptr::eq(other, row))?;
        rows[..at]
            .last()
            .filter(|before| before.headers.outer.is_none())
    }

    pub(super) fn proxy(&self, to: SocketAddrV4) -> Result<&'j Service, String> {
        let proxy = self.proxy_at(*to.ip())?;
        equal("port", &to.port(), &proxy.address.port()).map(|()| proxy)
    }

    pub(super) fn proxy_at(&self, ip: Ipv4Addr) -> Result<&'j Service, String> {
        self.expected
            .proxy(ip)
            .ok_or_else(|| format!("{ip} is no HAProxy VM"))
    }

    pub(super) fn controller(&self, to: SocketAddrV4) -> Result<&'j Service, String> {
        let ip = *to.ip();
        let controller = self
            .expected
            .controller(ip)
            .ok_or_else(|| format!("{ip} is no Controller VM"))?;
        equal("port", &to.port(), &controller.address.port()).map(|()| controller)
    }

    /// A MAC that must be one of a gateway's public interfaces.
    pub(super) fn public_side(&self, mac: Mac) -> Verdict {
        let gateway = self
            .expected
            .gateways
            .iter()
            .find(|g| g.public_macs.contains(&mac));
        gateway
            .map(|gateway| gateway.namespace.clone())
            .ok_or_else(|| {
                format!(
                    "{} is no gateway's public interface",
                    self.expected.mac_name(mac)
                )
            })
    }

    pub(super) fn macs(&self, row: &Row, expected: Macs) -> Result<(), String> {
        let name = |mac| self.expected.mac_name(mac);
        let Macs {
            source,
            destination,
        } = row.headers.macs;
        equal("source MAC", &name(source), &name(expected.source))?;
        equal(
            "destination MAC",
            &name(destination),
            &name(expected.destination),
        )
    }

    /// The row's first sighting leaves this namespace, or its last one comes there.
    pub(super) fn at(&self, row: &Row, is_first: bool, namespace: &str) -> Verdict {
        let sighting = if is_first {
            row.seen.first()
        } else {
            row.seen.last()
        };
        let point = &sighting.ok_or_else(|| missing("at a device"))?.point;
        if point.namespace == namespace {
            Ok(format!("at {point}"))
        } else {
            let which = if is_first { "first" } else { "last" };
            Err(format!(
                "it was {which} seen at {point}, not in {namespace}"
            ))
        }
    }
}
