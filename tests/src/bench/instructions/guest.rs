//! Outside the counting machine: starts it and reads what it says.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, bail};

use super::{AT, REPORT};
use crate::bench::report::Report;

/// What `cargo xtask` writes of a guest that is ready to be started.
#[derive(Debug, serde::Deserialize)]
struct Start {
    /// The emulator and its arguments; the guest's results are its output.
    command: Vec<String>,
    /// What the guest's kernel says.
    console: PathBuf,
}

/// A started emulator, which does not outlive this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a guest to its end.
pub(super) fn run(file: &Path) -> Result<Report> {
    let text = fs::read_to_string(file)
        .with_context(|| format!("cannot read how to start a guest: {}", file.display()))?;
    let start: Start = serde_json::from_str(&text)
        .with_context(|| format!("{} says nothing of a guest", file.display()))?;
    let (program, words) = start.command.split_first().context("a guest's command")?;
    let child = Command::new(program)
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    let mut running = Running(child);
    let output = running.0.stdout.take().context("the guest's output")?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let bar = indicatif::ProgressBar::new_spinner()
        .with_style(indicatif::ProgressStyle::with_template(
            "{spinner} {prefix} {msg:30} {elapsed}",
        )?)
        .with_prefix(name.into_owned());
    bar.set_message("boot");
    bar.enable_steady_tick(std::time::Duration::from_millis(100));
    let mut said = Vec::new();
    let mut report = None;
    for line in BufReader::new(output).lines() {
        let line = line.context("the guest's output")?;
        if let Some(case) = line.strip_prefix(AT) {
            bar.set_message(case.to_owned());
        } else if let Some(json) = line.strip_prefix(REPORT) {
            report = Some(Report::parse(json)?);
        } else {
            said.push(line);
        }
    }
    bar.finish_and_clear();
    let status = running.0.wait()?;
    match report {
        Some(mut report) if status.success() => {
            report.machine.emulator = Some(emulator(program, words));
            Ok(report)
        }
        _ => bail!(
            "the guest ended with {status}; it said:\n{}\nits kernel's words are in {}",
            said.join("\n"),
            start.console.display()
        ),
    }
}

/// What the emulator calls itself, and how it was told to count.
fn emulator(program: &str, words: &[String]) -> String {
    let version = Command::new(program).arg("--version").output();
    let version = version.map_or_else(
        |_| program.to_owned(),
        |output| String::from_utf8_lossy(&output.stdout).into_owned(),
    );
    let option = |name: &str| {
        let at = words.iter().position(|word| word == name)?;
        Some(format!(" {name} {}", words.get(at + 1)?))
    };
    let mut text = version.lines().next().unwrap_or(program).to_owned();
    text.extend(["-accel", "-cpu", "-icount"].into_iter().filter_map(option));
    text
}
