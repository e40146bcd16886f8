//! End to end in namespaces: real programs send through labs with two gateways each.

mod changes;
mod clients;
mod egress;
mod failover;
mod file;
mod ipv6;
mod site;
mod traffic;

use libtest_mimic::{Arguments, Failed, Trial};
use site::Shared;

fn main() {
    let missing =
        (!nix::unistd::geteuid().is_root()).then_some("needs root for network namespaces");
    let order = &[
        traffic::TESTS,
        egress::TESTS,
        changes::TESTS,
        failover::TESTS,
    ]
    .concat();
    let groups = [
        (Shared::of("order.yaml"), &order[..]),
        (Shared::of("dual-stack.yaml"), ipv6::TESTS),
        (Shared::of("ipv6-underlay.yaml"), ipv6::OVER_IPV6),
    ];
    let tests = (groups.iter()).flat_map(|(lab, tests)| tests.iter().map(move |test| (lab, test)));
    let trials = tests.map(|(lab, &(name, test))| {
        let name = match missing {
            Some(missing) => format!("{name} (skipped: {missing})"),
            None => name.to_owned(),
        };
        let lab = lab.clone();
        Trial::test(name, move || {
            lab.with(test)
                .map_err(|error| Failed::from(format!("{error:#}")))
        })
        .with_ignored_flag(missing.is_some())
    });
    let trials = trials.collect();
    let mut arguments = Arguments::from_args();
    // They share labs, and some let gateways die.
    arguments.test_threads = Some(1);
    let conclusion = libtest_mimic::run(&arguments, trials);
    for (lab, _) in &groups {
        if let Err(error) = lab.down() {
            eprintln!("{error:#}");
            std::process::exit(101);
        }
    }
    conclusion.exit();
}
