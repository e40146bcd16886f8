//! Gateways: an agent and a BIRD in one namespace, which can die and come back.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use lingyun::{server, status::Status};

use super::{
    bird,
    process::Process,
    running::Lab,
    services::{binary, name},
    site::NodeKind,
    tool::batch,
    up::PATIENCE,
};

/// What agents' processes are called.
pub(super) const AGENT: &str = "agent";

const BIRD: &str = "bird";

impl Lab {
    /// What a gateway's agent says of itself, as `lingyun status --json` does.
    pub fn gateway_status(&self, gateway: &str) -> Result<Status> {
        status(&self.gateway_socket(gateway))
    }

    /// Socket of a gateway's agent.
    pub fn gateway_socket(&self, gateway: &str) -> PathBuf {
        self.directory().join(format!("{gateway}.sock"))
    }

    /// Socket of the BIRD on a router or gateway, for birdc.
    pub fn bird_socket(&self, node: &str) -> PathBuf {
        self.directory().join(format!("{node}.bird.sock"))
    }

    /// A gateway dies: agent and BIRD are killed, and its links go down.
    pub fn kill_gateway(&self, gateway: &str) -> Result<()> {
        self.check_gateway(gateway)?;
        // Links first: a dead machine does not close its connections.
        self.switch_links(gateway, "down")?;
        for part in [AGENT, BIRD] {
            if let Some(process) = self.process(&name(gateway, part)) {
                process.kill();
            }
        }
        Ok(())
    }

    /// A gateway goes silent: it runs on, but nothing that it sends arrives. Its
    /// neighbours see no link go down, so only BFD tells them.
    pub fn silence_gateway(&self, gateway: &str, silent: bool) -> Result<()> {
        self.check_gateway(gateway)?;
        let percent = if silent { 100 } else { 0 };
        let mut devices = self.plan.devices_of(gateway);
        devices.try_for_each(|device| self.set_loss(&device.peer.0, &device.peer.1, percent))
    }

    /// A gateway that was killed or silenced comes back; returns when its
    /// neighbours send it traffic again.
    pub fn revive_gateway(&self, gateway: &str) -> Result<()> {
        let kind = self.check_gateway(gateway)?;
        self.silence_gateway(gateway, false)?;
        self.switch_links(gateway, "up")?;
        let ended = |part: &str| {
            self.process(&name(gateway, part))
                .is_none_or(|process| process.exit().is_some())
        };
        if ended(BIRD) {
            self.start_bird(gateway, kind)?;
        }
        if ended(AGENT) {
            self.start_agent(gateway)?;
        }
        self.wait_for_routes_of(gateway)
    }

    fn check_gateway(&self, gateway: &str) -> Result<NodeKind> {
        let node = self.plan.nodes.iter().find(|node| node.name == gateway);
        match node.map(|node| node.kind) {
            Some(kind @ NodeKind::Gateway(_)) => Ok(kind),
            _ => bail!(
                "`{gateway}` is not a gateway of {}",
                self.site.path.display()
            ),
        }
    }

    fn switch_links(&self, gateway: &str, to: &str) -> Result<()> {
        let devices = self.plan.devices_of(gateway);
        let lines: Vec<_> = devices
            .map(|device| format!("link set dev {} {to}", device.interface))
            .collect();
        batch(
            self.run(),
            &["ip", "-n", &self.namespace(gateway), "-batch", "-"],
            &lines,
        )
    }

    /// Starts the BIRD of a router or gateway.
    pub(super) fn start_bird(&self, node: &str, kind: NodeKind) -> Result<Arc<Process>> {
        let text = bird::configuration(&self.site, node, kind);
        let text = text.with_context(|| format!("{node} speaks no BGP"))?;
        let file = self.directory().join(format!("{node}.bird.conf"));
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
        let socket = self.bird_socket(node);
        forget(&socket)?;
        let words = [
            "bird",
            "-f",
            "-c",
            &file.to_string_lossy(),
            "-s",
            &socket.to_string_lossy(),
        ];
        let argv = words.map(str::to_owned).into();
        self.start(node, &name(node, BIRD), argv, Vec::new(), None)
    }

    /// Starts a gateway's agent and waits until it serves.
    pub(super) fn start_agent(&self, gateway: &str) -> Result<String> {
        let socket = self.gateway_socket(gateway);
        forget(&socket)?;
        let argv = [
            binary("lingyun")?,
            "run".to_owned(),
            format!("--topology={}", self.topology_path().display()),
            format!("--node={gateway}"),
            format!("--socket={}", socket.display()),
            "--listen=none".to_owned(),
            "--grace=0".to_owned(),
            format!("--pin-dir={}", self.run().pin_dir(gateway).display()),
        ];
        let agent = self.start(
            gateway,
            &name(gateway, AGENT),
            argv.into(),
            Vec::new(),
            None,
        )?;
        self.wait(PATIENCE, &[&agent], || status(&socket))?;
        Ok("serves".to_owned())
    }
}

/// A socket that a killed process left would look like one of its successor.
fn forget(socket: &Path) -> Result<()> {
    if !socket.exists() {
        return Ok(());
    }
    fs::remove_file(socket).with_context(|| format!("remove {}", socket.display()))
}

/// What the agent behind a socket says of itself.
fn status(socket: &Path) -> Result<Status> {
    let answer = server::get_from_socket(socket, "/status")?;
    serde_json::from_str(&answer)
        .with_context(|| format!("the agent at {} answers `{answer}`", socket.display()))
}
