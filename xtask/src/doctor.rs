//! `cargo xtask doctor`: what this machine has, what it lacks, how to mend it.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    bpf, build, guest, host,
    packages::{self, Package},
    process, ui,
};

/// Options of `cargo xtask doctor`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
}

/// One finding.
struct Check {
    name: &'static str,
    /// What was found, or what is wrong and how to mend it.
    result: Result<String, Problem>,
}

const fn check(name: &'static str, result: Result<String, Problem>) -> Check {
    Check { name, result }
}

struct Problem {
    found: String,
    remedy: String,
}

fn problem(found: impl Into<String>, remedy: impl Into<String>) -> Problem {
    Problem {
        found: found.into(),
        remedy: remedy.into(),
    }
}

/// `cargo xtask doctor`. Whether nothing is missing.
pub(crate) fn doctor(arguments: &Arguments) -> Result<bool> {
    let toolchain = bpf::find();
    let toolchain = toolchain.as_ref();
    let checks = [
        check("system", Ok(system())),
        check("kernel", kernel()),
        check("memory", memory()),
        check("root", root()),
        check("BPF JIT", jit()),
        check("BTF", btf()),
        check("bpffs", bpffs()),
        check("namespaces, XDP", xdp_on_veth(toolchain)),
        check("packages", lab_packages()),
        check("guest kernels", Ok(guest_kernels())),
        check("C compiler", c_compiler()),
        check("rust", rust()),
        check("BPF toolchain", bpf_toolchain(toolchain)),
        check("XDP object", object()),
    ];
    let good = checks.iter().all(|check| check.result.is_ok());
    if arguments.json {
        println!("{:#}", as_json(&checks));
    } else {
        for check in &checks {
            match &check.result {
                Ok(found) => ui::verdict(true, check.name, found),
                Err(Problem { found, remedy }) => {
                    ui::verdict(false, check.name, &format!("{found}: {remedy}"));
                }
            }
        }
    }
    Ok(good)
}

fn as_json(checks: &[Check]) -> serde_json::Value {
    let list: Vec<_> = checks
        .iter()
        .map(|check| match &check.result {
            Ok(found) => json!({ "name": check.name, "ok": true, "found": found }),
            Err(Problem { found, remedy }) => {
                json!({ "name": check.name, "ok": false, "found": found, "remedy": remedy })
            }
        })
        .collect();
    json!({ "ok": checks.iter().all(|check| check.result.is_ok()), "checks": list })
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn system() -> String {
    format!("{}, {}", host::name(), std::env::consts::ARCH)
}

fn kernel() -> Result<String, Problem> {
    let release = read("/proc/sys/kernel/osrelease");
    match version(&release) {
        Some(version) if version >= (6, 1) => Ok(release),
        _ => Err(problem(
            release,
            "Lingyun is tested on 6.1 and later: boot such a kernel",
        )),
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut parts = release.split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

fn memory() -> Result<String, Problem> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mib = total_mib(&read("/proc/meminfo")).unwrap_or(0);
    let found = format!("{cores} cores, {mib} MiB");
    if mib >= 1800 {
        Ok(found)
    } else {
        Err(problem(found, "the build and the lab together want 2 GiB"))
    }
}

fn total_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib / 1024)
}

/// Root in a container may still lack what BPF and namespaces take.
fn root() -> Result<String, Problem> {
    // CAP_NET_ADMIN and CAP_SYS_ADMIN, by their numbers in capability.h.
    const NEEDED: u64 = 1 << 12 | 1 << 21;
    if !host::is_root() {
        return Err(problem(
            "not root",
            "type `sudo -E env PATH=\"$PATH\" cargo xtask doctor`",
        ));
    }
    match capabilities(&read("/proc/self/status")) {
        Some(have) if have & NEEDED == NEEDED => Ok("yes, with its capabilities".into()),
        _ => Err(problem(
            "root without CAP_NET_ADMIN or CAP_SYS_ADMIN",
            "start the container with --privileged",
        )),
    }
}

fn capabilities(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn jit() -> Result<String, Problem> {
    match read("/proc/sys/net/core/bpf_jit_enable").as_str() {
        "1" | "2" => Ok("on".into()),
        "0" => Err(problem("off", "type `sysctl net.core.bpf_jit_enable=1`")),
        _ => Err(problem(
            "unknown",
            "this kernel has no BPF, or its settings cannot be read",
        )),
    }
}

fn btf() -> Result<String, Problem> {
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        Ok("the kernel describes its types".into())
    } else {
        Err(problem("none", "boot a kernel with CONFIG_DEBUG_INFO_BTF"))
    }
}

fn bpffs() -> Result<String, Problem> {
    let mounts = read("/proc/mounts");
    let types = read("/proc/filesystems");
    if mounts
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("bpf"))
    {
        Ok("mounted".into())
    } else if types.lines().any(|line| line.trim_end().ends_with("\tbpf")) {
        Ok("not mounted; Lingyun mounts it when it pins".into())
    } else {
        Err(problem(
            "unknown to this kernel",
            "boot a kernel with CONFIG_BPF_SYSCALL",
        ))
    }
}

/// Makes a namespace with a veth pair, attaches a program of one instruction, and
/// takes it all away again.
fn xdp_on_veth(
    toolchain: Result<&Option<bpf::Toolchain>, &anyhow::Error>,
) -> Result<String, Problem> {
    if !host::is_root() {
        return Err(problem("not tried", "only root can"));
    }
    let name = format!("ly-doctor-{}", std::process::id());
    let ip = |arguments: &[&str]| process::output(Command::new("ip").args(arguments));
    let try_out = || -> Result<String> {
        ip(&["netns", "add", &name]).context("no network namespaces")?;
        ip(&[
            "-n", &name, "link", "add", "one", "type", "veth", "peer", "name", "two",
        ])
        .context("no veth devices")?;
        let Ok(Some(toolchain)) = toolchain else {
            return Ok("namespace and veth work; XDP waits for the toolchain".into());
        };
        let object = bpf::trial_object(&toolchain.rustc, &toolchain.linker.path)?;
        let object = object.to_string_lossy();
        ip(&[
            "-n", &name, "link", "set", "dev", "two", "xdpdrv", "object", &object, "section", "xdp",
        ])
        .context("no native XDP on veth")?;
        Ok("namespace, veth and native XDP on it work".into())
    };
    let result = try_out();
    let _ = Command::new("ip")
        .args(["netns", "del", &name])
        .stderr(Stdio::null())
        .status();
    result.map_err(|error| {
        problem(
            format!("{error:#}"),
            "boot a kernel with VETH, NET_NS and BPF",
        )
    })
}

fn lab_packages() -> Result<String, Problem> {
    let missing = packages::missing(&packages::LAB.iter().collect::<Vec<&Package>>());
    if missing.is_empty() {
        let versions = packages::versions(packages::LAB);
        let list: Vec<_> = versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        return Ok(if list.is_empty() {
            "all found".into()
        } else {
            list.join(", ")
        });
    }
    let list: Vec<_> = missing
        .iter()
        .map(|package| format!("{} ({})", package.names[0], package.why))
        .collect();
    Err(problem(list.join(", "), "type `cargo xtask setup`"))
}

/// Never a problem: only tests want them, and fetch them where they can be had.
fn guest_kernels() -> String {
    guest::found().unwrap_or_else(|missing| format!("{missing}: tests fetch what they can"))
}

fn c_compiler() -> Result<String, Problem> {
    let compiler = host::find("cc").ok_or_else(|| {
        problem(
            "none",
            "install gcc (Debian: apt-get install gcc libc6-dev)",
        )
    })?;
    Ok(compiler.display().to_string())
}

fn rust() -> Result<String, Problem> {
    process::output(process::cargo().arg("--version"))
        .map(|version| version.trim().to_owned())
        .map_err(|error| problem(error.to_string(), "install Rust from https://rustup.rs"))
}

fn bpf_toolchain(
    toolchain: Result<&Option<bpf::Toolchain>, &anyhow::Error>,
) -> Result<String, Problem> {
    match toolchain {
        Ok(Some(toolchain)) => {
            let wide = if toolchain.rustc.misaligned {
                ""
            } else {
                ", no misaligned access"
            };
            Ok(format!("{}{wide}; {}", toolchain.rustc, toolchain.linker))
        }
        Ok(None) if host::is_root() && host::has_apt() => {
            Err(problem("none", "type `cargo xtask setup`"))
        }
        Ok(None) => Err(match bpf::remedy() {
            Ok(remedy) => problem("none", remedy),
            Err(error) => problem("none", format!("{error:#}")),
        }),
        Err(error) => Err(problem(
            format!("{error:#}"),
            "correct the variable or unset it",
        )),
    }
}

fn object() -> Result<String, Problem> {
    let path = build::object_path();
    match fs::metadata(&path) {
        Ok(meta) => Ok(format!("{} KiB", meta.len() / 1024)),
        Err(_) => Err(problem("not built", "type `cargo xtask build`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_versions_are_compared_by_number() {
        assert_eq!(version("6.18.3-cloud-amd64"), Some((6, 18)));
        assert_eq!(version("6.1-rc3"), Some((6, 1)));
        assert!(version("5.15.0").unwrap() < (6, 1));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn memory_and_capabilities_are_read() {
        assert_eq!(
            total_mib("MemTotal:       24616360 kB\nMemFree: 1 kB\n"),
            Some(24039)
        );
        assert_eq!(
            capabilities("Name:\tx\nCapEff:\t000001ffffffffff\n"),
            Some(0x1ff_ffff_ffff)
        );
        assert_eq!(capabilities("Name:\tx\n"), None);
    }

    #[test]
    fn one_missing_thing_makes_the_whole_not_ok() {
        let checks = [
            check("a", Ok("there".into())),
            check("b", Err(problem("none", "type x"))),
        ];
        let value = as_json(&checks);
        assert_eq!(value["ok"], false);
        assert_eq!(value["checks"][1]["remedy"], "type x");
        assert_eq!(as_json(&checks[..1])["ok"], true);
    }
}
