//! A program of one instruction that says whether compiler, linker and kernel agree.
//!
//! It needs no core library, so it compiles in a tenth of a second wherever rustc
//! knows the target.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use super::{Rustc, rustc::TARGET};
use crate::process;

const SOURCE: &str = r#"#![feature(no_core, lang_items)]
#![allow(internal_features)]
#![no_core]
#![no_main]
#[lang = "pointee_sized"]
trait PointeeSized {}
#[lang = "meta_sized"]
trait MetaSized: PointeeSized {}
#[lang = "sized"]
trait Sized: MetaSized {}
#[lang = "copy"]
trait Copy {}
/// XDP_PASS.
#[unsafe(no_mangle)]
#[unsafe(link_section = "xdp")]
extern "C" fn trial(_: u64) -> u64 { 2 }
"#;

/// Builds the trial object.
pub(crate) fn object(rustc: &Rustc, linker: &Path) -> Result<PathBuf> {
    let folder = process::root().join("target/xtask");
    fs::create_dir_all(&folder)?;
    let source = folder.join("trial.rs");
    let object = folder.join("trial.o");
    fs::write(&source, SOURCE)?;
    let mut linker_flag = std::ffi::OsString::from("linker=");
    linker_flag.push(linker);
    process::output(
        Command::new(&rustc.rustc)
            .env_remove("RUSTUP_TOOLCHAIN")
            .env_remove("LD_LIBRARY_PATH")
            .env("RUSTC_BOOTSTRAP", "1")
            .args([
                "--edition",
                "2024",
                "--target",
                TARGET,
                "-Cpanic=abort",
                "-Ctarget-cpu=v3",
            ])
            .arg("-C")
            .arg(linker_flag)
            .arg(&source)
            .arg("-o")
            .arg(&object),
    )?;
    Ok(object)
}

/// Whether the linker reads what the compiler writes.
pub(super) fn links(rustc: &Rustc, linker: &Path) -> bool {
    object(rustc, linker).is_ok()
}
