//! Brings the lab up and down by hand.

use std::{
    path::PathBuf,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use gateway_tests::{
    lab::{
        self, Lab, Options, Progress, RunId,
        state::{self, Found, Standing},
    },
    run,
};
use nix::sys::signal::{SigSet, Signal};

/// Builds a site of network namespaces and real components from a topology file.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Bring a lab up, let one order travel through it, and show its way.
    Run(run::Arguments),
    /// Bring a lab up; Ctrl-C takes it down.
    Up {
        /// Topology file with a `lab` part.
        #[arg(long, default_value = "topologies/order.yaml")]
        topology: PathBuf,
        /// Id of the run, 1 to 8 of a-z and 0-9; drawn at random by default.
        #[arg(long)]
        run: Option<RunId>,
        /// Leave it up and return; `down` removes it.
        #[arg(long)]
        keep: bool,
        /// Show where the time went.
        #[arg(short, long)]
        verbose: bool,
    },
    /// Remove labs that nobody owns: kept ones, and those whose owner died.
    Down {
        /// Only this one.
        #[arg(long, conflicts_with = "all_stale")]
        run: Option<RunId>,
        /// Only those whose owner died.
        #[arg(long)]
        all_stale: bool,
    },
    /// Show the labs of this machine.
    List,
    /// Run a command inside a node, such as `exec phone -- ping 203.0.113.10`.
    Exec {
        /// Which lab; needed when there are several.
        #[arg(long)]
        run: Option<RunId>,
        /// Node: phone, gw1, host-a, shop/haproxy-1, ...
        node: String,
        /// Command and its arguments.
        #[arg(last = true, required = true)]
        argv: Vec<String>,
    },
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn"))
        .format_timestamp_millis()
        .init();
    let result = match Arguments::parse().command {
        Command::Up {
            topology,
            run,
            keep,
            verbose,
        } => up(&topology, run, keep, verbose),
        Command::Run(arguments) => return order(&arguments),
        Command::Down { run, all_stale } => down(run, all_stale),
        Command::List => list(),
        Command::Exec { run, node, argv } => exec(run, &node, &argv),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("lingyun-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn order(arguments: &run::Arguments) -> ExitCode {
    match on_signal().and_then(|cancel| run::run(arguments, &cancel)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("lingyun-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(topology: &std::path::Path, run: Option<RunId>, keep: bool, verbose: bool) -> Result<()> {
    let cancel = on_signal()?;
    let progress = Progress::shown();
    let options = Options {
        run,
        keep,
        cancel: Arc::clone(&cancel),
    };
    let lab = Lab::up(topology, options, &progress)?;
    eprintln!(
        "lab {} is up after {:.2} s",
        lab.run(),
        progress.elapsed().as_secs_f64()
    );
    if verbose {
        for timing in progress.timings() {
            let (from, to) = (timing.from.as_secs_f64(), timing.to.as_secs_f64());
            eprintln!("  {from:6.2} - {to:5.2} s  {}", timing.name);
        }
    }
    let run = lab.run().clone();
    eprintln!("  logs and sockets   {}", lab.directory().display());
    eprintln!(
        "  a shell on a node  nsenter --net={} bash",
        lab.netns_path("NODE").display()
    );
    if keep {
        lab.keep()?;
        eprintln!("  take it down       lingyun-lab down --run {run}");
        return Ok(());
    }
    eprintln!("  take it down       Ctrl-C");
    while !cancel.load(Ordering::Relaxed) {
        thread::sleep(Duration::from_millis(50));
    }
    lab.down()
}

/// A flag that Ctrl-C and its like set. To be called before any thread starts.
fn on_signal() -> Result<Arc<AtomicBool>> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("block signals")?;
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    thread::spawn(move || {
        while signals.wait().is_ok() {
            set.store(true, Ordering::Relaxed);
        }
    });
    Ok(flag)
}

fn down(run: Option<RunId>, all_stale: bool) -> Result<()> {
    if let Some(run) = run {
        let lab = state::find(&run)?;
        if lab.standing == Standing::Live {
            let owner = lab.owner.pid;
            bail!("lab {run} belongs to process {owner}, which runs: `kill {owner}` ends both");
        }
        return remove(&lab);
    }
    for lab in state::list() {
        match lab.standing {
            Standing::Kept if !all_stale => remove(&lab)?,
            Standing::Stale => remove(&lab)?,
            Standing::Kept | Standing::Live => {}
        }
    }
    // What died before it even had a name.
    state::remove_stale().map(drop)
}

fn remove(lab: &Found) -> Result<()> {
    if state::remove(lab)? {
        eprintln!("removed lab {}", lab.run);
    }
    Ok(())
}

fn list() -> Result<()> {
    for lab in state::list() {
        let standing = match lab.standing {
            Standing::Live => format!("live, owner {}", lab.owner.pid),
            Standing::Kept => "kept".to_owned(),
            Standing::Stale => "stale: its owner died".to_owned(),
        };
        println!(
            "{:<8} {:>6} s  {standing}",
            lab.run.to_string(),
            lab.age.as_secs()
        );
    }
    Ok(())
}

fn exec(run: Option<RunId>, node: &str, argv: &[String]) -> Result<()> {
    let run = match run {
        Some(run) => run,
        None => match &state::list()[..] {
            [one] => one.run.clone(),
            [] => bail!("there is no lab: `lingyun-lab up` makes one"),
            _ => bail!("there are several labs (`lingyun-lab list`): say which with --run"),
        },
    };
    Err(lab::become_inside(&run, node, argv))
}
