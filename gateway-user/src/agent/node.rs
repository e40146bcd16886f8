//! The node that the agent took over: its data path, and what the tables say now.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use gateway_common::{Counter, Reason, ReasonCount, TrackEvent};
use tokio::task::JoinHandle;

use super::{
    plan::{Plan, clock},
    store::Store,
    *,
};
use crate::{
    datapath::{Challenging, Datapath, Left, Options, Outgrown},
    diff::diff,
    model::{Label, Tables},
    server::{DrainRequest, Source},
    status::{Moment, Reload, Status, Tracking, Traffic, Updates},
};

/// A node.
pub(super) struct Node {
    options: Options<'static>,
    mode: Mode,
    started: Instant,
    reachability: watch::Receiver<Arc<Reachability>>,
    state: Mutex<State>,
}

struct State {
    plan: Plan,
    store: Store,
    /// None once the node is given back.
    datapath: Option<Datapath>,
    /// Forwards what the programs log.
    logs: Option<JoinHandle<()>>,
    /// What the maps hold, if the last update went through.
    tables: Tables,
    /// What data paths counted that were replaced since the agent started.
    carried: Carried,
    /// Interfaces with the program on them, and the index each had then.
    attached: BTreeMap<String, u32>,
    announced: BTreeSet<Announcement>,
    updates: Updates,
    reload: Reload,
    healthy: bool,
}

/// Counts of earlier data paths.
#[derive(Default)]
struct Carried {
    counters: Vec<Traffic>,
    routed: Vec<Traffic>,
    reasons: BTreeMap<Reason, ReasonCount>,
    track_events: [u64; TrackEvent::COUNT],
}

impl Node {
    /// Loads the data path and attaches it, in place of an earlier agent's if
    /// there is one.
    pub(super) fn take_over(
        settings: &Settings,
        reachability: watch::Receiver<Arc<Reachability>>,
    ) -> Result<Self> {
        let mode = settings.mode;
        if mode == Mode::Generic {
            log::warn!(
                "generic XDP, as asked for: every packet costs the kernel's full receive path \
                 first. Good for a trial, not for traffic"
            );
        }
        datapath::ensure_bpffs()?;
        let options = Options {
            object: datapath::object()?,
            pin_dir: settings.pin_dir.clone(),
        };
        let left = Left::read(&options.pin_dir).unwrap_or_else(|error| {
            log::warn!("starting without the rings of an earlier agent: {error:#}");
            None
        });
        let mut store = Store::beside(&settings.socket);
        let (course, left) = store.load(left);
        let plan = Plan::resume(settings, course, left.as_ref());
        let reach = Arc::clone(&reachability.borrow());
        let begun = Instant::now();
        let tables = plan.tables(&reach);
        let computed = begun.elapsed();
        store.save(&plan.course)?;
        let begun = Instant::now();
        let mut datapath = Datapath::load(&options, &tables)?;
        datapath.keep_time()?;
        let updates = Updates {
            start_model_seconds: computed.as_secs_f64(),
            start_load_seconds: begun.elapsed().as_secs_f64(),
            ..Updates::default()
        };
        let attached = match attach_all(&mut datapath, &plan.gateway, mode, &reach) {
            Ok(attached) => attached,
            Err(error) => {
                // An earlier agent's program that was swapped already goes on
                // working with the new one; a fresh start is undone.
                if datapath
                    .attachments()
                    .iter()
                    .all(|attachment| !attachment.taken_over)
                {
                    datapath.detach()?;
                    store.leave(&plan.course)?;
                }
                return Err(error);
            }
        };
        let state = State {
            logs: forward_logs(&mut datapath),
            plan,
            store,
            datapath: Some(datapath),
            tables,
            carried: Carried::default(),
            attached,
            announced: BTreeSet::new(),
            updates,
            reload: Reload {
                ok: true,
                ..Reload::default()
            },
            healthy: true,
        };
        Ok(Self {
            options,
            mode,
            started: Instant::now(),
            reachability,
            state: Mutex::new(state),
        })
    }

    /// Brings the tables in line with the surroundings.
    pub(super) fn follow(&self, reach: &Reachability) -> Result<()> {
        let mut state = self.lock();
        let plan = state.observe()?;
        self.lead(&mut state, plan, reach)
    }

    /// Settles flows that are quiet, if there are any: nothing is computed else.
    pub(super) fn settle(&self, reach: &Reachability) -> Result<()> {
        let mut state = self.lock();
        match state.observe()? {
            Some(plan) => self.lead(&mut state, Some(plan), reach),
            None => Ok(()),
        }
    }

    /// Looks through the ports of egress NAT: frees what is over, counts the rest.
    pub(super) fn sweep(&self) -> Result<()> {
        let state = &mut *self.lock();
        match &mut state.datapath {
            Some(datapath) => datapath.sweep(&state.tables),
            None => Ok(()),
        }
    }

    /// Takes over another topology. Nothing has changed if that fails before the
    /// kernel was touched.
    pub(super) fn reload(&self, topology: Topology, reach: &Reachability) -> Result<()> {
        let mut state = self.lock();
        let plan = state.plan.with_topology(topology);
        self.lead(&mut state, Some(plan), reach)
    }

    /// Remembers how a changed topology file was received.
    pub(super) fn note_reload(&self, outcome: Result<String, String>) {
        let mut state = self.lock();
        let reload = &mut state.reload;
        reload.ok = outcome.is_ok();
        match &outcome {
            Ok(_) => reload.count += 1,
            Err(_) => reload.failures += 1,
        }
        reload.message = outcome.unwrap_or_else(|error| error);
        reload.at = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0.0, |since| since.as_secs_f64());
    }

    /// The topology as the file has it, and this gateway in it.
    pub(super) fn topology(&self) -> (Topology, Gateway) {
        let state = self.lock();
        (state.plan.topology.clone(), state.plan.gateway.clone())
    }

    /// Leads the kernel to a plan, or to the one in force as the surroundings are now.
    fn lead(&self, state: &mut State, plan: Option<Plan>, reach: &Reachability) -> Result<()> {
        let Some(datapath) = &mut state.datapath else {
            return Ok(());
        };
        let start = Instant::now();
        datapath.keep_time()?;
        let wanted = plan.as_ref().unwrap_or(&state.plan).tables(reach);
        let writes = diff(&state.tables, &wanted);
        let moved = moved_interfaces(&state.attached, reach);
        // The configuration is in the programs: nobody writes it.
        let differs = !writes.is_empty() || wanted.config != state.tables.config;
        if !differs && moved.is_empty() && state.healthy {
            // The plan may differ in what is not in the tables.
            return plan.map_or(Ok(()), |plan| state.adopt(plan));
        }
        let datapath = state.datapath.as_mut().context("there is a data path")?;
        let mut result = match datapath.fits(&wanted) {
            true => {
                if let Some(plan) = plan {
                    state.adopt(plan)?;
                }
                state.apply(&writes, &wanted)
            }
            false => {
                let plan = plan.unwrap_or_else(|| state.plan.clone());
                self.replace(state, plan, reach)
            }
        };
        if result.as_ref().is_err_and(|error| error.is::<Outgrown>()) {
            log::info!("a table is full; loading a larger one");
            result = self.replace(state, state.plan.clone(), reach);
        }
        result = result.and_then(|()| {
            // What was written while something failed is written once more, which does
            // no harm: only a complete update counts.
            let wanted = state.plan.tables(reach);
            state.verify(&wanted)?;
            state.tables = wanted;
            self.attach_moved(state, &moved, reach)
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

    /// Loads a second, complete data path for a plan and swaps it in. Until then the
    /// one that is there goes on undisturbed.
    fn replace(&self, state: &mut State, mut plan: Plan, reach: &Reachability) -> Result<()> {
        plan.course.rings.pack();
        let wanted = plan.tables(reach);
        state.store.save(&plan.course)?;
        let mut new = match Datapath::load(&self.options, &wanted) {
            Ok(new) => new,
            Err(error) => {
                // The maps in use go on with the indices that they have.
                state.store.save(&state.plan.course)?;
                return Err(error);
            }
        };
        new.keep_time()?;
        let old = state.datapath.take();
        state.plan = plan;
        if let Some(old) = &old {
            state.carried.add(old)?;
        }
        let attached = attach_all(&mut new, &state.plan.gateway, self.mode, reach);
        if let Some(logs) = state.logs.take() {
            logs.abort();
        }
        state.logs = forward_logs(&mut new);
        state.datapath = Some(new);
        state.tables = wanted;
        state.updates.loads += 1;
        // If that failed, every interface is tried again with the next update.
        state.attached.clear();
        state.attached = attached?;
        log::info!("a second data path was loaded and swapped in");
        Ok(())
    }

    fn attach_moved(
        &self,
        state: &mut State,
        moved: &[String],
        reach: &Reachability,
    ) -> Result<()> {
        let datapath = state.datapath.as_mut().context("there is a data path")?;
        moved.iter().try_for_each(|name| {
            state.attached.remove(name);
            let Some(interface) = reach.interfaces.get(name) else {
                return Ok(());
            };
            let role = status::role(&state.plan.gateway, name);
            datapath.attach(name, role, self.mode)?;
            state.attached.insert(name.clone(), interface.ifindex);
            log::info!("attached to {name}, which was made anew");
            Ok(())
        })
    }

    /// Remembers what is announced, for people.
    pub(super) fn set_announced(&self, announced: BTreeSet<Announcement>) {
        self.lock().announced = announced;
    }

    /// What is announced.
    pub(super) fn announced(&self) -> BTreeSet<Announcement> {
        self.lock().announced.clone()
    }

    /// Detaches the program and removes the pins.
    pub(super) fn give_back(&self) -> Result<()> {
        let mut state = self.lock();
        let Some(datapath) = state.datapath.take() else {
            return Ok(());
        };
        datapath.detach()?;
        let course = state.plan.course.clone();
        state.store.leave(&course)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A request that panicked only read; the state is sound.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Makes a plan the one in force, on paper first.
    fn adopt(&mut self, plan: Plan) -> Result<()> {
        self.store.save(&plan.course)?;
        self.plan = plan;
        Ok(())
    }

    fn apply(&mut self, writes: &[crate::diff::Write], wanted: &Tables) -> Result<()> {
        let datapath = self.datapath.as_mut().context("there is a data path")?;
        for (index, label) in (0..).zip(&wanted.labels) {
            let before = self.tables.labels.get(index as usize);
            let is_new = matches!(before, None | Some(Label::None)) && *label != Label::None;
            if is_new {
                datapath.clear_counter(index)?;
                clear(&mut self.carried.counters, index);
            }
        }
        for (index, &vni) in (0..).zip(&wanted.networks) {
            let before = self.tables.networks.get(index as usize);
            if vni != 0 && before != Some(&vni) {
                datapath.clear_routed(index)?;
                clear(&mut self.carried.routed, index);
            }
        }
        datapath.apply(writes)
    }

    /// Reads the maps back. What differs is an error of ours or somebody's hand.
    fn verify(&mut self, wanted: &Tables) -> Result<()> {
        let datapath = self.datapath.as_mut().context("there is a data path")?;
        let found = datapath.verify(wanted)?;
        if !found.is_empty() {
            self.updates.mismatches += 1;
            let found = found.join(", ");
            log::error!("maps did not hold what was written, and were corrected: {found}");
        }
        Ok(())
    }

    /// What the programs and counters tell of flows that are on their way. A new plan
    /// if anything follows from it.
    fn observe(&mut self) -> Result<Option<Plan>> {
        let Some(datapath) = &self.datapath else {
            return Ok(None);
        };
        let now = clock();
        let Plan {
            course, topology, ..
        } = &mut self.plan;
        let packets = |index| datapath.counter(index).map_or(0, |count| count.in_packets);
        let changed = course.observe(topology, |slot| datapath.mark(slot), packets, now.seconds);
        Ok(changed.then(|| self.plan.with_topology(self.plan.topology.clone())))
    }

    fn traffic(&self) -> Result<Vec<Traffic>> {
        let datapath = self
            .datapath
            .as_ref()
            .context("the agent is giving the node back")?;
        Ok(total(&datapath.counters()?, &self.carried.counters))
    }

    fn routed(&self, datapath: &Datapath) -> Result<Vec<Traffic>> {
        Ok(total(&datapath.routed()?, &self.carried.routed))
    }
}

/// What is counted now and was counted before, by index.
fn total(now: &[Counter], before: &[Traffic]) -> Vec<Traffic> {
    let mut traffic: Vec<_> = now.iter().map(Traffic::from).collect();
    for (now, before) in traffic.iter_mut().zip(before) {
        *now += *before;
    }
    traffic
}

/// Adds what a data path counted to what was counted before.
fn carry(sums: &mut Vec<Traffic>, counters: &[Counter]) {
    sums.resize(counters.len().max(sums.len()), Traffic::default());
    for (sum, counter) in sums.iter_mut().zip(counters) {
        *sum += Traffic::from(counter);
    }
}

/// Forgets what an index stood for.
fn clear(sums: &mut [Traffic], index: u32) {
    if let Some(traffic) = sums.get_mut(index as usize) {
        *traffic = Traffic::default();
    }
}

impl State {
    fn challenging(&mut self) -> Result<Vec<Challenging>> {
        let datapath = self
            .datapath
            .as_mut()
            .context("the agent is giving the node back")?;
        datapath.challenging()
    }

    fn tracking(&self, datapath: &Datapath) -> Result<Tracking> {
        let now = datapath.track_events()?;
        let before = self.carried.track_events;
        let count = |event: TrackEvent| now[event as usize] + before[event as usize];
        Ok(Tracking {
            begun: count(TrackEvent::Begun),
            remembered: count(TrackEvent::Remembered),
            kept: count(TrackEvent::Kept),
        })
    }
}

impl Carried {
    /// Adds what a data path counted that is about to go.
    fn add(&mut self, datapath: &Datapath) -> Result<()> {
        carry(&mut self.counters, &datapath.counters()?);
        carry(&mut self.routed, &datapath.routed()?);
        for (reason, count) in datapath.reasons()? {
            let sum = self.reasons.entry(reason).or_default();
            sum.packets += count.packets;
            sum.bytes += count.bytes;
        }
        for (sum, count) in self.track_events.iter_mut().zip(datapath.track_events()?) {
            *sum += count;
        }
        Ok(())
    }
}

impl Source for Node {
    fn status(&self) -> Result<Status> {
        let not_ready = self.not_ready();
        let reachability = Arc::clone(&self.reachability.borrow());
        let mut state = self.lock();
        let state = &mut *state;
        let counters = state.traffic()?;
        let challenging = state.challenging()?;
        let datapath = state
            .datapath
            .as_ref()
            .context("the agent is giving the node back")?;
        let mut reasons = datapath.reasons()?;
        for (reason, count) in &mut reasons {
            let before = state
                .carried
                .reasons
                .get(reason)
                .copied()
                .unwrap_or_default();
            count.packets += before.packets;
            count.bytes += before.bytes;
        }
        let attached = state.attached.keys().map(|name| (name.clone(), self.mode));
        Ok(Status::new(Moment {
            topology: &state.plan.served,
            gateway: &state.plan.gateway,
            reachability: &reachability,
            tables: &state.tables,
            counters: &counters,
            routed: &state.routed(datapath)?,
            snat: &datapath.snat_usage(),
            reasons: &reasons,
            challenging: &challenging,
            attached: &attached.collect::<Vec<_>>(),
            announced: state.announced.iter().copied().collect(),
            not_ready,
            updates: state.updates,
            reload: state.reload.clone(),
            tracking: state.tracking(datapath)?,
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
        readiness::missing(&state.plan.topology, &state.plan.gateway, &reach, attached)
    }

    fn drain(&self, request: &DrainRequest) -> Result<String> {
        let reach = Arc::clone(&self.reachability.borrow());
        let mut state = self.lock();
        let (plan, what) = state.plan.with_drain(request)?;
        self.lead(&mut state, Some(plan), &reach)?;
        log::info!("{what}");
        Ok(what)
    }
}

/// Forwards what the programs log to the agent's own log.
fn forward_logs(datapath: &mut Datapath) -> Option<JoinHandle<()>> {
    match datapath.logs() {
        Ok(logs) => Some(tokio::spawn(async move {
            if let Err(error) = logs.forward().await {
                log::debug!("{error:#}");
            }
        })),
        Err(error) => {
            log::debug!("{error:#}");
            None
        }
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
