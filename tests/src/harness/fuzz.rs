//! Random frames: noise, and the cases' own frames with a few bytes changed.
//!
//! What must hold for each of them needs no expectation per frame: [`sound`] says
//! it, and the kernel must do the same as the host.

use std::net::Ipv4Addr;

use gateway_common::Outcome;
use proptest::{
    prelude::*,
    sample::Index,
    strategy::ValueTree,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};

use super::{Action, Observed};
use crate::{
    cases::{
        self, Case, Program,
        site::{
            FLOATING, HOST_A, HOST_B, OTHER_FLOATING, OTHER_VIP, PUBLIC_INDEX, UNDERLAY_INDEX, VIP,
        },
    },
    packet::{seal, wrong_checksums},
};

/// A frame and where it arrives.
pub type Arrival = (Program, Vec<u8>);

/// Bytes of the outer headers.
const OVERHEAD: usize = 50;

/// One change to a frame.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Flip(Index, u8),
    Copy(Index, Index),
    Cut(Index),
    Append(Vec<u8>),
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        // Bytes that mean something in one header or another.
        let byte = prop::sample::select(vec![0, 1, 2, 4, 6, 8, 17, 0x40, 0x45, 0x46, 0x7f, 0xff]);
        let index = any::<Index>;
        prop_oneof![
            4 => (index(), prop_oneof![byte, any::<u8>()]).prop_map(|(at, to)| Self::Set(at, to)),
            2 => (index(), 0..8_u8).prop_map(|(at, bit)| Self::Flip(at, bit)),
            1 => (index(), index()).prop_map(|(from, to)| Self::Copy(from, to)),
            1 => index().prop_map(Self::Cut),
            1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Self::Append),
        ]
    }

    /// Applies the change within the headers, the first 120 bytes.
    fn apply(&self, frame: &mut Vec<u8>) {
        let headers = frame.len().min(120);
        if headers == 0 {
            return;
        }
        match self {
            Self::Set(at, to) => frame[at.index(headers)] = *to,
            Self::Flip(at, bit) => frame[at.index(headers)] ^= 1 << bit,
            Self::Copy(from, to) => frame[to.index(headers)] = frame[from.index(headers)],
            Self::Cut(at) => frame.truncate(at.index(frame.len())),
            Self::Append(bytes) => frame.extend(bytes),
        }
    }
}

/// Random arrivals, the same in every run.
pub fn arrivals(count: usize) -> Vec<Arrival> {
    let steps = |case: Case| -> Vec<Arrival> {
        let long_enough = case.steps.into_iter().filter(|step| step.input.len() >= 14);
        long_enough.map(|step| (step.program, step.input)).collect()
    };
    let inputs: Vec<_> = cases::all().into_iter().map(steps).collect();
    let input = (prop::sample::select(inputs), any::<Index>())
        .prop_map(|(steps, at)| steps[at.index(steps.len())].clone());
    let program =
        prop::sample::select(vec![Program::Public, Program::Underlay, Program::SingleArm]);
    let noise = (program, prop::collection::vec(any::<u8>(), 14..150));
    let changes = prop::collection::vec(Change::any(), 0..4);
    let changed = (input, changes, any::<bool>());
    let changed = changed.prop_map(|((program, mut frame), changes, seals)| {
        changes.iter().for_each(|change| change.apply(&mut frame));
        frame.resize(frame.len().max(14), 0);
        if seals {
            seal(&mut frame);
        }
        (program, frame)
    });
    let any = prop_oneof![1 => noise, 15 => changed];
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count)
        .map(|_| {
            any.new_tree(&mut runner)
                .expect("the strategy rejects nothing")
                .current()
        })
        .collect()
}

/// What must hold whatever arrives: one exit with one reason or one counter, nothing
/// passed is changed, nothing right becomes wrong, nothing private leaves.
pub fn sound(input: &[u8], observed: &Observed) -> Result<(), String> {
    let reasons: Vec<_> = observed.reasons.keys().copied().collect();
    let counted: u64 = observed.reasons.values().map(|count| count.packets).sum();
    let output = &observed.output;
    let outcome = match observed.action {
        Action::Pass => Some(Outcome::Passed),
        Action::Drop => Some(Outcome::Dropped),
        Action::Transmit => Some(Outcome::Answered),
        Action::Redirect(_) => None,
    };
    let ensure = |holds: bool, what: &str| {
        holds
            .then_some(())
            .ok_or_else(|| format!("{what}: {:?} {reasons:?}", observed.action))
    };
    match outcome {
        Some(outcome) => {
            ensure(counted == 1, "an exit has one reason")?;
            ensure(
                reasons[0].outcome() == outcome,
                "the action fits the reason",
            )?;
            ensure(
                observed.counters.is_empty(),
                "what ends here counts for no backend",
            )?;
        }
        None => {
            ensure(counted == 0, "what is sent on has no reason to end")?;
            ensure(
                observed.counters.len() == 1,
                "what is sent on counts for one backend",
            )?;
        }
    }
    match observed.action {
        Action::Pass => ensure(input == output, "what is passed is unchanged")?,
        Action::Drop => return Ok(()),
        Action::Transmit => ensure(input.len() == output.len(), "an answer is as long")?,
        Action::Redirect(UNDERLAY_INDEX) => {
            ensure(
                output.len() == input.len() + OVERHEAD,
                "a push adds the outer headers",
            )?;
            ensure(
                [HOST_A, HOST_B].contains(&address(output, 30)),
                "a tunnel leads to a host",
            )?;
        }
        Action::Redirect(PUBLIC_INDEX) => {
            ensure(
                output.len() + OVERHEAD == input.len(),
                "a pop takes the outer headers",
            )?;
            let public = [VIP, FLOATING, OTHER_VIP, OTHER_FLOATING];
            ensure(
                public.contains(&address(output, 26)),
                "a private address never leaves",
            )?;
        }
        Action::Redirect(_) => ensure(false, "a redirect goes to one of our ports")?,
    }
    if wrong_checksums(input).is_empty() {
        let wrong = wrong_checksums(output);
        ensure(wrong.is_empty(), &wrong.join(", "))?;
    }
    Ok(())
}

fn address(frame: &[u8], at: usize) -> Ipv4Addr {
    Ipv4Addr::new(frame[at], frame[at + 1], frame[at + 2], frame[at + 3])
}

/// The first way in which two runs of one frame differ.
pub fn same(host: &Observed, kernel: &Observed) -> Result<(), String> {
    // What a dropped frame holds is nobody's business.
    let bytes_matter = host.action != Action::Drop;
    if host.action != kernel.action || host.reasons != kernel.reasons {
        let [a, b] = [host, kernel].map(|run| format!("{:?} {:?}", run.action, run.reasons));
        return Err(format!("host: {a}; kernel: {b}"));
    }
    if host.counters != kernel.counters {
        return Err(format!(
            "host: {:?}; kernel: {:?}",
            host.counters, kernel.counters
        ));
    }
    match crate::packet::diff(&host.output, &kernel.output) {
        Some(text) if bytes_matter => Err(format!(
            "expected is the host's, found the kernel's: {text}"
        )),
        _ => Ok(()),
    }
}
