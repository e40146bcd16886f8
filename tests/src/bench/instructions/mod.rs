//! `bench instructions`: instructions a packet, on kernels that an emulator runs.
//!
//! Nanoseconds differ from machine to machine and from run to run; instructions in an
//! emulated machine do not, so they can have a budget. What they cannot tell is what
//! caches and branches cost: that is `bench program`'s part.
//!
//! `cargo xtask` packs this program into a guest (see `xtask/src/guest/`), where it
//! counts; outside, it starts the guest and makes a table of what it says.

mod budget;
mod counter;
mod guest;
mod measure;
mod table;

use std::path::PathBuf;

use anyhow::{Result, ensure};

use super::report::{Output, Report};
use crate::harness;

pub use budget::{Budget, costs};
pub use measure::measure;

/// What lines of the guest begin with: the case that is next, and the report.
const AT: &str = "at: ";
const REPORT: &str = "report: ";

/// Options of `bench instructions`.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How to start a guest; `cargo xtask bench instructions` writes these files.
    #[arg(long = "guest", value_name = "FILE", hide = true)]
    guests: Vec<PathBuf>,
    /// Write what was counted into tests/instruction-budget.yaml: its diff shows what a
    /// change costs.
    #[arg(long)]
    update_budget: bool,
    #[command(flatten)]
    output: Output,
}

/// Whether this machine was started to count instructions.
pub fn is_counting() -> bool {
    harness::is_guest() && std::env::var_os("LINGYUN_COUNTS").is_some()
}

/// Counts, if this is the guest; otherwise lets guests count, and prints what they say.
pub fn run(arguments: &Arguments) -> Result<()> {
    if is_counting() {
        if let Some(reason) = harness::unavailable() {
            anyhow::bail!("{reason}");
        }
        return measure::print();
    }
    ensure!(
        !arguments.guests.is_empty(),
        "instructions are counted in guests: type `cargo xtask bench instructions`"
    );
    let budget = Budget::read()?;
    let mut report = Report::begin("instructions")?;
    let mut kernels = Vec::new();
    for file in &arguments.guests {
        let guest = guest::run(file)?;
        kernels.push(guest.machine.kernel.clone());
        report.cases.extend(with_budget(&guest, &budget));
        report.machine = guest.machine;
        report.settings = guest.settings;
        report.notes = guest.notes;
    }
    report.machine.kernel = kernels.join(", ");
    if arguments.update_budget {
        budget::write(&report)?;
    }
    arguments.output.write(&report, table::render)
}

/// The guest's cases, each with its kernel, and its budget if it has one.
fn with_budget(guest: &Report, budget: &Budget) -> Vec<super::report::Case> {
    let kernel = &guest.machine.kernel;
    let mut cases = guest.cases.clone();
    for case in &mut cases {
        case.parameters.insert("kernel".into(), kernel.clone());
        if let Some(budget) = budget.of(&case.name, kernel) {
            case.derive("budget", budget);
        }
    }
    cases
}
