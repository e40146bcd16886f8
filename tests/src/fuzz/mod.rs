//! Frames that nobody thought of, against a model of the gateway.
//!
//! `mutate` makes them from the fixtures' frames, [`Rig`] sends each to a gateway
//! (the packet path on the host, or the program in the kernel) and asks the
//! [oracle](crate::oracle) what should have become of it; `minimise` makes a finding
//! small. `tests/stages.rs` and `tests/fixtures.rs` run it for a moment in every test
//! run, [`run`] as long as one likes (`cargo xtask fuzz`).

mod corpus;
mod coverage;
mod minimise;
mod mutate;
mod rig;
pub mod run;
mod seeds;
mod setting;
mod sound;
mod subject;
mod words;

pub use coverage::Coverage;
pub use rig::{Disagreement, Rig};
pub use setting::Setting;
pub use subject::{HostSubject, KernelSubject, Subject};

use anyhow::{Result, bail};
use fastrand::Rng;

use crate::cases::Program;
use mutate::Mutator;

/// A frame and where it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The program that sees it first.
    pub program: Program,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A test run in the kernel refuses less than an Ethernet header.
const SHORTEST: usize = 14;

/// All programs.
const PROGRAMS: [Program; 3] = [Program::Public, Program::Underlay, Program::SingleArm];

/// Sends frames to a gateway, the same ones in every run. The first finding is an
/// error, made small.
pub fn short(setting: &Setting, rig: &mut Rig, frames: usize) -> Result<Coverage> {
    const SEED: u64 = 1;
    let mutator = Mutator::new(setting, &PROGRAMS);
    let mut random = Rng::with_seed(SEED);
    let mut coverage = Coverage::default();
    let mut history = Vec::new();
    rig.reset()?;
    for _ in 0..frames {
        let arrival = mutator.next(&mut random);
        history.push(arrival.clone());
        match rig.send(&arrival)? {
            Ok(fate) => coverage.count(arrival.program, &fate),
            Err(noticed) => {
                let small = minimise::minimise(rig, &mutator, history)?;
                let (history, finding) = small.unwrap_or((Vec::new(), noticed));
                bail!("{finding}\n{}", run::how_to_replay(setting, &history));
            }
        }
    }
    Ok(coverage)
}

/// Sends what was found in the past (`tests/corpus/`) to gateways made by `rig`.
pub fn replay_corpus(rig: impl Fn(&Setting) -> Result<Rig>) -> Result<()> {
    for (path, site, history) in corpus::corpus()? {
        let setting = site.map_or_else(Setting::usual, Setting::random);
        if let Some(finding) = minimise::replay(&mut rig(&setting)?, &history)? {
            bail!("{}: {finding}", path.display());
        }
    }
    Ok(())
}

/// Sends `frames` frames to a gateway at the fixtures' site, and as many to each of a
/// few at random sites.
pub fn short_everywhere(frames: usize, rig: impl Fn(&Setting) -> Result<Rig>) -> Result<Coverage> {
    let mut coverage = Coverage::default();
    for setting in std::iter::once(Setting::usual()).chain((0..8).map(Setting::random)) {
        coverage.add(&short(&setting, &mut rig(&setting)?, frames)?);
    }
    Ok(coverage)
}

#[cfg(test)]
mod tests {
    use gateway_common::Reason;

    use super::{
        subject::{Outcome, Totals},
        *,
    };
    use crate::harness::Action;

    /// A gateway with a fault.
    struct Faulty {
        host: HostSubject,
        outcome: fn(&Arrival, &mut Outcome),
        totals: fn(&mut Totals),
    }

    impl Subject for Faulty {
        fn name(&self) -> &'static str {
            "faulty"
        }

        fn reset(&mut self) -> Result<()> {
            self.host.reset()
        }

        fn send(&mut self, arrival: &Arrival) -> Result<Outcome> {
            let mut outcome = self.host.send(arrival)?;
            (self.outcome)(arrival, &mut outcome);
            Ok(outcome)
        }

        fn totals(&self) -> Result<Totals> {
            let mut totals = self.host.totals()?;
            (self.totals)(&mut totals);
            Ok(totals)
        }
    }

    /// What is found in a gateway with this fault.
    fn finding(outcome: fn(&Arrival, &mut Outcome), totals: fn(&mut Totals)) -> String {
        let setting = Setting::usual();
        let host = HostSubject::new(setting.tables());
        let faulty = Faulty {
            host,
            outcome,
            totals,
        };
        let mut rig = Rig::new(&setting, Box::new(faulty));
        let result = short(&Setting::usual(), &mut rig, 20_000);
        format!("{:#}", result.expect_err("the fault must be found"))
    }

    #[test]
    fn without_a_fault_nothing_is_found() {
        let mut rig = Rig::on_host(&Setting::usual());
        let coverage = short(&Setting::usual(), &mut rig, 20_000).unwrap();
        assert_eq!(coverage.frames(), 20_000);
    }

    #[test]
    fn a_wrong_byte_is_found_and_made_small() {
        // In replies: an error to a packet cannot be made smaller than its headers are.
        let wrong = |arrival: &Arrival, outcome: &mut Outcome| {
            let length = outcome.frame.len();
            let is_reply = outcome.action == Action::Transmit && length == arrival.frame.len();
            if is_reply && length > 100 {
                outcome.frame[100] ^= 1;
            }
        };
        let text = finding(wrong, |_| {});
        assert!(text.contains("frames differ from byte 100 on"), "{text}");
        assert_eq!(text.matches("--frame").count(), 1, "{text}");
        // An IPv6 echo inside has 112 bytes, two digits each; all else can be shorter.
        let hex = text.rsplit(':').next().unwrap();
        assert!(hex.len() <= 230, "{text}");
    }

    #[test]
    fn a_wrong_verdict_and_a_wrong_device_are_found() {
        let passes = |_: &Arrival, outcome: &mut Outcome| {
            if outcome.action == Action::Drop {
                outcome.action = Action::Pass;
            }
        };
        assert!(finding(passes, |_| {}).contains("found Pass"));
        let elsewhere = |_: &Arrival, outcome: &mut Outcome| {
            if let Action::Redirect(device) = &mut outcome.action {
                *device += 1;
            }
        };
        assert!(finding(elsewhere, |_| {}).contains("found Redirect"));
    }

    #[test]
    fn a_wrong_counter_is_found() {
        let uncounted = |totals: &mut Totals| {
            totals.reasons.remove(&Reason::TtlExceeded);
        };
        let text = finding(|_, _| {}, uncounted);
        assert!(text.contains("TtlExceeded: expected Some"), "{text}");
    }

    #[test]
    fn a_panic_is_a_finding() {
        let panics = |arrival: &Arrival, _: &mut Outcome| {
            assert!(arrival.frame.len() < 300, "too much for it");
        };
        assert!(finding(panics, |_| {}).contains("a panic"));
    }
}
