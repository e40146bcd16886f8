//! One gateway beside the oracle: every frame goes to both, and the books must match.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
};

use anyhow::Result;
use gateway_common::Outcome as Ending;
use lingyun::{
    config::Topology,
    model::{Label, Tables},
};

use super::{
    Arrival,
    setting::Setting,
    sound,
    subject::{HostSubject, KernelSubject, Outcome, Subject, Totals},
};
use crate::{
    cases::site::PUBLIC_INDEX,
    harness::Action,
    oracle::{Fate, Oracle, Owner, Seen, Way},
    packet::{describe, diff},
};

/// Frames between two looks at what the gateway counted: reading takes longer than
/// sending a frame.
const BETWEEN_AUDITS: usize = 256;

/// A gateway that did something else than it should.
#[derive(Clone, Debug)]
pub struct Disagreement {
    /// Which gateway.
    pub subject: &'static str,
    /// The frame with which it was noticed.
    pub arrival: Arrival,
    /// What is different.
    pub what: String,
}

impl fmt::Display for Disagreement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Arrival { program, frame } = &self.arrival;
        writeln!(f, "{} at {program:?}: {}", self.subject, self.what)?;
        write!(f, "  the frame was:\n{}", describe(frame))
    }
}

/// A gateway and the oracle for it.
pub struct Rig {
    subject: Box<dyn Subject + Send>,
    oracle: Oracle,
    topology: Topology,
    labels: Vec<Label>,
    networks: Vec<u32>,
    /// What the gateway should have counted.
    books: Totals,
    since_audit: usize,
    between_audits: usize,
}

impl Rig {
    /// A gateway at a site.
    pub fn new(setting: &Setting, subject: Box<dyn Subject + Send>) -> Self {
        let topology = setting.topology.clone();
        let Tables {
            labels, networks, ..
        } = setting.tables();
        Self {
            subject,
            oracle: oracle(setting),
            topology,
            labels,
            networks,
            books: Totals::default(),
            since_audit: 0,
            between_audits: BETWEEN_AUDITS,
        }
    }

    /// The packet path on the host at a site.
    pub fn on_host(setting: &Setting) -> Self {
        Self::new(setting, Box::new(HostSubject::new(setting.tables())))
    }

    /// The program in the kernel at a site. `harness::unavailable` must have been
    /// asked before.
    pub fn in_kernel(setting: &Setting) -> Result<Self> {
        let subject = KernelSubject::new(setting.tables())?;
        Ok(Self::new(setting, Box::new(subject)))
    }

    /// The gateway's name.
    pub fn name(&self) -> &'static str {
        self.subject.name()
    }

    /// Whether the gateway is the packet path on the host.
    pub fn is_host(&self) -> bool {
        self.name() == "host"
    }

    /// Looks at the counters after every frame, or now and then.
    pub fn audit_every_frame(&mut self, every: bool) {
        self.between_audits = if every { 1 } else { BETWEEN_AUDITS };
    }

    /// Both as they were at the start.
    pub fn reset(&mut self) -> Result<()> {
        self.subject.reset()?;
        self.oracle.reset();
        self.books = Totals::default();
        self.since_audit = 0;
        Ok(())
    }

    /// Sends a frame; the fate that it should and did have, or what was wrong.
    pub fn send(&mut self, arrival: &Arrival) -> Result<Result<Fate, Disagreement>> {
        let Arrival { program, frame } = arrival;
        let subject = self.subject.name();
        let disagreement = |what| Disagreement {
            subject,
            arrival: arrival.clone(),
            what,
        };
        let both = AssertUnwindSafe(|| {
            let outcome = self.subject.send(arrival)?;
            let seen = Seen {
                answered: outcome.action == Action::Transmit,
                frame: &outcome.frame,
            };
            let fate = self.oracle.fate(*program, PUBLIC_INDEX, frame, &seen);
            anyhow::Ok((outcome, fate))
        });
        let Ok(both) = catch_unwind(both) else {
            return Ok(Err(disagreement("a panic, see above".into())));
        };
        let (outcome, fate) = both?;
        let mut judged = judge(frame, &fate, &outcome)
            .and_then(|()| sound::check(&self.topology, frame, &fate, &outcome));
        self.book(arrival, &fate);
        self.since_audit += 1;
        if judged.is_ok() && self.since_audit >= self.between_audits {
            judged = self.audit()?;
        }
        Ok(judged.map(|()| fate).map_err(disagreement))
    }

    /// Compares what the gateway counted with the books.
    pub fn audit(&mut self) -> Result<Result<(), String>> {
        self.since_audit = 0;
        let found = self.subject.totals()?;
        if found == self.books {
            return Ok(Ok(()));
        }
        let lines = [
            differing(&self.books.reasons, &found.reasons),
            differing(&self.books.counters, &found.counters),
            differing(&self.books.routed, &found.routed),
        ]
        .concat();
        Ok(Err(format!(
            "counted something else:\n  {}",
            lines.join("\n  ")
        )))
    }

    /// Books what the gateway should count for a frame.
    fn book(&mut self, arrival: &Arrival, fate: &Fate) {
        let bytes = arrival.frame.len() as u64;
        match fate {
            Fate::Ends(reason) | Fate::Answered(reason, _) => {
                let count = self.books.reasons.entry(*reason).or_default();
                count.packets += 1;
                count.bytes += bytes;
            }
            Fate::Sent { way, bytes, .. } => self.book_sent(*way, *bytes as u64),
        }
    }

    fn book_sent(&mut self, way: Way, bytes: u64) {
        let counter = |owner| {
            let index = self.labels.iter().position(|label| is_of(label, owner));
            index.expect("every owner has a counter") as u32
        };
        let network = |vni| {
            let index = self.networks.iter().position(|&network| network == vni);
            index.expect("every VPC has a counter") as u32
        };
        let (counters, from, to) = match way {
            Way::In(owner) => (&mut self.books.counters, None, Some(counter(owner))),
            Way::Out(owner) => (&mut self.books.counters, Some(counter(owner)), None),
            Way::Hairpin { from, to } => {
                let (from, to) = (counter(from), counter(to));
                (&mut self.books.counters, Some(from), Some(to))
            }
            Way::Inside { from, to } => {
                let (from, to) = (network(from), network(to));
                (&mut self.books.routed, Some(from), Some(to))
            }
        };
        if let Some(index) = from {
            let count = counters.entry(index).or_default();
            count.out_packets += 1;
            count.out_bytes += bytes;
        }
        if let Some(index) = to {
            let count = counters.entry(index).or_default();
            count.in_packets += 1;
            count.in_bytes += bytes;
        }
    }
}

/// The oracle for a site.
fn oracle(setting: &Setting) -> Oracle {
    let gateway = setting.gateway().clone();
    let oracle = Oracle::new(setting.topology.clone(), gateway, setting.reach.clone());
    match &setting.past {
        None => oracle,
        Some((before, file)) => oracle.with_past(before, file),
    }
}

/// Whether a counter is an owner's.
fn is_of(label: &Label, owner: Owner) -> bool {
    match (label, owner) {
        (
            Label::Backend {
                load_balancer,
                backend,
                ..
            },
            Owner::Backend(service, position),
        ) => (*load_balancer, *backend) == (service, position),
        (Label::Floating(floating), Owner::Floating(index)) => *floating == index,
        _ => false,
    }
}

/// Entries that are not the same on both sides.
fn differing<K: Ord + fmt::Debug, V: PartialEq + fmt::Debug>(
    expected: &std::collections::BTreeMap<K, V>,
    found: &std::collections::BTreeMap<K, V>,
) -> Vec<String> {
    let keys: std::collections::BTreeSet<_> = expected.keys().chain(found.keys()).collect();
    keys.into_iter()
        .filter(|key| expected.get(key) != found.get(key))
        .map(|key| {
            let [e, f] = [expected.get(key), found.get(key)];
            format!("{key:?}: expected {e:?}, found {f:?}")
        })
        .collect()
}

/// Compares what became of a frame with what should have.
fn judge(input: &[u8], fate: &Fate, outcome: &Outcome) -> Result<(), String> {
    let (action, frame) = match fate {
        Fate::Ends(reason) if reason.outcome() == Ending::Passed => (Action::Pass, Some(input)),
        // What a dropped frame holds is nobody's business.
        Fate::Ends(_) => (Action::Drop, None),
        Fate::Answered(_, frame) => (Action::Transmit, Some(&frame[..])),
        Fate::Sent { device, frame, .. } => (Action::Redirect(*device), Some(&frame[..])),
    };
    let same = match (action, outcome.action) {
        (Action::Redirect(_), Action::Redirect(_)) if !outcome.shows_device => true,
        (expected, found) => expected == found,
    };
    if !same {
        return Err(format!(
            "expected {}, found {:?}",
            in_words(fate),
            outcome.action
        ));
    }
    match frame.and_then(|frame| diff(frame, &outcome.frame)) {
        Some(text) => Err(format!("expected {}, but {text}", in_words(fate))),
        None => Ok(()),
    }
}

fn in_words(fate: &Fate) -> String {
    match fate {
        Fate::Ends(reason) | Fate::Answered(reason, _) => {
            format!("{} ({})", reason.outcome().name(), reason.name())
        }
        Fate::Sent { way, .. } => format!("sent on ({way:?})"),
    }
}
