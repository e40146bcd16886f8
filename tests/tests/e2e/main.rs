//! End to end in namespaces: real programs send through a lab with both gateways.

mod changes;
mod clients;
mod failover;
mod site;
mod traffic;

use libtest_mimic::{Arguments, Failed, Trial};
use site::Shared;

fn main() {
    let missing =
        (!nix::unistd::geteuid().is_root()).then_some("needs root for network namespaces");
    let shared = Shared::default();
    let tests = (traffic::TESTS.iter())
        .chain(changes::TESTS)
        .chain(failover::TESTS);
    let trials = tests.map(|&(name, test)| {
        let name = match missing {
            Some(missing) => format!("{name} (skipped: {missing})"),
            None => name.to_owned(),
        };
        let shared = shared.clone();
        Trial::test(name, move || {
            shared
                .with(test)
                .map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(missing.is_some())
    });
    let trials = trials.collect();
    let mut arguments = Arguments::from_args();
    // They share one lab, and some let its gateways die.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    if let Err(error) = shared.down() {
        eprintln!("{error:#}");
        std::process::exit(101);
    }
    conclusion.exit();
}
