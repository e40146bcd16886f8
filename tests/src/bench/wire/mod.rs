//! `bench wire`: packets a second through real veths, contestants in turn.
//!
//! Source, contestant and sink are on one processor; the sink counts. What comes out
//! is sampled and judged in the same run. [`latency`] has the same ends and contestants.

mod connections;
mod ends;
mod hardware;
mod judge;
mod kernel;
mod lane;
pub mod latency;
mod openvswitch;
mod xdp;

use std::{collections::BTreeMap, time::Duration};

use anyhow::{Context, Result, ensure};

use super::{
    cases::inbound,
    interrupt,
    progress::Progress,
    report::{Case, Output, Report, median},
    table,
};
use crate::{
    cases::site::{CLIENT, VIP, from_border},
    lab::Stand,
};
use connections::{Between, Path};
use ends::Pace;
use hardware::Interfaces;
use judge::WEB;
use lane::{Contestant, Lane};

/// What to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    pub quick: bool,
    /// Only these contestants.
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contestant>,
    #[command(flatten)]
    interfaces: Interfaces,
    #[command(flatten)]
    output: Output,
}

/// Numbers of flows.
const FLOWS: [usize; 2] = [1, 1 << 16];

/// What the figures mean.
const NOTES: [&str; 5] = [
    "64-byte TCP frames by BPF_F_TEST_XDP_LIVE_FRAMES, through veths between namespaces; \
     source, contestant and sink on one processor, Open vSwitch's threads on another",
    "packets/s: counted at the sink; lost: the share of what was sent that did not arrive",
    "the sink is the cheapest for each: an XDP program for frames that XDP sent, a tc program \
     for the kernel's packets, which XDP on veth would copy first",
    "sampled frames of every contestant are judged in the same run: VIP to backend, VNI, MACs, \
     TTL, checksums",
    "of_push: packets/s over those of a constant 50-byte push and redirect, median of rounds; \
     of_nftables: the same over nftables",
];

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    let report = match arguments.interfaces.are_given() {
        true => {
            let (rounds, duration) = rounds(arguments.quick);
            arguments.interfaces.measure(rounds, duration)?
        }
        false => measure(arguments.quick, &arguments.only)?,
    };
    arguments.output.write(&report, table::text)
}

/// The processor that source, contestant and sink are on: the last one, since
/// interrupts are mostly on the first.
fn processor() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from) - 1
}

/// Another one, where there is one.
fn other_processor() -> usize {
    processor().saturating_sub(1)
}

fn measure(quick: bool, only: &[Contestant]) -> Result<Report> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "network namespaces and BPF need root"
    );
    let (rounds, duration) = rounds(quick);
    let mut report = Report::begin("wire")?;
    report.settings = BTreeMap::from([
        ("rounds".to_owned(), rounds as u64),
        ("milliseconds".to_owned(), duration.as_millis() as u64),
    ]);
    report.notes = NOTES.map(str::to_owned).into();
    let contestants: &[Contestant] = match only {
        [] => <Contestant as clap::ValueEnum>::value_variants(),
        only => only,
    };
    let stand = Stand::new()?;
    let progress = Progress::new(
        contestants.len() * (1 + rounds * FLOWS.len()) + Between::ALL.len() * (1 + rounds.min(5)),
    )?;
    let frame = from_border().ipv4(CLIENT, VIP).tcp(40_000, 443);
    let sample = inbound(&frame.payload_of(10));
    let mut lanes = Vec::new();
    for &contestant in contestants {
        interrupt::check()?;
        progress.step(contestant.title());
        let lane = Lane::new(&stand, contestant, (&WEB, &sample), &FLOWS, Pace::Full);
        match lane.and_then(|lane| warmed_up(&stand, lane, duration)) {
            Ok(lane) => lanes.push(lane),
            Err(error) => {
                let title = contestant.title();
                report
                    .notes
                    .push(not_here(title, contestant.is_ours(), error)?);
            }
        }
    }
    report.cases = in_rounds(&stand, &mut lanes, rounds, duration, &progress)?;
    for lane in lanes {
        lane.end()?;
    }
    if only.is_empty() {
        connections(&stand, rounds.min(5), duration * 2, &progress, &mut report)?;
    }
    progress.end();
    stand.down()?;
    Ok(report)
}

/// What is said of a peer that cannot be measured on this machine; what is ours must work.
fn not_here(title: &str, is_ours: bool, error: anyhow::Error) -> Result<String> {
    interrupt::check()?;
    if is_ours {
        return Err(error.context(title.to_owned()));
    }
    // A note is one line; a frame that was judged wrong takes many.
    let first = |text: String| text.lines().next().unwrap_or_default().to_owned();
    let said: Vec<_> = error
        .chain()
        .map(|cause| first(cause.to_string()))
        .collect();
    Ok(format!("not here: {title}: {}", said.join(": ")))
}

/// Flows are learnt, and caches filled, before anything counts.
fn warmed_up(stand: &Stand, mut lane: Lane, duration: Duration) -> Result<Lane> {
    for flows in FLOWS {
        interrupt::check()?;
        lane.measure(stand, flows, duration, processor())?;
    }
    lane.judge()?;
    Ok(lane)
}

/// How many rounds, and how long each of them.
const fn rounds(quick: bool) -> (usize, Duration) {
    match quick {
        true => (3, Duration::from_millis(60)),
        false => (11, Duration::from_millis(250)),
    }
}

/// Measures everything.
pub fn measure_all(quick: bool) -> Result<Report> {
    measure(quick, &[])
}

/// What rounds gave for each contestant and number of flows.
type Found = BTreeMap<(usize, usize), Vec<lane::Measured>>;

fn in_rounds(
    stand: &Stand,
    lanes: &mut [Lane],
    rounds: usize,
    duration: Duration,
    progress: &Progress,
) -> Result<Vec<Case>> {
    let mut found = Found::new();
    for _ in 0..rounds {
        for (index, lane) in lanes.iter_mut().enumerate() {
            for flows in FLOWS {
                interrupt::check()?;
                progress.step(lane.contestant.title());
                let measured = lane.measure(stand, flows, duration, processor())?;
                found.entry((flows, index)).or_default().push(measured);
            }
        }
    }
    for lane in lanes.iter() {
        let title = || lane.contestant.title().to_owned();
        lane.judge().with_context(title)?;
    }
    let contestants: Vec<_> = lanes.iter().map(|lane| lane.contestant).collect();
    Ok(cases(&contestants, &found))
}

fn cases(contestants: &[Contestant], found: &Found) -> Vec<Case> {
    let rates = |flows, contestant| -> Option<Vec<f64>> {
        let index = contestants.iter().position(|other| *other == contestant)?;
        let rounds = found.get(&(flows, index))?;
        Some(rounds.iter().map(|round| round.per_second()).collect())
    };
    let mut cases = Vec::new();
    for (&(flows, index), rounds) in found {
        let contestant = contestants[index];
        let own: Vec<_> = rounds.iter().map(|round| round.per_second()).collect();
        let mut case = Case::new(contestant.title(), "packets/s", own.clone()).of_flows(flows);
        case.derive("ns", 1e9 / case.median);
        let lost = rounds
            .iter()
            .map(|round| 1.0 - round.arrived as f64 / round.sent as f64);
        case.derive("lost", median(&lost.collect::<Vec<_>>()));
        for (name, other) in [
            ("of_push", Contestant::Push),
            ("of_nftables", Contestant::Nftables),
        ] {
            if let Some(others) = rates(flows, other).filter(|_| other != contestant) {
                let ratios: Vec<_> = own.iter().zip(others).map(|(own, of)| own / of).collect();
                case.derive(name, median(&ratios));
            }
        }
        cases.push(case);
    }
    cases
}

/// Whole connections, where there are two directions.
fn connections(
    stand: &Stand,
    rounds: usize,
    duration: Duration,
    progress: &Progress,
    report: &mut Report,
) -> Result<()> {
    let mut paths = Vec::new();
    for between in Between::ALL {
        interrupt::check()?;
        progress.step(between.title());
        let path = Path::new(stand, between).and_then(|path| {
            path.measure(stand, duration / 2)?;
            Ok(path)
        });
        match path {
            Ok(path) => paths.push((path, Vec::new())),
            Err(error) => {
                let title = between.title();
                report
                    .notes
                    .push(not_here(title, between.is_ours(), error)?);
            }
        }
    }
    for _ in 0..rounds {
        for (path, rates) in &mut paths {
            interrupt::check()?;
            progress.step(path.between.title());
            rates.push(path.measure(stand, duration)?);
        }
    }
    for (path, rates) in paths {
        let case = Case::new(path.between.title(), "connections/s", rates);
        report.cases.push(case);
        path.end()?;
    }
    Ok(())
}
