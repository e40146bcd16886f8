//! Ctrl-C: what is under way ends at the next look, and takes down what it made.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

static HEARD: AtomicBool = AtomicBool::new(false);

/// Hears Ctrl-C and its like from now on. To be called before any thread starts.
pub fn listen() -> Result<()> {
    let signals = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
    signals.thread_block().context("block signals")?;
    thread::spawn(move || {
        while signals.wait().is_ok() {
            HEARD.store(true, Ordering::Relaxed);
        }
    });
    Ok(())
}

/// An error once it was heard.
pub(super) fn check() -> Result<()> {
    if HEARD.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}
