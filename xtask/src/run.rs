//! `cargo xtask run` and `down`: the lab, or a gateway node on real interfaces; and
//! `docs`, which runs a program of the workspace, too.

use std::{
    io::{IsTerminal, Write, stderr, stdin},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{bpf, build, host, process, setup, ui};

/// Options of `cargo xtask run`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// End after the order instead of staying up.
    #[arg(long, conflicts_with = "node")]
    once: bool,
    /// Print the journey and the result as JSON.
    #[arg(long, conflicts_with = "node")]
    json: bool,
    /// Leave the lab up; `cargo xtask down` tears it down.
    #[arg(long, conflicts_with = "node")]
    keep: bool,
    /// The topology; the lab's own if not given.
    #[arg(long, value_name = "FILE")]
    topology: Option<PathBuf>,
    /// No lab: run this gateway of the topology on this machine's interfaces.
    #[arg(long, value_name = "NAME", requires = "topology")]
    node: Option<String>,
    /// With --node: do not ask before attaching.
    #[arg(long, requires = "node")]
    yes: bool,
}

/// `cargo xtask run`.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if !host::is_root() {
        bail!(
            "network namespaces and BPF need root: type `sudo -E env PATH=\"$PATH\" cargo xtask run`"
        );
    }
    match (&arguments.node, &arguments.topology) {
        (Some(node), Some(topology)) => gateway(topology, node, arguments.yes),
        (_, topology) => lab(arguments, topology.as_deref()),
    }
}

/// `cargo xtask down`.
pub(crate) fn down() -> Result<()> {
    replace_with(Command::new(program(&build::programs()?, "lingyun-lab")?).arg("down"))
}

/// `cargo xtask docs`.
pub(crate) fn docs() -> Result<()> {
    replace_with(&mut Command::new(program(
        &build::programs()?,
        "lingyun-docs",
    )?))
}

fn lab(arguments: &Arguments, topology: Option<&Path>) -> Result<()> {
    build::object(&setup::all()?)?;
    let programs = build::programs()?;
    let mut command = Command::new(program(&programs, "lingyun-lab")?);
    command.arg("run");
    for (given, flag) in [
        (arguments.once, "--once"),
        (arguments.json, "--json"),
        (arguments.keep, "--keep"),
    ] {
        if given {
            command.arg(flag);
        }
    }
    if let Some(topology) = topology {
        command.arg("--topology").arg(topology);
    }
    replace_with(&mut command)
}

fn gateway(topology: &Path, node: &str, yes: bool) -> Result<()> {
    build::object(&bpf::find_or_install()?)?;
    let lingyun = program(&build::release()?, "lingyun")?;
    let mut command = Command::new(&lingyun);
    command
        .arg("run")
        .arg("--topology")
        .arg(topology)
        .args(["--node", node]);
    if !yes {
        show_interfaces(&lingyun, topology, node)?;
        confirm()?;
    }
    replace_with(&mut command)
}

/// Prints the interfaces that the agent will attach to, as they are now.
fn show_interfaces(lingyun: &Path, topology: &Path, node: &str) -> Result<()> {
    let plan = process::output(
        Command::new(lingyun)
            .args(["run", "--dry-run", "--node", node, "--topology"])
            .arg(topology),
    )?;
    ui::note(&format!("\n{node} will attach its XDP program to:"));
    for interface in interfaces(&plan) {
        let now = process::output(
            Command::new("ip").args(["-brief", "address", "show", "dev", interface]),
        )
        .with_context(|| format!("this machine has no interface {interface}"))?;
        ui::note(&format!("  {}", now.trim()));
    }
    ui::note("What is not for the gateway's addresses passes to the kernel, SSH included.");
    Ok(())
}

/// The first word of each line: `eth0 public`.
fn interfaces(plan: &str) -> impl Iterator<Item = &str> {
    plan.lines()
        .filter_map(|line| line.split_whitespace().next())
}

fn confirm() -> Result<()> {
    if !stdin().is_terminal() {
        bail!("nobody is here to confirm: add --yes to attach without asking");
    }
    anstream::eprint!("Attach? [y/N] ");
    stderr().flush()?;
    let mut answer = String::new();
    stdin().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("not attached");
    }
    Ok(())
}

/// One of the programs that were built.
pub(crate) fn program(
    programs: &std::collections::HashMap<String, PathBuf>,
    name: &str,
) -> Result<PathBuf> {
    programs
        .get(name)
        .cloned()
        .with_context(|| format!("the workspace builds no {name}"))
}

/// Becomes the program: signals and the exit code are its own.
pub(crate) fn replace_with(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    Err(command.exec()).with_context(|| format!("cannot start {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_the_first_words_of_the_agents_plan() {
        let plan = "eth0 public\neth1 underlay\n\n";
        assert_eq!(interfaces(plan).collect::<Vec<_>>(), ["eth0", "eth1"]);
    }
}
