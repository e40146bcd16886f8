//! What the guard is told at the sites that have one. Rates are for an hour, so that no
//! case depends on how fast it runs.

use std::collections::BTreeMap;

use ipnet::IpNet;
use lingyun::config::{
    Bogons, Challenge, Guard, Guarded, InterfaceLists, Lists, Rate, Rates, ServiceGuard,
};

use super::Site;

/// So many in an hour.
const fn hourly(count: u32) -> Rate {
    Rate {
        count,
        seconds: 3_600,
    }
}

fn nets(list: &[&str]) -> Vec<IpNet> {
    list.iter()
        .map(|text| text.parse().expect("a range"))
        .collect()
}

/// The guard of a site.
pub(super) fn of(site: Site) -> Guard {
    match site {
        Site::Guarded => guarded(),
        Site::Strict => Guard {
            bogons: Bogons::Strict,
            lists: Lists {
                allow: nets(&["198.51.100.0/24", "2001:db8::/64"]),
                deny: Vec::new(),
            },
            interfaces: vec![InterfaceLists {
                gateway: "gw1".into(),
                interface: Some("public".into()),
                lists: Lists {
                    allow: Vec::new(),
                    deny: nets(&["198.51.100.66/32"]),
                },
            }],
            ..Guard::default()
        },
        Site::Limited => Guard {
            lists: Lists {
                allow: nets(&["198.51.100.99/32"]),
                deny: Vec::new(),
            },
            source: Rates {
                packets: Some(hourly(4)),
                new_flows: Some(hourly(2)),
            },
            ..Guard::default()
        },
        _ => Guard::default(),
    }
}

fn guarded() -> Guard {
    let service = |packets: Option<u32>, new_flows: Option<u32>, challenge| ServiceGuard {
        rates: Rates {
            packets: packets.map(hourly),
            new_flows: new_flows.map(hourly),
        },
        challenge,
    };
    let above = Challenge::Above {
        above: hourly(3),
        below: hourly(1),
    };
    // By index: web, names, lost, drained, other; the shop's and the other floating IP.
    let services = BTreeMap::from([
        (
            Guarded::LoadBalancer(0),
            service(None, None, Some(Challenge::Always)),
        ),
        (Guarded::LoadBalancer(1), service(Some(3), None, None)),
        (Guarded::LoadBalancer(4), service(None, Some(2), None)),
        (Guarded::FloatingIp(1), service(None, None, Some(above))),
    ]);
    Guard {
        lists: Lists {
            allow: nets(&["192.0.3.7/32", "192.0.3.128/25", "2001:db8:bad:1::/64"]),
            deny: nets(&[
                "192.0.3.0/24",
                "192.0.3.200/32",
                "192.0.2.0/24",
                "100.0.0.0/10",
                "2001:db8:bad::/48",
            ]),
        },
        bogons: Bogons::Martians,
        malformed: true,
        services,
        verified_for: 300,
        ..Guard::default()
    }
}
