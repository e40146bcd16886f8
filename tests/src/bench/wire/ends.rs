//! Both ends of a wire: live frames into it, and a count of what comes out.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Array, DevMap, MapData, PerCpuArray},
    programs::{SchedClassifier, TcAttachType, TestRun, TestRunOptions, XdpMode, tc},
};
use nix::{
    sched::{CpuSet, sched_setaffinity},
    unistd::Pid,
};

use crate::bench::{
    cases::Sample,
    generator::{load, map_mut, program, take},
};

/// Gaps between frames that are remembered.
const GAPS: u32 = 1 << 14;

/// Buckets of the histogram: 32 for each power of two.
const BUCKETS: u32 = 1 << 11;

/// Words of a sampled frame, and how many samples there are.
const WORDS: usize = 16;
const SAMPLES: u32 = 64;

/// Keeps the calling thread on one processor.
pub(super) fn pin_to(processor: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(processor)?;
    sched_setaffinity(Pid::from_raw(0), &set)
        .with_context(|| format!("stay on processor {processor}"))
}

/// When frames leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// As fast as they go.
    Full,
    /// When they are due, with the moment written into them.
    Timed,
}

impl Pace {
    const fn program(self) -> &'static str {
        match self {
            Self::Full => "source",
            Self::Timed => "source_paced",
        }
    }

    /// Frames that the kernel hands over at once: many, as a driver does, or few, so
    /// that none waits for others.
    const fn batch(self) -> u32 {
        match self {
            Self::Full => 64,
            Self::Timed => 4,
        }
    }

    /// Names of the sinks for XDP's frames and for the kernel's packets.
    const fn sinks(self) -> [&'static str; 2] {
        match self {
            Self::Full => ["sink", "sink_packet"],
            Self::Timed => ["sink_timed", "sink_packet_timed"],
        }
    }
}

/// Sends a sample's flows into a device.
pub(super) struct Source {
    ebpf: Ebpf,
    // The program's way out goes with it.
    _ports: DevMap<MapData>,
    frame: Vec<u8>,
    pace: Pace,
}

impl Source {
    /// Into the device with this index, in the calling thread's namespace.
    pub(super) fn new(sample: &Sample, flows: usize, device: u32, pace: Pace) -> Result<Self> {
        let mut ebpf = load(sample, flows, &[("STAMPED", sample.frame.len() as u32)])?;
        let mut ports = DevMap::try_from(take(&mut ebpf, "FLOOR_PORTS")?)?;
        ports.set(0, device, None, 0)?;
        program(&mut ebpf, pace.program())?.load()?;
        Ok(Self {
            ebpf,
            _ports: ports,
            frame: sample.frame.clone(),
            pace,
        })
    }

    /// Attaches what sends to a device where nothing arrives, as long as this lives: see
    /// [`Generator::stay_attached`](crate::bench::generator::Generator::stay_attached).
    pub(super) fn stay_attached(&mut self, device: &str) -> Result<()> {
        program(&mut self.ebpf, self.pace.program())?
            .attach(device, XdpMode::Skb)
            .with_context(|| format!("attach the source to {device}"))?;
        Ok(())
    }

    /// From now on frames are due at random, so many a second on average, as from many
    /// senders that know nothing of each other; all at once without a number.
    pub(super) fn set_rate(&mut self, per_second: Option<f64>) -> Result<()> {
        let mut random = fastrand::Rng::with_seed(4);
        let mut gaps: Array<_, u32> = Array::try_from(map_mut(&mut self.ebpf, "GAPS")?)?;
        for index in 0..GAPS {
            let gap = per_second.map_or(0.0, |rate| -(1.0 - random.f64()).ln() * 1e9 / rate);
            gaps.set(index, gap as u32, 0)?;
        }
        let mut schedule: Array<_, [u64; 2]> =
            Array::try_from(map_mut(&mut self.ebpf, "SCHEDULE")?)?;
        Ok(schedule.set(0, [0, 0], 0)?)
    }

    /// How many frames have left since the rate was set.
    pub(super) fn left(&mut self) -> Result<u64> {
        let schedule: Array<_, [u64; 2]> = Array::try_from(map_mut(&mut self.ebpf, "SCHEDULE")?)?;
        Ok(schedule.get(&0, 0)?[1])
    }

    /// Lets the program run so many times; at full pace each sends a frame.
    pub(super) fn send(&mut self, frames: u32) -> Result<()> {
        program(&mut self.ebpf, self.pace.program())?
            .test_run(TestRunOptions {
                data_in: Some(&self.frame),
                repeat: frames,
                attrs: aya::programs::TestRunAttrs::new().xdp_live_frames(self.pace.batch()),
                ..TestRunOptions::new()
            })
            .context("live frames (Linux 5.18 or later)")?;
        Ok(())
    }

    /// Sends until so much time has passed; gives the number of frames and the time.
    pub(super) fn send_for(&mut self, duration: Duration) -> Result<(u64, Duration)> {
        let (start, mut sent, mut chunk) = (Instant::now(), 0, 4_096);
        loop {
            let before = Instant::now();
            self.send(chunk)?;
            sent += u64::from(chunk);
            let passed = start.elapsed();
            if passed >= duration {
                return Ok((sent, passed));
            }
            // Every call costs some microseconds: few and long ones, but not too long.
            if before.elapsed() < duration / 8 {
                chunk *= 2;
            }
        }
    }
}

/// What the frames that arrive are to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arriving {
    /// XDP frames.
    Frames,
    /// The kernel's packets.
    Packets,
}

/// Counts and samples what comes out of a device.
pub(super) struct Sink {
    _ebpf: Ebpf,
    seen: PerCpuArray<MapData, [u64; 2]>,
    taken: Array<MapData, [u64; WORDS + 1]>,
    times: PerCpuArray<MapData, u64>,
}

impl Sink {
    /// At a device of the calling thread's namespace. Frames count from this length on.
    pub(super) fn new(
        sample: &Sample,
        device: &str,
        kind: Arriving,
        shortest: u32,
        pace: Pace,
    ) -> Result<Self> {
        let stamped = sample.frame.len() as u32;
        let mut ebpf = load(sample, 1, &[("SHORTEST", shortest), ("STAMPED", stamped)])?;
        let [for_frames, for_packets] = pace.sinks();
        match kind {
            Arriving::Frames => {
                let sink = program(&mut ebpf, for_frames)?;
                sink.load()?;
                sink.attach(device, XdpMode::Driver)?;
            }
            Arriving::Packets => {
                let sink: &mut SchedClassifier = ebpf
                    .program_mut(for_packets)
                    .with_context(|| format!("no program {for_packets}"))?
                    .try_into()?;
                // Newer kernels do without it.
                let _ = tc::qdisc_add_clsact(device);
                sink.load()?;
                sink.attach(device, TcAttachType::Ingress)?;
            }
        }
        Ok(Self {
            seen: PerCpuArray::try_from(take(&mut ebpf, "SEEN")?)?,
            taken: Array::try_from(take(&mut ebpf, "TAKEN")?)?,
            times: PerCpuArray::try_from(take(&mut ebpf, "TIMES")?)?,
            _ebpf: ebpf,
        })
    }

    /// Frames so far that were long enough.
    pub(super) fn count(&self) -> Result<u64> {
        let seen = self.seen.get(&0, 0)?;
        Ok(seen.iter().map(|counts| counts[0]).sum())
    }

    /// How many frames took how long so far, by bucket.
    pub(super) fn times(&self) -> Result<Vec<u64>> {
        let count = |bucket| -> Result<u64> {
            let counts = self.times.get(&bucket, 0)?;
            Ok(counts.iter().sum())
        };
        (0..BUCKETS).map(count).collect()
    }

    /// The newest samples, cut to what was kept of them.
    pub(super) fn samples(&self) -> Result<Vec<Vec<u8>>> {
        let mut samples = Vec::new();
        for index in 0..SAMPLES {
            let [length, words @ ..] = self.taken.get(&index, 0)?;
            let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_ne_bytes()).collect();
            // Words that reach beyond the end were not kept; the padding there is zero.
            let length = usize::try_from(length)?.min(bytes.len());
            if length > 0 {
                samples.push(bytes[..length].to_vec());
            }
        }
        Ok(samples)
    }
}
