//! `bench control`: how long the agent takes for a large site, and what it holds.
//!
//! Everything is seen from outside, on the released agent: the file is checked, the
//! agent started in a namespace of its own, a client's frame sent until it comes out
//! of the tunnel's side, and the file changed.

mod agent;
mod memory;
mod node;
mod site;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use self::{agent::Agent, node::Node, site::Scale};
use super::{
    interrupt,
    progress::Progress,
    report::{Case, Output, Report},
    table,
};

/// What the figures mean.
const NOTES: [&str; 6] = [
    "check: `lingyun check` of the file, process included",
    "model and load: computing the tables, and loading programs and maps with them, as the \
     agent itself says",
    "first packet: from the start of the agent's process until a client's frame to the last \
     service came out in a tunnel; the frame was sent every millisecond",
    "change: from the replacement of the file by one in which the service of most backends \
     has one less (or one more) until the agent said that it took it over; tables: the part \
     of it that it spent on computing, writing and reading them back",
    "agent: resident memory and its highest, after the changes",
    "memory of maps: what the kernel holds for all maps that the agent's programs use, as it \
     accounts for them (memlock in fdinfo)",
];

/// What is built.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    released: Released,
    /// A tenth of the site, and one round: for a look, not for a claim.
    #[arg(long, conflicts_with_all = ["vips", "rounds"])]
    quick: bool,
    /// Services.
    #[arg(long, value_name = "N", default_value_t = VIPS)]
    vips: u32,
    /// Backends of each, and instances for each of them.
    #[arg(long, value_name = "N", default_value_t = 10)]
    backends: u32,
    /// Backends of one service more, of which one goes and comes.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    large: u32,
    /// Hosts that the instances live on.
    #[arg(long, value_name = "N", default_value_t = 100)]
    hosts: u32,
    /// How often each is measured.
    #[arg(long, value_name = "N", default_value_t = ROUNDS)]
    rounds: usize,
    #[command(flatten)]
    output: Output,
}

/// What is measured.
#[derive(Clone, Debug, clap::Args)]
pub struct Released {
    /// The released agent; `cargo xtask bench` builds it.
    #[arg(long, value_name = "FILE", hide = true)]
    agent: Option<PathBuf>,
}

impl Released {
    fn agent(&self) -> Result<&Path> {
        let agent = self.agent.as_deref();
        agent.context("the released agent is measured: type `cargo xtask bench control`")
    }
}

const VIPS: u32 = 10_000;
const ROUNDS: usize = 3;

/// Services and rounds.
const fn extent(quick: bool) -> (u32, usize) {
    match quick {
        true => (VIPS / 10, 1),
        false => (VIPS, ROUNDS),
    }
}

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let (vips, rounds) = match arguments.quick {
        true => extent(true),
        false => (arguments.vips, arguments.rounds),
    };
    let scale = Scale {
        vips,
        backends: arguments.backends,
        large: arguments.large,
        hosts: arguments.hosts,
    };
    let report = measure(arguments.released.agent()?, scale, rounds)?;
    arguments.output.write(&report, table::text)
}

/// Measures the site that is measured if nothing else is asked for.
pub fn measure_all(released: &Released, quick: bool) -> Result<Report> {
    let (vips, rounds) = extent(quick);
    let scale = Scale {
        vips,
        backends: 10,
        large: 1_000,
        hosts: 100,
    };
    measure(released.agent()?, scale, rounds)
}

fn measure(agent: &Path, scale: Scale, rounds: usize) -> Result<Report> {
    ensure!(
        scale.large > 1 && scale.large <= scale.instances(),
        "{} backends of one service need as many instances, and there are {}",
        scale.large,
        scale.instances()
    );
    let mut report = Report::begin("control")?;
    report.settings = BTreeMap::from([
        ("rounds".to_owned(), rounds as u64),
        ("services".to_owned(), u64::from(scale.vips) + 1),
        ("backends each".to_owned(), scale.backends.into()),
        ("instances".to_owned(), scale.instances().into()),
        ("hosts".to_owned(), scale.hosts.into()),
        ("backends of the changed one".to_owned(), scale.large.into()),
    ]);
    report.notes = NOTES.map(str::to_owned).into();
    let folder = tempfile::tempdir().context("a folder for the site")?;
    let topology = folder.path().join("site.yaml");
    let mut figures = Figures::default();
    let mut node = Node::new()?;
    let progress = Progress::new(rounds * 3)?;
    for _ in 0..rounds {
        interrupt::check()?;
        fs::write(&topology, scale.text(0)).context("write the site's file")?;
        progress.step("the agent: check");
        figures.add("check", "s", check(agent, &topology)?);
        progress.step("the agent: start");
        let agent = start(
            agent,
            &topology,
            folder.path(),
            scale,
            &mut node,
            &mut figures,
        )?;
        progress.step("the agent: change");
        for without in [1, 0] {
            change(&agent, &topology, &scale.text(without), &mut figures)?;
        }
        for (name, field) in [("agent", "VmRSS"), ("agent, most", "VmHWM")] {
            let bytes = memory::of_process(agent.pid(), field)?;
            figures.add(name, "bytes", bytes as f64);
        }
        let (maps, bytes) = memory::of_maps(agent.pid())?;
        figures.add("maps", "maps", maps as f64);
        figures.add("memory of maps", "bytes", bytes as f64);
        agent.end()?;
    }
    report.cases = figures.cases();
    Ok(report)
}

/// Figures by name, in the order in which they came first.
#[derive(Default)]
struct Figures(Vec<(&'static str, &'static str, Vec<f64>)>);

impl Figures {
    fn add(&mut self, name: &'static str, unit: &'static str, figure: f64) {
        match self.0.iter_mut().find(|(known, ..)| *known == name) {
            Some((.., rounds)) => rounds.push(figure),
            None => self.0.push((name, unit, vec![figure])),
        }
    }

    fn cases(self) -> Vec<Case> {
        let cases = self.0.into_iter();
        cases
            .map(|(name, unit, rounds)| Case::new(name, unit, rounds))
            .collect()
    }
}

fn check(agent: &Path, topology: &Path) -> Result<f64> {
    let start = Instant::now();
    let output = Command::new(agent)
        .arg("check")
        .arg(topology)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", agent.display()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the site is refused:\n{said}");
    Ok(start.elapsed().as_secs_f64())
}

/// Starts the agent and waits for the first packet, and until it has all next hops.
fn start(
    program: &Path,
    topology: &Path,
    folder: &Path,
    scale: Scale,
    node: &mut Node,
    figures: &mut Figures,
) -> Result<Agent> {
    /// The whole node is up by then, or never.
    const LONGEST: Duration = Duration::from_secs(300);
    let begun = Instant::now();
    let agent = Agent::start(program, topology, folder)?;
    while !node.arrived()? {
        interrupt::check()?;
        ensure!(
            begun.elapsed() < LONGEST,
            "no packet came out in {LONGEST:?}"
        );
        node.send(scale.last_vip())?;
        thread::sleep(Duration::from_millis(1));
    }
    figures.add("first packet", "s", begun.elapsed().as_secs_f64());
    agent.says("ready: announcing")?;
    let updates = agent.status()?.updates;
    figures.add("model", "s", updates.start_model_seconds);
    figures.add("load", "s", updates.start_load_seconds);
    Ok(agent)
}

/// Replaces the file as an editor does, and waits until it was taken over.
fn change(agent: &Agent, topology: &Path, text: &str, figures: &mut Figures) -> Result<()> {
    let before = agent.status()?.updates;
    let new = topology.with_extension("new");
    fs::write(&new, text).context("write the changed file")?;
    let begun = Instant::now();
    fs::rename(&new, topology).context("replace the site's file")?;
    let name = topology
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let taken = agent.says(&format!("{name}: "))?;
    let status = agent.status()?;
    ensure!(
        status.reload.ok,
        "the change was refused: {}",
        status.reload.message
    );
    figures.add("change", "s", (taken - begun).as_secs_f64());
    figures.add("change, tables", "s", status.updates.last_seconds);
    let writes = status.updates.writes - before.writes;
    figures.add("change, entries written", "entries", writes as f64);
    Ok(())
}
