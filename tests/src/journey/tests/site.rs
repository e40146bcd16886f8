//! A site on paper: every frame that one order makes on a right network.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddrV4},
};

use lingyun::config::Mac;

use super::encode::{self, Step};
use crate::{
    capture::{Direction, Frame},
    journey::{Client, Database, Expectation, Gateway, Headers, Macs, Outer, Service},
};

const VNI: u32 = 5001;
const CLIENT: &str = "198.51.100.10:40312";
const VIP: &str = "203.0.113.10:443";
const PROXY: &str = "172.16.1.11:443";
/// HAProxy's own end of its connection to the Controller.
const PROXY_CLIENT: &str = "172.16.1.11:51888";
const CONTROLLER: &str = "172.16.1.21:8443";
const CONTROLLER_CLIENT: &str = "172.16.1.21:38110";
const POSTGRES: &str = "172.16.1.31:5432";
const ANYCAST: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const HOST_A: Ipv4Addr = Ipv4Addr::new(10, 0, 1, 2);
const HOST_B: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

/// Everybody with a MAC.
const NAMES: [&str; 15] = [
    "phone:radio",
    "operator:phone",
    "operator:border",
    "border:operator",
    "border:gw1",
    "gw1:public",
    "gw1:underlay",
    "spine:gw1",
    "spine:host-a",
    "host-a:uplink",
    "spine:host-b",
    "host-b:uplink",
    "haproxy-1",
    "controller-1",
    "postgres",
];

/// MAC of one of [`NAMES`], or of the virtual router.
pub(super) fn mac(name: &str) -> Mac {
    let number = NAMES
        .iter()
        .position(|known| *known == name)
        .unwrap_or(0xff);
    Mac([2, 0, 0, 0, 0, number as u8])
}

fn macs(source: &str, destination: &str) -> Macs {
    Macs {
        source: mac(source),
        destination: mac(destination),
    }
}

fn at(address: &str) -> SocketAddrV4 {
    address.parse().expect("an address and a port")
}

/// What this site's topology says.
pub(super) fn expectation() -> Expectation {
    let service = |namespace: &str, address: &str, host: &str, vtep| Service {
        namespace: namespace.to_owned(),
        address: at(address),
        mac: mac(namespace),
        host: host.to_owned(),
        vtep,
    };
    let mut mac_names: BTreeMap<_, _> = NAMES
        .iter()
        .map(|name| (mac(name), (*name).to_owned()))
        .collect();
    mac_names.insert(mac("router"), "router".to_owned());
    Expectation {
        client: Client {
            namespace: "phone".to_owned(),
            ip: *at(CLIENT).ip(),
            port: Some(at(CLIENT).port()),
        },
        vip: at(VIP),
        gateways: vec![Gateway {
            namespace: "gw1".to_owned(),
            public_macs: vec![mac("gw1:public")],
            underlay_macs: vec![mac("gw1:underlay")],
        }],
        anycast_vtep: ANYCAST,
        vni: VNI,
        router_mac: mac("router"),
        proxies: vec![service("haproxy-1", PROXY, "host-a", HOST_A)],
        controllers: vec![service("controller-1", CONTROLLER, "host-b", HOST_B)],
        database: Some(Database {
            service: service("postgres", POSTGRES, "host-b", HOST_B),
            needle: b"the-idempotency-key".to_vec(),
        }),
        mac_names,
    }
}

/// A whole order: steps in order of time.
pub(super) struct Way {
    pub(super) steps: Vec<Step>,
}

impl Way {
    /// Every packet of the right way.
    pub(super) fn right() -> Self {
        let mut way = Self { steps: Vec::new() };
        let client_hello = record(22, 300, 1);
        // The rest of the handshake and the request leave the phone in one segment, and
        // HAProxy cuts them anew.
        let request = [record(20, 1, 2), record(23, 53, 3), record(23, 412, 4)].concat();
        let server_hello = [record(22, 90, 5), record(20, 1, 6), record(23, 700, 7)].concat();
        let (ticket, answer) = (record(23, 79, 8), record(23, 260, 9));
        way.there(1000, true, &[]);
        way.there(1001, false, &client_hello);
        way.on(5001, &client_hello);
        way.answers(9001, &server_hello);
        way.back(7001, &server_hello);
        way.there(1306, false, &request);
        way.on(5306, &request[..100]);
        way.on(5406, &request[100..]);
        way.database(b"INSERT the-idempotency-key teapot", b"1 row");
        let after = 806 + u32::try_from(ticket.len()).expect("small");
        way.answers(9001 + 806, &ticket);
        way.back(7001 + 806, &ticket);
        way.answers(9001 + after, &answer);
        way.back(7001 + after, &answer);
        way
    }

    /// Changes every packet on the links of one name.
    pub(super) fn on_link(&mut self, hop: &str, change: impl Fn(&mut Step)) {
        let mut found = false;
        for step in self.steps.iter_mut().filter(|step| step.hop == hop) {
            change(step);
            found = true;
        }
        assert!(found, "there is no link {hop}");
    }

    /// The frames that a capture gives.
    pub(super) fn frames(&self) -> Vec<Frame> {
        encode::frames(&self.steps)
    }

    fn there(&mut self, sequence: u32, is_syn: bool, payload: &[u8]) {
        let public = |from, to, ttl| bare(macs(from, to), CLIENT, VIP, ttl);
        let inside = bare(macs("router", "haproxy-1"), CLIENT, PROXY, 61);
        let mut hop = |hop, seen: &[&'static str], headers| {
            self.steps
                .push(step(hop, seen, headers, sequence, is_syn, payload));
        };
        hop(
            "f",
            &[">phone:radio", "<operator:phone"],
            public("phone:radio", "operator:phone", 64),
        );
        hop(
            "f2",
            &[">operator:border", "<border:operator"],
            public("operator:border", "border:operator", 63),
        );
        hop(
            "g",
            &[">border:gw1"],
            public("border:gw1", "gw1:public", 62),
        );
        let tunnel = |from, to, ttl| wrap(&inside, macs(from, to), ANYCAST, HOST_A, ttl);
        hop(
            "i",
            &["<spine:gw1"],
            tunnel("gw1:underlay", "spine:gw1", 64),
        );
        hop(
            "i2",
            &[">spine:host-a", "<host-a:uplink"],
            tunnel("spine:host-a", "host-a:uplink", 63),
        );
        hop(
            "j",
            &[">host-a:haproxy-1", "<haproxy-1:eth0"],
            inside.clone(),
        );
    }

    fn on(&mut self, sequence: u32, payload: &[u8]) {
        let inside = bare(
            macs("haproxy-1", "controller-1"),
            PROXY_CLIENT,
            CONTROLLER,
            64,
        );
        let mut hop = |hop, seen: &[&'static str], headers| {
            self.steps
                .push(step(hop, seen, headers, sequence, false, payload));
        };
        hop(
            "k0",
            &[">haproxy-1:eth0", "<host-a:haproxy-1"],
            inside.clone(),
        );
        let tunnel = |from, to, ttl| wrap(&inside, macs(from, to), HOST_A, HOST_B, ttl);
        hop(
            "k",
            &[">host-a:uplink", "<spine:host-a"],
            tunnel("host-a:uplink", "spine:host-a", 64),
        );
        hop(
            "k2",
            &[">spine:host-b", "<host-b:uplink"],
            tunnel("spine:host-b", "host-b:uplink", 63),
        );
        hop(
            "l",
            &[
                "<host-b:vxlan",
                ">host-b:controller-1",
                "<controller-1:eth0",
            ],
            inside.clone(),
        );
    }

    fn answers(&mut self, sequence: u32, payload: &[u8]) {
        let inside = bare(
            macs("controller-1", "haproxy-1"),
            CONTROLLER,
            PROXY_CLIENT,
            64,
        );
        let mut hop = |hop, seen: &[&'static str], headers| {
            self.steps
                .push(step(hop, seen, headers, sequence, false, payload));
        };
        hop(
            "l'",
            &[">controller-1:eth0", "<host-b:controller-1"],
            inside.clone(),
        );
        let tunnel = |from, to, ttl| wrap(&inside, macs(from, to), HOST_B, HOST_A, ttl);
        hop(
            "k'",
            &[">host-b:uplink", "<spine:host-b"],
            tunnel("host-b:uplink", "spine:host-b", 64),
        );
        hop(
            "k2'",
            &[">spine:host-a", "<host-a:uplink"],
            tunnel("spine:host-a", "host-a:uplink", 63),
        );
        hop(
            "k3'",
            &[">host-a:haproxy-1", "<haproxy-1:eth0"],
            inside.clone(),
        );
    }

    fn back(&mut self, sequence: u32, payload: &[u8]) {
        let inside = bare(macs("haproxy-1", "router"), PROXY, CLIENT, 64);
        let public = |from, to, ttl| bare(macs(from, to), VIP, CLIENT, ttl);
        let mut hop = |hop, seen: &[&'static str], headers| {
            self.steps
                .push(step(hop, seen, headers, sequence, false, payload));
        };
        hop(
            "j'",
            &[">haproxy-1:eth0", "<host-a:haproxy-1"],
            inside.clone(),
        );
        let tunnel = |from, to, ttl| wrap(&inside, macs(from, to), HOST_A, ANYCAST, ttl);
        hop(
            "i'",
            &[">host-a:uplink", "<spine:host-a"],
            tunnel("host-a:uplink", "spine:host-a", 64),
        );
        hop(
            "i2'",
            &[">spine:gw1"],
            tunnel("spine:gw1", "gw1:underlay", 63),
        );
        hop(
            "g'",
            &["<border:gw1"],
            public("gw1:public", "border:gw1", 63),
        );
        hop(
            "f'",
            &[">border:operator", "<operator:border"],
            public("border:operator", "operator:border", 62),
        );
        hop(
            "f2'",
            &[">operator:phone", "<phone:radio"],
            public("operator:phone", "phone:radio", 61),
        );
    }

    fn database(&mut self, statement: &[u8], result: &[u8]) {
        let there = bare(
            macs("controller-1", "postgres"),
            CONTROLLER_CLIENT,
            POSTGRES,
            64,
        );
        let back = bare(
            macs("postgres", "controller-1"),
            POSTGRES,
            CONTROLLER_CLIENT,
            64,
        );
        let (out, home) = (
            [">controller-1:eth0", "<postgres:eth0"],
            [">postgres:eth0", "<controller-1:eth0"],
        );
        self.steps
            .push(step("m", &out, there, 300, false, statement));
        self.steps.push(step("m'", &home, back, 400, false, result));
    }
}

fn step(
    hop: &'static str,
    seen: &[&'static str],
    headers: Headers,
    sequence: u32,
    is_syn: bool,
    payload: &[u8],
) -> Step {
    let sighting = |device: &&'static str| match device.split_at(1) {
        (">", device) => (device, Direction::Out),
        (_, device) => (device, Direction::In),
    };
    let seen = seen.iter().map(sighting).collect();
    Step {
        hop,
        seen,
        headers,
        sequence,
        is_syn,
        payload: payload.to_vec(),
    }
}

fn bare(macs: Macs, source: &str, destination: &str, ttl: u8) -> Headers {
    Headers {
        outer: None,
        macs,
        source: at(source),
        destination: at(destination),
        ttl,
    }
}

fn wrap(inside: &Headers, macs: Macs, source: Ipv4Addr, destination: Ipv4Addr, ttl: u8) -> Headers {
    let outer = Outer {
        macs,
        source,
        destination,
        ttl,
        source_port: 51234,
        vni: VNI,
    };
    Headers {
        outer: Some(outer),
        ..inside.clone()
    }
}

/// A TLS record whose content nothing else has.
fn record(kind: u8, length: u16, seed: u8) -> Vec<u8> {
    let mut bytes = vec![kind, 3, 3];
    bytes.extend(length.to_be_bytes());
    bytes.extend((0..length).map(|at| (at as u8).wrapping_mul(31) ^ seed.wrapping_mul(73)));
    bytes
}
