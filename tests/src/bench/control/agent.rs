//! The released agent as a child process.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lingyun::{server, status::Status};
use nix::{
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
    },
    unistd::{Pid, setsid},
};

use crate::bench::interrupt;

/// No step takes this long.
const PATIENCE: Duration = Duration::from_secs(300);

/// A running agent, which ends with this.
pub(super) struct Agent {
    child: Child,
    socket: PathBuf,
    pins: PathBuf,
    log: Receiver<(Instant, String)>,
}

impl Agent {
    /// Starts one with all its files in a folder of its own.
    pub(super) fn start(program: &Path, topology: &Path, folder: &Path) -> Result<Self> {
        let socket = folder.join("agent.sock");
        let pins = format!("/sys/fs/bpf/lingyun-bench-control-{}", std::process::id());
        let mut command = Command::new(program);
        // Ctrl-C is for the bench, which ends the agent; should the bench be killed, the
        // agent is told to end.
        let prepare = || -> std::io::Result<()> {
            SigSet::all().thread_unblock()?;
            setsid()?;
            Ok(prctl::set_pdeathsig(Signal::SIGTERM)?)
        };
        // SAFETY: between fork and exec only system calls are made.
        unsafe { command.pre_exec(prepare) };
        let mut child = command
            .args([
                "run",
                "--listen",
                "none",
                "--grace",
                "0",
                "--pin-dir",
                &pins,
            ])
            .arg("--topology")
            .arg(topology)
            .arg("--socket")
            .arg(&socket)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stderr = child.stderr.take().context("the agent's log")?;
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send((Instant::now(), line)).is_err() {
                    break;
                }
            }
        });
        Ok(Self {
            child,
            socket,
            pins: pins.into(),
            log,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// When it said something that has these words.
    pub(super) fn says(&self, words: &str) -> Result<Instant> {
        let end = Instant::now() + PATIENCE;
        let mut said = Vec::new();
        loop {
            interrupt::check()?;
            match self.log.recv_timeout(Duration::from_millis(100)) {
                Ok((at, line)) if line.contains(words) => return Ok(at),
                Ok((_, line)) => said.push(line),
                Err(RecvTimeoutError::Timeout) if Instant::now() < end => {}
                Err(RecvTimeoutError::Timeout) => {
                    bail!("the agent has not said \"{words}\" in {PATIENCE:?}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("the agent ended, its last words:\n{}", said.join("\n"))
                }
            }
        }
    }

    /// What it tells about itself, as soon as it has time for that.
    pub(super) fn status(&self) -> Result<Status> {
        let end = Instant::now() + PATIENCE;
        let text = loop {
            match server::get_from_socket(&self.socket, "/status") {
                Ok(text) => break text,
                Err(error) if Instant::now() > end => return Err(error),
                Err(_) => interrupt::check()?,
            }
            thread::sleep(Duration::from_millis(100));
        };
        serde_json::from_str(&text).context("the agent's status")
    }

    /// Ends it and waits until it has left nothing behind.
    pub(super) fn end(mut self) -> Result<()> {
        self.ask_to_end()?;
        let status = self.child.wait()?;
        ensure!(status.success(), "the agent ended with {status}");
        Ok(())
    }

    fn ask_to_end(&self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM).context("end the agent")
    }

    /// Whether it has ended by itself before so long.
    fn ends_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(20));
        }
        true
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // What is interrupted leaves nothing behind either.
        if self.ask_to_end().is_err() || !self.ends_within(Duration::from_secs(20)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // Not there, if it could still do that itself.
        let _ = fs::remove_dir_all(&self.pins);
    }
}
