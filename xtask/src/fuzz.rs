//! `cargo xtask fuzz`: set-up, build, then frames that nobody thought of.

use std::process::Command;

use anyhow::{Result, bail};

use crate::{build, host, run, setup};

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// How long and what to try, as `cargo xtask fuzz -- --help` tells.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(arguments: &Arguments) -> Result<()> {
    let host_only = arguments.words.iter().any(|word| word == "--host-only");
    if !host_only && !host::is_root() {
        bail!(
            "BPF needs root: type `sudo -E env PATH=\"$PATH\" cargo xtask fuzz`, or leave the \
             kernel out with --host-only"
        );
    }
    build::object(&setup::all()?)?;
    let program = run::program(&build::programs()?, "lingyun-fuzz")?;
    run::replace_with(Command::new(program).args(&arguments.words))
}
