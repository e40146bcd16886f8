//! What the other commands need: found, or installed.

use anyhow::Result;

use crate::{
    apt,
    bpf::{self, Toolchain},
    host,
    packages::{self, Package},
    ui,
};

/// All of it.
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
