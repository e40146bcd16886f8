//! Gateways die and come back, agents are killed and restarted: no connection breaks.

use std::{fs, path::Path, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use gateway_tests::lab::Lab;
use nix::sys::signal::Signal;

use crate::{
    clients,
    site::{FILES, FLOATING, Test, pings, says},
};

pub(crate) const TESTS: &[(&str, Test)] = &[
    (
        "a_killed_agent_loses_no_packet",
        a_killed_agent_loses_no_packet,
    ),
    (
        "a_gateway_dies_and_no_connection_breaks",
        a_gateway_dies_and_no_connection_breaks,
    ),
    (
        "a_gateway_falls_silent_and_no_connection_breaks",
        a_gateway_falls_silent_and_no_connection_breaks,
    ),
    (
        "a_stopped_agent_leaves_nothing",
        a_stopped_agent_leaves_nothing,
    ),
];

/// Long-lived connections that exchange data while things happen.
const CONNECTIONS: usize = 200;

fn a_killed_agent_loses_no_packet(lab: &Lab) -> Result<()> {
    for gateway in ["gw1", "gw2"] {
        // Twice as many packets as fit into the time that a restart takes; ICMP is
        // not sent again, so every lost one shows.
        let ping = ["ping", "-n", "-q", "-i0.002", "-c1000", "-W1", FLOATING];
        let ping = lab.spawn("phone", &ping, &format!("ping-{gateway}"))?;
        thread::sleep(Duration::from_millis(300));
        let agent = lab
            .process(&format!("{gateway}.agent"))
            .context("the agent runs")?;
        agent.kill();
        thread::sleep(Duration::from_millis(300));
        lab.revive_gateway(gateway)?;
        ensure!(ping.wait(Duration::from_secs(20)), "ping does not end");
        let said = fs::read_to_string(&ping.log)?;
        ensure!(said.contains(" 0% packet loss"), "{gateway}: {said}");
        let line = said
            .lines()
            .find(|line| line.contains("packet loss"))
            .unwrap_or_default();
        println!("measured: agent of {gateway} killed and restarted: {line}");
    }
    Ok(())
}

fn a_gateway_dies_and_no_connection_breaks(lab: &Lab) -> Result<()> {
    dies_and_comes_back(lab, FILES)
}

/// A gateway dies and comes back under the connections to a server: none breaks.
pub(crate) fn dies_and_comes_back(lab: &Lab, server: &str) -> Result<()> {
    during(lab, server, "gateway gw1 killed, links down", || {
        lab.kill_gateway("gw1")
    })?;
    during(lab, server, "gateway gw1 back", || {
        lab.revive_gateway("gw1")
    })
}

fn a_gateway_falls_silent_and_no_connection_breaks(lab: &Lab) -> Result<()> {
    during(
        lab,
        FILES,
        "gateway gw2 silent, found out by BFD (100 ms x 3)",
        || lab.silence_gateway("gw2", true),
    )?;
    during(lab, FILES, "gateway gw2 heard again", || {
        lab.revive_gateway("gw2")
    })
}

fn a_stopped_agent_leaves_nothing(lab: &Lab) -> Result<()> {
    let agent = lab.process("gw1.agent").context("the agent runs")?;
    let pins = lab.run().pin_dir("gw1");
    ensure!(pins.exists(), "the links are pinned at {}", pins.display());
    agent.signal(Signal::SIGTERM);
    ensure!(agent.wait(Duration::from_secs(5)), "the agent does not end");
    ensure!(
        agent.exit().is_some_and(|status| status.success()),
        "it failed: {:?}",
        agent.exit()
    );
    ensure!(!pins.exists(), "{} is still there", pins.display());
    let links = says(lab, "gw1", &["ip", "-d", "link", "show"])?;
    ensure!(
        !links.contains("prog/xdp"),
        "a program is still attached:\n{links}"
    );
    for table in ["100", "101"] {
        let routes = says(lab, "gw1", &["ip", "route", "show", "table", table])?;
        ensure!(routes.trim().is_empty(), "table {table} still has {routes}");
    }
    ensure!(
        !Path::new(&lab.gateway_socket("gw1")).exists(),
        "its socket is still there"
    );
    // The other one carries on alone, and the first one is welcome again.
    pings(lab, "phone", FLOATING, &[])?;
    lab.revive_gateway("gw1")?;
    ensure!(lab.gateway_status("gw1")?.ready, "it is ready again");
    Ok(())
}

/// Keeps connections busy, lets `happen`, and tells how long nobody was answered.
fn during(lab: &Lab, server: &str, what: &str, happen: impl FnOnce() -> Result<()>) -> Result<()> {
    // Their log is named after what is to happen.
    let log: String = what.chars().filter(char::is_ascii_alphanumeric).collect();
    let clients = clients::connect(lab, server, CONNECTIONS, Duration::from_millis(50), &log)?;
    thread::sleep(Duration::from_millis(500));
    happen()?;
    thread::sleep(Duration::from_millis(2500));
    let report = clients::report(&clients)?;
    println!(
        "measured: {server}: {what}: {} connections, {} broken, {} answers, longest silence {:.0} ms, \
         median {:.0} ms",
        report.connections,
        report.broken,
        report.answers,
        report.longest_silence_ms,
        report.median_silence_ms
    );
    ensure!(
        report.connections == CONNECTIONS,
        "only {} connected",
        report.connections
    );
    ensure!(report.is_clean(), "{what}: {report:?}");
    ensure!(
        report.servers.len() == 2,
        "both backends serve: {:?}",
        report.servers
    );
    Ok(())
}
