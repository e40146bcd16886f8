//! A lab that is up, seen from its owner.

use std::{
    fmt, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::Signal;

use super::{
    names::RunId,
    ns,
    plan::{Device, Plan},
    process::{Nursery, Process, Spec, User, command},
    progress::Progress,
    site::Site,
    state::{self, Entry, RunDir},
};

/// How to bring a lab up.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Id of the run; drawn at random when none is given.
    pub run: Option<RunId>,
    /// The processes outlive this one, so that [`Lab::keep`] can be called.
    pub keep: bool,
    /// Set it to give up while the lab comes up.
    pub cancel: Arc<AtomicBool>,
}

/// A lab that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Lab {
    pub(super) site: Site,
    pub(super) plan: Plan,
    pub(super) dir: RunDir,
    pub(super) options: Options,
    nursery: Nursery,
    processes: Mutex<Vec<Arc<Process>>>,
    is_gone: bool,
}

/// Why something was not waited for any longer: it is not what went wrong.
#[derive(Debug)]
pub(super) struct GivenUp;

impl fmt::Display for GivenUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("given up")
    }
}

/// Between two looks at something that is expected to happen.
const POLL: Duration = Duration::from_millis(10);

impl Lab {
    /// Brings the site of a topology file up. When it cannot, nothing is left.
    ///
    /// Labs whose owners died are removed first.
    pub fn up(topology: &Path, options: Options, progress: &Progress) -> Result<Self> {
        if !nix::unistd::geteuid().is_root() {
            bail!("the lab needs root: it makes network namespaces");
        }
        let site = Site::load(topology)?;
        let removed = state::remove_stale().context("remove what an earlier run left")?;
        if !removed.is_empty() {
            let removed: Vec<_> = removed.iter().map(ToString::to_string).collect();
            progress
                .step("clean up")
                .done(&format!("removed {}", removed.join(", ")));
        }
        let plan = Plan::new(&site);
        let run = options.run.clone().unwrap_or_else(RunId::random);
        let dir = RunDir::claim(run)?;
        let nursery = Nursery::new();
        let processes = Mutex::default();
        let lab = Self {
            site,
            plan,
            dir,
            options,
            nursery,
            processes,
            is_gone: false,
        };
        lab.build(progress)?;
        Ok(lab)
    }

    /// Takes everything down.
    pub fn down(mut self) -> Result<()> {
        self.take_down()
    }

    /// Leaves it up after this process; `lingyun-lab down` removes it.
    pub fn keep(mut self) -> Result<()> {
        if !self.options.keep {
            bail!("the lab's processes end with this one: bring it up with the option `keep`");
        }
        self.dir.record(&Entry::Kept)?;
        self.is_gone = true;
        Ok(())
    }

    /// The run's id.
    pub fn run(&self) -> &RunId {
        &self.dir.run
    }

    /// Its directory: sockets, configurations, logs.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// The copy of the topology file that the gateways read.
    pub fn topology_path(&self) -> PathBuf {
        self.dir.path().join("topology.yaml")
    }

    /// What was built.
    pub fn site(&self) -> &Site {
        &self.site
    }

    /// Every network device of the lab.
    pub fn devices(&self) -> &[Device] {
        &self.plan.devices
    }

    /// Name of a node's namespace. Instances are written `vpc/name`.
    pub fn namespace(&self, node: &str) -> String {
        self.dir.run.namespace(node)
    }

    /// File that stands for a node's namespace.
    pub fn netns_path(&self, node: &str) -> PathBuf {
        ns::path(&self.namespace(node))
    }

    /// Runs work on a thread inside a node's namespace.
    pub fn enter<T: Send>(&self, node: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        ns::enter(&self.namespace(node), work)
    }

    /// Runs a command inside a node's namespace and waits for its end.
    pub fn exec<S: AsRef<str>>(&self, node: &str, argv: &[S]) -> Result<Output> {
        let argv: Vec<_> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        let mut command = command(&self.namespace(node), &argv, true, None)?;
        command.stdin(Stdio::null());
        command
            .output()
            .with_context(|| format!("run {} in {node}", argv.join(" ")))
    }

    /// Starts a command inside a node's namespace. It ends with the lab at the
    /// latest; its output goes to [`Process::log`], which `log` names.
    pub fn spawn<S: AsRef<str>>(&self, node: &str, argv: &[S], log: &str) -> Result<Arc<Process>> {
        let argv: Vec<_> = argv.iter().map(|word| word.as_ref().to_owned()).collect();
        self.start(node, log, argv, Vec::new(), None)
    }

    /// The newest process with this name: that of its log file, such as `gw1.agent`.
    pub fn process(&self, name: &str) -> Option<Arc<Process>> {
        self.processes()
            .iter()
            .rev()
            .find(|process| process.name == name)
            .cloned()
    }

    /// Drops this share of the packets that come in by a node's device; 0 ends it.
    ///
    /// An XDP program on the device sees them before that: to lose what a gateway
    /// receives, take the other end of the link and the other direction.
    pub fn set_loss(&self, node: &str, device: &str, percent: u8) -> Result<()> {
        let known = |known: &&Device| known.node == node && known.interface == device;
        self.devices()
            .iter()
            .find(known)
            .with_context(|| format!("no device {node}:{device}"))?;
        let safe = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
        let table: String = device.chars().map(safe).collect();
        let table = format!("netdev loss_{table}");
        // Declared first, so that it is there to be deleted.
        let mut rules = vec![
            format!("table {table} {{}}"),
            format!("delete table {table}"),
        ];
        let which = match percent {
            0 => None,
            1..=99 => Some(format!("numgen random mod 100 < {percent} ")),
            _ => Some(String::new()),
        };
        if let Some(which) = which {
            rules.push(format!(
                "table {table} {{ chain in {{ type filter hook ingress device \"{device}\" \
                 priority 0; {which}drop; }}; }}"
            ));
        }
        let lines = rules.join("\n");
        let file = self
            .directory()
            .join(format!("loss-{node}-{device}.nft").replace('/', "."));
        fs::write(&file, lines).with_context(|| format!("write {}", file.display()))?;
        let output = self.exec(node, &["nft", "-f", &file.to_string_lossy()])?;
        if !output.status.success() {
            bail!(
                "loss on {node}:{device}: {}",
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    /// Starts a process of the lab.
    pub(super) fn start(
        &self,
        node: &str,
        name: &str,
        argv: Vec<String>,
        env: Vec<(String, String)>,
        user: Option<User>,
    ) -> Result<Arc<Process>> {
        // Tells whose a process is, even in `ps e`.
        let mut env = env;
        env.push((state::MARK.to_owned(), self.run().to_string()));
        let process = self.nursery.spawn(Spec {
            name: name.to_owned(),
            namespace: self.namespace(node),
            argv,
            env,
            user,
            log: self.directory().join(format!("{name}.log")),
            tied: !self.options.keep,
        })?;
        log::debug!("{process:?} runs");
        let process = Arc::new(process);
        self.processes().push(Arc::clone(&process));
        let identity = process.identity;
        self.dir.record(&Entry::Process {
            name: name.to_owned(),
            identity,
        })?;
        Ok(process)
    }

    /// Waits until `check` gives something; its errors are what is still missing.
    pub(super) fn wait<T>(
        &self,
        limit: Duration,
        processes: &[&Process],
        mut check: impl FnMut() -> Result<T>,
    ) -> Result<T> {
        let end = Instant::now() + limit;
        loop {
            let error = match check() {
                Ok(done) => {
                    // It may be another one that answers at that address.
                    processes.iter().try_for_each(|process| process.check())?;
                    log::debug!("ready: {processes:?}");
                    return Ok(done);
                }
                Err(error) => error,
            };
            processes.iter().try_for_each(|process| process.check())?;
            if self.options.cancel.load(Ordering::Relaxed) {
                return Err(error.context(GivenUp));
            }
            if Instant::now() > end {
                let tails = processes
                    .iter()
                    .map(|process| super::process::tail(&process.log));
                let tails: String = tails.collect();
                return Err(error.context(format!("not ready after {limit:?}{tails}")));
            }
            thread::sleep(POLL);
        }
    }

    fn take_down(&mut self) -> Result<()> {
        if self.is_gone {
            return Ok(());
        }
        self.is_gone = true;
        let processes = std::mem::take(&mut *self.processes());
        // Agents detach their programs, PostgreSQL gives its memory back; others hold nothing.
        for process in &processes {
            process.signal(match process.name.as_str() {
                name if name.ends_with(super::gateway::AGENT) => Signal::SIGTERM,
                name if name.ends_with(super::postgres::NAME) => Signal::SIGQUIT,
                _ => Signal::SIGKILL,
            });
        }
        let end = Instant::now() + Duration::from_secs(2);
        for process in &processes {
            process.wait(end.saturating_duration_since(Instant::now()));
            process.kill();
        }
        state::remove(&state::find(&self.dir.run)?)?;
        Ok(())
    }

    fn processes(&self) -> MutexGuard<'_, Vec<Arc<Process>>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("lab {}: taking it down: {error:#}", self.dir.run);
        }
    }
}

/// Replaces this process by a command inside a node's namespace of any run.
pub fn become_inside(run: &RunId, node: &str, argv: &[String]) -> anyhow::Error {
    match command(&run.namespace(node), argv, false, None) {
        Ok(mut command) => anyhow::Error::new(command.exec()).context(argv.join(" ")),
        Err(error) => error,
    }
}
