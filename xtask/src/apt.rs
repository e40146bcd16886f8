//! Installing Debian packages and nothing else: no service starts, now or at boot.

use std::{
    collections::HashSet,
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering::Relaxed},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use crate::{
    host,
    packages::{self, Package},
    process,
    ui::Step,
};

/// Debian's question "may this service start?" goes to this script, if it exists.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const POLICY_SCRIPT: &str =
    "#!/bin/sh\n# Written by Lingyun's set-up, for as long as it runs.\nexit 101\n";

/// Installs the packages, or says in one sentence why not.
pub(crate) fn install(step: &Step, wanted: &[&Package]) -> Result<()> {
    let first_names = || {
        wanted
            .iter()
            .map(|package| package.names[0])
            .collect::<Vec<_>>()
            .join(" ")
    };
    if !host::has_apt() {
        bail!(
            "missing: {}; packages are installed with apt only, and this is {}: install what brings these programs: {}",
            first_names(),
            host::name(),
            wanted
                .iter()
                .map(|package| package.program)
                .collect::<Vec<_>>()
                .join(" ")
        );
    }
    if !host::is_root() {
        bail!(
            "missing: {}; only root can install them: type `sudo apt-get install --no-install-recommends {}`",
            first_names(),
            first_names()
        );
    }
    let names = available(step, wanted)?.map_err(|package| {
        anyhow::anyhow!(
            "the archives of {} have no package {} ({}): add a suite that has it to /etc/apt/sources.list.d",
            host::name(),
            package.names.join(" or "),
            package.why
        )
    })?;
    step.at(format!("installing {}", names.join(" ")));
    let guard = NoServices::start()?;
    let mut command = get();
    command
        .args(["install", "--yes", "--no-install-recommends"])
        .args(&names);
    let result = process::logged(step, "apt-install", &mut command);
    drop(guard);
    disable_services(wanted);
    result
}

/// Whether `install` would find all of these.
pub(crate) fn can_install(step: &Step, wanted: &[&Package]) -> Result<bool> {
    Ok(host::is_root() && host::has_apt() && available(step, wanted)?.is_ok())
}

/// The names to install, or the first package that no archive has. Archives are
/// asked anew only when something is missing, and once.
fn available<'a>(
    step: &Step,
    wanted: &[&'a Package],
) -> Result<Result<Vec<&'static str>, &'a Package>> {
    let names = choose(wanted, &packages::candidates(wanted)?);
    if names.is_ok() {
        return Ok(names);
    }
    update(step)?;
    Ok(choose(wanted, &packages::candidates(wanted)?))
}

/// Renews apt's lists, once in a run.
pub(crate) fn update(step: &Step) -> Result<()> {
    static UPDATED: AtomicBool = AtomicBool::new(false);
    if UPDATED.swap(true, Relaxed) {
        return Ok(());
    }
    step.at("apt-get update");
    process::logged(step, "apt-update", get().arg("update"))
}

/// The name to install for each package, or the first package that has none.
fn choose<'a>(
    wanted: &[&'a Package],
    candidates: &HashSet<String>,
) -> Result<Vec<&'static str>, &'a Package> {
    wanted
        .iter()
        .map(|package| {
            package
                .names
                .iter()
                .copied()
                .find(|name| candidates.contains(*name))
                .ok_or(*package)
        })
        .collect()
}

/// An apt-get that asks nothing.
pub(crate) fn get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C.UTF-8")
        .args(["-o", "DPkg::Lock::Timeout=120", "-o", "Dpkg::Use-Pty=0"]);
    command
}

/// What a package enables for the next boot is disabled again, where an init
/// system would heed it. Best effort: a package without that service is no error.
fn disable_services(installed: &[&Package]) {
    let services: Vec<_> = installed
        .iter()
        .flat_map(|package| package.services)
        .collect();
    if services.is_empty() || host::find("systemctl").is_none() {
        return;
    }
    for service in services {
        let _ = Command::new("systemctl")
            .args(["disable", "--quiet", service])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
    }
}

/// While this lives, packages may not start services.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn start() -> Result<Self> {
        // One that a killed run left behind is ours to use and to remove.
        let ours = match fs::read_to_string(POLICY) {
            Ok(text) => text == POLICY_SCRIPT,
            Err(_) => !Path::new(POLICY).exists(),
        };
        if ours {
            stay_on_interrupt()?;
            fs::write(POLICY, POLICY_SCRIPT)
                .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("cannot write {POLICY}"))?;
        }
        Ok(Self { ours })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = fs::remove_file(POLICY);
        }
    }
}

/// Ctrl-C ends apt, which hears it too; we stay to tidy up, and end on its failure.
fn stay_on_interrupt() -> Result<()> {
    extern "C" fn stay(_: i32) {}
    let action = SigAction::new(
        SigHandler::Handler(stay),
        SaFlags::SA_RESTART,
        SigSet::empty(),
    );
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        // SAFETY: the handler does nothing, so there is nothing it could do wrong.
        unsafe { sigaction(signal, &action) }?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packages::{LAB, RUSTC};

    fn named(names: &[&str]) -> HashSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn the_first_name_that_can_be_had_is_chosen() {
        let database: Vec<_> = LAB
            .iter()
            .filter(|package| package.program == "initdb")
            .collect();
        let chosen = choose(&database, &named(&["postgresql", "postgresql-17"]));
        assert_eq!(chosen.unwrap(), ["postgresql-17"]);
    }

    #[test]
    fn a_package_that_cannot_be_had_is_named() {
        let wanted: Vec<_> = RUSTC.iter().collect();
        let refused = choose(&wanted, &named(&["rustc-web", "cargo-web"])).unwrap_err();
        assert_eq!(refused.names, ["libstd-rust-web-dev-bpf"]);
    }
}
