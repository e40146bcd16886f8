//! The case list on the host: the library, a frame in a `Vec`, tables in memory.

use std::collections::BTreeSet;

use gateway_common::Reason;
use gateway_tests::{
    cases::{self, UNREACHABLE},
    conversation,
    fuzz::{self, Rig, Setting},
    harness::{self, Host},
    tracking::{self, World, property::play},
};
use libtest_mimic::{Arguments, Failed, Trial};

fn main() {
    let arguments = Arguments::from_args();
    let cases = cases::all();
    let mut trials = vec![
        Trial::test("host::every_reason_is_reached", every_reason_is_reached),
        Trial::test("host::names_are_unique", names_are_unique),
        Trial::test(
            "host::any_frame_does_as_the_model_says",
            any_frame_does_as_the_model_says,
        ),
        Trial::test(
            "host::findings_of_the_past_stay_mended",
            findings_of_the_past_stay_mended,
        ),
    ];
    trials.extend(cases.into_iter().map(|case| {
        Trial::test(format!("host::{}", case.name), move || {
            Ok(harness::check(&case, &mut Host::new(case.site.tables()))?)
        })
    }));
    trials.extend(tracking::scenarios::ALL.iter().map(|&(name, play)| {
        Trial::test(format!("host::tracking::{name}"), move || {
            let played = World::on_host(&[(0, 1)]).and_then(|mut world| play(&mut world));
            Ok(played.map_err(|error| format!("{error:#}"))?)
        })
    }));
    trials.push(Trial::test(
        "host::tracking::no_flow_changes_backend_unless_that_died",
        no_flow_changes_backend_unless_that_died,
    ));
    trials.extend(conversation::all().into_iter().map(|talk| {
        Trial::test(format!("host::{}", talk.name), move || {
            Ok((talk.run)(&mut conversation::World::on_host())?)
        })
    }));
    libtest_mimic::run(&arguments, trials).exit();
}

/// Every exit has a case, or a sentence why it cannot have one.
fn every_reason_is_reached() -> Result<(), Failed> {
    let cases = cases::all();
    let steps = cases.iter().flat_map(|case| &case.steps);
    let mut reached: BTreeSet<Reason> = steps.filter_map(|step| step.expect.reason()).collect();
    for talk in conversation::all() {
        let mut world = conversation::World::on_host();
        (talk.run)(&mut world)?;
        reached.extend(world.reached());
    }
    let listed: BTreeSet<Reason> = UNREACHABLE.iter().map(|&(reason, _)| reason).collect();
    let all: BTreeSet<Reason> = Reason::ALL.iter().copied().collect();
    let explained: BTreeSet<Reason> = reached.union(&listed).copied().collect();
    let missing: Vec<_> = all.difference(&explained).collect();
    let both: Vec<_> = reached.intersection(&listed).collect();
    if missing.is_empty() && both.is_empty() {
        return Ok(());
    }
    Err(format!("no case reaches {missing:?}; listed as unreachable but reached: {both:?}").into())
}

/// A name finds one case.
fn names_are_unique() -> Result<(), Failed> {
    let mut seen = BTreeSet::new();
    let cases = cases::all().into_iter().map(|case| case.name);
    let talks = conversation::all().into_iter().map(|talk| talk.name.into());
    match cases.chain(talks).find(|name| !seen.insert(name.clone())) {
        None => Ok(()),
        Some(name) => Err(format!("two cases are called {name}").into()),
    }
}

/// Noise and changed frames: what the model says becomes of them does.
fn any_frame_does_as_the_model_says() -> Result<(), Failed> {
    let rig = |setting: &Setting| Ok(Rig::on_host(setting));
    let coverage = fuzz::short_everywhere(20_000, rig).map_err(|error| format!("{error:#}"))?;
    // Most changes are refused; enough must get through to show what a rewrite does.
    if coverage.sent() * 20 < coverage.frames() {
        return Err(format!("too few frames were sent on:\n{coverage}").into());
    }
    Ok(())
}

/// What was found once is not there any more.
fn findings_of_the_past_stay_mended() -> Result<(), Failed> {
    let replayed = fuzz::replay_corpus(|setting| Ok(Rig::on_host(setting)));
    Ok(replayed.map_err(|error| format!("{error:#}"))?)
}

/// Random histories. `LINGYUN_HISTORIES` plays more of them than the usual ones.
fn no_flow_changes_backend_unless_that_died() -> Result<(), Failed> {
    let histories = std::env::var("LINGYUN_HISTORIES").ok();
    let histories = histories.and_then(|count| count.parse().ok()).unwrap_or(4);
    let play = |seed| World::on_host(&[(0, 1)]).and_then(|world| play(seed, 400, world));
    for seed in 0..histories {
        let tally = play(seed).map_err(|error| format!("{error:#}"))?;
        println!("history {seed}: {tally:?}");
        let is_rich = tally.changes > 20 && tally.flows > 40 && tally.between > 10;
        if !is_rich || tally.kept == 0 {
            return Err(format!("history {seed} shows little: {tally:?}").into());
        }
    }
    Ok(())
}
