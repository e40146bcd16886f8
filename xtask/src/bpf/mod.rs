//! The toolchain of the XDP object: a rustc with a core library for BPF, and bpf-linker.

mod linker;
mod rustc;
mod trial;

use std::path::PathBuf;

use anyhow::{Result, bail};

pub(crate) use linker::Linker;
pub(crate) use rustc::{Core, Rustc, TARGET};
pub(crate) use trial::object as trial_object;

use crate::{
    apt, host,
    packages::{self, Package},
    ui,
};

/// Both halves; the linker reads what the compiler writes.
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler.
    pub rustc: Rustc,
    /// The linker.
    pub linker: Linker,
}

/// What is there already: for each compiler that could be used, its linker.
pub(crate) fn find() -> Result<Option<Toolchain>> {
    for rustc in rustc::found()? {
        if let Some(linker) = Linker::find(&rustc)? {
            return Ok(Some(Toolchain { rustc, linker }));
        }
    }
    Ok(None)
}

/// Finds the toolchain, or installs what it lacks.
pub(crate) fn find_or_install() -> Result<Toolchain> {
    let step = ui::step("BPF toolchain");
    if let Some(found) = find()? {
        step.done(format!("{}; {}", found.rustc, found.linker));
        return Ok(found);
    }
    let mut rustc = buildable(&step)?;
    if rustc.is_none() && debian_has_rustc(&step)? {
        apt::install(
            &step,
            &packages::missing(&packages::RUSTC.iter().collect::<Vec<_>>()),
        )?;
        rustc = buildable(&step)?;
    }
    let Some(rustc) = rustc else {
        bail!("{}", remedy()?)
    };
    step.done(&rustc);
    let linker = match Linker::find(&rustc)? {
        Some(linker) => linker,
        None => linker::install(&rustc)?,
    };
    Ok(Toolchain { rustc, linker })
}

/// The best compiler that has a linker, or can be given one.
fn buildable(step: &ui::Step) -> Result<Option<Rustc>> {
    for rustc in rustc::found()? {
        if Linker::find(&rustc)?.is_some() || linker::source(step, rustc.llvm)?.is_some() {
            return Ok(Some(rustc));
        }
    }
    Ok(None)
}

fn debian_has_rustc(step: &ui::Step) -> Result<bool> {
    let missing = packages::missing(&packages::RUSTC.iter().collect::<Vec<&Package>>());
    Ok(!missing.is_empty() && apt::can_install(step, &missing)?)
}

/// What to do where the toolchain can neither be found nor installed.
pub(crate) fn remedy() -> Result<String> {
    Ok(match rustc::found()?.first() {
        Some(rustc) => format!(
            "no bpf-linker here reads the LLVM {} bitcode of {}, and no LLVM to build one from \
             can be installed: install bpf-linker and name it in LINGYUN_BPF_LINKER",
            rustc.llvm,
            rustc.rustc.display()
        ),
        None if rustc::has_nightly() => "no rustc here has a core library for BPF: type \
             `rustup component add rust-src --toolchain nightly`"
            .into(),
        None => "no rustc here has a core library for BPF: type \
             `rustup toolchain install nightly --component rust-src`"
            .into(),
    })
}

/// Folder of the tools that we build.
fn cache() -> PathBuf {
    host::cache().join("tools")
}
