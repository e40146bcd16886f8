//! The netlink watch and the announcements against a real kernel.

mod netlink_lab;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use lingyun::{
    config::Mac,
    netlink::{Announcement, Announcements, Announcer, Wanted, Watcher},
    reachability::{NeighbourState, NextHop, Reachability},
};
use netlink_lab::{Lab, in_namespace};
use tokio::{sync::watch, time::timeout};

/// A failover must be in the tables within some tens of milliseconds; the machine
/// that runs the tests may be busy.
const PROMPT: Duration = Duration::from_millis(250);

type Receiver = watch::Receiver<Arc<Reachability>>;

/// Waits for the watch to report something and says how long it took.
async fn until(
    watch: &mut Receiver,
    what: &str,
    is_so: impl Fn(&Reachability) -> bool,
) -> Duration {
    let start = Instant::now();
    let seen = timeout(Duration::from_secs(10), watch.wait_for(|now| is_so(now)))
        .await
        .is_ok();
    assert!(seen, "{what}: still {:#?}", watch.borrow());
    println!("{what}: {:.1?}", start.elapsed());
    start.elapsed()
}

fn peer_mac(lab: &Lab, name: &str) -> Mac {
    let link = lab.peer_ip(&format!("-o link show {name}"));
    let mac = link
        .split(' ')
        .skip_while(|word| *word != "link/ether")
        .nth(1);
    mac.expect("a veth has a MAC")
        .parse()
        .expect("ip prints a MAC")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn addresses(hops: &[NextHop]) -> Vec<String> {
    hops.iter().map(|hop| hop.address.to_string()).collect()
}

fn wanted() -> Wanted {
    Wanted {
        public: BTreeSet::from(["public".into()]),
        public_vlans: BTreeSet::new(),
        underlay: BTreeSet::from(["underlay".into()]),
        endpoints: [ip("10.0.1.1"), ip("10.0.11.9")].into(),
        outward_v4: true,
        outward_v6: false,
    }
}

#[test]
fn next_hops_follow_the_kernel() {
    in_namespace("next_hops_follow_the_kernel", async |lab: &Lab| {
        lab.link("public", "192.0.2.10/30", "192.0.2.9/30");
        lab.link("underlay", "10.0.11.2/24", "10.0.11.1/24");
        lab.peer_ip("address add 10.0.11.3/24 dev underlay");
        lab.peer_ip("address add 10.0.11.9/24 dev underlay");
        let watcher = Watcher::start(wanted()).await.expect("netlink");
        let mut watch = watcher.subscribe();

        let first = watch.borrow().clone();
        assert_eq!(first.interfaces.len(), 2);
        assert_eq!(first.interfaces["public"].v4, Some([192, 0, 2, 10].into()));
        assert!(first.interfaces["public"].up && first.interfaces["public"].mtu == 1500);
        assert!(first.tunnels[&ip("10.0.1.1")].is_empty(), "no route yet");
        assert!(first.uplinks.is_empty(), "no default route yet");
        until(&mut watch, "on-link endpoint resolved", |now| {
            let hops = &now.tunnels[&ip("10.0.11.9")];
            addresses(hops) == ["10.0.11.9"] && hops[0].is_usable()
        })
        .await;

        lab.ip("route add default via 192.0.2.9");
        let mac = peer_mac(lab, "public");
        until(&mut watch, "router of the default route resolved", |now| {
            addresses(&now.uplinks) == ["192.0.2.9"] && now.uplinks[0].mac == Some(mac)
        })
        .await;
        let tunnels = watch.borrow().tunnels.clone();
        assert!(
            tunnels[&ip("10.0.1.1")].is_empty(),
            "a tunnel never leaves by the public side"
        );

        lab.ip("route add 10.0.1.0/24 nexthop via 10.0.11.1 nexthop via 10.0.11.3");
        until(&mut watch, "multipath route, both resolved", |now| {
            let hops = &now.tunnels[&ip("10.0.1.1")];
            addresses(hops) == ["10.0.11.1", "10.0.11.3"] && hops.iter().all(NextHop::is_usable)
        })
        .await;
        lab.ip("route replace 10.0.1.0/24 via 10.0.11.3");
        let took = until(&mut watch, "failover to one next hop", |now| {
            addresses(&now.tunnels[&ip("10.0.1.1")]) == ["10.0.11.3"]
        })
        .await;
        assert!(took < PROMPT, "failover took {took:?}");
        lab.ip("route add 10.0.1.1/32 via 10.0.11.1");
        until(&mut watch, "a longer prefix wins", |now| {
            addresses(&now.tunnels[&ip("10.0.1.1")]) == ["10.0.11.1"]
        })
        .await;
        lab.ip("route del 10.0.1.1/32");
        lab.ip("route del 10.0.1.0/24");
        until(&mut watch, "route gone", |now| {
            now.tunnels[&ip("10.0.1.1")].is_empty()
        })
        .await;
        watcher.stop().await;
    });
}

#[test]
fn neighbours_and_links_follow_the_kernel() {
    in_namespace(
        "neighbours_and_links_follow_the_kernel",
        async |lab: &Lab| {
            lab.link("public", "192.0.2.10/30", "192.0.2.9/30");
            lab.link("underlay", "10.0.11.2/24", "10.0.11.1/24");
            lab.ip("route add default via 192.0.2.9");
            let watcher = Watcher::start(wanted()).await.expect("netlink");
            let mut watch = watcher.subscribe();
            let mac = peer_mac(lab, "public");
            let resolved = |now: &Reachability| now.uplinks.iter().any(|hop| hop.mac == Some(mac));
            until(&mut watch, "router resolved", resolved).await;
            let entry = lab.ip("neighbour show 192.0.2.9 dev public");
            assert!(
                entry.contains("managed"),
                "the kernel keeps it fresh: {entry}"
            );

            lab.ip("neighbour replace 192.0.2.9 lladdr 02:00:00:00:00:99 dev public nud permanent");
            until(&mut watch, "another MAC by hand", |now| {
                let hop = &now.uplinks[0];
                hop.state == NeighbourState::Permanent
                    && hop.mac == Some(Mac([2, 0, 0, 0, 0, 0x99]))
            })
            .await;
            lab.ip("neighbour del 192.0.2.9 dev public");
            until(&mut watch, "entry removed, resolved again", resolved).await;

            lab.ip("link set public down");
            let took = until(&mut watch, "link down", |now| {
                !now.interfaces["public"].up && now.uplinks.is_empty()
            })
            .await;
            assert!(took < PROMPT, "it took {took:?}");
            lab.ip("link set public up");
            lab.ip("route add default via 192.0.2.9");
            until(&mut watch, "link up again, resolved again", resolved).await;
            lab.peer_ip("link set public down");
            until(&mut watch, "no carrier", |now| now.uplinks.is_empty()).await;
            lab.peer_ip("link set public up");
            until(&mut watch, "carrier again, resolved again", resolved).await;
            lab.ip("link set public mtu 1400");
            until(&mut watch, "MTU", |now| {
                now.interfaces["public"].mtu == 1400
            })
            .await;
            lab.ip("link del public");
            until(&mut watch, "interface gone", |now| {
                !now.interfaces.contains_key("public")
            })
            .await;

            watcher.stop().await;
            let left = lab.ip("neighbour show");
            assert!(
                !left.contains("managed"),
                "given back to the kernel: {left}"
            );
        },
    );
}

#[test]
fn announcements_are_exactly_what_was_set() {
    in_namespace(
        "announcements_are_exactly_what_was_set",
        async |lab: &Lab| {
            let tables = Announcements {
                public_table: 100,
                vtep_table: 1001,
                protocol: 99,
            };
            let vip = Announcement {
                table: 100,
                address: ip("203.0.113.10"),
            };
            let vtep = Announcement {
                table: 1001,
                address: ip("10.0.0.100"),
            };
            // In numbers, since to iproute2 99 is "openr"; 6 is a blackhole.
            let table = |table: &str| {
                let routes = lab.ip(&format!("-N route show table {table}"));
                routes
                    .lines()
                    .map(|line| line.trim().to_owned())
                    .collect::<Vec<_>>()
            };
            lab.ip("link set lo up");
            // Left behind by an agent that was killed, and not its own.
            lab.ip("route add blackhole 203.0.113.99/32 table 100 proto 99");
            lab.ip("route add blackhole 203.0.113.50/32 table 100 proto static");

            let announcer = Announcer::new(tables);
            announcer.set(&[vip, vtep].into()).await.expect("announced");
            assert_eq!(
                table("100"),
                ["6 203.0.113.10 proto 99", "6 203.0.113.50 proto 4"]
            );
            assert_eq!(table("1001"), ["6 10.0.0.100 proto 99"]);
            announcer
                .set(&[vip, vtep].into())
                .await
                .expect("a second time changes nothing");

            let taken = Announcement {
                table: 100,
                address: ip("203.0.113.50"),
            };
            let refusal = announcer
                .set(&[vip, taken].into())
                .await
                .expect_err("it is not ours");
            assert!(refusal.to_string().contains("somebody else's"), "{refusal}");
            assert!(table("1001").is_empty(), "withdrawn");

            announcer.set(&BTreeSet::new()).await.expect("withdrawn");
            assert_eq!(table("100"), ["6 203.0.113.50 proto 4"]);
        },
    );
}
