//! Inside the counting machine: instructions a packet, case by case.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::counter;
use crate::bench::{
    cases::{self, Case},
    generator::{Generator, Outcome},
    report::{self, Report, median},
    subject::Subjects,
};

/// Packets of a short run; a long one has twice as many. Few enough that most runs are
/// over before the machine's next timer interrupt, which is four million instructions
/// away.
const PACKETS: u32 = 512;

/// The generator varies among these; a long run sees each once.
const FLOWS: usize = 2 * PACKETS as usize;

/// The middle of so many rounds has seen no interrupt.
const ROUNDS: usize = 9;

/// What the figures mean.
const NOTES: [&str; 5] = [
    "counted: instructions of the emulated processor, kernel and JIT-compiled BPF program \
     alike; a loop of known length proves the clock before anything is measured",
    "rounds, least and median: a run of BPF_PROG_TEST_RUN less one of half its packets, so \
     without the system call; the generator and the kernel's loop around it included",
    "cost: the median less that of generator and XDP_TX behind it",
    "alone: cost and what XDP_TX takes with no generator in front, which is how others count",
    "of_floor: cost over that of a constant push (or pop) and redirect",
];

/// The floor without the generator.
const ALONE: &str = "floor_tx, no generator";

/// Unit of the figures.
const UNIT: &str = "instructions/packet";

/// Counts every case; `at` hears which one is next.
pub fn measure(mut at: impl FnMut(&str)) -> Result<Report> {
    counter::prove()?;
    let mut report = Report::begin("instructions")?;
    at("load");
    let mut subjects = Subjects::load()?;
    let cases = count_all(&mut subjects, &mut at);
    subjects.unload()?;
    report.cases = cases?;
    report.settings = BTreeMap::from([
        ("rounds".to_owned(), ROUNDS as u64),
        ("packets".to_owned(), PACKETS.into()),
    ]);
    report.notes = NOTES.map(str::to_owned).into();
    Ok(report)
}

fn count_all(subjects: &mut Subjects, at: &mut impl FnMut(&str)) -> Result<Vec<report::Case>> {
    let mut rows: Vec<report::Case> = Vec::new();
    for case in cases::all() {
        // The number of flows decides about caches, which an emulated machine has not.
        if rows.iter().any(|row| row.name == case.name) {
            continue;
        }
        at(case.name);
        let mut generator = Generator::new(&case.sample, FLOWS)?;
        generator.stay_attached()?;
        subjects.check(&case, &mut generator)?;
        let mut floors = BTreeMap::new();
        for &floor in case.shape.floors() {
            let program = generator.floor(floor)?;
            floors.insert(floor, count(&mut generator, |it, n| it.run(&program, n))?);
        }
        if rows.is_empty() {
            let alone = count(&mut generator, |it, n| it.run_alone("floor_tx", n))?;
            rows.push(report::Case::new(ALONE, UNIT, alone).with("kind", "floor"));
        }
        let program = subjects.program(&case)?;
        let own = count(&mut generator, |it, n| it.run(&program, n))?;
        add_rows(&mut rows, &case, &floors, own);
    }
    Ok(rows)
}

/// Instructions a packet, in each round.
fn count(
    generator: &mut Generator,
    run: impl Fn(&mut Generator, u32) -> Result<Outcome>,
) -> Result<Vec<f64>> {
    let mut counted = |packets| -> Result<f64> {
        generator.restart()?;
        let (instructions, outcome) = counter::count(|| run(generator, packets));
        outcome?;
        Ok(instructions as f64)
    };
    // What is done once, such as the first touch of a page, is no packet's.
    counted(2 * PACKETS)?;
    (0..ROUNDS)
        .map(|_| Ok((counted(2 * PACKETS)? - counted(PACKETS)?) / f64::from(PACKETS)))
        .collect()
}

fn add_rows(
    rows: &mut Vec<report::Case>,
    case: &Case,
    floors: &BTreeMap<&str, Vec<f64>>,
    own: Vec<f64>,
) {
    let generator = median(&floors["floor_tx"]);
    let row = |name: &str, rounds: Vec<f64>, kind| {
        let mut row = report::Case::new(name, UNIT, rounds).of_flows(FLOWS);
        row.derive("cost", row.median - generator);
        row.with("kind", kind)
    };
    for (floor, rounds) in floors {
        if !rows.iter().any(|row| row.name == *floor) {
            rows.push(row(floor, rounds.clone(), "floor"));
        }
    }
    let mut result = row(case.name, own, "case");
    let alone = rows.iter().find(|row| row.name == ALONE);
    result.derive(
        "alone",
        result.derived["cost"] + alone.map_or(0.0, |row| row.median),
    );
    if let Some(floor) = case.shape.floor() {
        let floor = median(&floors[floor]) - generator;
        result.derive("of_floor", result.derived["cost"] / floor);
    }
    rows.push(result);
}

/// Measures and prints: progress in lines of its own, then the report in one.
pub(super) fn print() -> Result<()> {
    let report = measure(|case| println!("{}{case}", super::AT))?;
    let json = serde_json::to_string(&report).context("the report as JSON")?;
    println!("{}{json}", super::REPORT);
    Ok(())
}
