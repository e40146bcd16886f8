//! What the other commands need: found, or installed.

use anyhow::Result;

use crate::{
    apt,
    bpf::{self, Toolchain},
    guest::{self, Series},
    host,
    packages::{self, Package},
    ui,
};

/// `cargo xtask setup`: all of it, the kernels that only tests boot included. Where
/// those cannot be had, tests leave them out.
pub(crate) fn setup() -> Result<()> {
    all()?;
    for series in Series::all() {
        let step = ui::step(format!("kernel {series}"));
        match guest::set_up(&step, &series)? {
            Ok(image) => step.done(image.release),
            Err(reason) => step.skipped(reason),
        }
    }
    Ok(())
}

/// What building and the lab need.
pub(crate) fn all() -> Result<Toolchain> {
    lab()?;
    bpf::find_or_install()
}

/// The packages that the lab runs.
fn lab() -> Result<()> {
    let step = ui::step("packages");
    let wanted: Vec<&Package> = packages::LAB.iter().collect();
    let missing = packages::missing(&wanted);
    if missing.is_empty() {
        step.done(format!("all {} are there", wanted.len()));
        return Ok(());
    }
    let names = missing
        .iter()
        .map(|package| package.names[0])
        .collect::<Vec<_>>()
        .join(" ");
    apt::install(&step, &missing)?;
    step.done(format!("installed {names} ({})", host::name()));
    Ok(())
}
