//! Two namespaces of the test's own with a veth pair between them.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, Result};
use gateway_tests::capture::Point;
use nix::sched::{CloneFlags, setns};

use super::process::output;

/// The two namespaces: `left` with 192.0.2.1 and `right` with 192.0.2.2, each on a
/// device `wire`.
pub(crate) struct Pair {
    prefix: String,
}

impl Pair {
    /// Makes them.
    pub(crate) fn new() -> Result<Self> {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pair = Self {
            prefix: format!("ly-tools{}-{number}-", std::process::id()),
        };
        let (left, right) = (pair.name("left"), pair.name("right"));
        for namespace in [&left, &right] {
            ip(&["netns", "add", namespace])?;
        }
        ip(&[
            "link", "add", "wire", "netns", &left, "type", "veth", "peer", "name", "wire", "netns",
            &right,
        ])?;
        for (namespace, address) in [(&left, "192.0.2.1/24"), (&right, "192.0.2.2/24")] {
            ip(&["-n", namespace, "address", "add", address, "dev", "wire"])?;
            ip(&["-n", namespace, "link", "set", "wire", "up"])?;
        }
        Ok(pair)
    }

    /// Full name of a namespace.
    pub(crate) fn name(&self, namespace: &str) -> String {
        format!("{}{namespace}", self.prefix)
    }

    /// File of a namespace.
    pub(crate) fn path(&self, namespace: &str) -> PathBuf {
        Path::new("/run/netns").join(self.name(namespace))
    }

    /// Its devices as capture points.
    pub(crate) fn points(&self, namespace: &str) -> Result<Vec<Point>> {
        Point::all_in(&self.path(namespace), namespace)
    }

    /// Runs `work` in a thread inside a namespace.
    pub(crate) fn within<T: Send>(
        &self,
        namespace: &str,
        work: impl FnOnce() -> Result<T> + Send,
    ) -> Result<T> {
        let file = File::open(self.path(namespace))?;
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                setns(file, CloneFlags::CLONE_NEWNET)?;
                work()
            });
            inside.join().expect("no panic")
        })
    }

    /// Turns checksum offload of both ends off or on.
    pub(crate) fn offload(&self, on: bool) -> Result<()> {
        for namespace in ["left", "right"] {
            let state = if on { "on" } else { "off" };
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={}", self.path(namespace).display()));
            output(command.args(["ethtool", "-K", "wire", "tx", state]))?;
        }
        Ok(())
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for namespace in ["left", "right"] {
            if let Err(error) = ip(&["netns", "delete", &self.name(namespace)]) {
                eprintln!("{error:#}");
            }
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    output(Command::new("ip").args(arguments))
        .context("iproute2")
        .map(drop)
}
