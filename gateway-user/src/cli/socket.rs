//! Which running gateway a command is for.

use std::path::PathBuf;

use anyhow::{Result, bail};

use crate::server;

/// Options that name a running gateway.
#[derive(clap::Args)]
pub(super) struct Socket {
    /// The agent's Unix socket
    #[arg(long, value_name = "PATH", conflicts_with = "node")]
    socket: Option<PathBuf>,

    /// The gateway, if several run on this machine
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
}

impl Socket {
    /// Path of the socket.
    pub(super) fn path(&self) -> Result<PathBuf> {
        if let Some(path) = &self.socket {
            return Ok(path.clone());
        }
        if let Some(node) = &self.node {
            return Ok(server::default_path(node));
        }
        match &server::running()[..] {
            [only] => Ok(only.clone()),
            [] => bail!(
                "no gateway runs on this machine: start one with `lingyun run`, or name its \
                 socket with --socket"
            ),
            several => {
                let names = several.iter().filter_map(|path| path.file_stem()?.to_str());
                let names = names.collect::<Vec<_>>().join(", ");
                bail!("several gateways run on this machine: choose one with --node: {names}")
            }
        }
    }
}
