//! Long-lived connections that exchange data while things happen.

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use gateway_tests::{
    lab::{Lab, Process},
    peer::connect::Report,
};
use nix::sys::signal::Signal;

use crate::site::program;

/// Starts clients of a server on the phone, which say something at this interval, and waits
/// until all are connected.
pub(crate) fn connect(
    lab: &Lab,
    server: &str,
    count: usize,
    interval: Duration,
    log: &str,
) -> Result<Arc<Process>> {
    connect_from(lab, ("phone", server), count, interval, log)
}

/// The same on any node.
pub(crate) fn connect_from(
    lab: &Lab,
    (node, server): (&str, &str),
    count: usize,
    interval: Duration,
    log: &str,
) -> Result<Arc<Process>> {
    let (count, interval) = (count.to_string(), interval.as_millis().to_string());
    let peer = program("peer")?;
    let argv = [
        &peer,
        "connect",
        "--line",
        server,
        "--connections",
        &count,
        "--interval-ms",
        &interval,
        "--json",
    ];
    let clients = lab.spawn(node, &argv, log)?;
    let end = Instant::now() + Duration::from_secs(20);
    while !fs::read_to_string(&clients.log)?.contains("ready") {
        clients.check()?;
        if Instant::now() > end {
            bail!("{count} connections are not there after 20 s");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(clients)
}

/// Ends the clients and reads what they report.
pub(crate) fn report(clients: &Process) -> Result<Report> {
    clients.signal(Signal::SIGINT);
    ensure!(
        clients.wait(Duration::from_secs(40)),
        "the clients do not end"
    );
    let said = fs::read_to_string(&clients.log)?;
    let json = said.find('{').map(|start| &said[start..]);
    serde_json::from_str(json.unwrap_or_default()).with_context(|| format!("no report in {said}"))
}
