//! `bench program`: nanoseconds a packet, floors and candidates in turn.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use lingyun::datapath::{self, Datapath, Role};
use serde::Serialize;

use super::{
    cases::{self, Case, Scale, Shape},
    generator::{FLOORS, Generator},
    table,
};
use crate::{
    cases::Program,
    harness::{self, Action, Host, object_path},
};

/// How long to measure.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// The kernel.
    pub kernel: String,
    /// The processor, as the kernel names it.
    pub processor: String,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Packets of each round and case.
    pub packets: u32,
    /// In the order measured.
    pub rows: Vec<Row>,
}

/// One case.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// Name.
    pub name: String,
    /// Flows in random order.
    pub flows: usize,
    /// Floors have no floor.
    pub shape: Option<Shape>,
    /// Nanoseconds a packet, least of all rounds, generator included.
    pub least_ns: f64,
    /// The median round.
    pub median_ns: f64,
    /// Least, with the least of the generator and XDP_TX alone taken off.
    pub cost_ns: f64,
    /// Cost as a multiple of the floor's: the same push or pop, and redirect.
    pub of_floor: Option<f64>,
    /// Median of this case's rounds, each divided by the floor's in the same round,
    /// both without the generator.
    pub of_floor_paired: Option<f64>,
}

/// Measures and prints.
pub fn run(arguments: Arguments) -> Result<()> {
    if let Some(reason) = harness::unavailable() {
        bail!("{reason}");
    }
    let (rounds, packets) = if arguments.quick {
        (3, 200_000)
    } else {
        (11, 1_000_000)
    };
    let results = measure(rounds, packets)?;
    let text = match arguments.json {
        true => serde_json::to_string_pretty(&results)?,
        false => table::render(&results),
    };
    println!("{text}");
    Ok(())
}

/// Runs all cases in `rounds` rounds of `packets` packets.
pub fn measure(rounds: usize, packets: u32) -> Result<Results> {
    datapath::ensure_bpffs()?;
    let mut datapaths = BTreeMap::new();
    for scale in [Scale::Small, Scale::ManyVips, Scale::ManyRings] {
        datapaths.insert(scale, load(scale)?);
    }
    let rows = measure_all(&mut datapaths, rounds, packets);
    for datapath in datapaths.into_values() {
        datapath.detach()?;
    }
    Ok(Results {
        kernel: kernel()?,
        processor: processor(),
        rounds,
        packets,
        rows: rows?,
    })
}

fn measure_all(
    datapaths: &mut BTreeMap<Scale, Datapath>,
    rounds: usize,
    packets: u32,
) -> Result<Vec<Row>> {
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

fn add_rows(rows: &mut Vec<Row>, case: &Case, times: &BTreeMap<&str, Vec<f64>>, is_first: bool) {
    let generator = &times["floor_tx"];
    let row = |name: &str, shape, times: &[f64]| Row {
        name: name.to_owned(),
        flows: case.flows,
        shape,
        least_ns: least(times),
        median_ns: median(times),
        cost_ns: least(times) - least(generator),
        of_floor: None,
        of_floor_paired: None,
    };
    // Floors are told once a shape; they are measured with every case.
    for floor in FLOORS {
        let known = rows.iter().any(|row| row.name == floor);
        if let Some(times) = times
            .get(floor)
            .filter(|_| !known && (is_first || floor != "floor_tx"))
        {
            rows.push(row(floor, None, times));
        }
    }
    let own = &times[case.name];
    let mut result = row(case.name, Some(case.shape), own);
    if let Some(floor) = floor_of(case.shape) {
        let floor = &times[floor];
        result.of_floor = Some(result.cost_ns / (least(floor) - least(generator)));
        let pairs = own.iter().zip(floor).zip(generator);
        let ratios: Vec<_> = pairs
            .filter(|((_, floor), base)| floor > base)
            .map(|((own, floor), base)| (own - base) / (floor - base))
            .collect();
        result.of_floor_paired = (!ratios.is_empty()).then(|| median(&ratios));
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

fn least(times: &[f64]) -> f64 {
    times.iter().copied().fold(f64::MAX, f64::min)
}

fn median(times: &[f64]) -> f64 {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn kernel() -> Result<String> {
    Ok(nix::sys::utsname::uname()?
        .release()
        .to_string_lossy()
        .into_owned())
}

fn processor() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = info.lines().find(|line| line.starts_with("model name"));
    let name = line
        .and_then(|line| line.split_once(": "))
        .map(|(_, name)| name);
    name.unwrap_or("unknown").to_owned()
}
