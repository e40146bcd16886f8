//! The lab's tools on real components: the order service on PostgreSQL, the traffic
//! peer, the capture on veth pairs. What cannot run here is skipped by name.

#[path = "tools/capture.rs"]
mod capture;
#[path = "tools/http.rs"]
mod http;
#[path = "tools/journey.rs"]
mod journey;
#[path = "tools/netns.rs"]
mod netns;
#[path = "tools/order.rs"]
mod order;
#[path = "tools/peer.rs"]
mod peer;
#[path = "tools/postgres.rs"]
mod postgres;
#[path = "tools/process.rs"]
mod process;

use libtest_mimic::{Arguments, Failed, Trial};

/// A test function.
type Test = fn() -> anyhow::Result<()>;

fn main() {
    let mut trials = Vec::new();
    trials.extend(group("order", order::TESTS, order::missing()));
    trials.extend(group("peer", peer::TESTS, None));
    trials.extend(group("capture", capture::TESTS, capture::missing()));
    let missing = order::missing().or_else(capture::missing);
    trials.extend(group("journey", journey::TESTS, missing));
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

/// The tests of one part. `missing` says what they lack on this machine.
fn group(
    part: &'static str,
    tests: &'static [(&'static str, Test)],
    missing: Option<String>,
) -> impl Iterator<Item = Trial> {
    tests.iter().map(move |(name, test)| {
        let name = match &missing {
            Some(missing) => format!("{part}::{name} (skipped: {missing})"),
            None => format!("{part}::{name}"),
        };
        Trial::test(name, || {
            test().map_err(|error| Failed::from(format!("{error:?}")))
        })
        .with_ignored_flag(missing.is_some())
    })
}
