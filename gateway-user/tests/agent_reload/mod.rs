//! A running agent follows its topology file: what changes, what is refused, what is
//! gone from the kernel afterwards.

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use lingyun::{model::Condition, status::Status};
use nix::sys::signal::Signal;

use crate::{
    agent_site::{Agent, LINGYUN, PATIENCE, Site},
    can_run,
    netlink_lab::{Lab, in_namespace},
};

const MINIMAL: &str = include_str!("../../../topologies/minimal.yaml");

/// More instances, all of them backends with these weights.
fn site(weights: &[u16]) -> String {
    let mut instances = String::new();
    let mut backends = Vec::new();
    for (number, weight) in weights.iter().enumerate() {
        let (name, last) = (format!("vm-{number}"), 100 + number % 100);
        instances += &format!(
            "      - {{ name: {name}, ip: 172.16.1.{last}, mac: \"02:aa:00:00:02:{number:02x}\", host: host-a }}\n"
        );
        backends.push(format!("{{ instance: {name}, weight: {weight} }}"));
    }
    let service = format!(
        "  - {{ name: many, vip: 203.0.113.30, listen: tcp/80, vpc: shop, backends: [{}] }}\n",
        backends.join(", ")
    );
    MINIMAL.replace(
        "load_balancers:\n",
        &format!("{instances}load_balancers:\n{service}"),
    ) + "drain: { idle: 1s, max: 1h }\n"
}

fn node(lab: &Lab) {
    lab.ip("link set lo up");
    lab.link("eth0", "192.0.2.10/30", "192.0.2.9/30");
    lab.link("eth1", "10.0.11.2/30", "10.0.11.1/30");
    lab.ip("route add default via 192.0.2.9");
    lab.ip("route add 10.0.1.0/24 via 10.0.11.1");
}

/// Waits for the agent's status to be so.
fn until(agent: &Agent, what: &str, is_so: impl Fn(&Status) -> bool) -> Status {
    let start = Instant::now();
    loop {
        let status = agent.status();
        if is_so(&status) {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "{what}: not yet: {status:#?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Entries of a pinned map that are not empty, as bpftool reads them.
fn held(site: &Site, map: &str) -> usize {
    let sets = std::fs::read_dir(&site.pins).expect("pins").flatten();
    let sets = sets.flat_map(|abi| std::fs::read_dir(abi.path()).expect("pins").flatten());
    let set = sets
        .map(|set| set.path().join(map))
        .find(|path| path.exists())
        .expect("a pinned set");
    let map = aya::maps::MapData::from_pin(&set).expect("a map");
    match map.info().expect("info").value_size() {
        64 => words::<8>(map),
        _ => words::<1>(map),
    }
}

fn words<const N: usize>(map: aya::maps::MapData) -> usize {
    let map = aya::maps::Map::from_map_data(map).expect("a map");
    let array = aya::maps::Array::<_, [u64; N]>::try_from(map).expect("an array");
    let elements = array.iter().map(|element| element.expect("readable"));
    // Buckets have four keys, then four values.
    elements
        .flat_map(|element| element[..N.div_ceil(2)].to_vec())
        .filter(|word| *word != 0)
        .count()
}

#[test]
fn a_changed_file_is_followed_and_a_broken_one_is_not() {
    let name = "a_changed_file_is_followed_and_a_broken_one_is_not";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let mut site = Site::new("reload");
        site.write_topology(MINIMAL);
        let agent = site.start(&[]);
        agent.says("ready: announcing 3 addresses");
        let before = held(&site, "ENDPOINTS");

        site.write_topology(&self::site(&[1, 1, 2]));
        agent.says("taken over: 2 -> 5 instances, 1 -> 2 load balancers, 1 -> 4 backends");
        let status = until(&agent, "announced", |status| status.announced.len() == 4);
        assert!(status.reload.ok && status.reload.count == 1 && status.reload.at > 1e9);
        let shares = status.load_balancers.iter().find(|lb| lb.name == "many");
        let shares: Vec<_> = shares
            .expect("it is there")
            .backends
            .iter()
            .map(|b| b.share)
            .collect();
        assert!((shares[2] - 0.5).abs() < 0.01, "{shares:?}");
        assert_eq!(
            held(&site, "ENDPOINTS"),
            before + 2,
            "a VIP and its service"
        );
        assert_eq!(held(&site, "RING"), 1024);

        site.write_topology("version: 1\nload_balancers: [{ name: x }]\n");
        agent.says("refused, nothing has changed");
        let status = until(&agent, "told", |status| !status.reload.ok);
        assert!(
            status.reload.message.contains("site.yaml"),
            "{}",
            status.reload.message
        );
        assert_eq!((status.reload.count, status.reload.failures), (1, 1));
        assert_eq!(status.load_balancers.len(), 2, "nothing has changed");

        let renamed = MINIMAL.replace("vtep: 10.0.0.11", "vtep: 10.0.0.12");
        site.write_topology(&renamed);
        agent.says("the vtep of the gateway cannot change while the agent runs");

        // What goes is gone from the kernel.
        site.write_topology(MINIMAL);
        agent.says("taken over: 5 -> 2 instances");
        until(&agent, "withdrawn", |status| status.announced.len() == 3);
        assert_eq!(held(&site, "ENDPOINTS"), before);
        until(&agent, "the ring's place is emptied", |_| {
            held(&site, "RING") == 0
        });
        let status = agent.status();
        assert_eq!((status.updates.mismatches, status.updates.failures), (0, 0));

        agent.signal(Signal::SIGHUP);
        agent.says("nothing that matters has changed");
    });
}

#[test]
fn a_table_that_is_too_small_is_replaced() {
    let name = "a_table_that_is_too_small_is_replaced";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let mut site = Site::new("outgrow");
        site.write_topology(MINIMAL);
        let mut agent = site.start(&[]);
        agent.says("ready: announcing 3 addresses");
        site.write_topology(&self::site(&[1; 80]));
        agent.says("a second data path was loaded and swapped in");
        agent.says("taken over");
        let status = until(&agent, "taken over", |status| status.reload.count == 1);
        assert_eq!((status.updates.loads, status.updates.mismatches), (1, 0));
        assert_eq!(held(&site, "RING"), 8 * 1024);
        agent.signal(Signal::SIGTERM);
        assert!(agent.end().success());
        assert!(!lab.ip("link show").contains("xdp"), "detached");
        assert!(!site.pins.exists(), "no pins left");
    });
}

/// The largest segment is in the programs, not in a table.
#[test]
fn a_change_of_nothing_but_the_configuration_is_taken_over() {
    let name = "a_change_of_nothing_but_the_configuration_is_taken_over";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let mut site = Site::new("configuration");
        site.write_topology(MINIMAL);
        let agent = site.start(&[]);
        agent.says("ready: announcing 3 addresses");
        site.write_topology(&format!("{MINIMAL}\ntcp_mss: 1234\n"));
        agent.says("a second data path was loaded and swapped in");
        agent.says("taken over");
        let status = until(&agent, "taken over", |status| status.reload.count == 1);
        assert_eq!((status.updates.loads, status.updates.mismatches), (1, 0));
    });
}

#[test]
fn peerings_and_subnets_come_and_go() {
    let name = "peerings_and_subnets_come_and_go";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let mut site = Site::new("peerings");
        let office = "  - { name: office, vni: 5002, subnets: [{ name: a, cidr: 10.20.1.0/24 }], \
                      instances: [{ name: desk, ip: 10.20.1.5, mac: \"02:aa:00:00:02:05\", \
                      host: host-a }] }\nload_balancers:\n";
        let alone = MINIMAL.replace("load_balancers:\n", office);
        let peered = format!("{alone}peerings: [{{ vpcs: [shop, office] }}]\n");
        let wider = peered.replace(
            "      - { name: zone-1,",
            "      - { name: zone-2, cidr: 172.16.2.0/24 }\n      - { name: zone-1,",
        );
        site.write_topology(&alone);
        let agent = site.start(&[]);
        agent.says("ready: announcing 3 addresses");
        let peers = |status: &Status| status.vpcs[0].peers.clone();
        assert!(peers(&agent.status()).is_empty());

        site.write_topology(&peered);
        agent.says("taken over: 0 -> 1 peerings");
        until(&agent, "peered", |status| peers(status) == ["office"]);
        site.write_topology(&wider);
        agent.says("taken over");
        until(&agent, "wider", |status| status.reload.count == 2);
        site.write_topology(&alone);
        agent.says("taken over: 1 -> 0 peerings");
        let status = until(&agent, "alone", |status| peers(status).is_empty());
        // What the maps hold was read back each time.
        assert_eq!((status.updates.mismatches, status.updates.failures), (0, 0));
        assert!(status.updates.writes > 0 && status.updates.loads == 0);

        let tagged = alone.replace("interface: eth0", "interface: eth0, vlan: 100");
        site.write_topology(&tagged);
        agent.says("the vlan of the gateway cannot change while the agent runs");
    });
}

#[test]
fn a_backend_is_drained_by_command() {
    let name = "a_backend_is_drained_by_command";
    if !can_run(name) {
        return;
    }
    in_namespace(name, async |lab: &Lab| {
        node(lab);
        let mut site = Site::new("drain");
        site.write_topology(&self::site(&[1, 1]).replace("idle: 1s", "idle: 30s"));
        let mut agent = site.start(&[]);
        agent.says("ready: announcing");
        let drain = |words: &[&str]| {
            let output = Command::new(LINGYUN)
                .arg("drain")
                .args(words)
                .arg("--socket")
                .arg(site.socket())
                .output()
                .expect("it runs");
            let text = [output.stdout, output.stderr].concat();
            (
                output.status.success(),
                String::from_utf8(text).expect("text"),
            )
        };
        let backend = |status: &Status, number: usize| {
            let service = status.load_balancers.iter().find(|lb| lb.name == "many");
            let backend = &service.expect("it is there").backends[number];
            (backend.condition, backend.share)
        };

        let (done, said) = drain(&["vm-0"]);
        assert!(done && said.contains("shop/vm-0 drains"), "{said}");
        let status = agent.status();
        assert_eq!(backend(&status, 0), (Condition::Draining, 0.0));
        let tracked = status
            .load_balancers
            .iter()
            .map(|lb| lb.tracked_slots)
            .max();
        assert!(tracked > Some(400), "half of the slots: {tracked:?}");

        // It survives the agent.
        agent.signal(Signal::SIGKILL);
        agent.end();
        agent = site.start(&[]);
        agent.says("took over eth0");
        agent.says("ready");
        let status = agent.status();
        assert_eq!(backend(&status, 0), (Condition::Draining, 0.0));
        let still = status
            .load_balancers
            .iter()
            .map(|lb| lb.tracked_slots)
            .max();
        assert_eq!(still, tracked, "the slots are still tracked");

        let (done, said) = drain(&["vm-1", "--now"]);
        assert!(done && said.contains("out at once"), "{said}");
        assert_eq!(backend(&agent.status(), 1), (Condition::Dead, 0.0));
        for name in ["vm-0", "shop/vm-1"] {
            let (done, said) = drain(&[name, "--undo"]);
            assert!(done, "{said}");
        }
        let status = agent.status();
        assert_eq!(backend(&status, 0).0, Condition::Serving);
        assert!((backend(&status, 1).1 - 0.5).abs() < 0.01);

        let (done, said) = drain(&["nobody"]);
        assert!(
            !done && said.contains("no load balancer has a backend nobody"),
            "{said}"
        );
        let (done, said) = drain(&["vm-0", "--undo"]);
        assert!(
            !done && said.contains("is not drained by command"),
            "{said}"
        );
    });
}
