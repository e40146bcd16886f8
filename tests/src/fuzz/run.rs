//! `cargo xtask fuzz`: as long as one likes, on every core.

use std::{
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use fastrand::Rng;

use super::{
    Arrival, Coverage, Disagreement, HostSubject, KernelSubject, PROGRAMS, Rig,
    corpus::{self, History},
    minimise::{minimise, replay},
    mutate::Mutator,
};
use crate::{
    cases::{
        Program,
        site::{self, Site},
    },
    harness,
};

/// Frames after which a gateway is started anew: a finding is replayed from there.
const LIFE: usize = 50_000;

/// Random and changed frames against a model of the gateway: on the host and in the
/// kernel, the same verdict, the same bytes, the same counters.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "cargo xtask fuzz")]
pub struct Arguments {
    /// How long.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Where the random numbers start; the same seed makes the same frames.
    #[arg(long)]
    seed: Option<u64>,
    /// Only frames for this program: public, underlay or single.
    #[arg(long, value_parser = corpus::program)]
    program: Option<Program>,
    /// Threads; by default one a core.
    #[arg(long)]
    threads: Option<usize>,
    /// Leave the kernel out: only the packet path on the host.
    #[arg(long)]
    host_only: bool,
    /// Send the frames of this file instead (see tests/corpus/).
    #[arg(long, conflicts_with_all = ["seconds", "seed", "program", "frame"])]
    replay: Option<PathBuf>,
    /// Send this frame instead: `public:0200…`. Several are sent in order.
    #[arg(long)]
    frame: Vec<String>,
    /// Folder for what is found; tests/corpus/ is tried by every test run.
    #[arg(long)]
    save: Option<PathBuf>,
}

/// Fuzzes, or replays. False if a gateway disagrees with the oracle.
pub fn run(arguments: &Arguments) -> Result<bool> {
    if !arguments.host_only
        && let Some(reason) = harness::unavailable()
    {
        bail!("{reason}; --host-only does without the kernel");
    }
    if let Some(path) = &arguments.replay {
        return replayed(arguments, &corpus::load(path)?);
    }
    if !arguments.frame.is_empty() {
        let frames = arguments.frame.iter();
        let history = frames.map(|line| corpus::parse_arrival(line));
        return replayed(arguments, &history.collect::<Result<History>>()?);
    }
    fuzz(arguments)
}

/// The gateways to try. The kernel's is last: it takes longest to start.
fn rigs(host_only: bool) -> Result<Vec<Rig>> {
    let site = Site::Usual;
    let mut rigs = vec![Rig::new(site, Box::new(HostSubject::new(site)))];
    if !host_only {
        rigs.push(Rig::new(site, Box::new(KernelSubject::new(site)?)));
    }
    Ok(rigs)
}

/// Sends one history and says what became of it.
fn replayed(arguments: &Arguments, history: &[Arrival]) -> Result<bool> {
    let mut agreed = true;
    for rig in &mut rigs(arguments.host_only)? {
        match replay(rig, history)? {
            None => println!("{}: as it should be", rig.name()),
            Some(disagreement) => {
                println!("{disagreement}");
                agreed = false;
            }
        }
    }
    Ok(agreed)
}

/// What all threads share.
struct Shared {
    deadline: Instant,
    sent: AtomicU64,
    stop: AtomicBool,
    coverage: Mutex<Coverage>,
    finding: Mutex<Option<(History, Disagreement)>>,
}

fn fuzz(arguments: &Arguments) -> Result<bool> {
    let seed = arguments.seed.unwrap_or_else(|| fastrand::u64(..));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let threads = arguments.threads.unwrap_or(cores).max(1);
    println!(
        "fuzzing for {} s on {threads} threads, --seed {seed}",
        arguments.seconds
    );
    let programs = match arguments.program {
        Some(program) => vec![program],
        None => PROGRAMS.to_vec(),
    };
    let mutator = Mutator::new(&site::topology(), &programs);
    let started = Instant::now();
    let shared = Shared {
        deadline: started + Duration::from_secs(arguments.seconds),
        sent: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        coverage: Mutex::default(),
        finding: Mutex::default(),
    };
    thread::scope(|scope| -> Result<()> {
        let workers: Vec<_> = (0..threads as u64)
            .map(|number| {
                let mut random = Rng::with_seed(seed.wrapping_add(number));
                let (shared, mutator) = (&shared, &mutator);
                let host_only = arguments.host_only;
                scope.spawn(move || {
                    let result = work(shared, mutator, &mut random, host_only);
                    if result.is_err() {
                        shared.stop.store(true, Relaxed);
                    }
                    result
                })
            })
            .collect();
        watch(&shared, started);
        for worker in workers {
            worker.join().expect("a worker does not panic")?;
        }
        Ok(())
    })?;
    let coverage = shared
        .coverage
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    let seconds = started.elapsed().as_secs_f64();
    let frames = coverage.frames();
    println!("{coverage}");
    println!(
        "{frames} frames in {seconds:.0} s: {:.1} million a minute",
        frames as f64 / seconds * 60.0 / 1e6
    );
    let finding = shared
        .finding
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    match finding {
        None => {
            println!("every frame had the verdict, the bytes and the counters that it should have");
            Ok(true)
        }
        Some((history, disagreement)) => {
            report(arguments, &mutator, history, &disagreement)?;
            Ok(false)
        }
    }
}

/// One thread's work: until time is up or somebody found something.
fn work(shared: &Shared, mutator: &Mutator, random: &mut Rng, host_only: bool) -> Result<()> {
    let mut rigs = rigs(host_only)?;
    let mut coverage = Coverage::default();
    let mut history = History::with_capacity(LIFE);
    'life: while !shared.stop.load(Relaxed) && Instant::now() < shared.deadline {
        history.clear();
        for rig in &mut rigs {
            rig.reset()?;
        }
        for number in 0..LIFE {
            let arrival = mutator.next(random);
            history.push(arrival.clone());
            for rig in &mut rigs {
                match rig.send(&arrival)? {
                    Ok(fate) if rig.is_host() => coverage.count(arrival.program, &fate),
                    Ok(_) => {}
                    Err(disagreement) => {
                        shared.stop.store(true, Relaxed);
                        let mut finding = shared
                            .finding
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner);
                        finding.get_or_insert((history, disagreement));
                        break 'life;
                    }
                }
            }
            if number % 512 == 511 {
                shared.sent.fetch_add(512, Relaxed);
                if shared.stop.load(Relaxed) || Instant::now() >= shared.deadline {
                    break;
                }
            }
        }
    }
    let mut sum = shared
        .coverage
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    sum.add(&coverage);
    Ok(())
}

/// Shows how far the threads are.
fn watch(shared: &Shared, started: Instant) {
    let total = shared.deadline - started;
    let bar = indicatif::ProgressBar::new(total.as_secs());
    let style = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}");
    bar.set_style(style.expect("a template as indicatif wants it"));
    while !shared.stop.load(Relaxed) && Instant::now() < shared.deadline {
        thread::sleep(Duration::from_millis(200));
        let (sent, passed) = (shared.sent.load(Relaxed) as f64, started.elapsed());
        let a_minute = sent / passed.as_secs_f64() * 60.0;
        bar.set_position(passed.as_secs());
        bar.set_message(format!(
            "{:.2} million frames, {:.1} million a minute",
            sent / 1e6,
            a_minute / 1e6
        ));
    }
    bar.finish_and_clear();
}

/// Makes a finding small, prints it, and keeps it if asked to.
fn report(
    arguments: &Arguments,
    mutator: &Mutator,
    history: History,
    noticed: &Disagreement,
) -> Result<()> {
    println!("\n{noticed}");
    println!("making it small ...");
    let mut small = None;
    for rig in &mut rigs(arguments.host_only)? {
        small = minimise(rig, mutator, history.clone())?;
        if small.is_some() {
            break;
        }
    }
    let Some((history, disagreement)) = small else {
        println!(
            "it does not happen again with the same {} frames",
            history.len()
        );
        return Ok(());
    };
    println!("{disagreement}");
    println!("{}", how_to_replay(&history));
    if let Some(folder) = &arguments.save {
        let path = corpus::save(folder, &history, &disagreement.to_string())
            .context("cannot keep the finding")?;
        println!("kept as {}", path.display());
    }
    Ok(())
}

/// What to type to see a finding again.
pub(super) fn how_to_replay(history: &[Arrival]) -> String {
    let frames: Vec<String> = history
        .iter()
        .map(|arrival| {
            format!(
                "--frame {}",
                corpus::in_words(arrival).replacen(' ', ":", 1)
            )
        })
        .collect();
    format!("replay: cargo xtask fuzz {}", frames.join(" "))
}
