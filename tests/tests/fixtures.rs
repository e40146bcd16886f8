//! The case list in the kernel: the real object, one packet at a time.

use std::sync::{Arc, Mutex, PoisonError};

use gateway_tests::{
    cases::{self, site::Site},
    harness::{self, Action, Host, Kernel, fuzz},
    packet::describe,
};
use libtest_mimic::{Arguments, Failed, Trial};

/// The kernel runner that all trials share, or why there is none.
type Shared = Arc<Mutex<Result<Kernel, String>>>;

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
    let kernel = Kernel::new().map_err(|error| format!("{error:#}"));
    let kernel: Shared = Arc::new(Mutex::new(kernel));
    let mut trials = vec![
        trial(
            &kernel,
            "any_frame_does_the_same_as_on_the_host",
            any_frame_does_the_same,
        )
        .with_ignored_flag(unavailable.is_some()),
    ];
    trials.extend(cases::all().into_iter().map(|case| {
        let (name, host_only) = (case.name.clone(), case.host_only.is_some());
        let check = move |kernel: &mut Kernel| Ok(harness::check(&case, kernel.go_to(case.site))?);
        trial(&kernel, &name, check).with_ignored_flag(unavailable.is_some() || host_only)
    }));
    libtest_mimic::run(&arguments, trials).exit();
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
        run(kernel.as_mut().map_err(|error| error.clone())?)
    })
}

/// Noise and changed frames: the kernel does what the library does on the host.
fn any_frame_does_the_same(kernel: &mut Kernel) -> Result<(), Failed> {
    let host = Host::new(Site::Usual.tables());
    kernel.go_to(Site::Usual);
    for (number, (program, frame)) in fuzz::arrivals(5_000).into_iter().enumerate() {
        let expected = host.send(program, &frame, 256);
        let device = match expected.action {
            Action::Redirect(device) => Some(device),
            _ => None,
        };
        let found = kernel
            .send(program, &frame, device)
            .map_err(|error| format!("{error:#}"))?;
        fuzz::same(&expected, &found).map_err(|what| {
            format!(
                "frame {number} at {program:?}: {what}\n{}",
                describe(&frame)
            )
        })?;
    }
    Ok(())
}
