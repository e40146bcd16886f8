//! The topology file that a lab's gateways follow, changed while they run.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use gateway_tests::lab::Lab;
use lingyun::status::Status;

/// The gateways of all topologies.
pub(crate) const GATEWAYS: [&str; 2] = ["gw1", "gw2"];

/// The lab's copy of the file.
pub(crate) struct TopologyFile<'l> {
    lab: &'l Lab,
    /// As the lab came up with it.
    pub(crate) original: String,
}

impl<'l> TopologyFile<'l> {
    pub(crate) fn of(lab: &'l Lab) -> Result<Self> {
        let original = fs::read_to_string(lab.topology_path())?;
        Ok(Self { lab, original })
    }

    /// Does something with another text in the file, which the gateways must accept.
    /// Whoever comes next finds the file as it was.
    pub(crate) fn with(&self, text: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let result = self.apply(text).and_then(|()| work());
        let restored = self.take_over(&self.original);
        result.and(restored)
    }

    /// Replaces the text and waits until all gateways have accepted it.
    pub(crate) fn apply(&self, text: &str) -> Result<()> {
        self.take_over(text)?;
        for status in self.statuses()? {
            ensure!(status.reload.ok, "{}: {:?}", status.node, status.reload);
        }
        Ok(())
    }

    /// What the gateways' agents say.
    pub(crate) fn statuses(&self) -> Result<Vec<Status>> {
        let statuses = GATEWAYS
            .iter()
            .map(|gateway| self.lab.gateway_status(gateway));
        statuses.collect()
    }

    /// Waits until all gateways' status is so.
    pub(crate) fn wait(&self, is_so: impl Fn(&Status) -> bool) -> Result<()> {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            // While an agent loads programs, it has no time for questions.
            let statuses = self.statuses();
            if statuses.as_ref().is_ok_and(|all| all.iter().all(&is_so)) {
                return Ok(());
            }
            ensure!(Instant::now() < end, "not after a minute: {statuses:#?}");
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Replaces the file and waits until all gateways have answered to it.
    pub(crate) fn take_over(&self, text: &str) -> Result<()> {
        // An event without another text is none.
        if fs::read_to_string(self.lab.topology_path())? == text {
            return Ok(());
        }
        let before = self.statuses()?;
        self.replace(text)?;
        self.wait(|status| is_newer(status, &before))
    }

    /// Replaces the file by renaming another one over it.
    pub(crate) fn replace(&self, text: &str) -> Result<()> {
        let path = self.lab.topology_path();
        let new = path.with_extension("new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, path)?)
    }
}

/// Whether a gateway has answered to a file since then.
pub(crate) fn is_newer(status: &Status, before: &[Status]) -> bool {
    let answers = |status: &Status| status.reload.count + status.reload.failures;
    let before = before.iter().find(|before| before.node == status.node);
    before.is_some_and(|before| answers(status) > answers(before))
}
