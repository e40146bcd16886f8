//! A site as large as was asked for, as somebody's tool would write its file.

use std::{fmt::Write, net::Ipv4Addr};

/// How much the site has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scale {
    /// Load-balanced services.
    pub vips: u32,
    /// Backends of each; no two share one.
    pub backends: u32,
    /// Backends of one service more, whose list changes.
    pub large: u32,
    /// Hosts that the instances are dealt to.
    pub hosts: u32,
}

/// Where every service listens.
pub(super) const LISTEN: u16 = 443;

impl Scale {
    pub(super) const fn instances(self) -> u32 {
        self.vips * self.backends
    }

    /// The last of the many services: it is served when all are.
    pub(super) fn last_vip(self) -> Ipv4Addr {
        nth(VIPS, self.vips - 1)
    }

    /// The topology file, with the large service's last backends left out.
    pub(super) fn text(self, without: u32) -> String {
        let mut text = String::from(HEAD);
        // Writing to a string cannot fail.
        let _ = self.lists(&mut text, without);
        text
    }

    fn lists(self, text: &mut String, without: u32) -> std::fmt::Result {
        writeln!(text, "hosts:")?;
        for host in 0..self.hosts {
            let vtep = nth(VTEPS, host);
            writeln!(text, "  - {{ name: host-{host}, vtep: {vtep} }}")?;
        }
        text.push_str(VPC);
        for number in 0..self.instances() {
            let [_, b, c, d] = nth(INSTANCES, number).octets();
            writeln!(
                text,
                "      - {{ name: vm-{number}, ip: {}, mac: \"02:aa:00:{b:02x}:{c:02x}:{d:02x}\", \
                 host: host-{} }}",
                nth(INSTANCES, number),
                number % self.hosts
            )?;
        }
        writeln!(text, "load_balancers:")?;
        for vip in 0..self.vips {
            let first = vip * self.backends;
            let names = (first..first + self.backends).map(|number| format!("vm-{number}"));
            service(text, &format!("vip-{vip}"), nth(VIPS, vip), names)?;
        }
        // The same instances on another port: two services on one would be ambiguous.
        let names = (0..self.large - without)
            .map(|number| format!("{{ instance: vm-{number}, port: 9443 }}"));
        service(text, "large", nth(VIPS, self.vips), names)
    }
}

/// What is the same in every site; its interfaces are the bench's veths.
const HEAD: &str = "version: 1
anycast_vtep: 10.0.0.100
underlay_mtu: 1600
gateways:
  - name: gw1
    public: { interface: public }
    underlay: { interface: underlay, vtep: 10.0.0.11 }
";

const VPC: &str = "vpcs:
  - name: shop
    vni: 5001
    subnets:
      - { name: all, cidr: 172.16.0.0/12 }
    instances:
";

/// From the range for benchmarks (RFC 2544, appendix C.2.2).
const VIPS: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const INSTANCES: Ipv4Addr = Ipv4Addr::new(172, 16, 1, 0);
const VTEPS: Ipv4Addr = Ipv4Addr::new(10, 0, 16, 1);

fn nth(first: Ipv4Addr, number: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(first.to_bits() + number)
}

fn service(
    text: &mut String,
    name: &str,
    vip: Ipv4Addr,
    backends: impl Iterator<Item = String>,
) -> std::fmt::Result {
    let backends: Vec<_> = backends.collect();
    writeln!(
        text,
        "  - {{ name: {name}, vip: {vip}, listen: tcp/{LISTEN}, vpc: shop, backends: [{}] }}",
        backends.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use lingyun::config;

    use super::*;

    #[test]
    fn the_agent_takes_what_is_written() {
        let scale = Scale {
            vips: 20,
            backends: 10,
            large: 100,
            hosts: 3,
        };
        let read = |without| {
            config::parse("site.yaml", &scale.text(without))
                .unwrap()
                .topology
        };
        let topology = read(0);
        assert_eq!(topology.load_balancers.len(), 21);
        assert_eq!(topology.load_balancers[20].backends.len(), 100);
        assert_eq!(topology.vpcs[0].instances.len(), 200);
        assert_eq!(topology.load_balancers[19].vip, scale.last_vip());
        assert_eq!(read(1).load_balancers[20].backends.len(), 99);
    }
}
