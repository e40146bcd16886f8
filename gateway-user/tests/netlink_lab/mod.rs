//! Two network namespaces with links between them. They have no names and end
//! with the processes in them, so nothing is left behind even by a test that is
//! killed.

use std::{
    io::Read,
    process::{Child, Command, Stdio},
    thread,
};

use nix::{
    sched::{CloneFlags, unshare},
    unistd::Uid,
};
use tokio::runtime;

/// The namespace of the test's own thread, and one for whom it talks to.
pub(crate) struct Lab {
    pub(crate) peer: Peer,
}

/// A namespace beside the test's own.
pub(crate) struct Peer {
    process: Child,
}

impl Peer {
    pub(crate) fn new() -> Self {
        // It ends when the pipe to it does: with this process, however that ends.
        let mut process = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare from util-linux");
        let ready = process.stdout.as_mut().expect("piped").read_exact(&mut [0]);
        ready.expect("the namespace is there once it speaks");
        Self { process }
    }

    /// `ip` in this namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(self.command("ip").args(arguments.split(' ')))
    }

    /// A process in it.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// A command in this namespace.
    pub(crate) fn command(&self, program: &str) -> Command {
        let target = self.pid().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--net", program]);
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        self.process.wait().expect("the peer ends with its pipe");
    }
}

impl Lab {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        Self { peer: Peer::new() }
    }

    /// `ip` in the test's namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(arguments.split(' ')))
    }

    /// `ip` in the other namespace.
    pub(crate) fn peer_ip(&self, arguments: &str) -> String {
        self.peer.ip(arguments)
    }

    /// A link between the two, up, with an address at each end.
    pub(crate) fn link(&self, name: &str, ours: &str, theirs: &str) {
        self.link_to(&self.peer, name, ours, theirs);
    }

    /// A link to any namespace.
    pub(crate) fn link_to(&self, peer: &Peer, name: &str, ours: &str, theirs: &str) {
        let pid = peer.pid();
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {pid}"
        ));
        self.ip(&format!("address add {ours} dev {name}"));
        self.ip(&format!("link set {name} up"));
        peer.ip(&format!("address add {theirs} dev {name}"));
        peer.ip(&format!("link set {name} up"));
    }
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("the command runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {errors}");
    String::from_utf8(output.stdout).expect("text")
}

/// Runs a test on a thread of its own, since a namespace belongs to a thread.
pub(crate) fn in_namespace(name: &str, test: impl AsyncFnOnce(&Lab) + Send + 'static) {
    if !Uid::effective().is_root() {
        println!("skipped: {name}: network namespaces need root");
        return;
    }
    let test = move || {
        let lab = Lab::new();
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(test(&lab));
    };
    if let Err(panic) = thread::spawn(test).join() {
        std::panic::resume_unwind(panic);
    }
}
