//! `cargo xtask bench`: set-up, build, then the measurements.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, host, run, setup};

/// Options of `cargo xtask bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure and how, as `lingyun-bench --help` tells.
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        default_value = "program"
    )]
    words: Vec<String>,
}

/// `cargo xtask bench`.
pub(crate) fn bench(arguments: &Arguments) -> Result<()> {
    if !host::is_root() {
        bail!("BPF needs root: type `sudo -E env PATH=\"$PATH\" cargo xtask bench`");
    }
    build::object(&setup::all()?)?;
    let program = run::program(&build::programs()?, "lingyun-bench")?;
    let typed = format!("cargo xtask bench {}", arguments.words.join(" "));
    run::replace_with(
        Command::new(program)
            .args(&arguments.words)
            // The report says how to get it again.
            .env("LINGYUN_COMMAND", typed),
    )
}
