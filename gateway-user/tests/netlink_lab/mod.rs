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
    peer: Child,
}

impl Lab {
    fn new() -> Self {
        unshare(CloneFlags::CLONE_NEWNET).expect("a new network namespace");
        // It ends when the pipe to it does: with this process, however that ends.
        let mut peer = Command::new("unshare")
            .args(["--net", "sh", "-c", "echo; exec cat"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("unshare from util-linux");
        let ready = peer.stdout.as_mut().expect("piped").read_exact(&mut [0]);
        ready.expect("the namespace is there once it speaks");
        Self { peer }
    }

    /// `ip` in the test's namespace.
    pub(crate) fn ip(&self, arguments: &str) -> String {
        run(Command::new("ip").args(arguments.split(' ')))
    }

    /// `ip` in the other namespace.
    pub(crate) fn peer_ip(&self, arguments: &str) -> String {
        run(self.peer_command("ip").args(arguments.split(' ')))
    }

    /// A command in the other namespace.
    pub(crate) fn peer_command(&self, program: &str) -> Command {
        let target = self.peer.id().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &target, "--net", program]);
        command
    }

    /// A link between the two, up, with an address at each end.
    pub(crate) fn link(&self, name: &str, ours: &str, theirs: &str) {
        let pid = self.peer.id();
        self.ip(&format!(
            "link add {name} type veth peer name {name} netns {pid}"
        ));
        for (ip, address) in [
            (Self::ip as fn(&Self, &str) -> _, ours),
            (Self::peer_ip, theirs),
        ] {
            ip(self, &format!("address add {address} dev {name}"));
            ip(self, &format!("link set {name} up"));
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.peer.stdin.take());
        self.peer.wait().expect("the peer ends with its pipe");
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
