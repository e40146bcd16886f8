//! The case list in the kernel: the real object, one packet at a time.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_tests::{
    bench::program,
    cases::{self, site::Site},
    conversation::{self, Conversation},
    fuzz::{self, Rig},
    harness::{self, Kernel},
    tracking::{World, flood, property, scenarios},
    verifier::Budget,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// The kernel runner that all trials share; none where they are skipped.
type Shared = Arc<Mutex<Option<Kernel>>>;

fn main() {
    let mut arguments = Arguments::from_args();
    // The counters are shared: one packet at a time.
    arguments.test_threads = Some(1);
    let unavailable = if arguments.list {
        None
    } else {
        harness::unavailable()
    };
    if let Some(reason) = &unavailable {
        println!("skipped: kernel fixtures: {reason}");
    }
    let skip = unavailable.is_some() || arguments.list;
    let kernel = if skip {
        Ok(None)
    } else {
        Kernel::new().map(Some)
    };
    let trials = match kernel {
        Ok(kernel) => trials(&Arc::new(Mutex::new(kernel)), skip),
        Err(error) => {
            let missing = format!("{error:#}");
            vec![Trial::test("kernel::the_object_is_built", move || {
                Err(missing.into())
            })]
        }
    };
    libtest_mimic::run(&arguments, trials).exit();
}

/// All trials; `skip` ignores them.
fn trials(kernel: &Shared, skip: bool) -> Vec<Trial> {
    // What only the host can set up, such as a frame without headroom, is no trial here.
    let cases = cases::all().into_iter();
    let cases = cases.filter(|case| case.host_only.is_none()).map(|case| {
        let name = case.name.clone();
        let check = move |kernel: &mut Kernel| Ok(harness::check(&case, kernel.go_to(case.site))?);
        trial(kernel, &name, check)
    });
    let world: Arc<Mutex<Option<(tempfile::TempDir, conversation::World)>>> = Arc::default();
    let talks = conversation::all().into_iter().map(|talk| {
        let world = Arc::clone(&world);
        trial(kernel, talk.name, move |_| have(&world, talk))
    });
    let any_frame = trial(kernel, "any_frame_does_as_the_model_says", |_| {
        any_frame_does_as_the_model_says()
    });
    let verifier = trial(
        kernel,
        "the_verifier_stays_within_its_budget",
        the_verifier_stays_within_its_budget,
    );
    // The bench checks the bytes that come out before it measures.
    let bench = trial(kernel, "the_bench_measures_what_it_names", |_| bench());
    let guard = trial(
        kernel,
        "a_guard_that_is_off_is_not_in_the_program",
        a_guard_that_is_off_is_not_in_the_program,
    );
    let mut others = vec![any_frame, verifier, guard];
    others.extend(tracking(kernel));
    if !harness::is_guest() {
        others.push(bench);
    }
    let others = others.into_iter();
    cases
        .map(|trial| trial.with_ignored_flag(skip))
        .chain(talks.map(|trial| trial.with_ignored_flag(skip)))
        .chain(others.map(|trial| trial.with_ignored_flag(skip)))
        .collect()
}

/// Backends change while packets come: by hand, at random, and with floods.
fn tracking(kernel: &Shared) -> Vec<Trial> {
    let world = |play: &dyn Fn(World) -> anyhow::Result<()>| {
        let played = World::in_kernel(&[(0, 1)]).and_then(play);
        Ok(played.map_err(|error| format!("{error:#}"))?)
    };
    // An emulated machine is ten times as slow.
    let (sources, steps) = match harness::is_guest() {
        true => (20_000, 40),
        false => (1_000_000, 150),
    };
    let mut trials: Vec<_> = (scenarios::ALL.iter())
        .map(|&(name, play)| {
            let run = move |_: &mut Kernel| world(&|mut world| play(&mut world));
            trial(kernel, &format!("tracking::{name}"), run)
        })
        .collect();
    let mut add = |name: &str, play: fn(World, u32, usize) -> anyhow::Result<()>| {
        let run = move |_: &mut Kernel| world(&|world| play(world, sources, steps));
        trials.push(trial(kernel, &format!("tracking::{name}"), run));
    };
    add(
        "no_flow_changes_backend_unless_that_died",
        |world, _, steps| property::play(1, steps, world).map(|tally| println!("{tally:?}")),
    );
    add(
        "a_flood_writes_nothing_in_the_steady_state",
        |mut world, sources, _| flood::in_steady_state(&mut world, sources),
    );
    add("a_flood_pushes_out_no_flow", |mut world, sources, _| {
        flood::in_tracked_slots(&mut world, sources)
    });
    add(
        "of_too_many_flows_those_are_kept_that_say_something",
        |mut world, _, _| flood::of_whole_connections(&mut world),
    );
    trials
}

/// Has a conversation with gateways that all conversations share: loading takes longer
/// than talking.
fn have(
    world: &Mutex<Option<(tempfile::TempDir, conversation::World)>>,
    talk: Conversation,
) -> Result<(), Failed> {
    let mut world = world.lock().unwrap_or_else(PoisonError::into_inner);
    if world.is_none() {
        let load = || {
            let object = std::fs::read(harness::object_path())?;
            let pins = tempfile::tempdir()?;
            let world = conversation::World::in_kernel(&object, pins.path())?;
            anyhow::Ok((pins, world))
        };
        *world = Some(load().map_err(|error| format!("{error:#}"))?);
    }
    let (_, world) = world.as_mut().ok_or("just made")?;
    world.start_over()?;
    Ok((talk.run)(world)?)
}

/// A trial that has the kernel runner to itself.
fn trial(
    kernel: &Shared,
    name: &str,
    run: impl FnOnce(&mut Kernel) -> Result<(), Failed> + Send + 'static,
) -> Trial {
    let kernel = Arc::clone(kernel);
    Trial::test(format!("kernel::{name}"), move || {
        let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
        run(kernel.as_mut().ok_or("this trial cannot run here")?)
    })
}

/// Loads every program of the object, and compares what that took with the budget.
fn the_verifier_stays_within_its_budget(kernel: &mut Kernel) -> Result<(), Failed> {
    let check = || {
        let release = nix::sys::utsname::uname()?.release().display().to_string();
        let (budget, counts) = (Budget::read()?, kernel.verified()?);
        for line in budget.report(&release, &counts) {
            println!("{line}");
        }
        anyhow::Ok(budget.problems(&release, &counts))
    };
    let problems = check().map_err(|error| format!("{error:#}"))?;
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.join("\n").into()),
    }
}

/// The verifier never gets to a stage that the configuration switches off.
fn a_guard_that_is_off_is_not_in_the_program(kernel: &mut Kernel) -> Result<(), Failed> {
    let count = |site, program| {
        let counts = kernel
            .verified_at(site)
            .map_err(|error| format!("{error:#}"))?;
        counts
            .get(program)
            .copied()
            .ok_or("no such program".to_owned())
    };
    for program in ["lingyun_public", "lingyun_single"] {
        let (off, on) = (count(Site::Usual, program)?, count(Site::Guarded, program)?);
        println!("{program}: {off} instructions without a guard, {on} with one");
        if off * 10 > on * 9 {
            return Err(format!("{program}: {off} without a guard, {on} with one").into());
        }
    }
    Ok(())
}

/// One short round: every case forwards, and costs at least what its floor does.
fn bench() -> Result<(), Failed> {
    let results = program::measure(1, 20_000).map_err(|error| format!("{error:#}"))?;
    for case in &results.cases {
        if case.least <= 0.0 {
            return Err(format!("{} took no time: {case:?}", case.name).into());
        }
    }
    let cases = results
        .cases
        .iter()
        .filter(|case| !case.name.starts_with("floor_"))
        .count();
    match cases {
        0..10 => Err(format!("only {cases} cases: {:?}", results.cases).into()),
        _ => Ok(()),
    }
}

/// Noise and changed frames, and what was found once: the kernel does what the model
/// says.
fn any_frame_does_as_the_model_says() -> Result<(), Failed> {
    // The same frames, fewer of them: an emulated machine is ten times as slow.
    let frames = if harness::is_guest() { 1_000 } else { 10_000 };
    let found = fuzz::short_everywhere(frames, Rig::in_kernel)
        .and_then(|_| fuzz::replay_corpus(Rig::in_kernel));
    Ok(found.map_err(|error| format!("{error:#}"))?)
}
