//! What every bench writes: one format, so that plots, budgets and pages read them all.
//!
//! A report says what was measured, where, on which commit and by which command; a
//! figure without these cannot be checked by anybody else.

use std::{collections::BTreeMap, fs, io::Write, path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Raised when a reader of older reports would misunderstand newer ones.
const FORMAT: u32 = 1;

/// One run of one bench.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u32,
    /// Which bench: `program`, `wire`, `latency`, `instructions`, `control`.
    pub bench: String,
    /// What somebody types to measure the same.
    pub command: String,
    /// What was measured; ends in `-dirty` where files differed from the commit.
    pub commit: String,
    /// Seconds since 1970 when the report was begun.
    pub begun: u64,
    /// Where.
    pub machine: Machine,
    /// What is the same for all cases, such as the packets of a round.
    pub settings: BTreeMap<String, u64>,
    /// What is counted and what is taken off, in sentences.
    pub notes: Vec<String>,
    /// In the order measured.
    pub cases: Vec<Case>,
}

/// What figures depend on.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Machine {
    /// The processor, as the kernel names it.
    pub processor: String,
    /// How many of them.
    pub processors: usize,
    /// Memory that the kernel has.
    pub memory_mib: u64,
    /// The kernel's release.
    pub kernel: String,
    /// What the kernel does against Spectre V2: it decides what an indirect call costs.
    pub spectre_v2: String,
    /// What pretends to be this machine, if it is no real one.
    pub emulator: Option<String>,
    /// Processes that wanted to run when the measurement began, on average of the minute
    /// before.
    #[serde(default)]
    pub load: f64,
}

/// One thing that was measured.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Case {
    /// What people call it.
    pub name: String,
    /// Flows in random order, where that means something.
    pub flows: Option<usize>,
    /// What else tells this case from others of the same name, such as the kernel.
    #[serde(default)]
    pub parameters: BTreeMap<String, String>,
    /// Of `rounds`, `least` and `median`: `ns/packet`, `instructions/packet`,
    /// `packets/s`, `s`, `bytes`.
    pub unit: String,
    /// The figure of each round.
    pub rounds: Vec<f64>,
    /// Least of the rounds.
    pub least: f64,
    /// The middle round.
    pub median: f64,
    /// What follows from this case and others of the run, such as the cost without
    /// the generator and its ratio to a floor.
    #[serde(default)]
    pub derived: BTreeMap<String, f64>,
}

/// Options that all benches have.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Output {
    /// Print JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    /// Write the JSON to this file besides.
    #[arg(long, value_name = "FILE")]
    pub save: Option<PathBuf>,
}

impl Report {
    /// An empty one, of this machine.
    pub fn begin(bench: &str) -> Result<Self> {
        Ok(Self {
            format: FORMAT,
            bench: bench.to_owned(),
            command: command(),
            commit: commit().unwrap_or_else(|| "unknown".into()),
            begun: std::time::SystemTime::UNIX_EPOCH.elapsed()?.as_secs(),
            machine: Machine::this()?,
            settings: BTreeMap::new(),
            notes: Vec::new(),
            cases: Vec::new(),
        })
    }

    /// The case of that name and number of flows.
    pub fn case(&self, name: &str, flows: Option<usize>) -> Option<&Case> {
        self.cases
            .iter()
            .find(|case| case.name == name && case.flows == flows)
    }

    /// Reads one that was written.
    pub fn parse(text: &str) -> Result<Self> {
        let report: Self = serde_json::from_str(text).context("this is no report of a bench")?;
        ensure!(
            report.format == FORMAT,
            "the report has format {}, this program reads {FORMAT}: measure again",
            report.format
        );
        Ok(report)
    }
}

impl Case {
    /// A case of at least one round.
    pub fn new(name: impl Into<String>, unit: &str, rounds: Vec<f64>) -> Self {
        Self {
            name: name.into(),
            flows: None,
            parameters: BTreeMap::new(),
            unit: unit.to_owned(),
            least: least(&rounds),
            median: median(&rounds),
            rounds,
            derived: BTreeMap::new(),
        }
    }

    /// With so many flows.
    pub fn of_flows(mut self, flows: usize) -> Self {
        self.flows = Some(flows);
        self
    }

    /// With a word that tells it from others.
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.parameters.insert(name.to_owned(), value.into());
        self
    }

    /// With a figure that follows from this and others.
    pub fn derive(&mut self, name: &str, value: f64) {
        self.derived.insert(name.to_owned(), value);
    }
}

impl Output {
    /// Prints the report, as JSON or as the table that `render` makes.
    pub fn write(&self, report: &Report, render: impl Fn(&Report) -> String) -> Result<()> {
        let json = serde_json::to_string_pretty(report)?;
        if let Some(path) = &self.save {
            fs::write(path, format!("{json}\n"))
                .with_context(|| format!("cannot write {}", path.display()))?;
        }
        let text = if self.json { json } else { render(report) };
        writeln!(std::io::stdout(), "{text}").context("cannot print the report")
    }
}

impl Machine {
    /// The one that this runs on.
    pub fn this() -> Result<Self> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        let spectre = fs::read_to_string("/sys/devices/system/cpu/vulnerabilities/spectre_v2");
        let release = nix::sys::utsname::uname()?.release().display().to_string();
        Ok(Self {
            processor: field(&processors, "model name").unwrap_or("unknown").into(),
            processors: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib.unwrap_or(0_u64) / 1024,
            kernel: release,
            spectre_v2: spectre.map_or_else(|_| "unknown".into(), |text| text.trim().into()),
            emulator: None,
            load: load().unwrap_or_default(),
        })
    }
}

impl Machine {
    /// What is to be said where the machine had other things to do.
    pub fn caveat(&self) -> Option<String> {
        let is_busy = self.emulator.is_none() && self.load > self.processors as f64 / 2.0;
        is_busy.then(|| {
            format!(
                "The machine was busy with other things (load average {:.1}): do not quote these \
                 figures.",
                self.load
            )
        })
    }
}

fn load() -> Option<f64> {
    let text = fs::read_to_string("/proc/loadavg").ok()?;
    text.split(' ').next()?.parse().ok()
}

/// The least of all rounds: what the machine can do when nothing else disturbs it.
pub fn least(rounds: &[f64]) -> f64 {
    rounds.iter().copied().fold(f64::MAX, f64::min)
}

/// The middle round.
pub fn median(rounds: &[f64]) -> f64 {
    let mut rounds = rounds.to_vec();
    rounds.sort_by(f64::total_cmp);
    rounds.get(rounds.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What was typed: `cargo xtask bench` says so, since it starts another program.
fn command() -> String {
    std::env::var("LINGYUN_COMMAND")
        .unwrap_or_else(|_| std::env::args().collect::<Vec<_>>().join(" "))
}

fn commit() -> Option<String> {
    let git = Command::new("git")
        .args(["describe", "--always", "--dirty", "--exclude=*"])
        .args(["--abbrev=12"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .ok()?;
    let said = String::from_utf8(git.stdout).ok()?;
    git.status.success().then(|| said.trim().to_owned())
}

/// `name : value` of a file in /proc.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_as_it_was_written() {
        let mut report = Report::begin("program").unwrap();
        let mut case = Case::new("VIP", "ns/packet", vec![3.0, 1.0, 2.0]).of_flows(64);
        case.derive("cost", 0.5);
        report.cases.push(case.with("kernel", "6.12"));
        let text = serde_json::to_string(&report).unwrap();
        assert_eq!(Report::parse(&text).unwrap(), report);
        let case = report.case("VIP", Some(64)).unwrap();
        assert_eq!((case.least, case.median), (1.0, 2.0));
        assert!(report.case("VIP", None).is_none());
    }

    #[test]
    fn another_format_is_refused() {
        let report = Report {
            format: FORMAT + 1,
            ..Report::begin("program").unwrap()
        };
        let text = serde_json::to_string(&report).unwrap();
        let error = Report::parse(&text).unwrap_err().to_string();
        assert!(error.contains("measure again"), "{error}");
    }

    #[test]
    fn the_machine_is_known() {
        let machine = Machine::this().unwrap();
        assert!(machine.processors > 0 && machine.memory_mib > 0);
        assert!(!machine.kernel.is_empty());
        let busy = Machine {
            load: machine.processors as f64,
            ..machine
        };
        assert!(busy.caveat().is_some());
        assert_eq!(Machine { load: 0.0, ..busy }.caveat(), None);
    }

    #[test]
    fn fields_of_proc_are_found() {
        let text = "processor\t: 0\nmodel name\t: Some CPU: fast\n";
        assert_eq!(field(text, "model name"), Some("Some CPU: fast"));
        assert_eq!(field(text, "flags"), None);
    }
}
