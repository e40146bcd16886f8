//! Other programs: their environment, their output, their logs.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::ui::Step;

/// Lines of a log that an error shows.
const TAIL: usize = 40;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let manifest = env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest.parent().map(Path::to_path_buf).unwrap_or(manifest)
}

/// The file under target/xtask that keeps what a step printed.
pub(crate) fn log_path(name: &str) -> PathBuf {
    root().join("target/xtask").join(format!("{name}.log"))
}

/// The cargo that runs us, with the toolchain its user chose.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    without(&mut command, set_by_cargo_run);
    command
}

/// A program of our own build, as cargo would start it.
pub(crate) fn in_folder(program: &str, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(folder);
    without(&mut command, set_by_cargo_run);
    command
}

/// A cargo of another toolchain: nothing of ours may leak into it.
pub(crate) fn foreign_cargo(cargo: &Path, rustc: &Path) -> Command {
    let mut command = Command::new(cargo);
    command.current_dir(root());
    without(&mut command, |name| {
        set_by_cargo_run(name) || chooses_toolchain(name)
    });
    command.env("RUSTC", rustc);
    command
}

fn without(command: &mut Command, unwanted: impl Fn(&str) -> bool) {
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(&unwanted) {
            command.env_remove(name);
        }
    }
}

/// What `cargo run` tells the program it starts about that program's package.
fn set_by_cargo_run(name: &str) -> bool {
    name.starts_with("CARGO_PKG_")
        || name.starts_with("CARGO_MANIFEST_")
        || name.starts_with("CARGO_BIN_")
        || matches!(
            name,
            "CARGO_PRIMARY_PACKAGE" | "CARGO_CRATE_NAME" | "OUT_DIR"
        )
}

/// What cargo, rustup and their users set to choose a compiler and its flags.
fn chooses_toolchain(name: &str) -> bool {
    name.starts_with("CARGO_BUILD_")
        || name.starts_with("CARGO_TARGET_")
        || name.starts_with("CARGO_PROFILE_")
        || matches!(
            name,
            "CARGO"
                | "CARGO_ENCODED_RUSTFLAGS"
                | "LD_LIBRARY_PATH"
                | "RUSTC"
                | "RUSTC_WORKSPACE_WRAPPER"
                | "RUSTC_WRAPPER"
                | "RUSTDOC"
                | "RUSTFLAGS"
                | "RUSTUP_TOOLCHAIN"
                | "RUST_RECURSION_COUNT"
        )
}

/// Runs a program and returns what it printed to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{name} failed ({}): {}", output.status, message.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a long program: its output goes to a log, its last line into the step's
/// spinner, and the log's tail into the error.
pub(crate) fn logged(step: &Step, log: &str, command: &mut Command) -> Result<()> {
    let path = log_path(log);
    let mut file = create(&path)?;
    let name = command.get_program().to_string_lossy().into_owned();
    let (reader, writer) = std::io::pipe()?;
    let mut child = command
        .stdin(Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .with_context(|| format!("cannot start {name}"))?;
    // The command holds the pipe's other end: without this the reader never ends.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        file.write_all(&line)?;
        step.at(String::from_utf8_lossy(&line).trim());
        line.clear();
    }
    let status = child.wait()?;
    if !status.success() {
        bail!(
            "{name} failed ({status}); the end of {}:\n{}",
            shown(&path),
            tail(&path)?
        );
    }
    Ok(())
}

/// Creates a file and the folders above it.
pub(crate) fn create(path: &Path) -> Result<fs::File> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", shown(folder)))?;
    }
    fs::File::create(path).with_context(|| format!("cannot create {}", shown(path)))
}

/// The last lines of a log.
pub(crate) fn tail(path: &Path) -> Result<String> {
    let text = fs::read(path).with_context(|| format!("cannot read {}", shown(path)))?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    Ok(lines[lines.len().saturating_sub(TAIL)..].join("\n"))
}

/// A path as people read it: from the checkout's root, if it is inside.
pub(crate) fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_toolchain_inherits_no_choice_of_ours() {
        for name in [
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
            "RUSTFLAGS",
            "CARGO",
            "CARGO_TARGET_DIR",
        ] {
            assert!(chooses_toolchain(name), "{name}");
        }
        for name in [
            "CARGO_HOME",
            "RUSTUP_HOME",
            "PATH",
            "HOME",
            "CARGO_NET_OFFLINE",
        ] {
            assert!(
                !chooses_toolchain(name) && !set_by_cargo_run(name),
                "{name}"
            );
        }
    }

    #[test]
    fn our_cargo_forgets_the_package_that_runs_but_not_the_toolchain() {
        assert!(set_by_cargo_run("CARGO_PKG_NAME") && set_by_cargo_run("CARGO_MANIFEST_DIR"));
        assert!(!set_by_cargo_run("RUSTUP_TOOLCHAIN") && !set_by_cargo_run("CARGO_TARGET_DIR"));
    }

    #[test]
    fn a_long_log_is_cut_to_its_end() {
        let path = env::temp_dir().join(format!("lingyun-xtask-{}.log", std::process::id()));
        let text: String = (0..100).map(|line| format!("line {line}\n")).collect();
        fs::write(&path, text).unwrap();
        let end = tail(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(end.lines().count(), TAIL);
        assert!(end.starts_with("line 60") && end.ends_with("line 99"));
    }
}
