//! `lingyun drain`: a backend takes no new flows.

use std::process::ExitCode;

use anyhow::Result;

use super::socket::Socket;
use crate::server::{self, DrainRequest, Unreachable};

/// Lets a backend of a running gateway take no new flows.
///
/// Flows that it has stay with it until they end or fall silent, or until the longest
/// time that the topology allows (`drain`). It stays drained until `--undo`, also when
/// the agent is restarted or the topology changes. Each gateway is told by itself.
#[derive(clap::Args)]
pub struct Args {
    /// INSTANCE or VPC/INSTANCE, each with :PORT or without, as `lingyun status` shows it
    backend: String,

    /// It takes new flows again
    #[arg(long, conflicts_with = "now")]
    undo: bool,

    /// Its flows move to other backends at once, which TCP connections do not survive:
    /// for a backend that is dead
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    socket: Socket,
}

/// Runs the command.
pub fn run(arguments: &Args) -> Result<ExitCode> {
    let request = serde_json::to_string(&DrainRequest {
        backend: arguments.backend.clone(),
        undo: arguments.undo,
        now: arguments.now,
    })?;
    let socket = arguments.socket.path()?;
    let said = server::post_to_socket(&socket, "/drain", &request).map_err(|error| {
        match error.is::<Unreachable>() {
            true => error.context("is the gateway running here? Start it with `lingyun run`"),
            false => error,
        }
    })?;
    anstream::println!("{}", said.trim_end());
    Ok(ExitCode::SUCCESS)
}
