//! Finding a rustc that compiles for `bpfel-unknown-none`.
//!
//! In this order: the one that LINGYUN_BPF_RUSTC names, a rustup nightly with the
//! rust-src component, Debian's rustc-web with its ready core library.

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::process;

/// The target of the XDP object. All machines that Lingyun runs on are little-endian.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Lets loads and stores be as wide as the field, whatever its alignment.
const MISALIGNED: &str = "allows-misaligned-mem-access";

/// A compiler, its cargo and what they can do.
#[derive(Debug)]
pub(crate) struct Rustc {
    /// The compiler.
    pub rustc: PathBuf,
    /// The cargo that belongs to it.
    pub cargo: PathBuf,
    /// Release, as in `1.96.0`.
    pub release: String,
    /// Major version of the LLVM it writes bitcode with.
    pub llvm: u32,
    /// Where its core library for BPF comes from.
    pub core: Core,
    /// Whether it knows misaligned memory access.
    pub misaligned: bool,
}

/// A core library for the BPF target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Core {
    /// Comes built.
    Ready,
    /// Cargo builds it from rust-src.
    FromSource,
}

impl Rustc {
    /// Target features that the object is built with.
    pub(crate) fn features(&self) -> Option<String> {
        self.misaligned.then(|| format!("+{MISALIGNED}"))
    }

    fn inspect(rustc: &Path, cargo: &Path) -> Result<Self> {
        let ask = |arguments: &[&str]| {
            process::output(
                Command::new(rustc)
                    .env_remove("RUSTUP_TOOLCHAIN")
                    .env_remove("LD_LIBRARY_PATH")
                    .env("RUSTC_BOOTSTRAP", "1")
                    .args(arguments),
            )
        };
        let version = ask(&["-vV"])?;
        let sysroot = ask(&["--print", "sysroot"])?;
        let core = core_in(Path::new(sysroot.trim())).with_context(|| {
            format!(
                "{} has neither a core library for {TARGET} nor rust-src",
                rustc.display()
            )
        })?;
        let release = field(&version, "release")?.to_owned();
        let llvm = major(field(&version, "LLVM version")?)?;
        let features = ask(&["--print", "target-features", "--target", TARGET])?;
        let misaligned = knows(&features, MISALIGNED);
        let (rustc, cargo) = (rustc.to_path_buf(), cargo.to_path_buf());
        Ok(Self {
            rustc,
            cargo,
            release,
            llvm,
            core,
            misaligned,
        })
    }
}

impl fmt::Display for Rustc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} (LLVM {})",
            self.rustc.display(),
            self.release,
            self.llvm
        )
    }
}

/// Every compiler here that could be used, best first.
pub(crate) fn found() -> Result<Vec<Rustc>> {
    if let Some(rustc) = env::var_os("LINGYUN_BPF_RUSTC").map(PathBuf::from) {
        let cargo = env::var_os("LINGYUN_BPF_CARGO")
            .map_or_else(|| rustc.with_file_name("cargo"), PathBuf::from);
        let rustc = Rustc::inspect(&rustc, &cargo).context("LINGYUN_BPF_RUSTC")?;
        return Ok(vec![rustc]);
    }
    let debian = debian_core().then(|| PathBuf::from("/usr/bin"));
    Ok(nightlies()
        .into_iter()
        .filter(|toolchain| core_in(toolchain).is_some())
        .map(|toolchain| toolchain.join("bin"))
        .chain(debian)
        // One that cannot be asked is as good as none; doctor shows what is left.
        .filter_map(|folder| Rustc::inspect(&folder.join("rustc"), &folder.join("cargo")).ok())
        .collect())
}

/// Whether rustup has a nightly, with rust-src or without.
pub(crate) fn has_nightly() -> bool {
    !nightlies().is_empty()
}

/// Folders of rustup's nightlies, newest first, the undated one before all.
fn nightlies() -> Vec<PathBuf> {
    let home = env::var_os("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".rustup")));
    let Some(home) = home else { return Vec::new() };
    let Ok(entries) = fs::read_dir(home.join("toolchains")) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("nightly"))
        .collect();
    sort_nightlies(&mut names);
    names
        .into_iter()
        .map(|name| home.join("toolchains").join(name))
        .collect()
}

fn sort_nightlies(names: &mut [String]) {
    let dated = |name: &str| name["nightly".len()..].starts_with("-2");
    names.sort_by(|a, b| dated(a).cmp(&dated(b)).then_with(|| b.cmp(a)));
}

fn core_in(sysroot: &Path) -> Option<Core> {
    let rustlib = sysroot.join("lib/rustlib");
    if rustlib.join(TARGET).join("lib").is_dir() {
        Some(Core::Ready)
    } else if rustlib.join("src/rust/library/core").is_dir() {
        Some(Core::FromSource)
    } else {
        None
    }
}

/// Debian's rustc is /usr/bin/rustc; another package's may stand in its place,
/// without the core library.
fn debian_core() -> bool {
    core_in(Path::new("/usr")) == Some(Core::Ready) && Path::new("/usr/bin/cargo").exists()
}

fn field<'a>(version: &'a str, name: &str) -> Result<&'a str> {
    version
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        .with_context(|| format!("`rustc -vV` says no {name}"))
}

/// The major part of a version.
pub(crate) fn major(version: &str) -> Result<u32> {
    match version
        .split('.')
        .next()
        .and_then(|text| text.trim().parse().ok())
    {
        Some(major) => Ok(major),
        None => bail!("`{version}` is no version"),
    }
}

/// Whether the list names the feature as one that rustc or its LLVM knows.
fn knows(features: &str, feature: &str) -> bool {
    features
        .lines()
        .any(|line| line.split_whitespace().next() == Some(feature))
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERSION: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
        binary: rustc\ncommit-date: 2026-05-25\nhost: x86_64-unknown-linux-gnu\n\
        release: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn versions_are_read_from_rustc() {
        assert_eq!(field(VERSION, "release").unwrap(), "1.96.0");
        assert_eq!(major(field(VERSION, "LLVM version").unwrap()).unwrap(), 22);
        assert!(field("rustc 1.0\n", "LLVM version").is_err());
        assert!(major("unknown").is_err());
    }

    #[test]
    fn a_feature_counts_only_as_a_name_of_the_list() {
        let text = "Features supported by rustc for this target:\n    \
            allows-misaligned-mem-access - Allows misaligned memory access.\n    \
            alu32                        - Enable ALU32 instructions.\n";
        assert!(knows(text, MISALIGNED));
        assert!(!knows(
            "    alu32 - not allows-misaligned-mem-access\n",
            MISALIGNED
        ));
    }

    #[test]
    fn the_undated_nightly_comes_first_then_the_newest() {
        let mut names = [
            "nightly-2026-01-01-x",
            "nightly-x86_64",
            "nightly-2026-05-01-x",
        ]
        .map(str::to_owned);
        sort_nightlies(&mut names);
        assert_eq!(
            names,
            [
                "nightly-x86_64",
                "nightly-2026-05-01-x",
                "nightly-2026-01-01-x"
            ]
        );
    }

    #[test]
    fn a_sysroot_without_core_is_not_taken() {
        let sysroot = env::temp_dir().join(format!("lingyun-sysroot-{}", std::process::id()));
        assert_eq!(core_in(&sysroot), None);
        fs::create_dir_all(sysroot.join("lib/rustlib/src/rust/library/core")).unwrap();
        assert_eq!(core_in(&sysroot), Some(Core::FromSource));
        fs::create_dir_all(sysroot.join("lib/rustlib").join(TARGET).join("lib")).unwrap();
        assert_eq!(core_in(&sysroot), Some(Core::Ready));
        fs::remove_dir_all(&sysroot).unwrap();
    }
}
