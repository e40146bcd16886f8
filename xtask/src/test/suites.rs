//! The test programs: found in what cargo built, put in order, run one by one.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::Value;

use super::{
    budgets::Spent,
    summary::{Counts, Reader},
};
use crate::{guest::Machine, process, ui};

/// No suite takes this long unless it hangs.
const LIMIT: Duration = Duration::from_secs(600);

/// Nor does a guest, emulation and boot included.
const GUEST_LIMIT: Duration = Duration::from_secs(1_200);

/// One test program.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Suite {
    /// Package and target, as people call it.
    pub name: String,
    /// Whether it needs the lab: namespaces, the kernel's BPF, other programs.
    pub lab: bool,
    rank: usize,
    command: Vec<String>,
    folder: PathBuf,
    /// What its machine's kernel says, if it runs in a guest.
    console: Option<PathBuf>,
}

/// How a suite ended.
pub(crate) struct Outcome {
    /// Its counts.
    pub counts: Counts,
    /// Its skipped tests, as `suite: test: reason`.
    pub skips: Vec<String>,
    /// What it said of what has a budget.
    pub spent: Vec<Spent>,
}

/// The suites among cargo's artifacts, quick ones first.
pub(crate) fn found(artifacts: &[Value]) -> Vec<Suite> {
    let mut suites: Vec<_> = artifacts.iter().filter_map(suite).collect();
    sort(&mut suites);
    suites.dedup();
    suites
}

/// Puts those first that tell soonest what is wrong.
pub(crate) fn sort(suites: &mut [Suite]) {
    suites.sort_by(|a, b| (a.rank, &a.name).cmp(&(b.rank, &b.name)));
}

fn suite(artifact: &Value) -> Option<Suite> {
    if artifact["profile"]["test"] != true {
        return None;
    }
    let executable = artifact["executable"].as_str()?;
    let target = artifact["target"]["name"].as_str()?;
    let kind = artifact["target"]["kind"][0].as_str()?;
    let folder = Path::new(artifact["manifest_path"].as_str()?).parent()?;
    let package = package_name(artifact["package_id"].as_str()?, folder)?;
    let lab = package == "gateway-tests" && kind == "test";
    let name = match kind {
        "test" | "bin" => format!("{package}/{target}"),
        _ => package,
    };
    let rank = match (lab, kind) {
        (false, "test") => 1,
        (false, _) => 0,
        (true, _) => 2 + slowness(target),
    };
    Some(Suite {
        name,
        lab,
        rank,
        command: vec![executable.to_owned(), "--show-output".to_owned()],
        folder: folder.to_path_buf(),
        console: None,
    })
}

/// Those that run packets through the loaded program take a moment; those that
/// bring up the lab take seconds; those that wait for a gateway to die, longest.
fn slowness(target: &str) -> usize {
    const SLOW_LAST: [&str; 7] = [
        "stages",
        "fixtures",
        "instructions",
        "tools",
        "order",
        "lab",
        "e2e",
    ];
    let unknown = SLOW_LAST.len() - 1;
    SLOW_LAST
        .iter()
        .position(|name| *name == target)
        .unwrap_or(unknown)
}

/// `path+file:///checkout/xtask#0.1.0` or `path+file:///checkout/tests#gateway-tests@0.1.0`
fn package_name(id: &str, folder: &Path) -> Option<String> {
    let (_, fragment) = id.rsplit_once('#')?;
    match fragment.split_once('@') {
        Some((name, _)) => Some(name.to_owned()),
        None => Some(folder.file_name()?.to_str()?.to_owned()),
    }
}

/// The documentation's examples, if there are any: without, rustdoc would still
/// take longer than all the unit tests.
pub(crate) fn documentation() -> Option<Suite> {
    let crates = ["gateway-common", "gateway-ebpf", "gateway-user", "tests"];
    let root = process::root();
    if !crates
        .iter()
        .any(|name| has_examples(&root.join(name).join("src")))
    {
        return None;
    }
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let arguments = [
        "test",
        "--quiet",
        "--doc",
        "--workspace",
        "--exclude",
        "xtask",
        "--",
    ];
    Some(Suite {
        name: "documentation".into(),
        lab: false,
        rank: 1,
        command: std::iter::once(cargo)
            .chain(arguments.map(str::to_owned))
            .collect(),
        folder: root,
        console: None,
    })
}

fn has_examples(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else {
        return false;
    };
    entries.flatten().map(|entry| entry.path()).any(|path| {
        if path.is_dir() {
            return has_examples(&path);
        }
        let source = fs::read_to_string(&path).unwrap_or_default();
        source.lines().map(str::trim_start).any(is_fence)
    })
}

/// Opens or closes a block of code in documentation.
fn is_fence(line: &str) -> bool {
    let text = line
        .strip_prefix("///")
        .or_else(|| line.strip_prefix("//!"));
    text.is_some_and(|text| text.trim_start().starts_with("```"))
}

impl Suite {
    /// One that runs inside a machine of its own.
    pub(crate) fn of_guest(name: String, machine: Machine, folder: PathBuf) -> Self {
        Self {
            name,
            lab: true,
            rank: 2 + slowness("fixtures"),
            command: machine.command,
            folder,
            console: Some(machine.console),
        }
    }

    /// The test program's file.
    pub(crate) fn program(&self) -> &Path {
        Path::new(&self.command[0])
    }

    fn limit(&self) -> Duration {
        if self.console.is_some() {
            GUEST_LIMIT
        } else {
            LIMIT
        }
    }

    /// Runs it. Its output goes to a log, to the terminal if asked or on failure.
    pub(crate) fn run(&self, filter: Option<&str>, verbose: bool, run_id: &str) -> Result<Outcome> {
        let step = ui::step(&self.name);
        let log = process::log_path(&format!("test-{}", self.name.replace('/', "-")));
        let mut file = process::create(&log)?;
        let (reader, writer) = std::io::pipe()?;
        let mut child = {
            let mut command = process::in_folder(&self.command[0], &self.folder);
            command
                .args(&self.command[1..])
                // A guest's suite has its arguments inside.
                .args(filter.filter(|_| self.console.is_none()))
                .env("CARGO_MANIFEST_DIR", &self.folder)
                .env(super::RUN_ID, run_id)
                .stdin(Stdio::null())
                .stdout(writer.try_clone()?)
                .stderr(writer);
            command
                .spawn()
                .with_context(|| format!("cannot start {}", self.command[0]))?
        };
        let watchdog = Watchdog::start(child.id(), self.limit());
        let mut output = Reader::default();
        let mut reader = BufReader::new(reader);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 {
            file.write_all(&line)?;
            let text = String::from_utf8_lossy(&line);
            if let Some(progress) = output.line(&text) {
                step.at(progress);
            }
            if verbose {
                step.print(text.trim_end());
            } else if let Some(measured) = measurement(&text) {
                step.print(&format!("     {measured}"));
            }
            line.clear();
        }
        let status = child.wait()?;
        let hung = watchdog.stop();
        let counts = output.finish(status.success());
        let skips = output
            .skips()
            .map(|(test, why)| format!("{}: {test}: {why}", self.name))
            .collect();
        if counts.failed > 0 {
            if !verbose {
                step.print(&fs::read_to_string(&log).unwrap_or_default());
            }
            if let Some(console) = &self.console {
                let end = process::tail(console)?;
                step.print(&format!("the end of {}:\n{end}", process::shown(console)));
            }
            let hung = if hung { ", hung and was ended" } else { "" };
            step.failed(format!(
                "{counts} ({status}{hung}); {}",
                process::shown(&log)
            ));
        } else if counts.total() == 0 {
            step.hide();
        } else if counts.passed == 0 {
            step.skipped(counts);
        } else if counts.skipped > 0 {
            step.done(format!(
                "{} passed, {} skipped",
                counts.passed, counts.skipped
            ));
        } else {
            step.done(format!("{} passed", counts.passed));
        }
        let spent = output.spent().to_vec();
        Ok(Outcome {
            counts,
            skips,
            spent,
        })
    }
}

/// What a test measured and wants people to see, whatever else it prints. It may
/// stand behind the test's name, whose line is not finished yet.
fn measurement(line: &str) -> Option<&str> {
    let start = line.find("measured: ")?;
    Some(line[start..].trim_end())
}

/// Ends a suite that hangs, so that a run without a person still ends with a summary.
struct Watchdog {
    stop: std::sync::mpsc::Sender<()>,
    thread: std::thread::JoinHandle<bool>,
}

impl Watchdog {
    fn start(process: u32, limit: Duration) -> Self {
        let (stop, stopped) = std::sync::mpsc::channel();
        let deadline = Instant::now() + limit;
        let thread = std::thread::spawn(move || {
            let hung = stopped.recv_timeout(deadline - Instant::now()).is_err();
            if hung {
                let process = nix::unistd::Pid::from_raw(process.cast_signed());
                let _ = nix::sys::signal::kill(process, nix::sys::signal::Signal::SIGKILL);
            }
            hung
        });
        Self { stop, thread }
    }

    /// Whether it had to end the suite.
    fn stop(self) -> bool {
        let _ = self.stop.send(());
        self.thread.join().unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn artifact(package: &str, kind: &str, target: &str, test: bool) -> Value {
        json!({
            "package_id": format!("path+file:///checkout/{package}#0.1.0"),
            "manifest_path": format!("/checkout/{package}/Cargo.toml"),
            "target": { "name": target, "kind": [kind] },
            "profile": { "test": test },
            "executable": format!("/target/{target}"),
        })
    }

    #[test]
    fn only_test_programs_are_suites() {
        assert!(suite(&artifact("gateway-user", "bin", "lingyun", false)).is_none());
        let unit = suite(&artifact("gateway-user", "lib", "lingyun", true)).unwrap();
        assert_eq!(unit.name, "gateway-user");
        assert!(!unit.lab);
    }

    #[test]
    fn quick_suites_come_first_and_failover_last() {
        let mut failover = artifact("gateway-tests", "test", "e2e", true);
        let mut fixtures = artifact("gateway-tests", "test", "fixtures", true);
        for lab in [&mut failover, &mut fixtures] {
            lab["package_id"] = json!("path+file:///checkout/tests#gateway-tests@0.1.0");
        }
        let artifacts = [
            failover,
            fixtures,
            artifact("gateway-ebpf", "test", "properties", true),
            artifact("gateway-common", "lib", "gateway_common", true),
        ];
        let names: Vec<_> = found(&artifacts)
            .into_iter()
            .map(|suite| suite.name)
            .collect();
        assert_eq!(
            names,
            [
                "gateway-common",
                "gateway-ebpf/properties",
                "gateway-tests/fixtures",
                "gateway-tests/e2e"
            ]
        );
    }

    #[test]
    fn measurements_are_shown_wherever_they_stand() {
        let line = "test a_gateway_dies ... measured: 0 broken\n";
        assert_eq!(measurement(line), Some("measured: 0 broken"));
        assert_eq!(
            measurement("test result: ok. 0 measured; 1 filtered out"),
            None
        );
    }

    #[test]
    fn examples_are_code_in_documentation() {
        assert!(is_fence("/// ```") && is_fence("//! ```no_run"));
        assert!(!is_fence("// ```") && !is_fence("/// see `this`"));
    }

    #[test]
    fn packages_are_named_by_id_or_folder() {
        let name = |id, folder: &str| package_name(id, Path::new(folder));
        assert_eq!(
            name("path+file:///c/tests#gateway-tests@0.1.0", "/c/tests").unwrap(),
            "gateway-tests"
        );
        assert_eq!(
            name("path+file:///c/xtask#0.1.0", "/c/xtask").unwrap(),
            "xtask"
        );
    }
}
