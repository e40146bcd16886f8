//! Network namespaces with names under /run/netns, as `ip netns` knows them.
//!
//! They are entered with setns alone: `ip netns exec` also remounts /sys, which
//! hides the pinned BPF objects.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context, Result, anyhow};
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
};

/// Where names of network namespaces live.
pub(super) const DIRECTORY: &str = "/run/netns";

const NONE: Option<&str> = None;

/// File that stands for the namespace.
pub(super) fn path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name)
}

/// Makes a namespace and runs `setup` in it.
pub(super) fn create(name: &str, setup: impl FnOnce() -> Result<()> + Send) -> Result<()> {
    let file = path(name);
    let work = || -> Result<()> {
        File::create_new(&file).with_context(|| format!("create {}", file.display()))?;
        unshare(CloneFlags::CLONE_NEWNET).context("unshare the network namespace")?;
        mount(
            Some("/proc/thread-self/ns/net"),
            &file,
            NONE,
            MsFlags::MS_BIND,
            NONE,
        )
        .with_context(|| format!("mount {}", file.display()))?;
        setup()
    };
    on_own_thread(work).with_context(|| format!("namespace {name}"))
}

/// Runs `work` inside a namespace, on a thread of its own.
pub(super) fn enter<T: Send>(name: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
    let namespace = open(name)?;
    on_own_thread(|| {
        setns(&namespace, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter namespace {name}"))?;
        Ok(work())
    })
}

/// Opens a namespace, to enter it later.
pub(super) fn open(name: &str) -> Result<File> {
    let file = path(name);
    File::open(&file)
        .with_context(|| format!("namespace {name}: open {} (is the lab up?)", file.display()))
}

/// Takes the name away. The namespace goes with its last process.
pub(super) fn delete(name: &str) -> Result<()> {
    let file = path(name);
    // Not mounted: its maker died between creating the file and mounting.
    match umount2(&file, MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
        Err(error) => return Err(error).with_context(|| format!("unmount {}", file.display())),
    }
    match fs::remove_file(&file) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// Names that start with `prefix`.
pub(super) fn list(prefix: &str) -> Vec<String> {
    let Ok(entries) = fs::read_dir(DIRECTORY) else {
        return Vec::new();
    };
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}

/// Makes /run/netns a shared mount, as `ip netns add` does, so that a name taken
/// away here is gone in every mount namespace.
pub(super) fn prepare() -> Result<()> {
    fs::create_dir_all(DIRECTORY).with_context(|| format!("create {DIRECTORY}"))?;
    let directory = File::open(DIRECTORY).with_context(|| format!("open {DIRECTORY}"))?;
    // Two labs that start at once must not mount it twice.
    directory
        .lock()
        .with_context(|| format!("lock {DIRECTORY}"))?;
    let share = || {
        mount(
            NONE,
            DIRECTORY,
            NONE,
            MsFlags::MS_SHARED | MsFlags::MS_REC,
            NONE,
        )
    };
    if share().is_err() {
        mount(
            Some(DIRECTORY),
            DIRECTORY,
            NONE,
            MsFlags::MS_BIND | MsFlags::MS_REC,
            NONE,
        )
        .with_context(|| format!("bind {DIRECTORY} to itself"))?;
        share().with_context(|| format!("share the mount {DIRECTORY}"))?;
    }
    Ok(())
}

/// A thread that changed its namespace is of no use to others: it ends here.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        scope
            .spawn(work)
            .join()
            .unwrap_or_else(|_| Err(anyhow!("the thread inside panicked")))
    })
}
