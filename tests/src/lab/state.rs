//! What a run has made, on disk: whoever comes after a killed owner can take it
//! all away, and nobody touches what belongs to a living one.
//!
//! Each run has a directory. Its file `state` starts with the owner and grows by
//! a line for each thing *before* (processes: right after) it comes to be. A
//! process or namespace that is missing there is still found by its namespace's
//! prefix, so an owner may be killed between any two system calls.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::{
    names::{self, RunId},
    ns,
    process::{Identity, of_run},
};

/// Where runs have their directories.
pub const ROOT: &str = "/run/lingyun-lab";

/// Environment variable of every process of a lab: the run's id.
pub const MARK: &str = "LINGYUN_LAB";

const FILE: &str = "state";

/// One line of the state file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry {
    /// Who tears the lab down. Always the first line.
    Owner(Identity),
    /// The owner left on purpose; the lab stays until it is taken down by name.
    Kept,
    /// A namespace.
    Namespace(String),
    /// A file or directory outside the run's directory.
    File(PathBuf),
    /// A process.
    Process {
        /// Name for people.
        name: String,
        /// Which one.
        identity: Identity,
    },
}

/// What a run is to somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Standing {
    /// Its owner lives.
    Live,
    /// Its owner left it up on purpose.
    Kept,
    /// Its owner died without tearing it down.
    Stale,
}

/// A run's directory, seen from its owner.
#[derive(Debug)]
pub struct RunDir {
    /// The run.
    pub run: RunId,
    path: PathBuf,
}

impl RunDir {
    /// Makes the directory of a new run. From here on this process owns the run.
    pub fn claim(run: RunId) -> Result<Self> {
        let owner = Identity::own()?;
        // Built aside and moved: a run's directory never exists without an owner.
        let aside = Path::new(ROOT).join(format!(".new-{run}-{}-{}", owner.pid, owner.start));
        let path = directory(&run);
        fs::create_dir_all(&aside).with_context(|| format!("create {}", aside.display()))?;
        append(&aside.join(FILE), &Entry::Owner(owner))?;
        if let Err(error) = fs::rename(&aside, &path) {
            fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))?;
            return Err(error).with_context(|| {
                format!("there is a lab `{run}` already: `lingyun-lab down --run {run}` removes it")
            });
        }
        Ok(Self { run, path })
    }

    /// The directory: logs, sockets, configurations.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes down what is made.
    pub fn record(&self, entry: &Entry) -> Result<()> {
        append(&self.path.join(FILE), entry)
    }
}

fn directory(run: &RunId) -> PathBuf {
    Path::new(ROOT).join(run.to_string())
}

fn append(file: &Path, entry: &Entry) -> Result<()> {
    let mut line = serde_json::to_vec(entry)?;
    line.push(b'\n');
    OpenOptions::new()
        .create(true)
        .append(true)
        .open(file)
        .and_then(|mut file| file.write_all(&line))
        .with_context(|| format!("write {}", file.display()))
}

/// A run, seen from outside.
#[derive(Debug)]
pub struct Found {
    /// The run.
    pub run: RunId,
    /// Whether somebody looks after it.
    pub standing: Standing,
    /// Its owner, dead or alive.
    pub owner: Identity,
    /// How long it has been there.
    pub age: Duration,
    entries: Vec<Entry>,
}

/// All runs of this machine.
pub fn list() -> Vec<Found> {
    let Ok(directories) = fs::read_dir(ROOT) else {
        return Vec::new();
    };
    let names = directories.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<_> = names.filter_map(|name| look(name.parse().ok()?)).collect();
    found.sort_by_key(|found| found.run.to_string());
    found
}

/// The run with this id.
pub fn find(run: &RunId) -> Result<Found> {
    look(run.clone()).with_context(|| format!("there is no lab `{run}` (`lingyun-lab list`)"))
}

fn look(run: RunId) -> Option<Found> {
    let path = directory(&run).join(FILE);
    let text = fs::read_to_string(&path).ok()?;
    // The last line may be cut off where its writer was killed.
    let entries: Vec<Entry> = text
        .lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect();
    let Some(&Entry::Owner(owner)) = entries.first() else {
        return None;
    };
    let standing = if entries.contains(&Entry::Kept) {
        Standing::Kept
    } else if owner.is_alive() {
        Standing::Live
    } else {
        Standing::Stale
    };
    let born = fs::metadata(&path)
        .and_then(|meta| meta.created())
        .unwrap_or(SystemTime::now());
    let age = born.elapsed().unwrap_or_default();
    Some(Found {
        run,
        standing,
        owner,
        age,
        entries,
    })
}

/// Removes every lab whose owner died; gives their ids.
pub fn remove_stale() -> Result<Vec<RunId>> {
    for aside in unfinished() {
        fs::remove_dir_all(&aside).with_context(|| format!("remove {}", aside.display()))?;
    }
    let mut removed = Vec::new();
    for found in list() {
        if found.standing == Standing::Stale && remove(&found)? {
            removed.push(found.run);
        }
    }
    Ok(removed)
}

/// Directories whose maker died before it could give them their name.
fn unfinished() -> Vec<PathBuf> {
    let dead = |name: &str| {
        let mut parts = name.strip_prefix(".new-")?.split('-').skip(1);
        let pid = parts.next()?.parse().ok()?;
        let start = parts.next()?.parse().ok()?;
        (!Identity { pid, start }.is_alive()).then(|| Path::new(ROOT).join(name))
    };
    let entries = fs::read_dir(ROOT).into_iter().flatten();
    entries
        .filter_map(|entry| dead(entry.ok()?.file_name().to_str()?))
        .collect()
}

/// Removes everything that a run has made, its directory last. False when somebody
/// else has removed it meanwhile.
///
/// The caller has made sure that the run's owner is dead, gone, or itself.
pub fn remove(found: &Found) -> Result<bool> {
    let directory = directory(&found.run);
    let file = directory.join(FILE);
    let Ok(state) = File::open(&file) else {
        return Ok(false);
    };
    let what = || format!("lock {}", file.display());
    state.lock().with_context(what)?;
    // Gone while we waited for the lock; there may even be a new lab of that name.
    if state.metadata().with_context(what)?.nlink() == 0 {
        return Ok(false);
    }
    end_processes(found)?;
    for name in ns::list(&found.run.prefix()) {
        ns::delete(&name)?;
    }
    for entry in &found.entries {
        if let Entry::File(path) = entry {
            remove_tree(path)?;
        }
    }
    remove_tree(&directory)?;
    Ok(true)
}

/// Kills the recorded processes, and all that carry the run's mark or live in its
/// namespaces: what its owner did not get to write down, and shells opened there.
fn end_processes(found: &Found) -> Result<()> {
    let own = std::process::id() as i32;
    let recorded = found.entries.iter().filter_map(|entry| match entry {
        Entry::Process { identity, .. } => Some(*identity),
        _ => None,
    });
    let recorded: Vec<_> = recorded.collect();
    let limit = Instant::now() + Duration::from_secs(5);
    loop {
        let names = ns::list(&found.run.prefix()).into_iter();
        let files = names.filter_map(|name| fs::metadata(ns::path(&name)).ok());
        let namespaces: Vec<_> = files.map(|meta| (meta.dev(), meta.ino())).collect();
        let mut living = of_run(&found.run, &namespaces);
        living.extend(recorded.iter().filter(|process| process.is_alive()));
        living.retain(|process| process.pid != own);
        if living.is_empty() {
            return Ok(());
        }
        if Instant::now() > limit {
            bail!("lab {}: {living:?} survived SIGKILL for 5 s", found.run);
        }
        for process in living {
            process.signal(Signal::SIGKILL);
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn remove_tree(path: &Path) -> Result<()> {
    let gone = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match gone {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Everything of a run that can still be found on this machine, one line each.
pub fn traces(run: &RunId) -> Vec<String> {
    let directory = directory(run);
    let directories = directory.exists().then(|| directory.display().to_string());
    let namespaces = ns::list(&run.prefix()).into_iter();
    let processes = of_run(run, &[]).into_iter().map(|process| {
        let name = fs::read_to_string(format!("/proc/{}/comm", process.pid));
        format!(
            "process {} {}",
            process.pid,
            name.unwrap_or_default().trim_end()
        )
    });
    let pins = fs::read_dir(names::BPFFS)
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let name = entry.ok()?.file_name().into_string().ok()?;
            name.starts_with(&run.pin_prefix())
                .then(|| format!("{}/{name}", names::BPFFS))
        });
    let namespaces = namespaces.map(|name| format!("namespace {name}"));
    directories
        .into_iter()
        .chain(namespaces)
        .chain(processes)
        .chain(pins)
        .collect()
}
