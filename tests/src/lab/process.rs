//! Processes of the lab: started by one long-lived thread, logged, found again.
//!
//! A child dies with the *thread* that started it (PR_SET_PDEATHSIG), so that
//! thread is the [`Nursery`]'s, which lives as long as the lab.

use std::{
    fmt, fs, io,
    os::unix::{
        fs::MetadataExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};
use nix::{
    errno::Errno,
    sched::{CloneFlags, setns, unshare},
    sys::{
        prctl,
        signal::{Signal, kill},
    },
    unistd::{Gid, Pid, Uid, setgid, setgroups, setsid, setuid},
};
use serde::{Deserialize, Serialize};

use super::{names::RunId, ns, state::MARK};

/// A process that is told apart from a later one with the same pid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start: u64,
}

impl Identity {
    /// This process.
    pub fn own() -> Result<Self> {
        Self::of(std::process::id() as i32).context("read /proc/self/stat")
    }

    /// The process that has this pid now; none for a zombie.
    pub fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may itself hold spaces and parentheses.
        let mut fields = stat.rsplit_once(") ")?.1.split(' ');
        let state = fields.next()?;
        let start = fields.nth(18)?.parse().ok()?;
        (state != "Z" && state != "X").then_some(Self { pid, start })
    }

    /// Whether it still runs.
    pub fn is_alive(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(self, signal: Signal) {
        if self.is_alive() {
            // It may end in this very moment: that is what we want anyway.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }
}

/// User and group that a process runs as.
#[derive(Clone, Copy, Debug)]
pub(super) struct User {
    /// User id.
    pub uid: Uid,
    /// Group id.
    pub gid: Gid,
}

/// How to start a process.
#[derive(Debug)]
pub(super) struct Spec {
    /// Name for people and for its log file.
    pub name: String,
    /// Full name of its network namespace.
    pub namespace: String,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Environment on top of ours.
    pub env: Vec<(String, String)>,
    /// Somebody else than root, in an IPC namespace of its own: PostgreSQL's
    /// shared memory then goes with it, however it ends.
    pub user: Option<User>,
    /// Where standard output and standard error go.
    pub log: PathBuf,
    /// Ends with us, whatever ends us.
    pub tied: bool,
}

/// A process of the lab.
pub struct Process {
    /// Name for people.
    pub name: String,
    /// Which one.
    pub identity: Identity,
    /// Where its output goes.
    pub log: PathBuf,
    child: Mutex<Child>,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.identity.pid)
    }
}

impl Process {
    /// Process id.
    pub fn pid(&self) -> i32 {
        self.identity.pid
    }

    /// Its exit status, if it has ended.
    pub fn exit(&self) -> Option<ExitStatus> {
        self.child().try_wait().ok().flatten()
    }

    /// Sends a signal, unless it has ended.
    pub fn signal(&self, signal: Signal) {
        if self.exit().is_none() {
            self.identity.signal(signal);
        }
    }

    /// Ends it at once and reaps it.
    pub fn kill(&self) {
        let mut child = self.child();
        // Both fail only when it has ended already.
        let _ = child.kill();
        let _ = child.wait();
    }

    /// Waits until it has ended, at most so long. True when it has.
    pub fn wait(&self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        while self.exit().is_none() {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// An error with the last lines of its log when it has ended.
    pub fn check(&self) -> Result<()> {
        match self.exit() {
            None => Ok(()),
            Some(status) => bail!("{} ended ({status}){}", self.name, tail(&self.log)),
        }
    }

    fn child(&self) -> MutexGuard<'_, Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Job = Box<dyn FnOnce() + Send>;

/// The thread that starts the lab's processes.
#[derive(Debug)]
pub(super) struct Nursery(mpsc::Sender<Job>);

impl Nursery {
    /// Starts the thread. It ends when this value is dropped.
    pub(super) fn new() -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::spawn(move || inbox.into_iter().for_each(|job| job()));
        Self(jobs)
    }

    /// Starts a process.
    pub(super) fn spawn(&self, spec: Spec) -> Result<Process> {
        let (answer, result) = mpsc::channel();
        let job = move || {
            // The asker waits for it below.
            let _ = answer.send(start(spec));
        };
        self.0
            .send(Box::new(job))
            .map_err(|_| anyhow!("the lab is being torn down"))?;
        result
            .recv()
            .context("the thread that starts processes is gone")?
    }
}

impl Default for Nursery {
    fn default() -> Self {
        Self::new()
    }
}

fn start(spec: Spec) -> Result<Process> {
    let what = || format!("start {} ({})", spec.name, spec.argv.join(" "));
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log);
    let log = log.with_context(|| format!("open log {}", spec.log.display()))?;
    let mut command = command(&spec.namespace, &spec.argv, spec.tied, spec.user)?;
    command.envs(spec.env.iter().map(|(name, value)| (name, value)));
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().with_context(what)?)
        .stderr(log);
    let child = command.spawn().with_context(what)?;
    let identity = Identity::of(child.id() as i32).unwrap_or(Identity {
        // It ended already: a start time that no process has.
        pid: child.id() as i32,
        start: u64::MAX,
    });
    Ok(Process {
        name: spec.name,
        identity,
        log: spec.log,
        child: Mutex::new(child),
    })
}

/// A command that will run inside a namespace.
pub(super) fn command(
    namespace: &str,
    argv: &[String],
    tied: bool,
    user: Option<User>,
) -> Result<Command> {
    let (program, arguments) = argv.split_first().context("a command without a program")?;
    let namespace = ns::open(namespace)?;
    let mut command = Command::new(program);
    command.args(arguments);
    let prepare = move || -> io::Result<()> {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        // Away from our terminal: Ctrl-C is for the lab's owner, who tears down in order.
        match setsid() {
            Ok(_) | Err(Errno::EPERM) => {}
            Err(error) => return Err(error.into()),
        }
        if let Some(user) = user {
            unshare(CloneFlags::CLONE_NEWIPC)?;
            setgroups(&[user.gid])?;
            setgid(user.gid)?;
            setuid(user.uid)?;
        }
        // Last, since a change of user clears it.
        if tied {
            prctl::set_pdeathsig(Signal::SIGKILL)?;
        }
        Ok(())
    };
    // SAFETY: between fork and exec only system calls are made, on values that
    // were prepared before the fork; nothing allocates or takes a lock.
    unsafe { command.pre_exec(prepare) };
    Ok(command)
}

/// Exit status as a shell would say it.
pub fn exit_code(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// The last lines of a log, to be put behind an error.
pub(super) fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let last = &lines[lines.len().saturating_sub(12)..];
    if last.is_empty() {
        return format!("; its log {} is empty", log.display());
    }
    format!(
        "; the end of {}:\n    {}",
        log.display(),
        last.join("\n    ")
    )
}

/// All processes of a run: those inside one of its network namespaces (by device
/// and inode), and those that carry its mark in their environment.
pub(super) fn of_run(run: &RunId, namespaces: &[(u64, u64)]) -> Vec<Identity> {
    let mark = format!("{MARK}={run}").into_bytes();
    let is_marked = |pid: &i32| {
        let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment
            .split(|byte| *byte == 0)
            .any(|variable| variable == mark)
    };
    let is_inside = |pid: &i32| {
        let namespace = fs::metadata(format!("/proc/{pid}/ns/net"));
        namespace.is_ok_and(|meta| namespaces.contains(&(meta.dev(), meta.ino())))
    };
    let entries = fs::read_dir("/proc").into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| is_inside(pid) || is_marked(pid))
        .filter_map(Identity::of)
        .collect()
}
