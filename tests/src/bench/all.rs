//! `bench`: everything, one after the other; saved, drawn, and put into the documents.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, anyhow};

use super::{
    control, document, interrupt, plot, program,
    report::Report,
    table,
    wire::{self, latency},
};
use crate::docs;

/// What to do with the figures.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Fewer and shorter rounds: for a look, not for a claim.
    #[arg(long)]
    quick: bool,
    /// Print JSON instead of tables.
    #[arg(long)]
    json: bool,
    /// Put reports and plots into docs/benchmarks/ and write docs/benchmarks.md.
    #[arg(long, conflicts_with = "quick")]
    document: bool,
    /// Where reports and plots go otherwise; target/bench if not given.
    #[arg(long, value_name = "DIRECTORY")]
    directory: Option<PathBuf>,
    #[command(flatten)]
    released: control::Released,
}

/// Measures; quickly, if asked.
type Measure = fn(&Arguments) -> Result<Report>;

const BENCHES: [Measure; 4] = [
    |arguments| program::measure_all(arguments.quick),
    |arguments| wire::measure_all(arguments.quick),
    |arguments| latency::measure(arguments.quick),
    |arguments| control::measure_all(&arguments.released, arguments.quick),
];

/// Measures everything.
pub fn run(arguments: &Arguments) -> Result<()> {
    let directory = match arguments.document {
        true => document::directory(),
        false => arguments
            .directory
            .clone()
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/bench")),
    };
    fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let start = Instant::now();
    let mut reports = Vec::new();
    for measure in BENCHES {
        interrupt::check()?;
        // Some change the network namespace of their thread.
        let measured = thread::scope(|scope| scope.spawn(|| measure(arguments)).join());
        let report = measured.map_err(|_| anyhow!("a bench panicked"))??;
        let file = directory.join(format!("{}.json", report.bench));
        let json = serde_json::to_string_pretty(&report)?;
        fs::write(&file, format!("{json}\n"))
            .with_context(|| format!("write {}", file.display()))?;
        if !arguments.json {
            println!("== {}\n\n{}\n", report.bench, table::text(&report));
        }
        for plot in plot::plots(&report) {
            // A machine without fonts measures all the same.
            if let Err(error) = plot.write(&directory) {
                eprintln!("lingyun-bench: {}: {error:#}", plot.name);
            }
        }
        reports.push(report);
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&reports)?);
    }
    if arguments.document {
        for page in docs::pages() {
            page.write()?;
        }
    }
    eprintln!(
        "reports and plots are in {}; {:.0} s in all",
        directory.display(),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
