//! The packet path that a [`World`](super::World) plays on: the host's, or the kernel's.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::programs::{TestRun, TestRunOptions};
use gateway_common::{Track, TrackEvent};
use lingyun::{
    datapath::{Datapath, Options, Role},
    diff::Write,
    model::Tables,
};

use crate::{
    cases::Program,
    harness::{Host, object_path},
};

/// Jiffies for which a slot's mark stays the same: the longest of which is known where
/// the clock is the kernel's.
const MARK: u64 = 1 << 6;

/// Headroom of a frame.
const HEADROOM: usize = 256;

/// Something that takes an agent's writes, and packets.
pub trait Gateway {
    /// Performs the agent's writes.
    fn apply(&mut self, writes: &[Write]) -> Result<()>;

    /// Sends a frame in from the public network. The frame that is sent on, if it is.
    fn send(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>>;

    /// The mark of a slot, see [`Track::mark`].
    fn mark(&self, slot: u32) -> u32;

    /// How often each [`TrackEvent`] happened.
    fn events(&self) -> Result<[u64; TrackEvent::COUNT]>;

    /// Lets so much time pass that a packet leaves another mark.
    fn pass(&mut self);
}

/// The packet path on the host.
pub struct HostGateway {
    host: Host,
    tables: Tables,
}

impl HostGateway {
    /// With these tables.
    pub fn new(tables: &Tables) -> Self {
        Self {
            host: Host::new(tables.clone()),
            tables: tables.clone(),
        }
    }
}

impl Gateway for HostGateway {
    fn apply(&mut self, writes: &[Write]) -> Result<()> {
        for write in writes {
            write.apply(&mut self.tables);
        }
        self.host.tables_mut().update(self.tables.clone());
        Ok(())
    }

    fn send(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        let observed = self.host.send(Program::Public, frame, HEADROOM);
        let is_sent = matches!(observed.action, crate::harness::Action::Redirect(_));
        Ok(is_sent.then_some(observed.output))
    }

    fn mark(&self, slot: u32) -> u32 {
        let track = gateway_ebpf::packet::Tables::track(self.host.tables(), slot);
        track.map_or(0, |track| Track(track).mark())
    }

    fn events(&self) -> Result<[u64; TrackEvent::COUNT]> {
        Ok(self.host.tables().track_events())
    }

    fn pass(&mut self) {
        self.host.tables().pass(MARK);
    }
}

/// The program in the kernel, one test run a packet.
pub struct KernelGateway {
    datapath: Datapath,
    output: Vec<u8>,
}

impl KernelGateway {
    /// With these tables. `harness::unavailable` must have been asked before.
    pub fn new(tables: &Tables) -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path).with_context(|| {
            let path = path.display();
            format!("no BPF object at {path}: type `cargo xtask build`")
        })?;
        let options = Options {
            object: &object,
            // Nothing is attached, so nothing is pinned.
            pin_dir: tempfile::tempdir()?.path().into(),
        };
        Ok(Self {
            datapath: Datapath::load(&options, tables)?,
            output: vec![0; 4_096],
        })
    }
}

impl Gateway for KernelGateway {
    fn apply(&mut self, writes: &[Write]) -> Result<()> {
        self.datapath.apply(writes)
    }

    fn send(&mut self, frame: &[u8]) -> Result<Option<Vec<u8>>> {
        const XDP_REDIRECT: u32 = 4;
        let options = TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut self.output),
            ..TestRunOptions::default()
        };
        let program = self.datapath.program(Role::Public)?;
        let result = program.test_run(options).context("a test run failed")?;
        let length = result.data_size_out as usize;
        let is_sent = result.return_value == XDP_REDIRECT;
        Ok(is_sent.then(|| self.output[..length].to_vec()))
    }

    fn mark(&self, slot: u32) -> u32 {
        self.datapath.mark(slot)
    }

    fn events(&self) -> Result<[u64; TrackEvent::COUNT]> {
        self.datapath.track_events()
    }

    fn pass(&mut self) {
        // HZ is 100 at least.
        std::thread::sleep(Duration::from_millis(MARK * 10 + 20));
    }
}
