//! `bench program`: nanoseconds a packet, floors and candidates in turn.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::{
    cases::{self, Case},
    generator::{FLOORS, Generator},
    interrupt,
    progress::Progress,
    report::{self, Output, Report, least, median},
    subject::Subjects,
    table,
};
use crate::harness;

/// How long to measure.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    output: Output,
}

/// The parameter that tells floors from cases.
const KIND: &str = "kind";

/// What the figures mean.
const NOTES: [&str; 3] = [
    "least and median: a round's time by BPF_PROG_TEST_RUN, generator included",
    "cost: least of all rounds, less that of generator and XDP_TX",
    "of_floor: cost of a case over that of a constant push (or pop) and redirect, of the least \
     rounds; of_floor_paired: the same within each round, median of rounds",
];

/// Measures and prints.
pub fn run(arguments: &Arguments) -> Result<()> {
    arguments
        .output
        .write(&measure_all(arguments.quick)?, table::text)
}

/// Measures everything. The calling thread is in another network namespace afterwards.
pub fn measure_all(quick: bool) -> Result<Report> {
    if let Some(reason) = harness::unavailable() {
        bail!("{reason}");
    }
    let (rounds, packets) = if quick { (3, 200_000) } else { (11, 1_000_000) };
    measure(rounds, packets)
}

/// Runs all cases in `rounds` rounds of `packets` packets.
pub fn measure(rounds: usize, packets: u32) -> Result<Report> {
    let mut report = Report::begin("program")?;
    let mut subjects = Subjects::load()?;
    let cases = in_rounds(&mut subjects, rounds, packets);
    subjects.unload()?;
    report.cases = cases?;
    report.settings = BTreeMap::from([
        ("rounds".to_owned(), rounds as u64),
        ("packets".to_owned(), packets.into()),
    ]);
    report.notes = NOTES.map(str::to_owned).into();
    Ok(report)
}

fn in_rounds(subjects: &mut Subjects, rounds: usize, packets: u32) -> Result<Vec<report::Case>> {
    let cases = cases::all();
    let progress = Progress::new(cases.len() * rounds)?;
    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        let mut generator = Generator::new(&case.sample, case.flows)?;
        generator.stay_attached()?;
        subjects.check(case, &mut generator)?;
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..rounds {
            interrupt::check()?;
            progress.step(case.name);
            for floor in case.shape.floors() {
                let time = generator.run_floor(floor, packets)?.per_packet;
                times.entry(floor).or_default().push(time.as_nanos() as f64);
            }
            let program = subjects.program(case)?;
            let time = generator.run(&program, packets)?.per_packet;
            times
                .entry(case.name)
                .or_default()
                .push(time.as_nanos() as f64);
        }
        add_rows(&mut rows, case, &times, index == 0);
    }
    progress.end();
    Ok(rows)
}

fn add_rows(
    rows: &mut Vec<report::Case>,
    case: &Case,
    times: &BTreeMap<&str, Vec<f64>>,
    is_first: bool,
) {
    let generator = &times["floor_tx"];
    let row = |name: &str, times: &[f64]| {
        let mut row = report::Case::new(name, "ns/packet", times.to_vec()).of_flows(case.flows);
        row.derive("cost", row.least - least(generator));
        row
    };
    // Floors are told once a shape; they are measured with every case.
    for floor in FLOORS {
        let known = rows.iter().any(|row| row.name == floor);
        if let Some(times) = times
            .get(floor)
            .filter(|_| !known && (is_first || floor != "floor_tx"))
        {
            rows.push(row(floor, times).with(KIND, "floor"));
        }
    }
    let own = &times[case.name];
    let mut result = row(case.name, own).with(KIND, "case");
    if let Some(floor) = case.shape.floor() {
        let floor = &times[floor];
        let cost = result.least - least(generator);
        result.derive("of_floor", cost / (least(floor) - least(generator)));
        let pairs = own.iter().zip(floor).zip(generator);
        let ratios: Vec<_> = pairs
            .filter(|((_, floor), base)| floor > base)
            .map(|((own, floor), base)| (own - base) / (floor - base))
            .collect();
        if !ratios.is_empty() {
            result.derive("of_floor_paired", median(&ratios));
        }
    }
    rows.push(result);
}
