//! The generator in front of a candidate: loaded anew for each case.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, DevMap, Map, MapData, ProgramArray},
    programs::{ProgramFd, TestRun, TestRunOptions, Xdp, XdpMode},
};

use super::cases::Sample;
use crate::{
    cases::site::{PUBLIC_INDEX, UNDERLAY_INDEX},
    harness::object_path,
};

/// Bytes of the frame that the generator's map holds.
const RESTORED: usize = 128;

/// A loaded generator with a sample's frame and flows.
pub(super) struct Generator {
    ebpf: Ebpf,
    jump: ProgramArray<MapData>,
    round: Array<MapData, u32>,
    frame: Vec<u8>,
}

/// What one run gave.
pub(super) struct Outcome {
    pub action: u32,
    pub per_packet: Duration,
    pub output: Vec<u8>,
}

/// The programs that any gateway must be at least as slow as.
pub(super) const FLOORS: [&str; 6] = [
    "floor_tx",
    "floor_redirect",
    "floor_push",
    "floor_push_redirect",
    "floor_pop",
    "floor_pop_redirect",
];

impl Generator {
    /// Loads the generator for a sample and so many flows (a power of two).
    pub(super) fn new(sample: &Sample, flows: usize) -> Result<Self> {
        let mut ebpf = load(sample, flows, &[])?;
        for name in FLOORS.iter().chain(&["generator"]) {
            program(&mut ebpf, name)?
                .load()
                .with_context(|| format!("load {name}"))?;
        }
        let mut ports = DevMap::try_from(take(&mut ebpf, "FLOOR_PORTS")?)?;
        ports.set(1, UNDERLAY_INDEX, None, 0)?;
        let round = Array::try_from(take(&mut ebpf, "ROUND")?)?;
        let jump = ProgramArray::try_from(take(&mut ebpf, "CANDIDATE")?)?;
        Ok(Self {
            ebpf,
            jump,
            round,
            frame: sample.frame.clone(),
        })
    }

    /// Attaches what is run first to the site's devices, where nothing arrives. A run of
    /// a program that is not attached anywhere makes the kernel's dispatcher of XDP
    /// programs learn it first and forget it afterwards, each with a wait of several
    /// ticks: a run's whole time would say nothing of its packets.
    pub(super) fn stay_attached(&mut self) -> Result<()> {
        for (name, device) in [("generator", UNDERLAY_INDEX), (FLOORS[0], PUBLIC_INDEX)] {
            program(&mut self.ebpf, name)?
                .attach_to_if_index(device, XdpMode::default())
                .with_context(|| format!("attach {name}"))?;
        }
        Ok(())
    }

    /// Starts over with the first flow.
    pub(super) fn restart(&mut self) -> Result<()> {
        Ok(self.round.set(0, 0, 0)?)
    }

    /// Runs a floor behind the generator.
    pub(super) fn run_floor(&mut self, name: &str, repeat: u32) -> Result<Outcome> {
        let fd = self.floor(name)?;
        self.run(&fd, repeat)
    }

    /// The program of a floor.
    pub(super) fn floor(&mut self, name: &str) -> Result<ProgramFd> {
        Ok(program(&mut self.ebpf, name)?.fd()?.try_clone()?)
    }

    /// Runs a candidate behind the generator.
    pub(super) fn run(&mut self, candidate: &ProgramFd, repeat: u32) -> Result<Outcome> {
        self.jump.set(0, candidate, 0)?;
        self.run_alone("generator", repeat)
    }

    /// Runs one of the object's programs with nothing in front.
    pub(super) fn run_alone(&mut self, name: &str, repeat: u32) -> Result<Outcome> {
        let mut output = vec![0; 4_096];
        let result = program(&mut self.ebpf, name)?.test_run(TestRunOptions {
            data_in: Some(&self.frame),
            data_out: Some(&mut output),
            repeat,
            ..TestRunOptions::new()
        })?;
        output.truncate(result.data_size_out as usize);
        Ok(Outcome {
            action: result.return_value,
            per_packet: result.duration,
            output,
        })
    }
}

/// Makes the maps of the bench's object, the generator's filled for a sample and so
/// many flows (a power of two), with other numbers set besides. Loads no program.
pub(super) fn load(sample: &Sample, flows: usize, others: &[(&str, u32)]) -> Result<Ebpf> {
    ensure!(
        flows.is_power_of_two(),
        "the generator masks the round with the flows"
    );
    let path = object();
    let object = std::fs::read(&path)
        .with_context(|| format!("{} is not built: type `cargo xtask build`", path.display()))?;
    let number = |value: usize| u32::try_from(value).context("a frame's offset");
    let mut globals = vec![
        ("LENGTH", number(sample.frame.len())?),
        ("FLOWS_MASK", number(flows - 1)?),
        ("ADDRESS_AT", number(sample.address_at)?),
        ("PORT_AT", number(sample.port_at)?),
        ("SECOND_PORT_AT", number(sample.second_port_at)?),
        ("CHECKSUM_AT", number(sample.checksum_at)?),
    ];
    globals.extend(others);
    let mut loader = EbpfLoader::new();
    for (name, value) in &globals {
        loader.override_global(name, value, true);
    }
    loader.map_max_entries("FLOWS", number(flows)?);
    let mut ebpf = loader.load(&object).context("make the generator's maps")?;
    // They stay in the object: what is taken out is closed before a program is loaded.
    let mut frame: Array<_, [u64; RESTORED / 8]> = Array::try_from(map_mut(&mut ebpf, "FRAME")?)?;
    frame.set(0, words(&sample.frame), 0)?;
    let mut list: Array<_, u64> = Array::try_from(map_mut(&mut ebpf, "FLOWS")?)?;
    for (index, flow) in (0..).zip(super::flows::random(sample, flows)) {
        list.set(index, flow, 0)?;
    }
    Ok(ebpf)
}

/// A map of the bench's object, taken out of it.
pub(super) fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name)
        .with_context(|| format!("the bench's object has no map {name}"))
}

/// The object lies next to the gateway's.
fn object() -> PathBuf {
    object_path().with_file_name("gateway-bench")
}

/// A map of the bench's object, which keeps it.
pub(super) fn map_mut<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Map> {
    ebpf.map_mut(name)
        .with_context(|| format!("the bench's object has no map {name}"))
}

/// A program of the bench's object.
pub(super) fn program<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("no program {name}"))?;
    Ok(program.try_into()?)
}

/// The frame's start as the generator's map holds it.
fn words(frame: &[u8]) -> [u64; RESTORED / 8] {
    let mut words = [0; RESTORED / 8];
    for (word, bytes) in words.iter_mut().zip(frame.chunks(8)) {
        let mut padded = [0; 8];
        padded[..bytes.len()].copy_from_slice(bytes);
        *word = u64::from_ne_bytes(padded);
    }
    words
}
