//! A test stand: namespaces and links for one purpose, without a site around them.
//! Found and removed like a lab when its owner is killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    ethtool::{self, Offload},
    names::RunId,
    network::{EVERYWHERE, FORWARDING, WITHOUT_IPV6, sysctl},
    ns,
    process::{Nursery, Process, Spec},
    state::{self, Entry, MARK, RunDir},
    tool,
};

/// A stand that is up. Dropping it takes it down.
#[derive(Debug)]
pub struct Stand {
    dir: RunDir,
    nursery: Nursery,
    processes: Mutex<Vec<Arc<Process>>>,
    is_gone: bool,
}

impl Stand {
    /// An empty stand. Those whose owners died are removed first.
    pub fn new() -> Result<Self> {
        ns::prepare()?;
        state::remove_stale().context("remove what an earlier run left")?;
        Ok(Self {
            dir: RunDir::claim(RunId::random())?,
            nursery: Nursery::new(),
            processes: Mutex::default(),
            is_gone: false,
        })
    }

    /// Its directory: sockets, configurations, logs.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// Where programs, links and maps of a node may be pinned; removed with the stand.
    pub fn pin_dir(&self, node: &str) -> Result<PathBuf> {
        let path = self.dir.run.pin_dir(node);
        self.dir.record(&Entry::File(path.clone()))?;
        Ok(path)
    }

    /// Makes a node: a namespace that forwards.
    pub fn node(&self, node: &str) -> Result<()> {
        let name = self.dir.run.namespace(node);
        self.dir.record(&Entry::Namespace(name.clone()))?;
        ns::create(&name, || {
            let mut settings = EVERYWHERE.iter().chain(WITHOUT_IPV6).chain(FORWARDING);
            settings.try_for_each(sysctl)
        })
    }

    /// Runs lines of `ip -batch` in no namespace but those that they name; `@node` is
    /// replaced by the name of the node's namespace.
    pub fn ip(&self, lines: &[String]) -> Result<()> {
        let prefix = self.dir.run.prefix();
        let lines: Vec<_> = lines
            .iter()
            .map(|line| line.replace('@', &prefix))
            .collect();
        tool::batch(&self.dir.run, &["ip", "-batch", "-"], &lines)
    }

    /// Runs lines of `ip -batch` in a node's namespace.
    pub fn ip_in(&self, node: &str, lines: &[String]) -> Result<()> {
        let namespace = self.dir.run.namespace(node);
        tool::batch(
            &self.dir.run,
            &["ip", "-n", &namespace, "-batch", "-"],
            lines,
        )
        .with_context(|| format!("configure {node}"))
    }

    /// Checksums of sent packets are computed where they are sent.
    pub fn compute_checksums(&self, node: &str, device: &str) -> Result<()> {
        self.enter(node, || {
            ethtool::set(device, Offload::TransmitChecksum, false)
        })?
    }

    /// Makes a veth poll, so that the other end can send XDP frames to it.
    pub fn poll(&self, node: &str, device: &str) -> Result<()> {
        self.enter(node, || ethtool::set(device, Offload::GenericReceive, true))?
    }

    /// Runs work on a thread inside a node's namespace.
    pub fn enter<T: Send>(&self, node: &str, work: impl FnOnce() -> T + Send) -> Result<T> {
        ns::enter(&self.dir.run.namespace(node), work)
    }

    /// Runs a tool inside a node's namespace, to its end.
    pub fn run(&self, node: &str, argv: &[&str], input: &str) -> Result<()> {
        self.enter(node, || self.tool(argv, &[], input))?
    }

    /// Runs a tool where we are, to its end.
    pub fn tool(&self, argv: &[&str], env: &[(String, String)], input: &str) -> Result<()> {
        let (program, arguments) = argv.split_first().context("a tool without a name")?;
        let mut command = Command::new(program);
        command.args(arguments).envs(env.iter().cloned());
        tool::run(&self.dir.run, &mut command, input.as_bytes())
    }

    /// Starts a process inside a node's namespace, which ends with the stand.
    pub fn start(
        &self,
        node: &str,
        name: &str,
        argv: &[&str],
        mut env: Vec<(String, String)>,
    ) -> Result<Arc<Process>> {
        env.push((MARK.to_owned(), self.dir.run.to_string()));
        let process = self.nursery.spawn(Spec {
            name: name.to_owned(),
            namespace: self.dir.run.namespace(node),
            argv: argv.iter().map(|&word| word.to_owned()).collect(),
            env,
            user: None,
            log: self.directory().join(format!("{name}.log")),
            tied: true,
        })?;
        let process = Arc::new(process);
        self.dir.record(&Entry::Process {
            name: name.to_owned(),
            identity: process.identity,
        })?;
        let mut processes = self
            .processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        processes.push(Arc::clone(&process));
        Ok(process)
    }

    /// Waits until something works; the process that it depends on must live on.
    pub fn wait(&self, process: &Process, mut check: impl FnMut() -> Result<()>) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(20);
        while let Err(error) = check() {
            process.check()?;
            if Instant::now() > end {
                return Err(error.context(format!("{} is not ready", process.name)));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Writes a file into the stand's directory and gives its path.
    pub fn file(&self, name: &str, text: &str) -> Result<String> {
        let path = self.directory().join(name);
        fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
        Ok(path.to_string_lossy().into_owned())
    }

    /// Takes everything down.
    pub fn down(mut self) -> Result<()> {
        self.take_down()
    }

    fn take_down(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.is_gone, true) {
            return Ok(());
        }
        let processes = self
            .processes
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        processes.iter().for_each(|process| process.kill());
        state::remove(&state::find(&self.dir.run)?)?;
        Ok(())
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Err(error) = self.take_down() {
            eprintln!("{}: {error:#}", self.dir.run);
        }
    }
}
