//! The main job: bring the lab up, let one order travel, show its way.

mod report;

use std::{
    io::{IsTerminal, Write, stdout},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lingyun::status::Status;
use report::Report;

use crate::{
    journey::lab::{Purchase, place},
    lab::{Kind, Lab, Options, Progress, RunId},
};

/// What is ordered: on the shelf from the start (see `order::store`).
const ITEM: &str = "teapot";

/// Columns where there is no terminal.
const PLAIN_WIDTH: usize = 100;

/// How to run.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Topology file with a `lab` part.
    #[arg(long, value_name = "FILE", default_value = "topologies/order.yaml")]
    pub topology: PathBuf,
    /// Id of the run, 1 to 8 of a-z and 0-9; drawn at random by default.
    #[arg(long)]
    pub run: Option<RunId>,
    /// End after the order instead of staying up.
    #[arg(long, conflicts_with = "keep")]
    pub once: bool,
    /// Print the journey and the result as JSON, and end as with --once.
    #[arg(long)]
    pub json: bool,
    /// Leave the lab up and return; `lingyun-lab down` removes it.
    #[arg(long)]
    pub keep: bool,
}

/// Runs one order through a lab. Succeeds when it arrived and its way is the story's.
pub fn run(arguments: &Arguments, cancel: &Arc<AtomicBool>) -> Result<ExitCode> {
    let started = Instant::now();
    let progress = Progress::shown();
    let options = Options {
        run: arguments.run.clone(),
        keep: arguments.keep,
        cancel: Arc::clone(cancel),
    };
    let lab = Lab::up(&arguments.topology, options, &progress)?;
    let report = travel(&lab, &progress)?;
    if arguments.json {
        print(&serde_json::to_string_pretty(&report.json(&lab))?)?;
    } else {
        let colour = stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        print(&report.text(width(), colour))?;
        eprintln!("{:.1} s in all.", started.elapsed().as_secs_f64());
    }
    let verdict = report.verdict();
    if arguments.keep {
        show_commands(&lab, "cargo xtask down");
        lab.keep()?;
    } else if arguments.once || arguments.json {
        lab.down()?;
    } else {
        show_commands(&lab, "Ctrl-C");
        while !cancel.load(Ordering::Relaxed) {
            thread::sleep(Duration::from_millis(50));
        }
        eprintln!();
        let step = progress.step("take down");
        lab.down()?;
        step.done("nothing is left");
    }
    Ok(verdict)
}

/// Places the order, watches it, and asks everybody who should know of it.
fn travel(lab: &Lab, progress: &Progress) -> Result<Report> {
    let client = lab
        .site()
        .lab
        .clients
        .first()
        .context("the lab has no client")?;
    let step = progress.step("order");
    let purchase = Purchase {
        client: client.name.clone(),
        item: ITEM.to_owned(),
        quantity: 1,
        key: format!("order-{}", lab.run()),
    };
    let before = statuses(lab)?;
    let placed = place(lab, &purchase)?;
    ensure!(
        placed.status / 100 == 2,
        "the shop refused the order with status {}: {}",
        placed.status,
        placed.answer
    );
    let capture = capture_file();
    placed.recording.write_pcapng(&capture)?;
    step.done(&format!(
        "placed by {}; {} frames on {} devices, kept in {}",
        client.name,
        placed.recording.frames.len(),
        placed.recording.points.len(),
        capture.display()
    ));
    Ok(Report {
        claims: placed.journey.check(),
        row: row(lab, &purchase.key)?,
        gateways: report::difference(&before, &statuses(lab)?),
        placed,
    })
}

/// What every gateway says of itself.
fn statuses(lab: &Lab) -> Result<Vec<Status>> {
    lab.site()
        .topology
        .gateways
        .iter()
        .map(|gateway| lab.gateway_status(&gateway.name))
        .collect()
}

/// The order's row in the database, as psql shows it.
fn row(lab: &Lab, key: &str) -> Result<String> {
    let (node, address) = lab
        .site()
        .services()
        .find_map(|(id, node, kind)| {
            matches!(kind, Kind::Postgresql(_))
                .then(|| (node, lab.site().topology.instance(id).ip.to_string()))
        })
        .context("the lab has no database")?;
    let query = format!(
        "SELECT id, item, orders.quantity, customer, taken_by, stock.quantity AS left, version \
         FROM orders JOIN stock USING (item) WHERE idempotency_key = '{key}'"
    );
    let output = lab.exec(
        &node,
        &[
            "psql",
            "-h",
            &address,
            "-U",
            "orders",
            "-P",
            "footer=off",
            "-c",
            &query,
        ],
    )?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "psql: {}", error.trim());
    Ok(String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned())
}

/// Next to the programs' directory, so that it outlives the lab: `target/journey.pcapng`.
fn capture_file() -> PathBuf {
    let program = std::env::current_exe().unwrap_or_default();
    let target = program.parent().and_then(Path::parent);
    target.unwrap_or(Path::new(".")).join("journey.pcapng")
}

/// Five things worth trying while the lab is up.
fn show_commands(lab: &Lab, end: &str) {
    let run = lab.run();
    let program = std::env::current_exe().unwrap_or_else(|_| "lingyun-lab".into());
    let here = std::env::current_dir().unwrap_or_default();
    let program = program.strip_prefix(here).unwrap_or(&program);
    let lingyun = program.with_file_name("lingyun");
    let (program, lingyun) = (program.display(), lingyun.display());
    let exec = format!("{program} exec --run {run}");
    eprintln!("\nThe lab is up. In another terminal:");
    if let (Some((name, address)), Some(client)) = (lab.shop(), lab.site().lab.clients.first()) {
        let ca = lab.authority();
        eprintln!("  # look into the shop from the {}", client.name);
        eprintln!(
            "  {exec} {} -- curl -sS --cacert {} --resolve {name}:443:{address} https://{name}/stock/{ITEM}",
            client.name,
            ca.display()
        );
    }
    let Some(gateway) = lab.site().topology.gateways.first() else {
        return;
    };
    let name = &gateway.name;
    eprintln!("  # watch a gateway");
    eprintln!(
        "  watch -n1 {lingyun} status --socket {}",
        lab.gateway_socket(name).display()
    );
    let switch = |to: &str| {
        let interfaces = gateway.public.iter().chain(&gateway.underlay);
        let commands = interfaces.map(|interface| format!("ip link set {interface} {to}"));
        commands.collect::<Vec<_>>().join("; ")
    };
    eprintln!("  # cut it off for five seconds: no connection breaks");
    let (down, up) = (switch("down"), switch("up"));
    eprintln!("  {exec} {name} -- sh -c '{down}; sleep 5; {up}'");
    if let Some(floating) = lab.site().topology.floating_ips.first() {
        eprintln!("  # ping a VM by its floating IP");
        eprintln!("  {exec} phone -- ping -c3 {}", floating.ip);
    }
    eprintln!("  # a shell inside any node");
    eprintln!("  {exec} host-a -- bash");
    eprintln!("  # end it: {end}");
}

/// Columns of the terminal.
fn width() -> usize {
    let columns = || comfy_table::Table::new().width().map(usize::from);
    if stdout().is_terminal() {
        columns().unwrap_or(PLAIN_WIDTH)
    } else {
        PLAIN_WIDTH
    }
}

/// Prints, and takes no offence at a reader that has left.
fn print(text: &str) -> Result<()> {
    match writeln!(stdout(), "{text}") {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => Ok(result?),
    }
}
