//! The lab that all tests share, and what they ask of it.

use std::{
    path::PathBuf,
    process::Output,
    sync::{Arc, Mutex, PoisonError},
};

use anyhow::{Context, Result, ensure};
use gateway_tests::lab::{Lab, Options, Progress};

/// A test: it is given the lab.
pub(crate) type Test = fn(&Lab) -> Result<()>;

/// Public addresses of topologies/order.yaml.
pub(crate) const VIP: &str = "203.0.113.10";
/// Floating IP of the bastion.
pub(crate) const FLOATING: &str = "203.0.113.20";
/// VIP of the second VPC.
pub(crate) const OTHER_VIP: &str = "203.0.113.30";
/// The phone.
pub(crate) const PHONE: &str = "198.51.100.10";

/// The lab, brought up by the first test that needs it.
#[derive(Clone, Default)]
pub(crate) struct Shared(Arc<Mutex<Option<Lab>>>);

impl Shared {
    /// Runs a test in the lab.
    pub(crate) fn with(&self, test: Test) -> Result<()> {
        let mut lab = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lab.is_none() {
            let topology =
                PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../topologies/order.yaml");
            *lab = Some(Lab::up(&topology, Options::default(), &Progress::silent())?);
        }
        test(lab.as_ref().context("the lab is up")?)
    }

    /// Takes the lab down.
    pub(crate) fn down(&self) -> Result<()> {
        let lab = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
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
