//! Log records of the programs: rare events only, never per packet.

use anyhow::{Context, Result};
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::Log;
use tokio::io::{Interest, unix::AsyncFd};

/// The programs' log.
pub struct Logs(AsyncFd<EbpfLogger<&'static dyn Log>>);

impl Logs {
    pub(super) fn new(ebpf: &mut Ebpf) -> Result<Self> {
        let logger = EbpfLogger::init(ebpf).context("cannot read the log of the programs")?;
        // SAFETY: the logger owns its ring buffer's descriptor, gives out the same one
        // each time, and closes it only when it is dropped, after deregistration.
        let logger = unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE)? };
        Ok(Self(logger))
    }

    /// Forwards every record to the agent's own log, until dropped.
    pub async fn forward(mut self) -> Result<()> {
        loop {
            let mut guard = self.0.readable_mut().await?;
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}
