//! `bench program`: nanoseconds a packet, floors and candidates in turn.

use std::collections::BTreeMap;

use super::{
    cases::{self, Case, Scale, Shape},
    generator::{FLOORS, Generator},
    report::{self, Output, Report, least, median},
    table,
};
use crate::{
    cases::Program,
    harness::{self, Action, Host, object_path},
};
use anyhow::{Context, Result, bail, ensure};
use lingyun::datapath::{self, Datapath, Role};

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
    if let Some(reason) = harness::unavailable() {
        bail!("{reason}");
    }
    let (rounds, packets) = if arguments.quick {
        (3, 200_000)
    } else {
        (11, 1_000_000)
    };
    arguments
        .output
        .write(&measure(rounds, packets)?, table::render)
}

/// Runs all cases in `rounds` rounds of `packets` packets.
pub fn measure(rounds: usize, packets: u32) -> Result<Report> {
    let mut report = Report::begin("program")?;
    datapath::ensure_bpffs()?;
    let mut datapaths = BTreeMap::new();
    for scale in [Scale::Small, Scale::ManyVips, Scale::ManyRings] {
        datapaths.insert(scale, load(scale)?);
    }
    let cases = measure_all(&mut datapaths, rounds, packets);
    for datapath in datapaths.into_values() {
        datapath.detach()?;
    }
    report.cases = cases?;
    report.settings = BTreeMap::from([
        ("rounds".to_owned(), rounds as u64),
        ("packets".to_owned(), packets.into()),
    ]);
    report.notes = NOTES.map(str::to_owned).into();
    Ok(report)
}

fn measure_all(
    datapaths: &mut BTreeMap<Scale, Datapath>,
    rounds: usize,
    packets: u32,
) -> Result<Vec<report::Case>> {
    let cases = cases::all();
    let bar = indicatif::ProgressBar::new((cases.len() * rounds) as u64);
    bar.set_style(
        indicatif::ProgressStyle::with_template("{msg:20} {bar:30} {eta} left")
            .context("the progress bar's template")?,
    );
    let mut rows = Vec::new();
    for (index, case) in cases.iter().enumerate() {
        bar.set_message(case.name);
        let datapath = datapaths.get_mut(&case.site).context("loaded above")?;
        let mut generator = Generator::new(&case.sample, case.flows)?;
        check(case, datapath, &mut generator)?;
        let mut times: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
        for _ in 0..rounds {
            for floor in FLOORS
                .into_iter()
                .filter(|floor| belongs(floor, case.shape))
            {
                let time = generator.run_floor(floor, packets)?.per_packet;
                times.entry(floor).or_default().push(time.as_nanos() as f64);
            }
            let fd = datapath.program(role(case.program))?.fd()?.try_clone()?;
            let time = generator.run(&fd, packets)?.per_packet;
            times
                .entry(case.name)
                .or_default()
                .push(time.as_nanos() as f64);
            bar.inc(1);
        }
        add_rows(&mut rows, case, &times, index == 0);
    }
    bar.finish_and_clear();
    Ok(rows)
}

/// Floors that a case of this shape is held against.
fn belongs(floor: &str, shape: Shape) -> bool {
    match shape {
        Shape::Same => floor == "floor_tx",
        Shape::Push => floor == "floor_tx" || floor.starts_with("floor_push"),
        Shape::Pop => floor == "floor_tx" || floor.starts_with("floor_pop"),
    }
}

/// The floor that does the same with the frame.
const fn floor_of(shape: Shape) -> Option<&'static str> {
    match shape {
        Shape::Same => None,
        Shape::Push => Some("floor_push_redirect"),
        Shape::Pop => Some("floor_pop_redirect"),
    }
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
    if let Some(floor) = floor_of(case.shape) {
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

/// A measurement of a program that drops is worthless: what comes out must be what
/// the library makes of the same frame on the host.
fn check(case: &Case, datapath: &mut Datapath, generator: &mut Generator) -> Result<()> {
    let host = Host::new(case.site.tables());
    generator.restart()?;
    let sent = generator.run_floor("floor_tx", 1)?.output;
    generator.restart()?;
    let fd = datapath.program(role(case.program))?.fd()?.try_clone()?;
    let outcome = generator.run(&fd, 1)?;
    let expected = host.send(case.program, &sent, 256);
    let action = match expected.action {
        Action::Drop => 1,
        Action::Pass => 2,
        Action::Transmit => 3,
        Action::Redirect(_) => 4,
    };
    ensure!(
        action != 1,
        "{}: the frame is dropped: {:?}",
        case.name,
        expected.reasons
    );
    ensure!(
        outcome.action == action,
        "{}: action {}, not {action}",
        case.name,
        outcome.action
    );
    ensure!(
        outcome.output == expected.output,
        "{}: the bytes that come out are not those of the host:\n{}",
        case.name,
        crate::packet::diff(&expected.output, &outcome.output).unwrap_or_default()
    );
    Ok(())
}

fn load(scale: Scale) -> Result<Datapath> {
    let path = object_path();
    let object = std::fs::read(&path)
        .with_context(|| format!("{} is not built: type `cargo xtask build`", path.display()))?;
    let options = datapath::Options {
        object: &object,
        pin_dir: format!("/sys/fs/bpf/lingyun-bench-{}", std::process::id()).into(),
    };
    Datapath::load(&options, &scale.tables())
}

const fn role(program: Program) -> Role {
    match program {
        Program::Public => Role::Public,
        Program::Underlay => Role::Underlay,
        Program::SingleArm => Role::SingleArm,
    }
}
