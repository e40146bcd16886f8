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
    Arrival, Coverage, Disagreement, PROGRAMS, Rig, Setting,
    corpus::{self, History},
    minimise::{minimise, replay},
    mutate::Mutator,
};
use crate::{cases::Program, harness};

/// Frames after which a gateway is started anew: a finding is replayed from there.
const LIFE: usize = 100_000;

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
    /// Only the random site with this number; by default the fixtures' site and random
    /// ones in turn.
    #[arg(long)]
    site: Option<u64>,
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
        let (site, history) = corpus::load(path)?;
        return replayed(arguments, site, &history);
    }
    if !arguments.frame.is_empty() {
        let frames = arguments.frame.iter();
        let history = frames.map(|line| corpus::parse_arrival(line));
        return replayed(
            arguments,
            arguments.site,
            &history.collect::<Result<History>>()?,
        );
    }
    fuzz(arguments)
}

/// The gateways to try. The kernel's is last: it takes longest to start.
fn rigs(setting: &Setting, host_only: bool) -> Result<Vec<Rig>> {
    let mut rigs = vec![Rig::on_host(setting)];
    if !host_only {
        rigs.push(Rig::in_kernel(setting)?);
    }
    Ok(rigs)
}

/// Sends one history and says what became of it.
fn replayed(arguments: &Arguments, site: Option<u64>, history: &[Arrival]) -> Result<bool> {
    let mut agreed = true;
    let setting = site.map_or_else(Setting::usual, Setting::random);
    for rig in &mut rigs(&setting, arguments.host_only)? {
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
    finding: Mutex<Option<Finding>>,
}

/// What was found.
struct Finding {
    setting: Setting,
    history: History,
    noticed: Disagreement,
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
                let (shared, programs) = (&shared, &programs);
                scope.spawn(move || {
                    let result = work(arguments, shared, programs, &mut random);
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
    let finding = lock(&shared.finding).take();
    match finding {
        None => {
            println!("every frame had the verdict, the bytes and the counters that it should have");
            Ok(true)
        }
        Some(finding) => {
            report(arguments, &programs, finding)?;
            Ok(false)
        }
    }
}

/// One thread's work: until time is up or somebody found something.
fn work(
    arguments: &Arguments,
    shared: &Shared,
    programs: &[Program],
    random: &mut Rng,
) -> Result<()> {
    let mut coverage = Coverage::default();
    let mut usual = false;
    while !shared.is_over() {
        usual = !usual;
        let setting = match arguments.site {
            Some(site) => Setting::random(site),
            None if usual => Setting::usual(),
            None => Setting::random(random.u32(..).into()),
        };
        if let Some((history, noticed)) =
            live(arguments, shared, programs, &setting, random, &mut coverage)?
        {
            shared.stop.store(true, Relaxed);
            lock(&shared.finding).get_or_insert(Finding {
                setting,
                history,
                noticed,
            });
        }
    }
    lock(&shared.coverage).add(&coverage);
    Ok(())
}

/// The life of one gateway.
fn live(
    arguments: &Arguments,
    shared: &Shared,
    programs: &[Program],
    setting: &Setting,
    random: &mut Rng,
    coverage: &mut Coverage,
) -> Result<Option<(History, Disagreement)>> {
    const REPORT: usize = 512;
    let mutator = Mutator::new(setting, programs);
    let mut rigs = rigs(setting, arguments.host_only)?;
    let mut history = History::with_capacity(LIFE);
    for number in 1..=LIFE {
        let arrival = mutator.next(random);
        history.push(arrival.clone());
        for rig in &mut rigs {
            match rig.send(&arrival)? {
                Ok(fate) if rig.is_host() => coverage.count(arrival.program, &fate),
                Ok(_) => {}
                Err(noticed) => return Ok(Some((history, noticed))),
            }
        }
        if number % REPORT == 0 {
            shared.sent.fetch_add(REPORT as u64, Relaxed);
            if shared.is_over() {
                break;
            }
        }
    }
    Ok(None)
}

impl Shared {
    /// Time is up, or something was found.
    fn is_over(&self) -> bool {
        self.stop.load(Relaxed) || Instant::now() >= self.deadline
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Shows how far the threads are.
fn watch(shared: &Shared, started: Instant) {
    let total = shared.deadline - started;
    let bar = indicatif::ProgressBar::new(total.as_secs());
    let style = indicatif::ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}");
    bar.set_style(style.expect("a template as indicatif wants it"));
    while !shared.is_over() {
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
fn report(arguments: &Arguments, programs: &[Program], finding: Finding) -> Result<()> {
    let Finding {
        setting,
        history,
        noticed,
    } = finding;
    println!("\n{noticed}");
    println!("making it small ...");
    let mutator = Mutator::new(&setting, programs);
    let mut small = None;
    for rig in &mut rigs(&setting, arguments.host_only)? {
        small = minimise(rig, &mutator, history.clone())?;
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
    println!("{}", how_to_replay(&setting, &history));
    if let Some(folder) = &arguments.save {
        let path = corpus::save(folder, setting.seed, &history, &disagreement.to_string())
            .context("cannot keep the finding")?;
        println!("kept as {}", path.display());
    }
    Ok(())
}

/// What to type to see a finding again.
pub(super) fn how_to_replay(setting: &Setting, history: &[Arrival]) -> String {
    let site = setting
        .seed
        .map_or(String::new(), |seed| format!("--site {seed} "));
    let frames: Vec<String> = history
        .iter()
        .map(|arrival| {
            format!(
                "--frame {}",
                corpus::in_words(arrival).replacen(' ', ":", 1)
            )
        })
        .collect();
    format!("replay: cargo xtask fuzz {site}{}", frames.join(" "))
}
