//! The guard, with every default filled in.

use crate::config::{
    Bogons, Challenge, Guard, Guarded, InterfaceLists, Protocol, Rate, Rates, ServiceGuard,
    choice::Time,
    document::{
        self, Document,
        guard::{self as keys, RateText},
    },
    list::Entries,
    lists::AllLists,
    read::{Maybe, Optional},
};

/// For how many seconds a source is known that answered a challenge.
const VERIFIED_FOR: u64 = 300;

/// `None` if a value is missing, which validation has reported.
pub(super) fn build(document: &Document, lists: AllLists) -> Option<Guard> {
    let mut guard = Guard {
        lists: lists.everywhere,
        verified_for: VERIFIED_FOR,
        ..Guard::default()
    };
    let common = match document.guard.given() {
        None => None,
        Some(given) => {
            guard.bogons = given
                .bogons
                .or_default(|| keys::BogonsWord(Bogons::Martians))?
                .0;
            guard.malformed = given.malformed.or_default(|| keys::MalformedWord(true))?.0;
            guard.verified_for = given.verified_for.or_default(|| Time(VERIFIED_FOR))?.0;
            if let Some(rates) = given.per_source.given() {
                guard.source = self::rates(&rates.packets, &rates.new_flows);
            }
            let interfaces = given.interfaces.entries().iter().zip(lists.interfaces);
            guard.interfaces = interfaces
                .map(|(keys, lists)| {
                    Some(InterfaceLists {
                        gateway: keys.gateway.as_ref()?.0.clone(),
                        interface: keys.interface.given().map(|name| name.0.clone()),
                        lists,
                    })
                })
                .collect::<Option<_>>()?;
            given.services.given()
        }
    };
    for (index, balancer) in document.load_balancers.entries().iter().enumerate() {
        let is_udp = balancer.listen.as_ref()?.protocol == Protocol::Udp;
        if let Some(given) = balancer.guard.given().or(common) {
            let mut service = service(given)?;
            if is_udp {
                (service.challenge, service.rates.new_flows) = (None, None);
            }
            guard.services.insert(Guarded::LoadBalancer(index), service);
        }
    }
    let floating: &[_] = document.floating_ips.entries();
    for (index, floating) in floating.iter().enumerate() {
        let floating: &document::FloatingIp = floating;
        if let Some(given) = floating.guard.given() {
            let service = service(given)?;
            guard.services.insert(Guarded::FloatingIp(index), service);
        }
    }
    Some(guard)
}

fn rates(packets: &Maybe<RateText>, new_flows: &Maybe<RateText>) -> Rates {
    let rate = |key: &Maybe<RateText>| key.given().map(|rate| rate.0);
    Rates {
        packets: rate(packets),
        new_flows: rate(new_flows),
    }
}

fn service(given: &keys::ServiceGuard) -> Option<ServiceGuard> {
    let challenge = match given.challenge.given().map(|challenge| &challenge.value) {
        None => None,
        Some(keys::Challenge::Always) => Some(Challenge::Always),
        Some(keys::Challenge::Above(above)) => Some(above_half(above.0)),
        Some(keys::Challenge::Keys(keys)) => {
            let above = keys.above.as_ref()?.0;
            Some(match keys.below.given() {
                Some(below) => Challenge::Above {
                    above,
                    below: below.0,
                },
                None => above_half(above),
            })
        }
    };
    Some(ServiceGuard {
        rates: rates(&given.packets, &given.new_flows),
        challenge,
    })
}

/// A challenge that ends at half of the rate at which it begins.
fn above_half(above: Rate) -> Challenge {
    let below = Rate {
        seconds: above.seconds * 2,
        ..above
    };
    Challenge::Above { above, below }
}
