//! The real object in the real kernel, one packet at a time (BPF_PROG_TEST_RUN),
//! with maps that the agent's own data path filled.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail, ensure};
use aya::programs::{TestRun, TestRunOptions};
use gateway_common::{Counter, Reason, ReasonCount};
use lingyun::datapath::{self, Datapath, Options, Role};

use super::{Action, Observed, Runner};
use crate::{
    cases::{
        Program, Step,
        site::{PUBLIC_INDEX, Site, UNDERLAY_INDEX},
    },
    conversation,
};

/// A test run refuses less than an Ethernet header.
const SHORTEST: usize = 14;

/// Room for the longest frame of a case after a push.
const ROOM: usize = 16_384;

/// Where the object is: `$LINGYUN_BPF_OBJECT`, or where `cargo xtask build` puts it.
pub fn object_path() -> PathBuf {
    const BUILT: &str = "../target/bpf/bpfel-unknown-none/bpf/gateway-ebpf";
    std::env::var_os("LINGYUN_BPF_OBJECT")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(BUILT))
}

/// Whether this is an emulated machine, whose clock says nothing about speed.
pub fn is_guest() -> bool {
    std::env::var_os("LINGYUN_GUEST").is_some()
}

/// Why nothing can be run in this kernel, if so. Otherwise the calling thread, and
/// all that it starts from now on, are in a network namespace of their own with
/// the site's devices.
pub fn unavailable() -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return Some("BPF_PROG_TEST_RUN needs root".into());
    }
    match aya::sys::is_map_supported(aya::maps::MapType::Array) {
        Ok(true) => {}
        Ok(false) => return Some("this kernel has no BPF".into()),
        Err(error) => return Some(format!("this kernel does not let us use BPF: {error}")),
    }
    own_network().err().map(|error| format!("{error:#}"))
}

/// A network namespace with loopback (the public interface) and a veth (the
/// underlay's), which goes with the process.
fn own_network() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET)
        .context("cannot make a network namespace")?;
    make_device("underlay", UNDERLAY_INDEX)
}

/// Makes a veth device with this index in our network namespace.
pub(crate) fn make_device(name: &str, index: u32) -> Result<()> {
    let index = index.to_string();
    let output = Command::new("ip")
        .args(["link", "add", name, "index", &index, "type", "veth"])
        .output()
        .context("cannot run `ip`")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "cannot make a veth device: {}",
        said.trim()
    );
    Ok(())
}

/// Sends packets through the kernel's program.
pub struct Kernel {
    object: Vec<u8>,
    pins: tempfile::TempDir,
    /// Loaded data paths by site and by the only device that redirects can go to.
    loaded: BTreeMap<(Site, u32), Loaded>,
    site: Site,
}

/// A loaded data path, and what its counters said when they were last read.
struct Loaded {
    datapath: Datapath,
    readings: Readings,
}

impl Kernel {
    /// Reads the object; data paths are loaded when the first case needs them.
    pub fn new() -> Result<Self> {
        let path = object_path();
        let object = std::fs::read(&path).with_context(|| {
            format!(
                "no BPF object at {}: type `cargo xtask build`",
                path.display()
            )
        })?;
        Ok(Self {
            object,
            pins: tempfile::tempdir()?,
            loaded: BTreeMap::new(),
            site: Site::default(),
        })
    }

    /// The site where the next packets play.
    pub fn go_to(&mut self, site: Site) -> &mut Self {
        self.site = site;
        self
    }

    /// The data path of the site whose only filled port leads to `device`: where a
    /// redirect goes cannot be seen in a test run, but that it fails can.
    fn loaded(&mut self, device: u32) -> Result<&mut Loaded> {
        let key = (self.site, device);
        if !self.loaded.contains_key(&key) {
            let mut tables = self.site.tables();
            for port in tables.ports.iter_mut().filter(|port| **port != device) {
                *port = 0;
            }
            let options = Options {
                object: &self.object,
                pin_dir: self.pins.path().into(),
            };
            let datapath = Datapath::load(&options, &tables)?;
            let readings = Readings::of(&datapath)?;
            self.loaded.insert(key, Loaded { datapath, readings });
        }
        Ok(self.loaded.get_mut(&key).expect("just inserted"))
    }

    /// Instructions that the verifier goes through to load each program of the object:
    /// the most that any site's tables take.
    pub fn verified(&self) -> Result<BTreeMap<String, u32>> {
        let mut most = BTreeMap::new();
        let with_snat = conversation::site::tables(&conversation::site::topology(), 0);
        let sites = Site::ALL.map(|site| site.tables()).into_iter();
        for tables in sites.chain([with_snat]) {
            for (program, count) in datapath::verified(&self.object, &tables)? {
                let known = most.entry(program).or_insert(0);
                *known = count.max(*known);
            }
        }
        Ok(most)
    }

    /// The same with one site's tables.
    pub fn verified_at(&self, site: Site) -> Result<BTreeMap<String, u32>> {
        datapath::verified(&self.object, &site.tables())
    }

    /// Sends one frame in by a program; a redirect succeeds to `device` alone.
    pub fn send(
        &mut self,
        program: Program,
        frame: &[u8],
        device: Option<u32>,
    ) -> Result<Observed> {
        let device = device.unwrap_or(PUBLIC_INDEX);
        let loaded = self.loaded(device)?;
        let seen = test_run(&mut loaded.datapath, program, frame, device)?;
        let now = Readings::of(&loaded.datapath)?;
        let before = std::mem::replace(&mut loaded.readings, now);
        Ok(loaded.readings.since(&before, seen))
    }
}

/// Sends one frame in by a program of a data path. Where a redirect goes cannot be seen.
pub fn send(datapath: &mut Datapath, program: Program, frame: &[u8]) -> Result<Observed> {
    let before = Readings::of(datapath)?;
    let seen = test_run(datapath, program, frame, 0)?;
    Ok(Readings::of(datapath)?.since(&before, seen))
}

/// The same, without a look at the counters.
pub fn act(datapath: &mut Datapath, program: Program, frame: &[u8]) -> Result<Action> {
    test_run(datapath, program, frame, 0).map(|(action, _)| action)
}

fn test_run(
    datapath: &mut Datapath,
    program: Program,
    frame: &[u8],
    device: u32,
) -> Result<(Action, Vec<u8>)> {
    let role = match program {
        Program::Public => Role::Public,
        Program::Underlay => Role::Underlay,
        Program::SingleArm => Role::SingleArm,
    };
    let mut output = vec![0; ROOM];
    let result = datapath
        .program(role)?
        .test_run(TestRunOptions {
            data_in: Some(frame),
            data_out: Some(&mut output),
            ..TestRunOptions::default()
        })
        .context("BPF_PROG_TEST_RUN failed")?;
    output.truncate(result.data_size_out as usize);
    let action = match result.return_value {
        1 => Action::Drop,
        2 => Action::Pass,
        3 => Action::Transmit,
        4 => Action::Redirect(device),
        other => bail!("the program returned {other}, which is no XDP action to expect"),
    };
    Ok((action, output))
}

impl Runner for Kernel {
    fn run(&mut self, step: &Step, device: Option<u32>) -> Result<Observed> {
        self.send(step.program, &step.input, device)
    }

    fn can_send(&self, step: &Step) -> bool {
        step.input.len() >= SHORTEST
    }
}

/// What a data path's counters say.
struct Readings {
    counters: Vec<Counter>,
    routed: Vec<Counter>,
    reasons: Vec<(Reason, ReasonCount)>,
}

impl Readings {
    fn of(datapath: &Datapath) -> Result<Self> {
        Ok(Self {
            counters: datapath.counters()?,
            routed: datapath.routed()?,
            reasons: datapath.reasons()?,
        })
    }

    /// What was seen of a packet, by what moved since `before`.
    fn since(&self, before: &Self, (action, output): (Action, Vec<u8>)) -> Observed {
        let reasons = self.reasons.iter().zip(&before.reasons);
        let reasons = reasons.map(|((reason, now), (_, before))| {
            let packets = now.packets - before.packets;
            let bytes = now.bytes - before.bytes;
            (*reason, ReasonCount { packets, bytes })
        });
        Observed {
            action,
            output,
            counters: moved(&self.counters, &before.counters),
            routed: moved(&self.routed, &before.routed),
            reasons: reasons
                .filter(|(_, count)| *count != ReasonCount::default())
                .collect(),
        }
    }
}

/// What moved between two readings.
fn moved(now: &[Counter], before: &[Counter]) -> BTreeMap<u32, Counter> {
    let changed = |(now, before): (&Counter, &Counter)| Counter {
        in_packets: now.in_packets - before.in_packets,
        in_bytes: now.in_bytes - before.in_bytes,
        out_packets: now.out_packets - before.out_packets,
        out_bytes: now.out_bytes - before.out_bytes,
    };
    (0..)
        .zip(now.iter().zip(before).map(changed))
        .filter(|(_, count)| *count != Counter::default())
        .collect()
}
