//! Building: first the XDP object, then the programs that embed it.

use std::{
    collections::HashMap,
    env, fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    bpf::{self, Core, Toolchain},
    process, ui,
};

/// Options of `cargo xtask build`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Build the gateway with all optimisations, as it runs on real nodes.
    #[arg(long)]
    release: bool,
}

/// `cargo xtask build`.
pub(crate) fn build(arguments: &Arguments) -> Result<()> {
    object(&bpf::find_or_install()?)?;
    let programs = if arguments.release {
        release()?
    } else {
        programs()?
    };
    for name in ["lingyun", "lingyun-lab"] {
        if let Some(path) = programs.get(name) {
            ui::note(&format!("         {}", process::shown(path)));
        }
    }
    Ok(())
}

/// Names a finished object, which is then not built.
const OBJECT: &str = "LINGYUN_BPF_OBJECT";

/// Builds the XDP object, or takes the one that LINGYUN_BPF_OBJECT names.
pub(crate) fn object(toolchain: &Toolchain) -> Result<()> {
    let step = ui::step("XDP object");
    let path = object_path();
    if env::var_os(OBJECT).is_some() {
        let size = fs::metadata(&path)
            .with_context(|| format!("LINGYUN_BPF_OBJECT names {}", path.display()))?
            .len();
        step.done(format!("{} as given, {} KiB", path.display(), size / 1024));
        return Ok(());
    }
    let target = process::root().join("target/bpf");
    let mut command = process::foreign_cargo(&toolchain.rustc.cargo, &toolchain.rustc.rustc);
    command
        // The gateway's object, and the one that measures it.
        .args(["build", "--package", "gateway-ebpf", "--bins"])
        .args(["--target", bpf::TARGET, "--profile", "bpf"])
        // Both the core library from source and the target's features need it.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_TARGET_DIR", &target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(toolchain).join("\x1f"));
    if toolchain.rustc.core == Core::FromSource {
        command.arg("-Zbuild-std=core");
    }
    // rustc warns that the misaligned-access feature is unstable, which no flag
    // silences: it goes to the log with all else.
    process::logged(&step, "bpf-build", &mut command)?;
    let size = fs::metadata(path)?.len();
    let note = if toolchain.rustc.misaligned {
        ""
    } else {
        ", byte by byte (old LLVM)"
    };
    step.done(format!("{} KiB{note}", size / 1024));
    Ok(())
}

/// Where the XDP object is, or will be.
pub(crate) fn object_path() -> PathBuf {
    let built = || {
        process::root()
            .join("target/bpf")
            .join(bpf::TARGET)
            .join("bpf/gateway-ebpf")
    };
    env::var_os(OBJECT).map_or_else(built, PathBuf::from)
}

fn flags(toolchain: &Toolchain) -> Vec<String> {
    let mut flags = vec![
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", toolchain.linker.path.display()),
        "-Ctarget-cpu=v3".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        // aya reads registers of the machine that the object runs on.
        format!("--cfg=bpf_target_arch=\"{}\"", env::consts::ARCH),
    ];
    flags.extend(
        toolchain
            .rustc
            .features()
            .map(|features| format!("-Ctarget-feature={features}")),
    );
    flags
}

/// Builds every program as the lab and the tests use it.
pub(crate) fn programs() -> Result<HashMap<String, PathBuf>> {
    let mut command = process::cargo();
    // Not xtask: with the others' features it would be a second xtask.
    command.args(["build", "--workspace", "--exclude", "xtask", "--bins"]);
    Ok(executables(&artifacts("programs", "build", &mut command)?))
}

/// Builds the gateway as it runs on real nodes.
pub(crate) fn release() -> Result<HashMap<String, PathBuf>> {
    let mut command = process::cargo();
    command.args(["build", "--release", "--package", "gateway-user"]);
    Ok(executables(&artifacts(
        "programs (release)",
        "build-release",
        &mut command,
    )?))
}

/// Runs a cargo that builds, with progress, and returns what it says it built.
pub(crate) fn artifacts(label: &str, log: &str, command: &mut Command) -> Result<Vec<Value>> {
    let step = ui::step(label);
    let path = process::log_path(log);
    let mut child = command
        .arg("--message-format=json-render-diagnostics")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(process::create(&path)?)
        .spawn()
        .context("cannot start cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    let mut artifacts = Vec::new();
    let mut compiled = 0;
    for line in BufReader::new(stdout).lines() {
        let Ok(message) = serde_json::from_str::<Value>(&line?) else {
            continue;
        };
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if message["fresh"] == false {
            compiled += 1;
            let name = message["target"]["name"].as_str().unwrap_or_default();
            step.at(format!("{compiled} compiled, {name}"));
        }
        artifacts.push(message);
    }
    if !child.wait()?.success() {
        drop(step);
        bail!(
            "the build failed:\n{}",
            fs::read_to_string(&path)?.trim_end()
        );
    }
    step.done(match compiled {
        0 => "up to date".to_owned(),
        _ => format!("{compiled} crates compiled"),
    });
    Ok(artifacts)
}

/// Programs among the artifacts, by name.
fn executables(artifacts: &[Value]) -> HashMap<String, PathBuf> {
    artifacts
        .iter()
        .filter_map(|artifact| {
            let name = artifact["target"]["name"].as_str()?;
            let path = artifact["executable"].as_str()?;
            Some((name.to_owned(), PathBuf::from(path)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bpf::{Linker, Rustc};

    fn toolchain(misaligned: bool) -> Toolchain {
        Toolchain {
            rustc: Rustc {
                rustc: "/usr/bin/rustc".into(),
                cargo: "/usr/bin/cargo".into(),
                release: "1.96.0".into(),
                llvm: 22,
                core: Core::Ready,
                misaligned,
            },
            linker: Linker {
                path: "/a folder/bpf-linker".into(),
            },
        }
    }

    #[test]
    fn misaligned_access_is_asked_for_only_where_it_is_known() {
        let asked = |misaligned| {
            flags(&toolchain(misaligned))
                .iter()
                .any(|flag| flag.contains("misaligned"))
        };
        assert!(asked(true));
        assert!(!asked(false));
    }

    #[test]
    fn a_linker_in_a_folder_with_a_space_is_one_flag() {
        let flags = flags(&toolchain(true));
        assert!(flags.contains(&"-Clinker=/a folder/bpf-linker".to_owned()));
    }

    #[test]
    fn programs_are_read_from_cargos_messages() {
        let artifacts = [
            serde_json::json!({ "target": { "name": "lingyun" }, "executable": "/t/lingyun" }),
            serde_json::json!({ "target": { "name": "anyhow" }, "executable": null }),
        ];
        let programs = executables(&artifacts);
        assert_eq!(programs.len(), 1);
        assert_eq!(programs["lingyun"], PathBuf::from("/t/lingyun"));
    }
}
