//! `cargo xtask test`: formatting, lints, every suite, and what they left behind.

mod budgets;
mod guests;
mod leftovers;
mod suites;
mod summary;

use std::{collections::HashMap, path::PathBuf, process::Stdio};

use anyhow::Result;

pub(crate) use self::guests::files as guest_files;
use self::{guests::Guests, suites::Suite, summary::Counts};
use crate::{bpf, build, guest::Series, host, process, setup, ui};

/// The variable that marks every process of one test run.
pub(crate) const RUN_ID: &str = "LINGYUN_TEST_RUN";

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Formatting, lints and tests that need neither root nor BPF.
    #[arg(long)]
    quick: bool,
    /// Run the fixtures and count instructions in QEMU on Debian's newest kernel of this series: 6.1, 6.12 or
    /// `all`. May be given twice; nothing else is run.
    #[arg(long, value_name = "SERIES", value_parser = Series::named, conflicts_with = "quick")]
    kernel: Vec<Vec<Series>>,
    /// Show the output of every suite.
    #[arg(short, long)]
    verbose: bool,
    /// Run only tests whose names contain this, and neither formatting nor lints.
    filter: Option<String>,
}

impl Arguments {
    /// Whether everything is to be run.
    fn is_whole(&self) -> bool {
        !self.quick && self.kernel.is_empty() && self.filter.is_none()
    }
}

/// `cargo xtask test`. Whether all went well.
pub(crate) fn test(arguments: &Arguments) -> Result<bool> {
    let mut counts = Counts::default();
    let mut skips = Vec::new();
    let guests = Guests::set_up(arguments, &mut skips, &mut counts)?;
    let mut programs = HashMap::new();
    if !arguments.quick {
        programs = prepare(arguments, &mut skips)?;
    }
    if arguments.filter.is_none() && arguments.kernel.is_empty() {
        for check in [FORMAT, LINTS] {
            counts += check.run(&mut skips)?;
        }
    }
    let filter = arguments.filter.as_deref();
    let mut suites = compile(arguments)?;
    let in_guests = guests.suites(filter, &suites, &programs)?;
    if !arguments.kernel.is_empty() {
        suites.clear();
    }
    suites.extend(in_guests);
    suites::sort(&mut suites);
    let before = leftovers::before();
    let run_id = run_id();
    let mut spent = Vec::new();
    for suite in suites {
        let outcome = suite.run(filter, arguments.verbose, &run_id)?;
        counts += outcome.counts;
        skips.extend(outcome.skips);
        spent.extend(outcome.spent);
    }
    for line in budgets::tables(&spent) {
        ui::note(&line);
    }
    let left = before.left_behind(&run_id);
    if !left.is_empty() {
        let step = ui::step("clean end");
        step.failed(format!("left behind: {}", left.join(", ")));
        counts.failed += 1;
    }
    for skip in &skips {
        ui::note(&format!("skipped: {skip}"));
    }
    println!("{counts}");
    Ok(counts.failed == 0)
}

/// Sets up and builds what the suites run. Without root what cannot be installed
/// is no failure: the suites that need it say so, by name.
fn prepare(arguments: &Arguments, skips: &mut Vec<String>) -> Result<HashMap<String, PathBuf>> {
    let toolchain = match arguments.kernel.is_empty() {
        true => setup::all(),
        // The lab does not run in guests.
        false => bpf::find_or_install(),
    };
    match toolchain {
        Ok(toolchain) => build::object(&toolchain)?,
        Err(error) if !host::is_root() => {
            skips.push(format!("set-up: {error:#}"));
        }
        Err(error) => return Err(error),
    }
    build::programs()
}

/// Builds every test program, or what guests run.
fn compile(arguments: &Arguments) -> Result<Vec<Suite>> {
    let mut others = process::cargo();
    others.args(["test", "--no-run", "--workspace", "--exclude", "xtask"]);
    if !arguments.kernel.is_empty() {
        others.args(guests::SUITES.iter().flat_map(|suite| ["--test", suite]));
        let artifacts = build::artifacts("tests", "build-tests", &mut others)?;
        return Ok(suites::found(&artifacts));
    }
    let mut artifacts = build::artifacts("tests", "build-tests", &mut others)?;
    // On its own, as `cargo xtask` builds it: with the features of the others it
    // would be compiled twice.
    let mut own = process::cargo();
    own.args(["test", "--no-run", "--package", "xtask"]);
    artifacts.extend(build::artifacts(
        "tests of xtask",
        "build-tests-xtask",
        &mut own,
    )?);
    let mut suites = suites::found(&artifacts);
    if arguments.quick {
        suites.retain(|suite| !suite.lab);
    }
    suites.extend(suites::documentation());
    Ok(suites)
}

/// A check of the whole source that cargo runs.
struct Check {
    name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    remedy: &'static str,
}

const FORMAT: Check = Check {
    name: "formatting",
    program: "cargo-fmt",
    arguments: &["fmt", "--all", "--check"],
    remedy: "type `rustup component add rustfmt`",
};

const LINTS: Check = Check {
    name: "lints",
    program: "cargo-clippy",
    arguments: &[
        "clippy",
        "--workspace",
        "--all-targets",
        "--",
        "--deny",
        "warnings",
    ],
    remedy: "type `rustup component add clippy`",
};

impl Check {
    /// A failed check is a failure of the run; a passed one is no test.
    fn run(&self, skips: &mut Vec<String>) -> Result<Counts> {
        let step = ui::step(self.name);
        let help = process::cargo()
            .args([self.arguments[0], "--version"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if !help.is_ok_and(|status| status.success()) {
            step.skipped(format!("{} is not installed", self.program));
            skips.push(format!(
                "{}: {} is missing: {}",
                self.name, self.program, self.remedy
            ));
            return Ok(Counts {
                skipped: 1,
                ..Counts::default()
            });
        }
        let mut command = process::cargo();
        command.args(self.arguments);
        match process::logged(&step, &format!("test-{}", self.name), &mut command) {
            Ok(()) => {
                step.done("clean");
                Ok(Counts::default())
            }
            Err(error) => {
                step.print(&format!("{error:#}"));
                step.failed("see above");
                Ok(Counts {
                    failed: 1,
                    ..Counts::default()
                })
            }
        }
    }
}

fn run_id() -> String {
    let since = std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default();
    format!("{}-{}", std::process::id(), since.as_millis())
}
