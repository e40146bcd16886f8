//! The node that the agent took over: its data path, and what the tables say now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::*;
use crate::{
    datapath::Datapath,
    diff::diff,
    model::{self, Tables},
    server::Source,
    status::{Moment, Status, Updates},
};

/// A node.
pub(super) struct Node {
    topology: Topology,
    gateway: Gateway,
    mode: Mode,
    started: Instant,
    reachability: watch::Receiver<Arc<Reachability>>,
    state: Mutex<State>,
}

struct State {
    /// None once the node is given back.
    datapath: Option<Datapath>,
    /// What the maps hold, if the last update went through.
    tables: Tables,
    /// Interfaces with the program on them, and the index each had then.
    attached: BTreeMap<String, u32>,
    announced: BTreeSet<Announcement>,
    updates: Updates,
    healthy: bool,
}

impl Node {
    /// Loads the data path and attaches it, in place of an earlier agent's if
    /// there is one.
    pub(super) fn take_over(
        settings: &Settings,
        reachability: watch::Receiver<Arc<Reachability>>,
    ) -> Result<Self> {
        let Settings {
            topology,
            gateway,
            mode,
            pin_dir,
            ..
        } = settings.clone();
        if mode == Mode::Generic {
            log::warn!(
                "generic XDP, as asked for: every packet costs the kernel's full receive path \
                 first. Good for a trial, not for traffic"
            );
        }
        datapath::ensure_bpffs()?;
        let options = datapath::Options {
            object: datapath::object()?,
            pin_dir,
        };
        let reach = Arc::clone(&reachability.borrow());
        let tables = model::build(&topology, &gateway, &reach);
        let mut datapath = Datapath::load(&options, &tables)?;
        match datapath.logs() {
            Ok(logs) => drop(tokio::spawn(logs.forward())),
            Err(error) => log::debug!("{error:#}"),
        }
        let node = |datapath, attached| Self {
            started: Instant::now(),
            reachability,
            state: Mutex::new(State {
                datapath: Some(datapath),
                tables,
                attached,
                announced: BTreeSet::new(),
                updates: Updates::default(),
                healthy: true,
            }),
            topology,
            gateway: gateway.clone(),
            mode,
        };
        match attach_all(&mut datapath, &gateway, mode, &reach) {
            Ok(attached) => Ok(node(datapath, attached)),
            Err(error) => {
                // An earlier agent's program that was swapped already goes on
                // working with the new one; a fresh start is undone.
                if datapath
                    .attachments()
                    .iter()
                    .all(|attachment| !attachment.taken_over)
                {
                    datapath.detach()?;
                }
                Err(error)
            }
        }
    }

    /// Brings the tables in line with the surroundings.
    pub(super) fn follow(&self, reach: &Reachability) -> Result<()> {
        let start = Instant::now();
        let mut state = self.lock();
        let state = &mut *state;
        let Some(datapath) = &mut state.datapath else {
            return Ok(());
        };
        let wanted = model::build(&self.topology, &self.gateway, reach);
        let writes = diff(&state.tables, &wanted);
        let moved = moved_interfaces(&state.attached, reach);
        if writes.is_empty() && moved.is_empty() && state.healthy {
            return Ok(());
        }
        let result = datapath.apply(&writes).and_then(|()| {
            // Some of it may have been written when something failed, but writing
            // it once more does no harm: only a complete update counts.
            state.tables = wanted;
            moved.iter().try_for_each(|name| {
                state.attached.remove(name);
                let Some(interface) = reach.interfaces.get(name) else {
                    return Ok(());
                };
                datapath.attach(name, status::role(&self.gateway, name), self.mode)?;
                state.attached.insert(name.clone(), interface.ifindex);
                log::info!("attached to {name}, which was made anew");
                Ok(())
            })
        });
        state.healthy = result.is_ok();
        let updates = &mut state.updates;
        updates.count += 1;
        updates.failures += u64::from(result.is_err());
        updates.writes += writes.len() as u64;
        updates.last_seconds = start.elapsed().as_secs_f64();
        updates.seconds += updates.last_seconds;
        log::debug!("{} writes in {:.1?}", writes.len(), start.elapsed());
        result
    }

    /// Remembers what is announced, for people.
    pub(super) fn set_announced(&self, announced: BTreeSet<Announcement>) {
        self.lock().announced = announced;
    }

    /// Detaches the program and removes the pins.
    pub(super) fn give_back(&self) -> Result<()> {
        match self.lock().datapath.take() {
            Some(datapath) => datapath.detach(),
            None => Ok(()),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A request that panicked only read; the state is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Source for Node {
    fn status(&self) -> Result<Status> {
        let not_ready = self.not_ready();
        let reachability = Arc::clone(&self.reachability.borrow());
        let state = self.lock();
        let datapath = state
            .datapath
            .as_ref()
            .context("the agent is giving the node back")?;
        let attached = state.attached.keys().map(|name| (name.clone(), self.mode));
        Ok(Status::new(Moment {
            topology: &self.topology,
            gateway: &self.gateway,
            reachability: &reachability,
            labels: &state.tables.labels,
            counters: &datapath.counters()?,
            reasons: &datapath.reasons()?,
            attached: &attached.collect::<Vec<_>>(),
            announced: state.announced.iter().copied().collect(),
            not_ready,
            updates: state.updates,
            uptime_seconds: self.started.elapsed().as_secs_f64(),
        }))
    }

    fn healthy(&self) -> bool {
        let state = self.lock();
        state.healthy && state.datapath.is_some()
    }

    fn not_ready(&self) -> Vec<String> {
        let reach = Arc::clone(&self.reachability.borrow());
        let state = self.lock();
        if !state.healthy || state.datapath.is_none() {
            return vec!["the last table update failed".into()];
        }
        let attached = |name: &str| state.attached.contains_key(name);
        readiness::missing(&self.topology, &self.gateway, &reach, attached)
    }
}

/// Attaches to every interface of the node and detaches from those that an
/// earlier agent had and this one has not.
fn attach_all(
    datapath: &mut Datapath,
    gateway: &Gateway,
    mode: Mode,
    reach: &Reachability,
) -> Result<BTreeMap<String, u32>> {
    let mut attached = BTreeMap::new();
    for name in status::interface_names(gateway) {
        let role = status::role(gateway, name);
        let attachment = datapath.attach(name, role, mode)?;
        let how = if attachment.taken_over {
            "took over"
        } else {
            "attached to"
        };
        log::info!("{}: {how} {name} ({role} side, {mode} XDP)", gateway.name);
        let ifindex = reach
            .interfaces
            .get(name)
            .map_or(0, |interface| interface.ifindex);
        attached.insert(name.to_owned(), ifindex);
    }
    for stale in datapath.drop_stale_links()? {
        log::info!(
            "{}: detached {stale}, which the topology does not name",
            gateway.name
        );
    }
    Ok(attached)
}

/// Interfaces that are gone, are new, or are not the ones that the program was
/// attached to.
fn moved_interfaces(attached: &BTreeMap<String, u32>, reach: &Reachability) -> Vec<String> {
    let now = |name: &String| {
        reach
            .interfaces
            .get(name)
            .map(|interface| interface.ifindex)
    };
    let names: BTreeSet<_> = attached.keys().chain(reach.interfaces.keys()).collect();
    let moved = names
        .into_iter()
        .filter(|name| now(name) != attached.get(*name).copied());
    moved.cloned().collect()
}
