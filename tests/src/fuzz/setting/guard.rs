//! A random guard. Rates are for an hour, so that a run ends before a limit recovers.

use fastrand::Rng;
use serde_json::{Value, json};

/// Ranges that hold some of the sources that frames have.
const RANGES: [&str; 9] = [
    "0.0.0.0/0",
    "128.0.0.0/1",
    "198.51.100.0/24",
    "198.51.100.0/28",
    "198.51.100.10/32",
    "172.16.0.0/12",
    "203.0.113.0/24",
    "10.0.0.0/8",
    "2001:db8::/32",
];

/// Gives a site, its services and some of its floating IPs a guard.
pub(super) fn add(random: &mut Rng, site: &mut Value) {
    let mut guard = lists(random);
    guard["bogons"] = one_of(random, ["martians", "strict", "none"]);
    guard["malformed"] = one_of(random, ["drop", "pass"]);
    if random.bool() {
        guard["services"] = service(random, true);
    }
    if random.bool() {
        let mut own = lists(random);
        let gateways = site["gateways"].as_array().expect("a list");
        let gateway = &gateways[random.usize(..gateways.len())];
        own["gateway"] = gateway["name"].clone();
        if random.bool() {
            own["interface"] = gateway["public"]["interface"][0].clone();
        }
        guard["interfaces"] = json!([own]);
    }
    site["guard"] = guard;
    let guarded = |random: &mut Rng, list: &mut Value, is_tcp: fn(&Value) -> bool| {
        for entry in list.as_array_mut().expect("a list") {
            if random.u8(..3) == 0 {
                let is_tcp = is_tcp(entry);
                entry["guard"] = service(random, is_tcp);
            }
        }
    };
    guarded(random, &mut site["load_balancers"], |service| {
        service["listen"]
            .as_str()
            .is_some_and(|listen| listen.starts_with("tcp"))
    });
    guarded(random, &mut site["floating_ips"], |_| true);
}

/// A deny and an allow list with nothing in common.
fn lists(random: &mut Rng) -> Value {
    let (mut deny, mut allow) = (Vec::new(), Vec::new());
    for range in RANGES {
        match random.u8(..8) {
            0 => deny.push(range),
            1 => allow.push(range),
            _ => {}
        }
    }
    json!({ "deny": deny, "allow": allow })
}

fn service(random: &mut Rng, is_tcp: bool) -> Value {
    let mut guard = json!({});
    if random.u8(..3) == 0 {
        guard["packets"] = rate(random);
    }
    if is_tcp && random.u8(..3) == 0 {
        guard["new_flows"] = rate(random);
    }
    if is_tcp && random.bool() {
        guard["challenge"] = "always".into();
    }
    guard
}

fn rate(random: &mut Rng) -> Value {
    format!("{}/h", random.u32(1..20)).into()
}

fn one_of<const N: usize>(random: &mut Rng, words: [&str; N]) -> Value {
    words[random.usize(..N)].into()
}
