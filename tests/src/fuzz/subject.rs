//! The gateways that are tried: the packet path on the host, the program in the kernel.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, Result, bail};
use aya::programs::{TestRun, TestRunOptions};
use gateway_common::{Counter, Reason, ReasonCount};
use lingyun::{
    datapath::{Datapath, Options, Role},
    model::Tables,
};

use super::Arrival;
use crate::{
    cases::Program,
    harness::{self, Action, Host, object_path},
};

/// Headroom of a frame in a test run.
const HEADROOM: usize = 256;

/// Room for the longest frame that comes out.
const ROOM: usize = 4_096;

/// All that a gateway has counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Exits by reason, those that were counted at all.
    pub reasons: BTreeMap<Reason, ReasonCount>,
    /// Traffic by counter, the ones that moved at all.
    pub counters: BTreeMap<u32, Counter>,
    /// The same of what was routed inside, by VPC.
    pub routed: BTreeMap<u32, Counter>,
}

/// Adds counts to counts.
fn add(totals: &mut BTreeMap<u32, Counter>, counts: BTreeMap<u32, Counter>) {
    for (index, count) in counts {
        let total = totals.entry(index).or_default();
        total.in_packets += count.in_packets;
        total.in_bytes += count.in_bytes;
        total.out_packets += count.out_packets;
        total.out_bytes += count.out_bytes;
    }
}

/// The counters that moved at all.
fn moved(counters: Vec<Counter>) -> BTreeMap<u32, Counter> {
    (0..)
        .zip(counters)
        .filter(|(_, count)| *count != Counter::default())
        .collect()
}

/// A gateway that frames can be sent to.
pub trait Subject {
    /// Its name in reports.
    fn name(&self) -> &'static str;

    /// A gateway as it was just started.
    fn reset(&mut self) -> Result<()>;

    /// Sends one frame. Where a redirect leads is only known where it can be seen.
    fn send(&mut self, arrival: &Arrival) -> Result<Outcome>;

    /// What it has counted since it was reset.
    fn totals(&self) -> Result<Totals>;
}

/// What became of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Where it went; the device of a redirect, where it can be seen.
    pub action: Action,
    /// Whether the device of a redirect is known.
    pub shows_device: bool,
    /// The frame afterwards.
    pub frame: Vec<u8>,
}

/// The packet path on the host.
pub struct HostSubject {
    tables: Tables,
    host: Host,
    totals: Totals,
}

impl HostSubject {
    /// A gateway with these tables.
    pub fn new(tables: Tables) -> Self {
        Self {
            host: Host::new(tables.clone()),
            tables,
            totals: Totals::default(),
        }
    }
}

impl Subject for HostSubject {
    fn name(&self) -> &'static str {
        "host"
    }

    fn reset(&mut self) -> Result<()> {
        self.host = Host::new(self.tables.clone());
        self.totals = Totals::default();
        Ok(())
    }

    fn send(&mut self, arrival: &Arrival) -> Result<Outcome> {
        let observed = self.host.send(arrival.program, &arrival.frame, HEADROOM);
        for (reason, count) in observed.reasons {
            let total = self.totals.reasons.entry(reason).or_default();
            total.packets += count.packets;
            total.bytes += count.bytes;
        }
        add(&mut self.totals.counters, observed.counters);
        add(&mut self.totals.routed, observed.routed);
        Ok(Outcome {
            action: observed.action,
            shows_device: true,
            frame: observed.output,
        })
    }

    fn totals(&self) -> Result<Totals> {
        Ok(self.totals.clone())
    }
}

/// The program in the kernel, with maps of its own.
pub struct KernelSubject {
    tables: Tables,
    object: Vec<u8>,
    pins: tempfile::TempDir,
    datapath: Datapath,
    output: Vec<u8>,
}

impl KernelSubject {
    /// Loads the object with these tables. `harness::unavailable` must have been asked
    /// before.
    pub fn new(tables: Tables) -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path).with_context(|| {
            let path = path.display();
            format!("no BPF object at {path}: type `cargo xtask build`")
        })?;
        let pins = tempfile::tempdir()?;
        let datapath = load(&object, pins.path(), &tables)?;
        Ok(Self {
            tables,
            object,
            pins,
            datapath,
            output: vec![0; ROOM],
        })
    }
}

fn load(object: &[u8], pins: &Path, tables: &Tables) -> Result<Datapath> {
    let options = Options {
        object,
        pin_dir: pins.into(),
    };
    for &index in &tables.ports {
        provide_device(index)?;
    }
    Datapath::load(&options, tables)
}

/// Makes sure that our network namespace has a device with this index to redirect to.
fn provide_device(index: u32) -> Result<()> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let devices = nix::net::if_::if_nameindex().context("cannot list the devices")?;
    if index == 0 || devices.iter().any(|device| device.index() == index) {
        return Ok(());
    }
    harness::make_device(&format!("fuzz{index}"), index)
}

impl Subject for KernelSubject {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn reset(&mut self) -> Result<()> {
        self.datapath = load(&self.object, self.pins.path(), &self.tables)?;
        Ok(())
    }

    fn send(&mut self, arrival: &Arrival) -> Result<Outcome> {
        let role = match arrival.program {
            Program::Public => Role::Public,
            Program::Underlay => Role::Underlay,
            Program::SingleArm => Role::SingleArm,
        };
        let result = self.datapath.program(role)?.test_run(TestRunOptions {
            data_in: Some(&arrival.frame),
            data_out: Some(&mut self.output),
            ..TestRunOptions::default()
        });
        let result = result.context("BPF_PROG_TEST_RUN failed")?;
        let action = match result.return_value {
            1 => Action::Drop,
            2 => Action::Pass,
            3 => Action::Transmit,
            4 => Action::Redirect(0),
            other => bail!("the program returned {other}, which is no XDP action to expect"),
        };
        Ok(Outcome {
            action,
            shows_device: false,
            frame: self.output[..result.data_size_out as usize].to_vec(),
        })
    }

    fn totals(&self) -> Result<Totals> {
        let reasons = self.datapath.reasons()?.into_iter();
        Ok(Totals {
            reasons: reasons
                .filter(|(_, count)| *count != ReasonCount::default())
                .collect(),
            counters: moved(self.datapath.counters()?),
            routed: moved(self.datapath.routed()?),
        })
    }
}
