//! Kernels of Debian's archive: found, fetched and unpacked for this user, not installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use super::Series;
use crate::{apt, host, process, ui::Step};

/// What is unpacked: the kernel, and the modules that packet tests could need. All
/// modules would be half a gigabyte.
const UNPACKED: [&str; 6] = [
    "./boot/vmlinuz-*",
    "*/lib/modules/*/modules.*",
    "*/lib/modules/*/kernel/net",
    "*/lib/modules/*/kernel/lib",
    "*/lib/modules/*/kernel/crypto",
    "*/lib/modules/*/kernel/drivers/net/*.ko*",
];

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    /// Its release, as `uname -r` says it.
    pub release: String,
    folder: PathBuf,
}

impl Image {
    /// The newest of a series that was fetched before.
    pub(super) fn cached(series: &Series) -> Result<Option<Self>> {
        let Ok(entries) = fs::read_dir(cache()) else {
            return Ok(None);
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry?.file_name().to_string_lossy().into_owned();
            found.extend(Version::of(&name, series));
        }
        Ok(found.into_iter().max().map(|version| Self {
            folder: cache().join(&version.package),
            release: version.release,
        }))
    }

    /// Fetches the newest of a series that apt knows of, or says why there is none. The
    /// lists may be older than the archive, or empty: then they are renewed, once.
    pub(super) fn fetch(step: &Step, series: &Series) -> Result<Result<Self, String>> {
        if !host::has_apt() {
            return Ok(Err(format!(
                "kernel {series} comes from Debian's archive by apt, and this is {}",
                host::name()
            )));
        }
        let fetched = newest(series)?.map(|version| Self::download(step, &version));
        match fetched {
            Some(Ok(image)) => return Ok(Ok(image)),
            Some(Err(error)) if !host::is_root() => return Err(error),
            _ if host::is_root() => apt::update(step)?,
            _ => {}
        }
        match newest(series)? {
            Some(version) => Self::download(step, &version).map(Ok),
            None => Ok(Err(none(series))),
        }
    }

    fn download(step: &Step, version: &Version) -> Result<Self> {
        step.at(format!("fetching {}", version.package));
        let target = cache().join(&version.package);
        // Another run may fetch the same: each unpacks in a folder of its own.
        let part = cache().join(format!("part-{}", std::process::id()));
        let result = unpack(step, version, &part);
        let moved = result.and_then(|()| match fs::rename(&part, &target) {
            Err(error) if !target.exists() => Err(error.into()),
            _ => Ok(()),
        });
        let _ = fs::remove_dir_all(&part);
        moved.with_context(|| format!("cannot fetch {}", version.package))?;
        Ok(Self {
            release: version.release.clone(),
            folder: target,
        })
    }

    /// What QEMU boots.
    pub(super) fn kernel(&self) -> PathBuf {
        self.folder
            .join("boot")
            .join(format!("vmlinuz-{}", self.release))
    }

    /// The files of these modules and of those that they need, in the order in which
    /// they can be loaded. What is built into the kernel needs none.
    pub(super) fn modules(&self, wanted: &[&str]) -> Result<Vec<PathBuf>> {
        let folder = modules_folder(&self.folder, &self.release);
        let read = |name: &str| {
            let path = folder.join(name);
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
        };
        let order = load_order(&read("modules.dep")?, &read("modules.builtin")?, wanted);
        Ok(order?.into_iter().map(|path| folder.join(path)).collect())
    }
}

fn cache() -> PathBuf {
    host::cache().join("kernels")
}

fn none(series: &Series) -> String {
    format!(
        "the archives of {} have no linux-image-{series}.*-amd64: add Debian's suite that has \
         it to /etc/apt/sources.list.d (6.1: bookworm; 6.12: bookworm-security or trixie)",
        host::name()
    )
}

/// Gets the package and unpacks what is needed of it.
fn unpack(step: &Step, version: &Version, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let mut download = apt::get();
    download
        // The folder is this user's: apt's own user could not write there.
        .args(["-o", "APT::Sandbox::User=root", "download"])
        .arg(&version.package)
        .current_dir(folder);
    process::logged(step, "kernel-download", &mut download)?;
    let package = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .context("apt-get download left no package")?;
    step.at(format!("unpacking {}", version.package));
    let mut files = Command::new("dpkg-deb")
        .arg("--fsys-tarfile")
        .arg(&package)
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start dpkg-deb")?;
    let taken = Command::new("tar")
        .args(["--extract", "--wildcards", "--no-wildcards-match-slash"])
        .args(UNPACKED)
        .current_dir(folder)
        .stdin(files.stdout.take().context("dpkg-deb has no output")?)
        // A pattern that this package has nothing for is no failure.
        .stderr(Stdio::null())
        .status();
    ensure!(files.wait()?.success(), "dpkg-deb cannot read the package");
    taken.context("cannot start tar")?;
    fs::remove_file(package)?;
    // Which module needs which is not in the package: it is found out on installing.
    let mut depmod = Command::new(host::find("depmod").context("no depmod: install kmod")?);
    let base = modules_folder(folder, &version.release);
    let root = base.ancestors().nth(3).context("modules have a folder")?;
    depmod.arg("--basedir").arg(root).arg(&version.release);
    process::logged(step, "kernel-depmod", &mut depmod)?;
    let kernel = folder
        .join("boot")
        .join(format!("vmlinuz-{}", version.release));
    ensure!(kernel.exists(), "the package has no {}", kernel.display());
    Ok(())
}

/// /lib/modules, or /usr/lib/modules where a package has it there.
fn modules_folder(folder: &Path, release: &str) -> PathBuf {
    let [old, new] = ["lib", "usr/lib"].map(|lib| folder.join(lib).join("modules").join(release));
    if old.exists() { old } else { new }
}

/// The newest package of the series that apt's lists name.
fn newest(series: &Series) -> Result<Option<Version>> {
    let pattern = format!("^linux-image-{}\\.", series.to_string().replace('.', "\\."));
    let mut command = Command::new("apt-cache");
    let list = process::output(command.args(["search", "--names-only", &pattern]))?;
    let names = list.lines().filter_map(|line| line.split(' ').next());
    Ok(names.filter_map(|name| Version::of(name, series)).max())
}

/// A package with a kernel, comparable by age. Of one release the signed package is
/// the one that people run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    numbers: Vec<u32>,
    signed: bool,
    package: String,
    release: String,
}

impl Version {
    /// Reads a package's name; none if it is of another series or flavour.
    fn of(package: &str, series: &Series) -> Option<Self> {
        let name = package.strip_prefix("linux-image-")?;
        let release = name.strip_suffix("-unsigned").unwrap_or(name);
        let version = release.strip_suffix("-amd64")?;
        version.strip_prefix(&format!("{series}."))?;
        // The cloud's, the real-time and the debugging kernels say so in words.
        let flavoured = |part: &str| !part.starts_with(|c: char| c.is_ascii_digit());
        if version.split('-').any(flavoured) {
            return None;
        }
        let numbers = version
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect();
        Some(Self {
            numbers,
            signed: release == name,
            package: package.to_owned(),
            release: release.to_owned(),
        })
    }
}

/// Lines of modules.dep: `kernel/a.ko: kernel/b.ko kernel/c.ko`, where c goes first.
fn load_order(dependencies: &str, builtin: &str, wanted: &[&str]) -> Result<Vec<String>> {
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = dependencies.lines().find_map(|line| {
            let (path, needed) = line.split_once(':')?;
            is_module(path, name).then_some((path, needed))
        });
        let Some((path, needed)) = line else {
            if builtin.lines().any(|path| is_module(path, name)) {
                continue;
            }
            bail!("the kernel has no module {name} among what was unpacked of it");
        };
        for path in needed.split_whitespace().rev().chain([path]) {
            if !order.iter().any(|earlier| earlier == path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

/// Whether `kernel/drivers/net/veth.ko.xz` is the module veth.
fn is_module(path: &str, name: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split_once(".ko").is_some_and(|(stem, _)| stem == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newest_of(names: &[&str], series: &str) -> Option<String> {
        let series = series.parse().unwrap();
        let versions = names.iter().filter_map(|name| Version::of(name, &series));
        versions.max().map(|version| version.package)
    }

    #[test]
    fn the_newest_plain_kernel_is_taken() {
        let names = [
            "linux-image-6.1.0-9-amd64",
            "linux-image-6.1.0-56-amd64",
            "linux-image-6.1.0-56-amd64-unsigned",
            "linux-image-6.1.0-57-cloud-amd64",
            "linux-image-6.1.0-57-rt-amd64",
            "linux-image-6.1.0-57-amd64-dbg",
            "linux-image-6.12.100+deb12-amd64",
            "linux-image-6.12.99+deb12-amd64",
            "linux-image-6.12.101+deb12-rt-amd64",
            "linux-image-amd64",
        ];
        let newest = |series| newest_of(&names, series);
        assert_eq!(newest("6.1").as_deref(), Some("linux-image-6.1.0-56-amd64"));
        assert_eq!(
            newest("6.12").as_deref(),
            Some("linux-image-6.12.100+deb12-amd64")
        );
        assert_eq!(newest("6.18"), None);
    }

    #[test]
    fn an_unsigned_kernel_has_the_same_release() {
        let series = "6.12".parse().unwrap();
        let version = Version::of("linux-image-6.12.107+deb12-amd64-unsigned", &series);
        assert_eq!(version.unwrap().release, "6.12.107+deb12-amd64");
    }

    #[test]
    fn what_a_module_needs_is_loaded_before_it() {
        let dependencies = "kernel/net/a.ko.xz: kernel/net/b.ko.xz kernel/lib/c.ko.xz\n\
                            kernel/net/b.ko.xz: kernel/lib/c.ko.xz\nkernel/lib/c.ko.xz:\n";
        let order = |wanted: &[&str]| load_order(dependencies, "kernel/net/d.ko\n", wanted);
        let all = [
            "kernel/lib/c.ko.xz",
            "kernel/net/b.ko.xz",
            "kernel/net/a.ko.xz",
        ];
        assert_eq!(order(&["a"]).unwrap(), all);
        assert_eq!(order(&["b", "d", "a"]).unwrap(), all);
        let error = order(&["e"]).unwrap_err().to_string();
        assert!(error.contains("no module e"), "{error}");
    }
}
