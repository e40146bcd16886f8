//! `lingyun run` as a child process, with files of its own.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use lingyun::status::Status;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub(crate) const LINGYUN: &str = env!("CARGO_BIN_EXE_lingyun");
pub(crate) const OBJECT: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../target/bpf/bpfel-unknown-none/bpf/gateway-ebpf"
);
pub(crate) const TOPOLOGY: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../topologies/minimal.yaml");
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What one test's agents share.
pub(crate) struct Site {
    directory: PathBuf,
    topology: PathBuf,
    pub(crate) pins: PathBuf,
}

impl Site {
    /// A place for a test of this name.
    pub(crate) fn new(test: &str) -> Self {
        let name = format!("ly-agent-{test}-{}", std::process::id());
        let directory = std::env::temp_dir().join(&name);
        fs::create_dir_all(&directory).expect("a directory for the test");
        Self {
            directory,
            topology: TOPOLOGY.into(),
            pins: Path::new("/sys/fs/bpf").join(name),
        }
    }

    /// Gives the agents a file of their own with this text, or replaces its text as
    /// an editor does.
    pub(crate) fn write_topology(&mut self, text: &str) {
        self.topology = self.directory.join("site.yaml");
        let new = self.directory.join(".site.yaml.swp");
        fs::write(&new, text).expect("a file");
        fs::rename(&new, &self.topology).expect("replaced");
    }

    /// Writes another file beside the topology.
    pub(crate) fn write_beside(&self, name: &str, text: &str) {
        fs::write(self.directory.join(name), text).expect("a file");
    }

    /// The agents' Unix socket.
    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.join("gw1.sock")
    }

    /// Starts `lingyun run` with more arguments.
    pub(crate) fn start(&self, more: &[&str]) -> Agent {
        let mut child = Command::new(LINGYUN)
            .args([
                "run",
                "--topology",
                self.topology.to_str().expect("text"),
                "--listen",
                "127.0.0.1:0",
                "--grace",
                "0",
            ])
            .args(["--socket", self.socket().to_str().expect("text")])
            .args(["--pin-dir", self.pins.to_str().expect("text")])
            .args(more)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the agent starts");
        let stderr = child.stderr.take().expect("piped");
        let (sender, log) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                println!("  {line}");
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Agent {
            child,
            log,
            socket: self.socket(),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        // Of a test that failed half-way; the links end with the namespaces.
        let _ = fs::remove_dir_all(&self.directory);
        if let Ok(abi) = fs::read_dir(&self.pins) {
            for directory in abi.flatten() {
                empty(&directory.path());
            }
            let _ = fs::remove_dir(&self.pins);
        }
    }
}

/// Removes pins: the BPF file system has no removal of whole trees.
fn empty(directory: &Path) {
    for pin in fs::read_dir(directory).into_iter().flatten().flatten() {
        if pin.path().is_dir() {
            empty(&pin.path());
        } else {
            let _ = fs::remove_file(pin.path());
        }
    }
    let _ = fs::remove_dir(directory);
}

/// A running agent.
pub(crate) struct Agent {
    child: Child,
    log: mpsc::Receiver<String>,
    pub(crate) socket: PathBuf,
}

impl Agent {
    /// The next log line that says this.
    pub(crate) fn says(&self, what: &str) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.log.recv_timeout(left);
            let line = line.unwrap_or_else(|_| panic!("the agent never said \"{what}\""));
            if line.contains(what) {
                return line;
            }
        }
    }

    /// What it tells about itself.
    pub(crate) fn status(&self) -> Status {
        let text = lingyun::server::get_from_socket(&self.socket, "/status").expect("an answer");
        serde_json::from_str(&text).expect("the documented format")
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it runs");
    }

    /// Waits for its end.
    pub(crate) fn end(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().expect("our child") {
                return status;
            }
            assert!(Instant::now() < end, "the agent does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
