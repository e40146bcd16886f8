//! `bench latency`: how long a frame is on its way, under load.
//!
//! The source has a processor for itself and sends each frame when it is due, at random
//! moments; the contestant works on another processor, in a thread of the kernel's. A
//! frame carries the moment when it was due, so waiting counts wherever it happens.

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, CpuSet, sched_setaffinity, unshare},
    unistd::Pid,
};

use super::{
    ends::{Pace, pin_to},
    judge::NAMES,
    lane::{Contestant, Lane, PUBLIC},
    not_here, other_processor, processor,
};
use crate::{
    bench::{
        cases::{Sample, inbound},
        interrupt,
        progress::Progress,
        report::{Case, Output, Report, median},
        table,
    },
    cases::site::{CLIENT, VIP, from_border},
    lab::Stand,
};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    pub quick: bool,
    #[command(flatten)]
    output: Output,
}

/// Shares of the rate at which a contestant is saturated, in percent.
const LOADS: [u32; 3] = [10, 50, 90];

/// Whose frames are timed; the wire alone comes first.
const CONTESTANTS: [Contestant; 5] = [
    Contestant::Redirect,
    Contestant::Push,
    Contestant::Lingyun,
    Contestant::Forwarding,
    Contestant::Nftables,
];

const FLOWS: usize = 1 << 16;

/// What the figures mean.
const NOTES: [&str; 4] = [
    "64-byte UDP frames to a VIP of one backend, 64k flows, by live frames through veths; the \
     source on one processor, contestant and sink on another (the kernel's NAPI thread)",
    "frames are due at random moments (exponential gaps); the time of one begins when it was \
     due, though the source may have been late, and ends at the sink",
    "load: the share of the rate at which this very contestant was saturated between the same \
     two ends",
    "added: over devmap redirect only, which is the wire itself, at the same load",
];

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = measure(arguments.quick)?;
    arguments.output.write(&report, table::text)
}

/// Measures.
pub fn measure(quick: bool) -> Result<Report> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and BPF need root"
    );
    ensure!(
        processor() != other_processor(),
        "the source needs a processor for itself: this machine has only one"
    );
    let (rounds, duration) = match quick {
        true => (2, Duration::from_millis(100)),
        false => (7, Duration::from_millis(300)),
    };
    let mut report = Report::begin("latency")?;
    report.settings.insert("rounds".into(), rounds as u64);
    let milliseconds = duration.as_millis() as u64;
    report.settings.insert("milliseconds".into(), milliseconds);
    report.notes = NOTES.map(str::to_owned).into();
    let stand = Stand::new()?;
    let steps = CONTESTANTS.len() * (1 + LOADS.len() * rounds);
    let progress = Progress::new(steps)?;
    let frame = from_border().ipv4(CLIENT, VIP).udp(40_000, NAMES.port);
    let sample = inbound(&frame.udp_checksum(0).payload_of(22));
    let mut lanes = Vec::new();
    for contestant in CONTESTANTS {
        interrupt::check()?;
        progress.step(contestant.title());
        match ready(&stand, contestant, &sample, duration) {
            Ok(found) => lanes.push(found),
            Err(error) => {
                let title = contestant.title();
                report
                    .notes
                    .push(not_here(title, contestant.is_ours(), error)?);
            }
        }
    }
    let mut found = vec![vec![Vec::new(); LOADS.len()]; lanes.len()];
    for _ in 0..rounds {
        for ((lane, rate), found) in lanes.iter_mut().zip(&mut found) {
            for (load, found) in LOADS.into_iter().zip(found) {
                interrupt::check()?;
                progress.step(lane.contestant.title());
                let rate = *rate * f64::from(load) / 100.0;
                found.push(at_rate(&stand, lane, rate, duration)?);
            }
        }
    }
    progress.end();
    for ((lane, rate), found) in lanes.into_iter().zip(found) {
        lane.judge()?;
        for (load, rounds) in LOADS.into_iter().zip(found) {
            report
                .cases
                .push(case(lane.contestant, load, rate, &rounds));
        }
        lane.end()?;
    }
    stand.down()?;
    compare(&mut report);
    Ok(report)
}

/// A contestant, and the frames a second that saturate it.
fn ready(
    stand: &Stand,
    contestant: Contestant,
    sample: &Sample,
    duration: Duration,
) -> Result<(Lane, f64)> {
    let mut lane = Lane::new(stand, contestant, (&NAMES, sample), &[FLOWS], Pace::Timed)?;
    work_in_thread(stand, &lane.node)
        .context("have the kernel poll in a thread (Linux 5.12 or later)")?;
    let rate = saturation(stand, &mut lane, duration)?;
    lane.judge()?;
    Ok((lane, rate))
}

/// One round at one load.
#[derive(Clone, Debug)]
struct Round {
    /// Frames by bucket of the time that they took.
    times: Vec<u64>,
    sent: u64,
}

impl Round {
    fn arrived(&self) -> u64 {
        self.times.iter().sum()
    }
}

/// Percentiles that are told.
const PERCENTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

fn case(contestant: Contestant, load: u32, rate: f64, rounds: &[Round]) -> Case {
    let medians = rounds.iter().map(|round| percentile(&round.times, 0.5));
    let mut case = Case::new(contestant.title(), "ns", medians.collect())
        .of_flows(FLOWS)
        .with("load", format!("{load} %"));
    for (name, share) in PERCENTILES {
        let of_rounds: Vec<_> = rounds
            .iter()
            .map(|round| percentile(&round.times, share))
            .collect();
        case.derive(name, median(&of_rounds));
    }
    let lost: Vec<_> = rounds
        .iter()
        .map(|round| 1.0 - round.arrived() as f64 / round.sent.max(1) as f64)
        .collect();
    case.derive("lost", median(&lost));
    case.derive("packets_per_second", rate * f64::from(load) / 100.0);
    case
}

/// What each adds to the wire.
fn compare(report: &mut Report) {
    let wire: Vec<_> = report
        .cases
        .iter()
        .filter(|case| case.name == Contestant::Redirect.title())
        .cloned()
        .collect();
    for case in &mut report.cases {
        let same = wire
            .iter()
            .find(|wire| wire.parameters == case.parameters && wire.name != case.name);
        for (name, _) in PERCENTILES {
            if let Some(wire) = same
                && let (Some(own), Some(of_wire)) =
                    (case.derived.get(name).copied(), wire.derived.get(name))
            {
                case.derive(&format!("added_{name}"), own - of_wire);
            }
        }
    }
}

/// Frames a second that arrive when the source does not wait.
fn saturation(stand: &Stand, lane: &mut Lane, duration: Duration) -> Result<f64> {
    let mut rates = Vec::new();
    // The first one fills caches and learns flows.
    for _ in 0..4 {
        let measured = with_source(stand, lane, |source, sink| {
            source.set_rate(None)?;
            let before = sink.count()?;
            let (_, time) = source.send_for(duration)?;
            Ok((sink.count()? - before) as f64 / time.as_secs_f64())
        })?;
        rates.push(measured);
    }
    Ok(median(&rates[1..]))
}

fn at_rate(stand: &Stand, lane: &mut Lane, rate: f64, duration: Duration) -> Result<Round> {
    with_source(stand, lane, |source, sink| {
        source.set_rate(Some(rate))?;
        // How often the program runs in this time depends on how often it only waits.
        let start = std::time::Instant::now();
        let trial = 20_000;
        source.send(trial)?;
        let runs = duration.as_secs_f64() / start.elapsed().as_secs_f64() * f64::from(trial);
        source.set_rate(Some(rate))?;
        std::thread::sleep(Duration::from_millis(5));
        let before = sink.times()?;
        // One call: in between two the source would be late.
        source.send((runs as u32).max(trial))?;
        // The last ones are still on their way.
        std::thread::sleep(Duration::from_millis(5));
        let times = sink.times()?.into_iter().zip(before);
        Ok(Round {
            times: times.map(|(after, before)| after - before).collect(),
            sent: source.left()?,
        })
    })
}

fn with_source<T: Send>(
    stand: &Stand,
    lane: &mut Lane,
    work: impl FnOnce(&mut super::ends::Source, &super::ends::Sink) -> Result<T> + Send,
) -> Result<T> {
    let Lane {
        source,
        sources,
        sink,
        ..
    } = lane;
    let (_, sender) = sources.first_mut().context("a lane without a source")?;
    stand.enter(source, || {
        pin_to(other_processor())?;
        work(sender, sink)
    })?
}

/// The time below which this share of frames stayed, in nanoseconds.
fn percentile(times: &[u64], share: f64) -> f64 {
    let total: u64 = times.iter().sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut sum = 0;
    for (bucket, count) in times.iter().enumerate() {
        sum += count;
        if sum >= wanted && sum > 0 {
            return middle(bucket);
        }
    }
    f64::NAN
}

/// The middle of a bucket: 32 of them for each power of two, as the sink has them.
fn middle(bucket: usize) -> f64 {
    if bucket < 32 {
        return bucket as f64;
    }
    let scale = (1_u64 << (bucket / 32 - 1)) as f64;
    (32.0 + (bucket % 32) as f64 + 0.5) * scale
}

/// Has a node's public device polled by a thread of the kernel's on the contestant's
/// processor.
fn work_in_thread(stand: &Stand, node: &str) -> Result<()> {
    let directory = stand.directory().join(format!("{node}.sys"));
    fs::create_dir(&directory).with_context(|| format!("create {}", directory.display()))?;
    let known = polling_threads();
    stand.enter(node, || -> Result<()> {
        // What /sys shows of devices depends on who mounted it. It goes with the thread.
        unshare(CloneFlags::CLONE_NEWNS).context("unshare the mounts")?;
        const NONE: Option<&str> = None;
        mount(NONE, "/", NONE, MsFlags::MS_PRIVATE | MsFlags::MS_REC, NONE)
            .context("keep mounts to ourselves")?;
        mount(
            Some("sysfs"),
            &directory,
            Some("sysfs"),
            MsFlags::empty(),
            NONE,
        )
        .context("mount sysfs")?;
        let file = directory.join(format!("class/net/{PUBLIC}/threaded"));
        fs::write(&file, "1").with_context(|| format!("write {}", file.display()))
    })??;
    let mut threads = polling_threads();
    threads.retain(|thread| !known.contains(thread));
    if threads.is_empty() {
        bail!("{PUBLIC} has no polling thread");
    }
    let mut set = CpuSet::new();
    set.set(processor())?;
    for thread in threads {
        sched_setaffinity(Pid::from_raw(thread), &set).context("move a polling thread")?;
    }
    Ok(())
}

/// Kernel threads that poll a device of the contestants' name.
fn polling_threads() -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten();
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let is_polling = |pid: &i32| {
        let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
        name.starts_with(&format!("napi/{PUBLIC}"))
    };
    pids.filter(is_polling).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `gateway-ebpf/src/bench/latency.rs` does it.
    fn bucket(nanoseconds: u64) -> usize {
        if nanoseconds < 32 {
            return nanoseconds as usize;
        }
        let exponent = 63 - nanoseconds.leading_zeros() as usize;
        ((exponent - 4) << 5) + ((nanoseconds >> (exponent - 5)) & 31) as usize
    }

    #[test]
    fn a_bucket_tells_the_time_to_three_percent() {
        for nanoseconds in [5, 31, 32, 33, 1_000, 12_345, 1_000_000, 77_777_777] {
            let told = middle(bucket(nanoseconds));
            let off = (told - nanoseconds as f64).abs() / nanoseconds as f64;
            assert!(off < 0.03, "{nanoseconds} ns are told as {told}");
        }
    }

    #[test]
    fn percentiles_are_in_order() {
        let mut times = vec![0; 2_048];
        times[bucket(1_000)] = 990;
        times[bucket(50_000)] = 10;
        assert!((percentile(&times, 0.5) - 1_000.0).abs() < 30.0);
        assert!((percentile(&times, 0.999) - 50_000.0).abs() < 1_500.0);
        assert!(percentile(&[0; 8], 0.5).is_nan());
    }
}
