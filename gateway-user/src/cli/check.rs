//! `lingyun check`: everything that is wrong with a topology file, at once.

use std::{
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context;
use serde::Serialize;

use crate::config::{self, Problem, Severity, Topology};

/// Checks topology files and says how to mend them.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER_HELP)]
pub struct Args {
    /// Topology files to check.
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Print one JSON array with an object per file: `file`, `sound`, and `problems` with
    /// `severity`, `line`, `column`, `what` and `hint`.
    #[arg(long)]
    pub json: bool,
}

const AFTER_HELP: &str = "\
Exit codes:
  0  every file is sound (there may be warnings)
  1  a file has errors
  2  a file could not be read, or the command line is wrong

Examples:
  lingyun check topologies/minimal.yaml
  lingyun check --json site.yaml | jq '.[].problems[].what'";

/// The worst that was met; its number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Verdict {
    /// Every file can be used.
    Sound = 0,
    /// A file has errors.
    Broken = 1,
    /// A file could not be read.
    Unreadable = 2,
}

/// Runs the command on the terminal.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let (verdict, printed) = check(args, &mut anstream::stdout().lock());
    match printed {
        // Whoever reads us may stop at the first problem (`| head`).
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        printed => printed.context("cannot write the result")?,
    }
    Ok(ExitCode::from(verdict as u8))
}

/// Runs the command with the output going elsewhere: what was found, and whether it
/// could be written.
pub fn check(args: &Args, out: &mut impl Write) -> (Verdict, io::Result<()>) {
    let files: Vec<_> = args.files.iter().map(|path| File::check(path)).collect();
    let worst = files.iter().map(|file| file.verdict).max();
    let printed = match args.json {
        true => print_json(&files, out),
        false => files.iter().try_for_each(|file| file.print(out)),
    };
    (worst.unwrap_or(Verdict::Sound), printed)
}

fn print_json(files: &[File], out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, files)?;
    writeln!(out)
}

/// What was found in one file.
#[derive(Debug, Serialize)]
struct File {
    file: String,
    sound: bool,
    problems: Vec<Problem>,
    #[serde(skip)]
    verdict: Verdict,
    #[serde(skip)]
    text: String,
    #[serde(skip)]
    topology: Option<Topology>,
}

impl File {
    fn check(path: &Path) -> Self {
        let file = path.display().to_string();
        let mut found = Self {
            file: file.clone(),
            sound: false,
            problems: Vec::new(),
            verdict: Verdict::Broken,
            text: String::new(),
            topology: None,
        };
        let parsed = config::read_text(path).and_then(|text| {
            found.text = text;
            config::parse(&file, &found.text)
        });
        match parsed {
            Ok(loaded) => {
                found.sound = true;
                found.verdict = Verdict::Sound;
                found.problems = loaded.warnings;
                found.topology = Some(loaded.topology);
            }
            Err(report) => {
                if report.is_unreadable() {
                    found.verdict = Verdict::Unreadable;
                }
                found.problems = report.problems;
            }
        }
        found
    }

    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        write!(
            out,
            "{}",
            config::pretty(&self.file, &self.text, &self.problems)
        )?;
        let count = |severity| {
            self.problems
                .iter()
                .filter(|p| p.severity == severity)
                .count()
        };
        let warnings = match count(Severity::Warning) {
            0 => String::new(),
            n => format!(", {}", counted(n, "warning")),
        };
        match &self.topology {
            Some(topology) => {
                writeln!(out, "{}: sound{warnings}", self.file)?;
                summarise(topology, out)
            }
            None => {
                let errors = counted(count(Severity::Error), "error");
                writeln!(out, "{}: {errors}{warnings}", self.file)
            }
        }
    }
}

/// What a file describes, in a few lines.
fn summarise(topology: &Topology, out: &mut impl Write) -> io::Result<()> {
    let names = |names: Vec<&str>| names.join(", ");
    let gateways = topology
        .gateways
        .iter()
        .map(|gateway| gateway.name.as_str())
        .collect();
    row(out, topology.gateways.len(), "gateway", &names(gateways))?;
    let hosts = topology
        .hosts
        .iter()
        .map(|host| host.name.as_str())
        .collect();
    row(out, topology.hosts.len(), "host", &names(hosts))?;
    for vpc in &topology.vpcs {
        let subnets = counted(vpc.subnets.len(), "subnet");
        let instances = counted(vpc.instances.len(), "instance");
        writeln!(
            out,
            "  VPC {}: VNI {}, {subnets}, {instances}",
            vpc.name, vpc.vni
        )?;
    }
    for service in &topology.load_balancers {
        let backends = counted(service.backends.len(), "backend");
        let config::LoadBalancer {
            name,
            vip,
            protocol,
            port,
            ..
        } = service;
        writeln!(
            out,
            "  load balancer {name}: {vip} {protocol}/{port} -> {backends}"
        )?;
    }
    for floating in &topology.floating_ips {
        let (vpc, vm) = (
            &topology.vpcs[floating.instance.vpc],
            topology.instance(floating.instance),
        );
        writeln!(
            out,
            "  floating IP {} <-> {}/{} ({})",
            floating.ip,
            vpc.name,
            vm.name,
            topology.behind(floating.ip, floating.instance)
        )?;
    }
    Ok(())
}

/// Names may be many: the line is cut so that it stays one.
fn row(out: &mut impl Write, count: usize, noun: &str, names: &str) -> io::Result<()> {
    const WIDTH: usize = 60;
    let names = match names.char_indices().nth(WIDTH) {
        Some((end, _)) => format!("{}...", &names[..end]),
        None => names.to_owned(),
    };
    writeln!(out, "  {}: {names}", counted(count, noun))
}

fn counted(count: usize, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}
