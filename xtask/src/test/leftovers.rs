//! What tests left behind on the machine: namespaces, processes, pins.
//!
//! Other labs may run beside ours, so only what was not there before counts, and
//! a lab that another run's processes live in is theirs.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::RUN_ID;

const NAMESPACES: &str = "/run/netns";
const PINS: &str = "/sys/fs/bpf";
/// Where the lab keeps what each of its runs has made.
const LABS: &str = "/run/lingyun-lab";

/// A machine's namespaces and pins at one time.
pub(crate) struct Before {
    namespaces: BTreeSet<String>,
    pins: BTreeSet<String>,
}

/// Takes stock before the tests.
pub(crate) fn before() -> Before {
    Before {
        namespaces: named(NAMESPACES, "ly"),
        pins: pins(),
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
        let processes = processes(&format!("{RUN_ID}={run_id}"));
        let others = others_labs(&processes);
        let new = |now: BTreeSet<String>, then: &BTreeSet<String>| -> Vec<String> {
            now.into_iter()
                .filter(|name| !then.contains(name))
                .filter(|name| !lab_of(name).is_some_and(|lab| others.contains(lab)))
                .collect()
        };
        let namespaces = new(named(NAMESPACES, "ly"), &self.namespaces);
        let pins = new(pins(), &self.pins);
        processes
            .iter()
            .filter(|process| process.origin == Origin::Ours)
            .map(|process| format!("process {} {}", process.id, process.name))
            .chain(namespaces.iter().map(|name| format!("namespace {name}")))
            .chain(pins.iter().map(|name| format!("pin {PINS}/{name}")))
            .collect()
    }
}

/// The lab that a name tells of: `ly-LAB-NODE`, `lingyun-LAB-NODE/PIN`.
fn lab_of(name: &str) -> Option<&str> {
    let folder = name.split('/').next()?;
    let (_, rest) = folder.split_once('-')?;
    Some(rest.split_once('-').map_or(rest, |(lab, _)| lab))
}

/// Labs whose owner lives, or in which processes live, that this run did not start.
fn others_labs(processes: &[Process]) -> BTreeSet<String> {
    let others = || {
        processes
            .iter()
            .filter(|process| process.origin == Origin::Others)
    };
    let owned = named(LABS, "").into_iter().filter(|lab| {
        let state = fs::read_to_string(Path::new(LABS).join(lab).join("state"));
        let owner = state.ok().and_then(|text| owner(&text));
        others().any(|process| Some(u64::from(process.id)) == owner)
    });
    let lived_in = named(NAMESPACES, "ly").into_iter().filter_map(|name| {
        let inode = fs::metadata(Path::new(NAMESPACES).join(&name)).ok()?.ino();
        let lives = others().any(|process| process.namespace == Some(inode));
        lives.then(|| lab_of(&name).map(str::to_owned))?
    });
    owned.chain(lived_in).collect()
}

/// The process that the first line of a lab's state names.
fn owner(state: &str) -> Option<u64> {
    let first: Value = serde_json::from_str(state.lines().next()?).ok()?;
    first["owner"]["pid"].as_u64()
}

struct Process {
    id: u32,
    name: String,
    namespace: Option<u64>,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// Started by this run: the mark is inherited with the environment.
    Ours,
    /// It has an environment, without the mark.
    Others,
    /// It wrote over its environment, as PostgreSQL does to show its state.
    Unknown,
}

fn origin(environment: &[u8], marker: &str) -> Origin {
    let mut variables = environment.split(|byte| *byte == 0);
    if variables
        .clone()
        .any(|variable| variable == marker.as_bytes())
    {
        Origin::Ours
    } else if variables.any(|variable| variable.starts_with(b"PATH=")) {
        Origin::Others
    } else {
        Origin::Unknown
    }
}

fn processes(marker: &str) -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|id| *id != std::process::id())
        .filter_map(|id: u32| {
            let folder = PathBuf::from(format!("/proc/{id}"));
            // A zombie's reads as empty: it is not left, only not yet reaped.
            let environment = fs::read(folder.join("environ")).ok()?;
            let name = fs::read_to_string(folder.join("comm")).unwrap_or_default();
            let namespace = fs::metadata(folder.join("ns/net")).ok();
            Some(Process {
                id,
                name: name.trim().to_owned(),
                namespace: namespace.map(|meta| meta.ino()),
                origin: origin(&environment, marker),
            })
        })
        .collect()
}

/// Programs, links and maps that a gateway's agent pinned, by path below [`PINS`].
/// A folder without any holds nothing, and may stay.
fn pins() -> BTreeSet<String> {
    let mut pins = BTreeSet::new();
    let mut folders = named(PINS, "lingyun");
    while let Some(folder) = folders.pop_first() {
        for name in named(&format!("{PINS}/{folder}"), "") {
            let path = format!("{folder}/{name}");
            let is_folder = Path::new(PINS).join(&path).is_dir();
            if is_folder { &mut folders } else { &mut pins }.insert(path);
        }
    }
    pins
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
        assert_eq!(origin(environment, "LINGYUN_TEST_RUN=12-3"), Origin::Ours);
        assert_eq!(origin(environment, "LINGYUN_TEST_RUN=12"), Origin::Others);
        assert_eq!(
            origin(b"postgres: writer\0\0", "LINGYUN_TEST_RUN=12"),
            Origin::Unknown
        );
    }

    #[test]
    fn names_tell_their_lab_and_its_state_its_owner() {
        assert_eq!(lab_of("ly-b0zu-shop.web-1"), Some("b0zu"));
        assert_eq!(lab_of("lingyun-b0zu-gw1/link-eth0"), Some("b0zu"));
        assert_eq!(lab_of("lingyun/gw-1/link-eth0"), None);
        assert_eq!(lab_of("lyre"), None);
        assert_eq!(
            owner("{\"owner\":{\"pid\":12,\"start\":3}}\n\"kept\"\n"),
            Some(12)
        );
        assert_eq!(owner(""), None);
    }

    #[test]
    fn a_lab_that_others_live_in_is_theirs() {
        let inside = |origin| {
            let namespace = fs::metadata("/proc/self/ns/net")
                .ok()
                .map(|meta| meta.ino());
            vec![Process {
                id: 0,
                name: String::new(),
                namespace,
                origin,
            }]
        };
        assert!(others_labs(&inside(Origin::Ours)).is_empty());
        assert!(others_labs(&inside(Origin::Unknown)).is_empty());
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
            pins: pins(),
        };
        // The kernel shows a new program's environment a moment after it starts it.
        let deadline = Instant::now() + Duration::from_secs(5);
        let mut left = before.look(&run_id);
        while left.is_empty() && Instant::now() < deadline {
            std::thread::yield_now();
            left = before.look(&run_id);
        }
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
