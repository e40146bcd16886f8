//! The agent: takes a node over, keeps its tables true, gives it back.
//!
//! It runs on two threads: one request for thousands of counters cannot delay a
//! route change on the other, and more would have nothing to do.

mod node;
mod preflight;
mod readiness;

use std::{
    collections::BTreeSet, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration, time::Instant,
};

use anyhow::{Context, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use self::node::Node;
use crate::{
    config::{Gateway, Topology},
    datapath::{self, Mode},
    netlink::{Announcement, Announcements, Announcer, Wanted, Watcher, public_ips},
    reachability::{NextHop, Reachability},
    server::{self, Server, Socket},
    status,
};

/// What failed is tried again this often, and announcements that somebody else
/// removed are put back.
const RETRY: Duration = Duration::from_secs(5);

/// How long a starting agent waits for the MACs of its next hops. An agent that
/// takes over from another must not swap full tables for empty ones.
const SETTLE: Duration = Duration::from_secs(1);

/// How to run.
#[derive(Clone, Debug)]
pub struct Settings {
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
    let wanted = Wanted::new(&settings.topology, &settings.gateway);
    let watcher = Watcher::start(wanted).await?;
    preflight::interfaces(&settings.gateway, &watcher.subscribe().borrow())?;
    let mut reach = watcher.subscribe();
    settle(&mut reach).await;

    let node = Arc::new(Node::take_over(&settings, reach.clone())?);
    let announcer = Announcer::new(settings.announcements);
    let mut server = Server::new(Arc::clone(&node));
    server.serve(unix);
    let mut places = settings.socket.display().to_string();
    if let Some(tcp) = tcp {
        places = format!("http://{}/metrics and {places}", tcp.local_addr()?);
        server.serve(tcp);
    }
    log::info!("{}: answering on {places}", settings.gateway.name);

    keep_true(&settings, &node, &announcer, &mut reach, &mut stop).await;

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

/// The loop: every change of the surroundings goes into the tables, and what is
/// announced follows from that.
async fn keep_true(
    settings: &Settings,
    node: &Node,
    announcer: &Announcer,
    reach: &mut watch::Receiver<Arc<Reachability>>,
    stop: &mut Stop,
) {
    let mut retry = interval(RETRY);
    retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut known = Arc::default();
    let mut was_ready = None;
    loop {
        let now = Arc::clone(&reach.borrow_and_update());
        log_next_hops(&known, &now);
        known = now;
        follow(node, &known);
        let not_ready = server::Source::not_ready(node);
        let wanted = match not_ready.is_empty() {
            true => announcements(settings),
            false => BTreeSet::new(),
        };
        if was_ready.as_ref() != Some(&not_ready) {
            match not_ready.is_empty() {
                true => log::info!("ready: announcing {} addresses", wanted.len()),
                false => log::warn!("not ready, announcing nothing: {}", not_ready.join("; ")),
            }
            was_ready = Some(not_ready);
        }
        if let Err(error) = announce(node, announcer, wanted).await {
            log::warn!("{error:#}; trying again in {RETRY:?}");
        }
        tokio::select! {
            changed = reach.changed() => if changed.is_err() {
                return log::error!("the network watch ended");
            },
            _ = retry.tick() => {}
            () = stop.requested() => return,
        }
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
    if let Err(error) = node.follow(reach) {
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
fn announcements(settings: &Settings) -> BTreeSet<Announcement> {
    let Announcements {
        public_table,
        vtep_table,
        ..
    } = settings.announcements;
    let public = public_ips(&settings.topology)
        .into_iter()
        .map(|address| Announcement {
            table: public_table,
            address,
        });
    let vtep = Announcement {
        table: vtep_table,
        address: settings.topology.anycast_vtep,
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
    reach.tunnels.values().flatten().chain(&reach.uplinks)
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
