//! Backends change fifty times under connections that are alive: none breaks.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;
use gateway_tests::lab::Lab;
use lingyun::{model::Condition, status::Status};
use nix::sys::signal::Signal;

use crate::{
    clients,
    file::{GATEWAYS, TopologyFile, is_newer},
    site::{FILES, Test, program, says},
};

pub(crate) const TESTS: &[(&str, Test)] = &[(
    "backends_change_fifty_times_and_no_connection_breaks",
    backends_change_fifty_times_and_no_connection_breaks,
)];

/// Connections that are there before the first change, and such as begin in between.
const OLDER: usize = 300;
const YOUNGER: usize = 200;
const CHANGES: usize = 50;
/// Between two packets of a connection.
const INTERVAL: Duration = Duration::from_millis(200);

const SERVICE: &str = "files";
/// Clients say something five times a second; slots settle soon after they end.
const DRAIN: &str = "\ndrain: { idle: 10s, max: 2h }\n";
/// Instances that serve on the port.
const MEMBERS: [&str; 3] = ["controller-1", "controller-2", "bastion"];

fn backends_change_fifty_times_and_no_connection_breaks(lab: &Lab) -> Result<()> {
    let site = Edited::new(lab)?;
    let result = change_and_watch(lab, &site);
    // The next test finds the site as it was.
    let restored = site.restore();
    result.and(restored)
}

fn change_and_watch(lab: &Lab, site: &Edited<'_>) -> Result<()> {
    let mut random = Rng::with_seed(7);
    site.edit(&[("controller-1", 1), ("controller-2", 1)])?;
    let older = clients::connect(lab, FILES, OLDER, INTERVAL, "changes-older")?;
    let mut younger = None;
    let start = Instant::now();
    for number in 0..CHANGES {
        let change = || format!("change {number}");
        match number {
            11 | 31 => site.drain("bastion").with_context(change)?,
            12 | 32 => site.undo("bastion").with_context(change)?,
            15 => site.break_it().with_context(change)?,
            20 => {
                younger = Some(clients::connect(
                    lab,
                    FILES,
                    YOUNGER,
                    INTERVAL,
                    "changes-younger",
                )?);
                site.random(&mut random).with_context(change)?;
            }
            25 | 40 => site.kill_in_the_middle(&mut random).with_context(change)?,
            30 => site.hang_up().with_context(change)?,
            _ => site.random(&mut random).with_context(change)?,
        }
    }
    println!("measured: {CHANGES} changes in {:.1?}", start.elapsed());
    let kept: u64 = site
        .file
        .statuses()?
        .iter()
        .map(|status| status.tracking.kept)
        .sum();
    for (clients, count) in [(Some(older), OLDER), (younger, YOUNGER)] {
        let clients = clients.context("they began")?;
        let report = clients::report(&clients)?;
        println!("measured: {report}");
        ensure!(report.connections == count, "{report}");
        ensure!(report.is_clean(), "{report}");
    }
    ensure!(
        kept > 1_000,
        "only {kept} packets needed to be kept where they were"
    );

    // When all is quiet, nothing is looked up and nothing is written.
    let is_settled = |status: &Status| tracked(status) == 0;
    site.file.wait(is_settled).context("slots settle")?;
    let written = |statuses: &[Status]| -> u64 {
        let events = statuses.iter().map(|status| &status.tracking);
        events
            .map(|events| events.begun + events.remembered + events.kept)
            .sum()
    };
    let before = written(&site.file.statuses()?);
    let clients = clients::connect(lab, FILES, YOUNGER, INTERVAL, "changes-steady")?;
    let report = clients::report(&clients)?;
    ensure!(report.is_clean(), "{report}");
    let after = written(&site.file.statuses()?);
    ensure!(
        before == after,
        "{} entries in steady state",
        after - before
    );
    for status in site.file.statuses()? {
        let updates = status.updates;
        ensure!(
            (updates.mismatches, updates.failures) == (0, 0),
            "{}: {updates:?}",
            status.node
        );
    }
    Ok(())
}

/// Slots of the service that are tracked.
fn tracked(status: &Status) -> usize {
    let services = status.load_balancers.iter();
    services.map(|service| service.tracked_slots).sum()
}

/// Some of the members, of whom at least one takes new connections.
fn random_members(random: &mut Rng) -> Vec<(&'static str, u16)> {
    loop {
        let chosen = MEMBERS.map(|member| (member, random.u16(..4)));
        let chosen: Vec<_> = chosen.into_iter().filter(|_| random.u8(..4) > 0).collect();
        // The bastion is drained at times.
        if chosen
            .iter()
            .any(|&(member, weight)| weight > 0 && member != "bastion")
        {
            return chosen;
        }
    }
}

/// The service in the topology file of the lab.
struct Edited<'l> {
    lab: &'l Lab,
    file: TopologyFile<'l>,
}

impl<'l> Edited<'l> {
    fn new(lab: &'l Lab) -> Result<Self> {
        let file = TopologyFile::of(lab)?;
        Ok(Self { lab, file })
    }

    /// The file with these backends of the service.
    fn with(&self, members: &[(&str, u16)]) -> Result<String> {
        let backends: Vec<_> = members
            .iter()
            .map(|(name, weight)| format!("{{ instance: {name}, port: 8000, weight: {weight} }}"))
            .collect();
        let (before, rest) = (self.file.original)
            .split_once(&format!("- name: {SERVICE}"))
            .context("the service is in the file")?;
        let (keys, rest) = rest.split_once("backends: [").context("its backends")?;
        let (_, after) = rest.split_once("]\n").context("their end")?;
        let backends = backends.join(", ");
        Ok(format!(
            "{before}- name: {SERVICE}{keys}backends: [{backends}]\n{after}{DRAIN}"
        ))
    }

    /// Gives the service these backends and waits until both gateways have them.
    fn edit(&self, members: &[(&str, u16)]) -> Result<()> {
        self.file.apply(&self.with(members)?)
    }

    fn random(&self, random: &mut Rng) -> Result<()> {
        self.edit(&random_members(random))
    }

    /// An agent dies somewhere while it takes a file over, and the next one goes on.
    fn kill_in_the_middle(&self, random: &mut Rng) -> Result<()> {
        let before = self.file.statuses()?;
        // Another text than the one before, which a second of random members might be.
        let text = self.with(&random_members(random))? + "# killed\n";
        self.file.replace(&text)?;
        thread::sleep(Duration::from_millis(random.u64(50..250)));
        let agent = self.lab.process("gw1.agent").context("the agent runs")?;
        agent.kill();
        self.lab.revive_gateway("gw1")?;
        self.file
            .wait(|status| status.node == "gw1" || is_newer(status, &before))
    }

    /// A file with an error changes nothing, and both gateways say why.
    fn break_it(&self) -> Result<()> {
        let sound = fs::read_to_string(self.lab.topology_path())?;
        let before = self.file.statuses()?;
        self.file
            .take_over(&sound.replace("port: 8000, weight", "prot: 8000, weight"))?;
        for (status, before) in self.file.statuses()?.iter().zip(&before) {
            let reload = &status.reload;
            ensure!(
                !reload.ok && reload.message.contains("prot"),
                "{}: {reload:?}",
                status.node
            );
            ensure!(backends(status) == backends(before), "something changed");
        }
        self.file.take_over(&sound)
    }

    /// SIGHUP: the file is read again, and nothing has changed.
    fn hang_up(&self) -> Result<()> {
        let before = self.file.statuses()?;
        for gateway in GATEWAYS {
            let agent = self.lab.process(&format!("{gateway}.agent"));
            agent.context("the agent runs")?.signal(Signal::SIGHUP);
        }
        self.file.wait(|status| is_newer(status, &before))?;
        for status in self.file.statuses()? {
            let said = &status.reload.message;
            ensure!(
                said.contains("nothing that matters"),
                "{}: {said}",
                status.node
            );
        }
        Ok(())
    }

    /// `lingyun drain` on every gateway.
    fn drain(&self, member: &str) -> Result<()> {
        let all = MEMBERS.map(|member| (member, 1));
        self.edit(&all)?;
        self.command(&["drain", &format!("shop/{member}")])?;
        for status in self.file.statuses()? {
            let found = backends(&status);
            let found = found.iter().find(|(name, _, _)| name == member);
            ensure!(
                found.is_some_and(|found| (found.1, found.2) == (0, Condition::Draining)),
                "{member} of {} is {found:?}",
                status.node
            );
        }
        Ok(())
    }

    fn undo(&self, member: &str) -> Result<()> {
        self.command(&["drain", "--undo", &format!("shop/{member}")])
    }

    fn command(&self, words: &[&str]) -> Result<()> {
        GATEWAYS.iter().try_for_each(|gateway| {
            let socket = self.lab.gateway_socket(gateway).display().to_string();
            let command = [&[&*program("lingyun")?], words, &["--socket", &socket]];
            says(self.lab, gateway, &command.concat()).map(drop)
        })
    }

    fn restore(&self) -> Result<()> {
        // Whatever failed, nothing stays drained.
        let _ = self.undo("bastion");
        // While slots are tracked, a flow is known to one gateway only: the tests after
        // this one let gateways die.
        self.file
            .take_over(&format!("{}{DRAIN}", self.file.original))?;
        self.file.wait(|status| tracked(status) == 0)?;
        self.file.take_over(&self.file.original)
    }
}

/// The service's backends: who, with which weight, and what they do.
fn backends(status: &Status) -> Vec<(String, u16, Condition)> {
    let services = status.load_balancers.iter();
    let service = services.filter(|service| service.name == SERVICE);
    service
        .flat_map(|service| &service.backends)
        .map(|backend| (backend.instance.clone(), backend.weight, backend.condition))
        .collect()
}
