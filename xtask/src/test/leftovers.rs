//! What tests left behind on the machine: namespaces, processes, pins.
//!
//! Other labs may run beside ours, so only what was not there before counts, and
//! what another run's processes live in is theirs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::RUN_ID;

const NAMESPACES: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf";

/// A machine's namespaces and pins at one time.
pub(crate) struct Before {
    namespaces: BTreeSet<String>,
    pins: BTreeSet<String>,
}

/// Takes stock before the tests.
pub(crate) fn before() -> Before {
    Before {
        namespaces: named(NAMESPACES, "ly"),
        pins: named(PINS, "l"),
    }
}

impl Before {
    /// What there is now that was not there then, each with its kind. What is still
    /// ending is given a moment.
    pub(crate) fn left_behind(&self, run_id: &str) -> Vec<String> {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let left = self.look(run_id);
            if left.is_empty() || Instant::now() > deadline {
                return left;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn look(&self, run_id: &str) -> Vec<String> {
        let marker = format!("{RUN_ID}={run_id}");
        let processes = processes(marker.as_bytes());
        let new = |now: BTreeSet<String>, then: &BTreeSet<String>| -> Vec<String> {
            now.difference(then).cloned().collect()
        };
        let namespaces = new(named(NAMESPACES, "ly"), &self.namespaces)
            .into_iter()
            .filter(|name| !is_anothers(name, &processes))
            .map(|name| format!("namespace {name}"));
        let pins = new(named(PINS, "l"), &self.pins)
            .into_iter()
            .map(|name| format!("pin {PINS}/{name}"));
        processes
            .iter()
            .filter(|process| process.ours)
            .map(|process| format!("process {} {}", process.id, process.name))
            .chain(namespaces)
            .chain(pins)
            .collect()
    }
}

/// Whether a process that is not ours lives in the namespace.
fn is_anothers(name: &str, processes: &[Process]) -> bool {
    let Ok(inode) = fs::metadata(Path::new(NAMESPACES).join(name)).map(|meta| meta.ino()) else {
        return false;
    };
    let mut inside = processes
        .iter()
        .filter(|process| process.namespace == Some(inode));
    inside.any(|process| !process.ours)
}

struct Process {
    id: u32,
    name: String,
    namespace: Option<u64>,
    /// Whether it was started by this run: the mark is inherited with the environment.
    ours: bool,
}

fn processes(marker: &[u8]) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| *id != std::process::id())
        .filter_map(|id: u32| {
            let folder = PathBuf::from(format!("/proc/{id}"));
            // A zombie has no environment: it is not left, only not yet reaped.
            let environment = fs::read(folder.join("environ")).ok()?;
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            Some(Process {
                id,
                name: name.trim().to_owned(),
                namespace: fs::metadata(folder.join("ns/net"))
                    .ok()
                    .map(|meta| meta.ino()),
                ours: has_variable(&environment, marker),
            })
        })
        .collect()
}

fn has_variable(environment: &[u8], variable: &[u8]) -> bool {
    environment
        .split(|byte| *byte == 0)
        .any(|entry| entry == variable)
}

/// Names in a folder that start so.
fn named(folder: &str, prefix: &str) -> BTreeSet<String> {
    fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ours_by_the_whole_variable() {
        let environment = b"PATH=/bin\0LINGYUN_TEST_RUN=12-3\0HOME=/\0";
        assert!(has_variable(environment, b"LINGYUN_TEST_RUN=12-3"));
        assert!(!has_variable(environment, b"LINGYUN_TEST_RUN=12"));
    }

    #[test]
    fn a_process_that_outlives_its_test_is_found() {
        let run_id = format!("unit-{}", std::process::id());
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .env(RUN_ID, &run_id)
            .spawn()
            .unwrap();
        let before = Before {
            namespaces: named(NAMESPACES, "ly"),
            pins: named(PINS, "l"),
        };
        let left = before.look(&run_id);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(
            left.contains(&format!("process {} sleep", child.id())),
            "{left:?}"
        );
        let after = before.look(&run_id);
        assert!(
            !after.iter().any(|left| left.starts_with("process")),
            "{after:?}"
        );
    }
}
