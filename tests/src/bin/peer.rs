//! A small traffic partner for tests. See [`gateway_tests::peer`].

use std::{
    io::{Write, stdout},
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use anyhow::{Result, bail};
use clap::{Args, Parser, Subcommand};
use gateway_tests::{
    listen::until_told_to_end,
    peer::{
        connect::{Plan, Running},
        serve,
    },
};
use tokio::{task::JoinSet, time};

#[derive(Parser)]
#[command(about = "A small traffic partner for tests")]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: Option<Serve>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve (the word may be left out).
    Serve(Serve),
    /// Keep long-lived connections to another peer, check every answer, and report on
    /// SIGINT, SIGTERM or after a time. Prints `ready` once all are connected.
    Connect(Connect),
}

#[derive(Args)]
struct Serve {
    /// HTTP (GET /name, /bytes/N, /slow/SECONDS; PUT or POST /upload), and lines: a
    /// connection whose first byte is no capital letter gets its lines back.
    #[arg(long, value_name = "IP:PORT")]
    tcp: Option<SocketAddr>,
    /// Datagrams come back with the name before them.
    #[arg(long, value_name = "IP:PORT")]
    udp: Option<SocketAddr>,
    /// Lines come back with the name before them.
    #[arg(long, value_name = "IP:PORT")]
    line: Option<SocketAddr>,
    /// Name of this peer, told in every answer.
    #[arg(long)]
    name: String,
}

#[derive(Args)]
struct Connect {
    /// A peer's TCP or line address.
    #[arg(long, value_name = "IP:PORT")]
    line: SocketAddr,
    /// How many connections.
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// Time between two lines on a connection.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    interval_ms: u64,
    /// Ends after this time; without it, on a signal.
    #[arg(long)]
    seconds: Option<f64>,
    /// Report as JSON.
    #[arg(long)]
    json: bool,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let cli = Cli::parse();
    match (cli.command, cli.serve) {
        (Some(Command::Connect(arguments)), _) => connect(arguments).await,
        (Some(Command::Serve(arguments)), _) | (None, Some(arguments)) => run(arguments).await,
        (None, None) => unreachable!("clap prints the help without arguments"),
    }
}

async fn run(arguments: Serve) -> Result<ExitCode> {
    let name: Arc<str> = arguments.name.into();
    let ended = until_told_to_end()?;
    let mut servers = JoinSet::new();
    if let Some(address) = arguments.tcp {
        servers.spawn(serve::tcp(address, name.clone()));
    }
    if let Some(address) = arguments.udp {
        servers.spawn(serve::udp(address, name.clone()));
    }
    if let Some(address) = arguments.line {
        servers.spawn(serve::lines(address, name.clone()));
    }
    if servers.is_empty() {
        bail!("nothing to serve: give --tcp, --udp or --line");
    }
    tokio::select! {
        Some(result) = servers.join_next() => result??,
        () = ended => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn connect(arguments: Connect) -> Result<ExitCode> {
    let ended = until_told_to_end()?;
    let running = Running::start(Plan {
        server: arguments.line,
        connections: arguments.connections,
        interval: Duration::from_millis(arguments.interval_ms),
    })
    .await?;
    println!("ready");
    stdout().flush()?;
    let time_is_up = async {
        match arguments.seconds {
            Some(seconds) => time::sleep(Duration::from_secs_f64(seconds)).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = ended => {}
        () = time_is_up => {}
    }
    let report = running.end().await;
    if arguments.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{report}");
    }
    Ok(if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
