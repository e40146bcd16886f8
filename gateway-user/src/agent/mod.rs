//! The agent: takes a node over, keeps its tables true, gives it back.
//!
//! It runs on two threads: one request for thousands of counters cannot delay a
//! route change on the other, and more would have nothing to do.

mod change;
mod file;
mod node;
mod offload;
mod plan;
mod preflight;
mod readiness;
mod store;

use std::{
    collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration, time::Instant,
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::{file::TopologyFile, node::Node};
use crate::{
    config::{self, Gateway, Topology},
    datapath::{self, Mode},
    netlink::{Announcement, Announcements, Announcer, Wanted, Watcher, public_ips},
    reachability::{NextHop, Reachability},
    server::{self, Server, Socket},
    status,
};

/// How often flows that are on their way to another backend are looked at.
const OBSERVE: Duration = Duration::from_secs(1);

/// What failed is tried again this often, announcements that somebody else removed are
/// put back, and expired ports of egress NAT are freed.
const RETRY: Duration = Duration::from_secs(5);

/// How long a starting agent waits for the MACs of its next hops. An agent that
/// takes over from another must not swap full tables for empty ones.
const SETTLE: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file that says what the site is, and its text.
    pub file: PathBuf,
    /// What the agent was started with; later changes of the file are followed.
    pub text: String,
    /// The site.
    pub topology: Topology,
    /// This node.
    pub gateway: Gateway,
    /// Where the program runs.
    pub mode: Mode,
    /// Address of the HTTP server; none without one.
    pub listen: Option<SocketAddr>,
    /// The node's Unix socket.
    pub socket: PathBuf,
    /// Directory on bpffs for the node's links.
    pub pin_dir: PathBuf,
    /// Where addresses are announced from.
    pub announcements: Announcements,
    /// Between the withdrawal of the announcements and the end: time for the
    /// network to send its packets elsewhere.
    pub grace: Duration,
}

/// Runs a node until SIGTERM or SIGINT.
pub async fn run(settings: Settings) -> Result<()> {
    let mut stop = Stop::listen()?;
    preflight::privileges()?;
    let (socket, unix) = Socket::bind(&settings.socket)?;
    let tcp = match settings.listen {
        Some(address) => Some(server::listen(address).await?),
        None => None,
    };
    let file = TopologyFile::watch(&settings.file, settings.text.clone())?;
    let wanted = Wanted::new(&settings.topology, &settings.gateway);
    let watcher = Watcher::start(wanted).await?;
    preflight::interfaces(&settings.gateway, &watcher.subscribe().borrow())?;
    let found = Arc::clone(&watcher.subscribe().borrow());
    for warning in preflight::warnings(&settings.topology, &settings.gateway, &found) {
        log::warn!("{}: {warning}", settings.gateway.name);
    }
    let mut reach = watcher.subscribe();
    settle(&mut reach).await;

    let node = Arc::new(Node::take_over(&settings, reach.clone())?);
    let announcer = Announcer::new(settings.announcements);
    let mut server = Server::new(Arc::clone(&node));
    server.serve_commands(unix);
    let mut places = settings.socket.display().to_string();
    if let Some(tcp) = tcp {
        places = format!("http://{}/metrics and {places}", tcp.local_addr()?);
        server.serve(tcp);
    }
    log::info!("{}: answering on {places}", settings.gateway.name);

    let mut agent = Agent {
        settings: &settings,
        node: &node,
        announcer: &announcer,
        watcher: &watcher,
        reach: reach.clone(),
        file,
    };
    agent.keep_true(&mut stop).await;

    log::info!("{}: withdrawing its addresses", settings.gateway.name);
    let withdrawn = announce(&node, &announcer, BTreeSet::new()).await;
    if withdrawn.is_ok() && !settings.grace.is_zero() {
        log::info!("carrying what is still under way for {:?}", settings.grace);
        keep_for(settings.grace, &node, &mut reach, &mut stop).await;
    }
    watcher.stop().await;
    server.stop().await;
    let detached = node.give_back();
    drop(socket);
    withdrawn.and(detached)?;
    log::info!(
        "{}: detached, nothing is left behind",
        settings.gateway.name
    );
    Ok(())
}

/// What the loop works with.
struct Agent<'a> {
    settings: &'a Settings,
    node: &'a Node,
    announcer: &'a Announcer,
    watcher: &'a Watcher,
    reach: watch::Receiver<Arc<Reachability>>,
    file: TopologyFile,
}

impl Agent<'_> {
    /// The loop: every change of the surroundings and of the topology file goes into
    /// the tables, and what is announced follows from that.
    async fn keep_true(&mut self, stop: &mut Stop) {
        let mut retry = interval(RETRY);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut observe = interval(OBSERVE);
        observe.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known = Arc::default();
        let mut was_ready = None;
        loop {
            let now = Arc::clone(&self.reach.borrow_and_update());
            log_next_hops(&known, &now);
            known = now;
            follow(self.node, &known);
            let not_ready = server::Source::not_ready(self.node);
            let wanted = match not_ready.is_empty() {
                true => announcements(self.settings, &self.node.topology().0),
                false => BTreeSet::new(),
            };
            if was_ready.as_ref() != Some(&not_ready) {
                match not_ready.is_empty() {
                    true => log::info!("ready: announcing {} addresses", wanted.len()),
                    false => log::warn!("not ready, announcing nothing: {}", not_ready.join("; ")),
                }
                was_ready = Some(not_ready);
            }
            if let Err(error) = announce(self.node, self.announcer, wanted).await {
                log::warn!("{error:#}; trying again in {RETRY:?}");
            }
            loop {
                tokio::select! {
                    changed = self.reach.changed() => if changed.is_err() {
                        return log::error!("the network watch ended");
                    },
                    text = self.file.changed() => self.take_over(text).await,
                    _ = observe.tick() => {
                        // Nothing is to be announced because flows have settled.
                        told(self.node.settle(&known));
                        continue;
                    }
                    _ = retry.tick() => {
                        if let Err(error) = self.node.sweep() {
                            log::warn!("ports of SNAT are not looked through: {error:#}");
                        }
                    }
                    () = stop.requested() => return,
                }
                break;
            }
        }
    }

    /// Takes over what the topology file says now; if anything is wrong with it,
    /// nothing changes.
    async fn take_over(&mut self, text: Result<String, String>) {
        let outcome = match text {
            Ok(text) => self.reload(&text).await,
            Err(error) => Err(error),
        };
        let name = self.file.name();
        match &outcome {
            Ok(said) => log::info!("{name}: {said}"),
            Err(error) => log::error!("{name}: refused, nothing has changed: {error}"),
        }
        self.node.note_reload(outcome);
    }

    async fn reload(&mut self, text: &str) -> Result<String, String> {
        let loaded = config::parse(self.file.name(), text).map_err(|report| report.to_string())?;
        for warning in &loaded.warnings {
            log::warn!("{}: {warning}", self.file.name());
        }
        let topology = loaded.topology;
        let (before, gateway) = self.node.topology();
        let gateway = change::follow((&before, &gateway), &topology)?.clone();
        if before == topology {
            return Ok("nothing that matters has changed".into());
        }
        // Next hops of new hosts are looked up before packets are sent there.
        self.watcher.want(Wanted::new(&topology, &gateway));
        let endpoints = Wanted::new(&topology, &gateway).endpoints;
        let is_known = |reach: &Arc<Reachability>| {
            (endpoints.iter()).all(|endpoint| reach.tunnels.contains_key(endpoint))
                && next_hops(reach).all(NextHop::is_usable)
        };
        let _ = timeout(SETTLE, self.reach.wait_for(is_known)).await;

        // What goes is withdrawn before it is taken away; what comes is announced by
        // the loop, when it is there.
        let keep = announcements(self.settings, &topology);
        let held = self.node.announced();
        let kept: BTreeSet<_> = held.intersection(&keep).copied().collect();
        if kept != held {
            announce(self.node, self.announcer, kept)
                .await
                .map_err(|error| format!("{error:#}"))?;
        }
        let summary = change::summary(&before, &topology);
        let reach = Arc::clone(&self.reach.borrow());
        let result = self.node.reload(topology, &reach);
        if result.is_err() {
            let (topology, gateway) = self.node.topology();
            self.watcher.want(Wanted::new(&topology, &gateway));
        }
        result.map_err(|error| format!("{error:#}"))?;
        Ok(summary)
    }
}

/// Keeps the tables true for a while, without announcing.
async fn keep_for(
    time: Duration,
    node: &Node,
    reach: &mut watch::Receiver<Arc<Reachability>>,
    stop: &mut Stop,
) {
    let following = async {
        while reach.changed().await.is_ok() {
            let now = Arc::clone(&reach.borrow_and_update());
            follow(node, &now);
        }
    };
    tokio::select! {
        () = sleep(time) => {}
        () = following => {}
        () = stop.requested() => log::info!("asked twice: ending at once"),
    }
}

fn follow(node: &Node, reach: &Reachability) {
    told(node.follow(reach));
}

fn told(result: Result<()>) {
    if let Err(error) = result {
        log::error!("the tables are not true: {error:#}; trying again in {RETRY:?}");
    }
}

async fn announce(
    node: &Node,
    announcer: &Announcer,
    wanted: BTreeSet<Announcement>,
) -> Result<()> {
    let result = announcer.set(&wanted).await;
    // After a failure some may be announced: claim nothing.
    node.set_announced(if result.is_ok() {
        wanted
    } else {
        BTreeSet::new()
    });
    result
}

/// Everything that this site announces.
fn announcements(settings: &Settings, topology: &Topology) -> BTreeSet<Announcement> {
    let Announcements {
        public_table,
        vtep_table,
        ..
    } = settings.announcements;
    let public = public_ips(topology)
        .into_iter()
        .map(|address| Announcement {
            table: public_table,
            address,
        });
    let vtep = Announcement {
        table: vtep_table,
        address: topology.anycast_vtep,
    };
    public.chain([vtep]).collect()
}

/// Waits until every next hop that there is can be used, or long enough.
async fn settle(reach: &mut watch::Receiver<Arc<Reachability>>) {
    let settled = |reach: &Arc<Reachability>| next_hops(reach).all(NextHop::is_usable);
    // What is not resolved by then may be down; the loop follows it.
    let _ = timeout(SETTLE, reach.wait_for(settled)).await;
}

fn next_hops(reach: &Reachability) -> impl Iterator<Item = &NextHop> {
    reach.tunnels.values().flatten().chain(reach.all_uplinks())
}

/// One line for each next hop that can be used now or no more.
fn log_next_hops(before: &Reachability, now: &Reachability) {
    let usable = |reach| -> BTreeSet<_> {
        let hops = next_hops(reach).filter(|hop| hop.is_usable());
        hops.map(|hop| (hop.interface.clone(), hop.address))
            .collect()
    };
    let (before, now) = (usable(before), usable(now));
    for (interface, address) in now.difference(&before) {
        log::info!("next hop {address} on {interface} is usable");
    }
    for (interface, address) in before.difference(&now) {
        log::warn!("next hop {address} on {interface} is lost");
    }
}

/// The signals that end the agent.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn requested(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
