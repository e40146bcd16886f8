//! Finding or building bpf-linker.
//!
//! It reads the bitcode that rustc writes, so its LLVM must not be older than
//! rustc's. Major versions decide: bitcode is compatible within one.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use super::{Rustc, cache, rustc::major, trial};
use crate::{
    apt, host,
    packages::{self, LLVM, Package},
    process,
    ui::{self, Step},
};

/// The release that is built where none fits.
const VERSION: &str = "0.13.0";

/// A bpf-linker that reads what the chosen rustc writes.
#[derive(Debug)]
pub(crate) struct Linker {
    /// The program.
    pub path: PathBuf,
}

impl fmt::Display for Linker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())
    }
}

impl Linker {
    /// In this order: the one LINGYUN_BPF_LINKER names, one that was built here, one on PATH.
    pub(crate) fn find(rustc: &Rustc) -> Result<Option<Self>> {
        if let Some(path) = env::var_os("LINGYUN_BPF_LINKER").map(PathBuf::from) {
            let path = fs::canonicalize(&path)
                .with_context(|| format!("LINGYUN_BPF_LINKER names {}", path.display()))?;
            return Ok(Some(Self { path }));
        }
        let built = LLVM
            .iter()
            .filter(|(llvm, _)| *llvm >= rustc.llvm)
            .map(|(llvm, _)| built_path(*llvm))
            .find(|path| path.exists() && starts(path));
        let found = || {
            let path = host::find("bpf-linker")?;
            let fits = match linked_llvm(&path) {
                Some(llvm) => llvm >= rustc.llvm,
                // Its LLVM is inside it and has no name: let it show what it can read.
                None => trial::links(rustc, &path),
            };
            fits.then_some(path)
        };
        Ok(built.or_else(found).map(|path| Self { path }))
    }
}

/// Builds a linker for the compiler, once for this user.
pub(crate) fn install(rustc: &Rustc) -> Result<Linker> {
    let step = ui::step("bpf-linker");
    let (llvm, wanted) = source(&step, rustc.llvm)?
        .with_context(|| format!("no LLVM {} or later to build bpf-linker with", rustc.llvm))?;
    if !wanted.is_empty() {
        apt::install(&step, &wanted)?;
    }
    let prefix = llvm_prefix(llvm)
        .with_context(|| format!("LLVM {llvm} is installed, but has no llvm-config"))?;
    let path = built_path(llvm);
    let folder = path.ancestors().nth(2).context("the cache has no folder")?;
    let mut command = process::cargo();
    command
        .args(["install", "bpf-linker", "--version", VERSION, "--locked"])
        .args([
            "--no-default-features",
            "--features",
            &format!("llvm-{llvm}"),
            "--root",
        ])
        .arg(folder)
        .env("LLVM_PREFIX", prefix)
        // LLVM does its work, and comes compiled: the rest need not be fast.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "0")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    process::logged(&step, "bpf-linker", &mut command)?;
    step.done(format!("{VERSION} with LLVM {llvm}, built"));
    Ok(Linker { path })
}

/// The LLVM to build with, and the packages that are missing for it: one that is
/// here before one that must be installed.
pub(super) fn source(step: &Step, at_least: u32) -> Result<Option<(u32, Vec<&'static Package>)>> {
    let fitting = LLVM.iter().filter(|(llvm, _)| *llvm >= at_least);
    if !host::has_apt() {
        let here = fitting
            .map(|(llvm, _)| *llvm)
            .find(|llvm| llvm_prefix(*llvm).is_some());
        return Ok(here.map(|llvm| (llvm, Vec::new())));
    }
    let choices: Vec<_> = fitting
        .map(|(llvm, packages)| {
            let wanted: Vec<_> = packages.iter().chain(packages::LINKER).collect();
            (*llvm, packages::missing(&wanted))
        })
        .collect();
    if let Some(index) = choices.iter().position(|(_, missing)| missing.is_empty()) {
        return Ok(choices.into_iter().nth(index));
    }
    for (llvm, missing) in choices {
        if apt::can_install(step, &missing)? {
            return Ok(Some((llvm, missing)));
        }
    }
    Ok(None)
}

fn llvm_prefix(llvm: u32) -> Option<PathBuf> {
    let debian = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    if debian.join("bin/llvm-config").exists() {
        return Some(debian);
    }
    [format!("llvm-config-{llvm}"), "llvm-config".to_owned()]
        .iter()
        .find_map(|name| {
            let config = host::find(name)?;
            let version = process::output(Command::new(&config).arg("--version")).ok()?;
            let prefix = process::output(Command::new(&config).arg("--prefix")).ok()?;
            (major(&version).ok()? == llvm).then(|| PathBuf::from(prefix.trim()))
        })
}

fn built_path(llvm: u32) -> PathBuf {
    cache().join(format!("bpf-linker-{VERSION}-llvm-{llvm}/bin/bpf-linker"))
}

/// Whether it still starts: its LLVM may have been removed since.
fn starts(path: &Path) -> bool {
    process::output(Command::new(path).arg("--version")).is_ok()
}

/// Major version of the LLVM that it loads, if it is a library of its own.
fn linked_llvm(path: &Path) -> Option<u32> {
    parse_libraries(&process::output(Command::new("ldd").arg(path)).ok()?)
}

fn parse_libraries(text: &str) -> Option<u32> {
    let name = text
        .split_whitespace()
        .find(|word| word.starts_with("libLLVM"))?;
    // libLLVM.so.22.1, libLLVM-17.so.1
    let digits = name
        .trim_start_matches("libLLVM")
        .trim_start_matches("-")
        .trim_start_matches(".so.");
    major(digits).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_linkers_llvm_is_read_from_its_libraries() {
        let text = "\tlinux-vdso.so.1 (0x00007f4b477a4000)\n\
            \tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f4b3e400000)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f4b3e21e000)\n";
        assert_eq!(parse_libraries(text), Some(22));
        assert_eq!(
            parse_libraries("\tlibLLVM-17.so.1 => /usr/lib/x (0x0)\n"),
            Some(17)
        );
        assert_eq!(parse_libraries("\tstatically linked\n"), None);
    }

    #[test]
    fn tools_of_other_versions_lie_elsewhere() {
        assert_ne!(built_path(22), built_path(23));
        assert!(built_path(22).to_string_lossy().contains(VERSION));
    }
}
