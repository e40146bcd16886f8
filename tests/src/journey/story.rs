//! The story's table, claim by claim.
//!
//! Each row of the table says what a capture must show; here it is held against what
//! the capture did show. Nothing is left out when something failed before: whoever
//! looks for the fault wants to see all of it.

mod checker;
mod judge;

use checker::Checker;
use judge::{equal, first, flow, last, mirrored, routed, ttl};
use serde::Serialize;

use super::{Hop, Journey, Macs};

/// One statement about the journey and whether it held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Claim {
    /// The row of the table; none for what concerns all of them.
    pub hop: Option<Hop>,
    /// What must hold.
    pub claim: String,
    /// Whether it does.
    pub ok: bool,
    /// What was seen.
    pub seen: String,
}

impl Journey {
    /// Holds the journey against the story's table.
    pub fn check(&self) -> Vec<Claim> {
        let mut checker = Checker {
            journey: self,
            expected: &self.expectation,
            claims: Vec::new(),
        };
        checker.request();
        checker.answer();
        checker.checksums();
        checker.claims
    }
}

/// What one look at the rows says: what was seen if all is well, or what is wrong.
type Verdict = Result<String, String>;

impl Checker<'_> {
    fn request(&mut self) {
        let f = Hop::there('f');
        let public = [self.rows(f), self.rows(Hop::there('g'))].concat();
        let vip = self.expected.vip;
        self.claim(
            f,
            &format!("the packet leaves the phone for {vip}"),
            |checker| {
                let first = first(&public)?;
                checker.at(first, true, &checker.expected.client.namespace)?;
                equal(
                    "source",
                    first.headers.source.ip(),
                    &checker.expected.client.ip,
                )?;
                Ok(flow(&first.headers))
            },
        );
        self.claim(f, "routers change MACs and TTL, nothing else", |_| {
            routed(&public)
        });
        self.claim(
            Hop::there('g'),
            "the border hands it to a gateway",
            |checker| {
                let last = last(&checker.rows(Hop::there('g')))?;
                equal(
                    "destination",
                    &last.headers.destination,
                    &checker.expected.vip,
                )?;
                checker.public_side(last.headers.macs.destination)
            },
        );
        self.claim(
            Hop::there('h'),
            "the gateway puts a HAProxy VM's address and port for the public ones",
            |checker| {
                let (before, after) = (last(&public)?, first(&checker.rows(Hop::there('h')))?);
                equal("source", &after.headers.source, &before.headers.source)?;
                let proxy = checker.proxy(after.headers.destination)?;
                Ok(format!(
                    "{} for {}",
                    proxy.address, before.headers.destination
                ))
            },
        );
        self.claim(
            Hop::there('h'),
            "inside, it comes from the virtual router, one TTL less, to that VM's MAC",
            |checker| {
                let (before, after) = (last(&public)?, first(&checker.rows(Hop::there('h')))?);
                let proxy = checker.proxy(after.headers.destination)?;
                let macs = Macs {
                    source: checker.expected.router_mac,
                    destination: proxy.mac,
                };
                checker.macs(after, macs)?;
                ttl(after.headers.ttl, before.headers.ttl.wrapping_sub(1))?;
                Ok(format!("to {}, TTL {}", proxy.mac, after.headers.ttl))
            },
        );
        self.tunnel(
            Hop::there('i'),
            "from the shared gateway address to the VM's host",
            |checker| {
                let proxy =
                    checker.proxy(first(&checker.rows(Hop::there('h')))?.headers.destination)?;
                Ok((checker.expected.anycast_vtep, proxy.vtep))
            },
        );
        self.unwrapped(
            Hop::there('j'),
            Hop::there('i'),
            "HAProxy VM",
            |checker, row| checker.proxy(row.headers.destination),
        );
        self.claim(
            Hop::there('k'),
            "HAProxy sends the same bytes to a Controller over a connection of its own",
            |checker| {
                let rows = checker.rows(Hop::there('k'));
                let inside = first(&rows)?;
                let before = last(&checker.rows(Hop::there('j')))?;
                let proxy = checker.proxy(before.headers.destination)?;
                let controller = checker.controller(inside.headers.destination)?;
                equal("source", inside.headers.source.ip(), proxy.address.ip())?;
                let macs = Macs {
                    source: proxy.mac,
                    destination: controller.mac,
                };
                rows.iter().try_for_each(|row| checker.macs(row, macs))?;
                Ok(flow(&inside.headers))
            },
        );
        self.tunnel(
            Hop::there('k'),
            "from HAProxy's host to the Controller's",
            |checker| {
                let row = first(&checker.rows(Hop::there('k')))?;
                let proxy = checker.proxy_at(*row.headers.source.ip())?;
                Ok((
                    proxy.vtep,
                    checker.controller(row.headers.destination)?.vtep,
                ))
            },
        );
        self.unwrapped(
            Hop::there('l'),
            Hop::there('k'),
            "Controller VM",
            |checker, row| checker.controller(row.headers.destination),
        );
    }

    fn answer(&mut self) {
        let there = self.rows(Hop::there('k'));
        self.claim(
            Hop::back('l'),
            "the Controller answers HAProxy",
            |checker| {
                let (asked, answers) = (first(&there)?, first(&checker.rows(Hop::back('l')))?);
                mirrored(&asked.headers, &answers.headers)?;
                let controller = checker.controller(asked.headers.destination)?;
                checker.at(answers, true, &controller.namespace)?;
                Ok(flow(&answers.headers))
            },
        );
        self.tunnel(
            Hop::back('k'),
            "from the Controller's host back to HAProxy's",
            |checker| {
                let row = first(&there)?;
                let proxy = checker.proxy_at(*row.headers.source.ip())?;
                Ok((
                    checker.controller(row.headers.destination)?.vtep,
                    proxy.vtep,
                ))
            },
        );
        self.claim(
            Hop::back('k'),
            "unwrapped, it comes to HAProxy unchanged",
            |checker| {
                let (asked, back) = (first(&there)?, last(&checker.rows(Hop::back('k')))?);
                mirrored(&asked.headers, &back.headers)?;
                if back.headers.outer.is_some() {
                    return Err("it is still in the tunnel".to_owned());
                }
                let proxy = checker.proxy_at(*asked.headers.source.ip())?;
                checker.at(back, false, &proxy.namespace)
            },
        );
        let inside = self.rows(Hop::there('h'));
        self.claim(
            Hop::back('j'),
            "HAProxy answers the phone's public address, by way of the virtual router",
            |checker| {
                let (came, back) = (first(&inside)?, first(&checker.rows(Hop::back('j')))?);
                mirrored(&came.headers, &back.headers)?;
                let proxy = checker.proxy(came.headers.destination)?;
                checker.at(back, true, &proxy.namespace)?;
                Ok(flow(&back.headers))
            },
        );
        self.tunnel(
            Hop::back('i'),
            "from HAProxy's host to the shared gateway address",
            |checker| {
                let proxy = checker.proxy(first(&inside)?.headers.destination)?;
                Ok((proxy.vtep, checker.expected.anycast_vtep))
            },
        );
        let vip = self.expected.vip;
        self.claim(
            Hop::back('h'),
            &format!("the gateway takes the tunnel off and puts {vip} back as the source"),
            |checker| {
                let (before, after) = (
                    last(&checker.rows(Hop::back('h')))?,
                    first(&checker.rows(Hop::back('g')))?,
                );
                equal("source", &after.headers.source, &checker.expected.vip)?;
                equal(
                    "destination",
                    &after.headers.destination,
                    &before.headers.destination,
                )?;
                ttl(after.headers.ttl, before.headers.ttl.wrapping_sub(1))?;
                Ok(format!(
                    "{} for {}",
                    after.headers.source, before.headers.source
                ))
            },
        );
        self.claim(
            Hop::back('g'),
            "a gateway hands it to the border",
            |checker| {
                let after = first(&checker.rows(Hop::back('g')))?;
                if after.headers.outer.is_some() {
                    return Err("it is still in the tunnel".to_owned());
                }
                checker.public_side(after.headers.macs.source)
            },
        );
        let back = [self.rows(Hop::back('g')), self.rows(Hop::back('f'))].concat();
        self.claim(
            Hop::back('f'),
            "routers change MACs and TTL, nothing else",
            |_| routed(&back),
        );
        self.claim(
            Hop::back('f'),
            "it comes to the phone, from the address it asked",
            |checker| {
                let (asked, answered) = (first(&checker.rows(Hop::there('f')))?, last(&back)?);
                equal(
                    "source",
                    &answered.headers.source,
                    &asked.headers.destination,
                )?;
                equal(
                    "destination",
                    &answered.headers.destination,
                    &asked.headers.source,
                )?;
                checker.at(answered, false, &checker.expected.client.namespace)
            },
        );
    }

    fn checksums(&mut self) {
        let checksums = &self.journey.checksums;
        let joined = match checksums.joined {
            0 => String::new(),
            joined => format!(" ({joined} more joined on arrival: no checksum for the whole)"),
        };
        let (ok, seen) = match &checksums.wrong[..] {
            [] if checksums.right == 0 => (false, "no frame at all".to_owned()),
            [] => (true, format!("{} frames{joined}", checksums.right)),
            wrong => (false, wrong.join("; ")),
        };
        let claim = "every IP, UDP and TCP checksum of every frame is right".to_owned();
        self.claims.push(Claim {
            hop: None,
            claim,
            ok,
            seen,
        });
    }
}
