//! The case list in the kernel: the real object, one packet at a time.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_tests::{
    cases,
    harness::{self, Kernel},
};
use libtest_mimic::{Arguments, Trial};

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
    let kernel = Arc::new(Mutex::new(
        Kernel::new().map_err(|error| format!("{error:#}")),
    ));
    let trials = cases::all().into_iter().map(|case| {
        let kernel = Arc::clone(&kernel);
        let skip = unavailable.is_some() || case.host_only.is_some();
        Trial::test(format!("kernel::{}", case.name), move || {
            let mut kernel = kernel.lock().unwrap_or_else(PoisonError::into_inner);
            let kernel = kernel.as_mut().map_err(|error| error.clone())?;
            Ok(harness::check(&case, kernel.go_to(case.site))?)
        })
        .with_ignored_flag(skip)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit();
}
