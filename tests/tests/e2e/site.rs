//! The labs that the tests share, and what they ask of them.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket},
    path::PathBuf,
    process::Output,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use gateway_tests::{
    lab::{Lab, Options, Progress},
    peer::serve::{hex, pseudo_random},
};
use sha2::{Digest, Sha256};

/// A test: it is given the lab.
pub(crate) type Test = fn(&Lab) -> Result<()>;

/// Public addresses: of topologies/order.yaml, and the first two of the others, too.
pub(crate) const VIP: &str = "203.0.113.10";
/// Floating IP of the bastion.
pub(crate) const FLOATING: &str = "203.0.113.20";
/// VIP of the second VPC.
pub(crate) const OTHER_VIP: &str = "203.0.113.30";
/// The phone.
pub(crate) const PHONE: &str = "198.51.100.10";

/// The service `files` of topologies/order.yaml.
pub(crate) const FILES: &str = "203.0.113.10:8080";

/// The lab of a topology, brought up by the first test that needs it.
#[derive(Clone)]
pub(crate) struct Shared {
    topology: &'static str,
    lab: Arc<Mutex<Option<Lab>>>,
}

impl Shared {
    /// The lab of a file of topologies/.
    pub(crate) fn of(topology: &'static str) -> Self {
        let lab = Arc::default();
        Self { topology, lab }
    }

    /// Runs a test in the lab.
    pub(crate) fn with(&self, test: Test) -> Result<()> {
        let mut lab = self.lab.lock().unwrap_or_else(PoisonError::into_inner);
        if lab.is_none() {
            let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../topologies");
            let topology = folder.join(self.topology);
            *lab = Some(Lab::up(&topology, Options::default(), &Progress::silent())?);
        }
        test(lab.as_ref().context("the lab is up")?)
    }

    /// Takes the lab down.
    pub(crate) fn down(&self) -> Result<()> {
        let lab = self
            .lab
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        lab.map_or(Ok(()), Lab::down)
    }
}

/// Runs a command that must succeed, and gives what it printed.
pub(crate) fn says(lab: &Lab, node: &str, argv: &[&str]) -> Result<String> {
    let output = lab.exec(node, argv)?;
    ensure!(
        output.status.success(),
        "{} in {node}: {}",
        argv.join(" "),
        printed(&output)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// All that a command printed.
pub(crate) fn printed(output: &Output) -> String {
    let (out, error) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(error)
    )
}

/// Five pings, each of which must be answered.
pub(crate) fn pings(lab: &Lab, node: &str, address: &str, options: &[&str]) -> Result<()> {
    let ping = ["ping", "-n", "-c5", "-i0.05", "-W1", address];
    let said = says(lab, node, &[&ping, options].concat())?;
    ensure!(
        said.contains(" 0% packet loss"),
        "{node} to {address}: {said}"
    );
    Ok(())
}

/// What a URL answers to a node.
pub(crate) fn get(lab: &Lab, node: &str, url: &str) -> Result<String> {
    says(
        lab,
        node,
        &["curl", "-sS", "--fail", "--max-time", "5", url],
    )
}

/// How many packets ended with a reason, on both gateways together.
pub(crate) fn ended(lab: &Lab, reason: &str) -> Result<u64> {
    let mut packets = 0;
    for gateway in ["gw1", "gw2"] {
        let status = lab.gateway_status(gateway)?;
        let count = status.reasons.iter().find(|count| count.reason == reason);
        packets += count
            .with_context(|| format!("{reason} is a reason"))?
            .packets;
    }
    Ok(packets)
}

/// A program of the workspace, next to this one.
pub(crate) fn program(name: &str) -> Result<String> {
    let own = std::env::current_exe()?;
    let folders = own.ancestors().skip(1).take(2);
    let mut candidates = folders.map(|folder| folder.join(name));
    let path = candidates
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: type `cargo xtask build`"))?;
    Ok(path.display().to_string())
}

/// Who answers 24 flows of the phone to the service udp/7 of an address.
pub(crate) fn udp_servers(lab: &Lab, vip: &str) -> Result<BTreeSet<String>> {
    let vip: IpAddr = vip.parse()?;
    let any: IpAddr = match vip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    lab.enter("phone", || -> Result<BTreeSet<String>> {
        let mut servers = BTreeSet::new();
        for number in 0..24 {
            let socket = UdpSocket::bind((any, 0))?;
            socket.set_read_timeout(Some(Duration::from_secs(2)))?;
            // Connected: an answer from any other address would not be received.
            socket.connect((vip, 7))?;
            let question = format!("datagram {number}");
            socket.send(question.as_bytes())?;
            let mut answer = [0; 100];
            let length = socket.recv(&mut answer).context("no answer from the VIP")?;
            let answer = String::from_utf8_lossy(&answer[..length]).into_owned();
            let (server, rest) = answer.split_once(' ').context("no name in the answer")?;
            ensure!(rest == question, "asked `{question}`, answered `{answer}`");
            servers.insert(server.to_owned());
        }
        Ok(servers)
    })?
}

/// A mebibyte goes from a server to the phone and another one back, both intact.
pub(crate) fn a_mebibyte_arrives(lab: &Lab, server: &str) -> Result<()> {
    const BYTES: usize = 1 << 20;
    let data = pseudo_random(BYTES);
    let digest = hex(&Sha256::digest(&data));
    let folder = tempfile::tempdir()?;
    let (up, down) = (folder.path().join("up"), folder.path().join("down"));
    fs::write(&up, &data)?;
    let (up, down) = (up.display().to_string(), down.display().to_string());
    let url = format!("http://{server}/bytes/{BYTES}");
    says(
        lab,
        "phone",
        &[
            "curl",
            "-sS",
            "--fail",
            "--max-time",
            "20",
            "-o",
            &down,
            &url,
        ],
    )?;
    let got = hex(&Sha256::digest(fs::read(&down)?));
    ensure!(got == digest, "{server}: downloaded {got}, not {digest}");
    let url = format!("http://{server}/upload");
    let said = says(
        lab,
        "phone",
        &["curl", "-sS", "--fail", "--max-time", "20", "-T", &up, &url],
    )?;
    ensure!(
        said.contains(&digest),
        "{server}: uploaded {digest}, it got {said}"
    );
    Ok(())
}

/// Tries something again, a few times, with a little time in between.
pub(crate) fn retry<T>(times: usize, mut work: impl FnMut() -> Result<T>) -> Result<T> {
    for _ in 1..times {
        if let Ok(done) = work() {
            return Ok(done);
        }
        thread::sleep(Duration::from_millis(100));
    }
    work()
}
