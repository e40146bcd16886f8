//! Bringing a lab up: which steps, and which of them side by side.

use std::{fs, sync::atomic::Ordering, thread, time::Duration};

use anyhow::{Context, Result, anyhow, bail};

use super::{
    bird,
    config::Vswitch,
    network,
    plan::Node,
    postgres,
    progress::Progress,
    running::{GivenUp, Lab},
    services,
    site::NodeKind,
    state::Entry,
};

/// How long anything may take to get ready on a busy machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

pub(super) type Task<'l> = Box<dyn FnOnce() -> Result<()> + Send + 'l>;

impl Lab {
    pub(super) fn build(&self, progress: &Progress) -> Result<()> {
        let copy = self.topology_path();
        fs::copy(&self.site.path, &copy).with_context(|| format!("write {}", copy.display()))?;
        self.side_by_side(vec![
            Box::new(|| self.step(progress, "network", Self::make_network)),
            Box::new(|| self.step(progress, "certificates", services::make_certificates)),
        ])?;
        let mut tasks: Vec<Task<'_>> = vec![
            Box::new(|| self.step(progress, "routing", Self::start_routing)),
            Box::new(|| self.step(progress, "virtual switches", Self::start_switches)),
            Box::new(|| {
                self.step(progress, "database files", postgres::make_files)?;
                self.step(progress, "services", services::start)
            }),
        ];
        for gateway in &self.site.topology.gateways {
            let name = format!("agent {}", gateway.name);
            tasks.push(Box::new(move || {
                self.step(progress, &name, |lab| lab.start_agent(&gateway.name))
            }));
        }
        self.side_by_side(tasks)?;
        self.side_by_side(vec![
            Box::new(|| self.step(progress, "announcements", Self::wait_for_routes)),
            Box::new(|| self.step(progress, "tunnels", Self::wait_for_tunnels)),
        ])?;
        self.step(progress, "front door", Self::wait_for_front_door)
    }

    /// Runs one step and shows what came of it.
    fn step(
        &self,
        progress: &Progress,
        name: &str,
        work: impl FnOnce(&Self) -> Result<String>,
    ) -> Result<()> {
        let step = progress.step(name);
        let detail = work(self).with_context(|| name.to_owned())?;
        step.done(&detail);
        Ok(())
    }

    /// Runs steps at the same time. The first that fails makes the others give up.
    pub(super) fn side_by_side(&self, tasks: Vec<Task<'_>>) -> Result<()> {
        let cancel = &self.options.cancel;
        let run = |task: Task<'_>| task().inspect_err(|_| cancel.store(true, Ordering::Relaxed));
        thread::scope(|scope| {
            let tasks = tasks.into_iter();
            let running: Vec<_> = tasks.map(|task| scope.spawn(|| run(task))).collect();
            let ended = running.into_iter().map(|task| {
                task.join()
                    .unwrap_or_else(|_| Err(anyhow!("a step of the lab panicked")))
            });
            let mut failed: Vec<_> = ended.filter_map(Result::err).collect();
            // The culprit before those that gave up because of it.
            failed.sort_by_key(|error| error.is::<GivenUp>());
            failed.into_iter().next().map_or(Ok(()), Err)
        })
    }

    fn make_network(&self) -> Result<String> {
        for node in &self.plan.nodes {
            self.dir
                .record(&Entry::Namespace(self.namespace(&node.name)))?;
        }
        for gateway in &self.site.topology.gateways {
            self.dir
                .record(&Entry::File(self.run().pin_dir(&gateway.name)))?;
        }
        network::build(self.run(), &self.plan)?;
        let links = self.plan.devices.len() / 2;
        Ok(format!(
            "{} namespaces, {links} links",
            self.plan.nodes.len()
        ))
    }

    fn start_routing(&self) -> Result<String> {
        let speakers =
            |node: &&Node| matches!(node.kind, NodeKind::Router { .. } | NodeKind::Gateway(_));
        let nodes: Vec<_> = self.plan.nodes.iter().filter(speakers).collect();
        let birds = nodes
            .iter()
            .map(|node| self.start_bird(&node.name, node.kind));
        let birds = birds.collect::<Result<Vec<_>>>()?;
        for (node, process) in nodes.iter().zip(&birds) {
            self.wait(PATIENCE, &[process], || {
                let down = bird::sessions_down(&self.bird_socket(&node.name))?;
                if !down.is_empty() {
                    bail!("{}: sessions are down: {}", node.name, down.join("; "));
                }
                Ok(())
            })?;
        }
        Ok(format!(
            "BIRD on {} nodes, all BGP sessions up",
            nodes.len()
        ))
    }

    fn start_switches(&self) -> Result<String> {
        let mut words = Vec::new();
        for (index, host) in self.site.topology.hosts.iter().enumerate() {
            let node = self.plan.nodes.iter().find(|node| node.name == host.name);
            let node = node.with_context(|| format!("{} is not planned", host.name))?;
            let NodeKind::Host(_, switch) = node.kind else {
                bail!("{} is not a host", host.name);
            };
            let word = match switch {
                Vswitch::Openvswitch => self.start_openvswitch(index)?,
                Vswitch::Kernel => self.start_bridges(index)?,
            };
            words.push(format!("{}: {word}", host.name));
        }
        Ok(words.join(", "))
    }
}
