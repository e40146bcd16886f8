//! Short-lived tools: `ip`, `ovs-vsctl`, `cp` and their like. They end with us,
//! and carry the run's mark, so that none is overlooked when we are killed.

use std::{
    ffi::OsStr,
    io::Write,
    os::unix::process::CommandExt,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use nix::sys::{prctl, signal::Signal};

use super::{names::RunId, state::MARK};

/// Runs a tool to its end and feeds it its input; what it says when it fails is
/// in the error.
pub(super) fn run(run: &RunId, command: &mut Command, input: &[u8]) -> Result<()> {
    let words = [command.get_program()]
        .into_iter()
        .chain(command.get_args());
    let words: Vec<_> = words.collect();
    let words = words.join(OsStr::new(" ")).to_string_lossy().into_owned();
    let what = || format!("run {words}");
    command.env(MARK, run.to_string());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    // SAFETY: one system call between fork and exec, and no memory is touched.
    unsafe {
        command.pre_exec(|| Ok(prctl::set_pdeathsig(Signal::SIGKILL)?));
    }
    let mut child = command.spawn().with_context(what)?;
    let mut pipe = child.stdin.take().with_context(what)?;
    // One that gave up early says why below.
    let written = pipe.write_all(input);
    drop(pipe);
    let output = child.wait_with_output().with_context(what)?;
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        bail!("{words}: {} {}", output.status, error.trim());
    }
    written.with_context(what)
}

/// Runs a tool that reads a batch of commands from its standard input.
pub(super) fn batch(id: &RunId, argv: &[&str], lines: &[String]) -> Result<()> {
    let (program, arguments) = argv.split_first().context("a tool without a name")?;
    if lines.is_empty() {
        return Ok(());
    }
    let input = lines.join("\n") + "\n";
    run(id, Command::new(program).args(arguments), input.as_bytes()).map_err(|error| {
        // "Command failed -:12" is line 12.
        let text = error.to_string();
        let number = text
            .rsplit("-:")
            .next()
            .and_then(|n| n.trim().parse::<usize>().ok());
        match number.and_then(|number| lines.get(number.checked_sub(1)?)) {
            Some(line) => error.context(line.clone()),
            None => error,
        }
    })
}
