//! The guard before a real service, with a real client: what it refuses, what it lets
//! in, and that both change while packets run.

mod site;

use std::{
    process::Command,
    thread,
    time::{Duration, Instant},
};

use gateway_common::Reason;
use lingyun::status::{Challenge, Status};
use nix::sys::signal::Signal;

use self::site::{Net, client};
use crate::{
    agent_site::{Agent, PATIENCE, Site},
    can_run,
    netlink_lab::{Lab, in_namespace},
};

const MINIMAL: &str = include_str!("../../../topologies/minimal.yaml");

/// The site with a secret for its challenges, and with a guard, or none.
fn guarded(guard: &str) -> String {
    let secret = "secret: \"00112233445566778899aabbccddeeff\"";
    let guard = match guard {
        "" => String::new(),
        guard => format!("guard: {{ {guard} }}\n"),
    };
    format!("{MINIMAL}{secret}\n{guard}")
}

/// Runs a test with an agent that serves; skipped where there is no curl.
fn with_service(
    name: &'static str,
    guard: &'static str,
    test: impl FnOnce(&Net<'_>, &mut Site, &Agent) + Send + 'static,
) {
    if !can_run(name) {
        return;
    }
    for tool in ["curl", "ethtool"] {
        if Command::new(tool).arg("--version").output().is_err() {
            println!("skipped: {name}: it needs {tool}");
            return;
        }
    }
    in_namespace(name, async move |lab: &Lab| {
        let net = Net::new(lab);
        let mut site = Site::new(name);
        site.write_topology(&guarded(guard));
        let agent = site.start(&[]);
        agent.says("ready: announcing");
        test(&net, &mut site, &agent);
    });
}

/// Waits for the agent to have taken over another guard.
fn reload(site: &mut Site, agent: &Agent, guard: &str) -> Status {
    let before = agent.status().reload.count;
    site.write_topology(&guarded(guard));
    let start = Instant::now();
    loop {
        let status = agent.status();
        assert!(status.reload.ok, "{}", status.reload.message);
        if status.reload.count > before {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "never taken over");
        thread::sleep(Duration::from_millis(20));
    }
}

fn packets(status: &Status, reason: Reason) -> u64 {
    let found = status
        .reasons
        .iter()
        .find(|one| one.reason == reason.name());
    found.expect("every reason is there").packets
}

fn challenge(agent: &Agent) -> Challenge {
    agent.status().load_balancers[0]
        .challenge
        .expect("it has one")
}

#[test]
fn lists_are_turned_on_changed_and_turned_off_while_packets_run() {
    let name = "lists_are_turned_on_changed_and_turned_off_while_packets_run";
    with_service(name, "", |net, site, agent| {
        assert!(
            net.curl(client(1), 5).0,
            "without a guard everybody is let in"
        );
        assert_eq!(agent.status().updates.loads, 0);

        let deny = "deny: [198.51.100.0/24], allow: [198.51.100.7]";
        let status = reload(site, agent, deny);
        assert_eq!(status.updates.loads, 1, "a second data path has the stage");
        assert!(!net.curl(client(1), 1).0, "denied");
        assert!(net.curl(client(7), 5).0, "a hole in the range");
        let denied = packets(&agent.status(), Reason::DenyListed);
        assert!(denied >= 1);
        let metrics = lingyun::server::get_from_socket(&agent.socket, "/metrics");
        let line = format!(
            "lingyun_reason_packets_total{{reason=\"deny_listed\",outcome=\"dropped\"}} {denied}"
        );
        assert!(metrics.expect("metrics").contains(&line), "{line}");

        let status = reload(site, agent, "deny: [198.51.100.7]");
        assert_eq!((status.updates.loads, status.updates.mismatches), (1, 0));
        assert!(net.curl(client(1), 5).0, "let in again");
        assert!(!net.curl(client(7), 1).0, "now it is this one");

        site.write_beside("deny.txt", "198.51.100.8 # one");
        reload(site, agent, "deny_file: deny.txt");
        assert!(net.curl(client(7), 5).0, "not denied any more");
        assert!(!net.curl(client(8), 1).0, "the file's");
        site.write_beside("deny.txt", "198.51.100.9");
        agent.signal(Signal::SIGHUP);
        agent.says("taken over");
        assert!(net.curl(client(8), 5).0, "the file was read anew");

        let status = reload(site, agent, "bogons: none, malformed: pass");
        assert_eq!(status.updates.loads, 2, "a data path without the stage");
        assert!(net.curl(client(7), 5).0);
        assert!(
            packets(&status, Reason::DenyListed) > denied,
            "counts are carried over"
        );
    });
}

#[test]
fn limits_limit() {
    let name = "limits_limit";
    with_service(
        name,
        "per_source: { new_flows: 3/h }",
        |net, site, agent| {
            // Until both ends have found each other, a SYN may be lost and come again.
            assert!(net.curl(client(3), 10).0);
            let opened = [8, 8, 8, 1, 1].map(|seconds| net.curl(client(1), seconds).0);
            assert_eq!(opened, [true, true, true, false, false]);
            assert!(
                net.curl(client(2), 5).0,
                "another source has a limit of its own"
            );
            assert!(packets(&agent.status(), Reason::FlowsSource) >= 2);

            // A second's worth at once, and then as many as the rate says.
            const RATE: f64 = 500.0;
            reload(site, agent, "services: { new_flows: 500/s }");
            let before = net.frames_at_instance();
            let (sent, seconds) = net.flood(2.0, 4_000);
            let passed = (net.frames_at_instance() - before) as f64;
            let most = RATE + RATE * seconds;
            assert!(sent as f64 > 2.0 * most, "no flood: {sent}");
            assert!(
                passed <= most * 1.02 && passed >= most * 0.9,
                "{passed} of {sent} passed in {seconds} s, {most} may"
            );
            let refused = packets(&agent.status(), Reason::FlowsService) as f64;
            assert!(
                (refused + passed - sent as f64).abs() <= 2.0,
                "each is counted"
            );
        },
    );
}

#[test]
fn a_real_client_passes_the_challenge_and_a_flood_does_not() {
    let name = "a_real_client_passes_the_challenge_and_a_flood_does_not";
    with_service(
        name,
        "services: { challenge: always }",
        |net, site, agent| {
            let (served, took) = net.curl(client(1), 10);
            assert!(served, "the client answers with a reset and comes again");
            println!("the first connection took {took:.0?}");
            let status = agent.status();
            assert_eq!(packets(&status, Reason::ChallengePassed), 1);
            let sent = packets(&status, Reason::ChallengeSent);
            assert!((1..=2).contains(&sent), "{sent} challenges");
            let (served, took) = net.curl(client(1), 5);
            assert!(
                served && took < Duration::from_millis(900),
                "known: {took:?}"
            );
            assert_eq!(packets(&agent.status(), Reason::ChallengeSent), sent);
            assert!(challenge(agent).on);

            let before = net.frames_at_instance();
            let (syns, _) = net.flood(1.0, 5_000);
            assert!(syns > 1_000, "no flood: {syns}");
            assert_eq!(
                net.frames_at_instance(),
                before,
                "nothing of it reaches the backend"
            );
            let status = agent.status();
            assert_eq!(packets(&status, Reason::ChallengeSent), sent + syns);
            assert_eq!(packets(&status, Reason::ChallengePassed), 1);

            let changing = "services: { challenge: { above: 200/s, below: 100/s } }";
            assert_eq!(reload(site, agent, changing).updates.loads, 0, "in place");
            assert!(!challenge(agent).on, "a rate is not exceeded yet");
            assert!(net.curl(client(2), 5).0);
            let before = net.frames_at_instance();
            let (syns, _) = net.flood(1.0, 5_000);
            let passed = net.frames_at_instance() - before;
            assert!(
                (190..=260).contains(&passed),
                "{passed} of {syns}: a burst, and no more"
            );
            assert!(challenge(agent).on && challenge(agent).on_for_seconds.is_some());
            let metrics = lingyun::server::get_from_socket(&agent.socket, "/metrics");
            let line = "lingyun_challenge_on{load_balancer=\"web\"} 1";
            assert!(metrics.expect("metrics").contains(line));
            assert!(
                net.curl(client(3), 10).0,
                "real clients are served meanwhile"
            );

            let start = Instant::now();
            while challenge(agent).on {
                assert!(start.elapsed() < Duration::from_secs(20), "it never ends");
                thread::sleep(Duration::from_millis(200));
            }
            println!("off {:.1?} after the flood", start.elapsed());
            let sent = packets(&agent.status(), Reason::ChallengeSent);
            assert!(net.curl(client(4), 5).0);
            assert_eq!(
                packets(&agent.status(), Reason::ChallengeSent),
                sent,
                "as before"
            );
        },
    );
}
