//! The watch: hear of a change, ask what is true now, tell the agent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
    time::{Instant, sleep, timeout_at},
};

use super::{
    events::{Event, Events},
    kernel::Kernel,
    messages::{Stale, stale_after},
    picture::{Neighbour, NeighbourKey, Picture, Wanted},
};
use crate::reachability::{NeighbourState, Reachability};

/// A failover changes many routes in a burst. It is read once, this long after
/// the last change ...
const QUIET: Duration = Duration::from_millis(2);
/// ... and no later than this after the first.
const BURST: Duration = Duration::from_millis(15);

/// Everything is read anew this often, whatever was or was not heard.
const RESYNC: Duration = Duration::from_secs(30);

/// How often a neighbour that has no entry is asked for, and how often one that
/// the kernel does not keep fresh by itself (before Linux 5.16).
const ASK_MISSING: Duration = Duration::from_millis(250);
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// Pause after netlink itself failed.
const RETRY: Duration = Duration::from_millis(500);

/// Keeps a [`Reachability`] true until it is stopped.
pub struct Watcher {
    reachability: watch::Receiver<Arc<Reachability>>,
    wanted: watch::Sender<Wanted>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Watcher {
    /// Reads the surroundings once and keeps watching them, in the network
    /// namespace of the calling thread.
    pub async fn start(wanted: Wanted) -> Result<Self> {
        let (sender, reachability) = watch::channel(Arc::default());
        let (stop, mut stopped) = oneshot::channel();
        let mut session = Session::open(wanted.clone(), sender.clone()).await?;
        let (new_wanted, mut wanted) = watch::channel(wanted);
        let task = tokio::spawn(async move {
            loop {
                let error = tokio::select! {
                    error = session.run() => error,
                    Ok(()) = wanted.changed() => {
                        session.wanted = wanted.borrow_and_update().clone();
                        match session.refresh(Stale::ALL).await {
                            Ok(()) => continue,
                            Err(error) => error,
                        }
                    }
                    _ = &mut stopped => break session.release().await,
                };
                log::warn!("{error:#}; starting the network watch anew");
                session = loop {
                    tokio::select! {
                        () = sleep(RETRY) => {}
                        _ = &mut stopped => return,
                    }
                    let wanted = wanted.borrow_and_update().clone();
                    match Session::open(wanted, sender.clone()).await {
                        Ok(session) => break session,
                        Err(error) => log::warn!("{error:#}"),
                    }
                };
            }
        });
        Ok(Self {
            reachability,
            wanted: new_wanted,
            stop,
            task,
        })
    }

    /// What is known now, and every change from now on.
    pub fn subscribe(&self) -> watch::Receiver<Arc<Reachability>> {
        self.reachability.clone()
    }

    /// Watches something else from now on.
    pub fn want(&self, wanted: Wanted) {
        self.wanted.send_replace(wanted);
    }

    /// Stops watching and gives the neighbour entries back to the kernel.
    pub async fn stop(self) {
        // The task is gone already when the receiver is.
        let _ = self.stop.send(());
        if let Err(error) = self.task.await {
            log::warn!("the network watch ended badly: {error}");
        }
    }
}

/// One pair of sockets and what was learned through them.
struct Session {
    wanted: Wanted,
    events: Events,
    kernel: Kernel,
    picture: Picture,
    /// When each neighbour was asked for last.
    asked: BTreeMap<NeighbourKey, Instant>,
    resync: Instant,
    sender: watch::Sender<Arc<Reachability>>,
}

impl Session {
    async fn open(wanted: Wanted, sender: watch::Sender<Arc<Reachability>>) -> Result<Self> {
        let mut session = Self {
            wanted,
            // First listen, then ask: nothing falls between the two.
            events: Events::subscribe()?,
            kernel: Kernel::connect()?,
            picture: Picture::default(),
            asked: BTreeMap::new(),
            resync: Instant::now(),
            sender,
        };
        session.refresh(Stale::ALL).await?;
        Ok(session)
    }

    /// Returns when netlink fails.
    async fn run(&mut self) -> anyhow::Error {
        loop {
            let result = async {
                let stale = self.next_change().await?;
                self.refresh(stale).await
            };
            if let Err(error) = result.await {
                return error;
            }
        }
    }

    /// Waits until something that matters has changed, and for its burst to end.
    async fn next_change(&mut self) -> Result<Stale> {
        let mut stale = Stale::default();
        let mut until = self.next_look();
        let mut latest = None;
        loop {
            match timeout_at(until, self.events.next()).await {
                Ok(events) => {
                    for event in events? {
                        stale |= self.stale_after(&event);
                    }
                    if stale.any() {
                        let now = Instant::now();
                        until = (now + QUIET).min(*latest.get_or_insert(now + BURST));
                    }
                }
                Err(_) if stale.any() => return Ok(stale),
                Err(_) if Instant::now() >= self.resync => return Ok(Stale::ALL),
                // A neighbour is due.
                Err(_) => {
                    return Ok(Stale {
                        neighbours: true,
                        ..stale
                    });
                }
            }
        }
    }

    fn stale_after(&self, event: &Event) -> Stale {
        match event {
            Event::Message(message) => stale_after(message, &self.picture, &self.wanted),
            Event::NextHop => Stale {
                routes: true,
                ..Stale::default()
            },
            Event::Overrun => {
                log::debug!("notifications were lost; reading everything anew");
                Stale::ALL
            }
        }
    }

    async fn refresh(&mut self, stale: Stale) -> Result<()> {
        let (kernel, wanted, picture) = (&self.kernel, &self.wanted, &mut self.picture);
        if stale.links {
            picture.links = kernel.links(wanted).await?;
            picture.addresses = kernel.addresses(&picture.links).await?;
        }
        if stale.links || stale.routes {
            picture.endpoints = kernel.endpoints(wanted).await?;
            picture.outward = kernel.outward(wanted, &picture.links).await?;
        }
        // Another route may lead to a neighbour that was not looked at before.
        picture.neighbours = kernel.neighbours(&picture.links).await?;
        let reachability = picture.reachability(wanted);
        self.sender.send_if_modified(|known| {
            let changed = **known != reachability;
            if changed {
                *known = Arc::new(reachability);
            }
            changed
        });
        if stale == Stale::ALL {
            self.resync = Instant::now() + RESYNC;
            self.release_unneeded().await;
        }
        self.ask_for_neighbours().await;
        Ok(())
    }

    /// Makes the kernel resolve what is needed. The packet path never does: it
    /// only counts what it had to drop.
    async fn ask_for_neighbours(&mut self) {
        let needed = self.picture.needed(&self.wanted);
        // One that was there and vanished is asked for at once; only what does
        // not come is asked for at a measured pace.
        let entries = &self.picture.neighbours;
        let missing = |key: &_| entries.get(key).is_none_or(|entry| !entry.managed);
        self.asked
            .retain(|key, _| needed.contains(key) && missing(key));
        let now = Instant::now();
        for key in needed {
            let due = due(
                self.picture.neighbours.get(&key),
                self.asked.get(&key).copied(),
                now,
            );
            if due.is_none_or(|due| due > now) {
                continue;
            }
            self.asked.insert(key, now);
            if let Err(error) = self.kernel.manage(key).await {
                // The interface went away meanwhile, most likely; its own
                // notification is on the way.
                log::debug!("{error:#}");
            }
        }
    }

    /// When to look again if nothing is heard.
    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let needed = self.picture.needed(&self.wanted);
        let due = needed.iter().filter_map(|key| {
            due(
                self.picture.neighbours.get(key),
                self.asked.get(key).copied(),
                now,
            )
        });
        due.min().map_or(self.resync, |due| due.min(self.resync))
    }

    /// A next hop that vanished for a moment keeps its entry until the next full
    /// look, so that it is there when it comes back.
    async fn release_unneeded(&mut self) {
        let needed = self.picture.needed(&self.wanted);
        self.release_where(|key| !needed.contains(key)).await;
    }

    async fn release(&mut self) {
        self.release_where(|_| true).await;
    }

    async fn release_where(&self, which: impl Fn(&NeighbourKey) -> bool) {
        let managed = self
            .picture
            .neighbours
            .iter()
            .filter(|(_, entry)| entry.managed);
        let managed: BTreeSet<_> = managed.map(|(key, _)| *key).filter(which).collect();
        for key in managed {
            if let Err(error) = self.kernel.release(key).await {
                log::debug!("{error:#}");
            }
        }
    }
}

/// When a neighbour has to be asked for: never, when the kernel looks after it.
fn due(entry: Option<&Neighbour>, asked: Option<Instant>, now: Instant) -> Option<Instant> {
    let pause = match entry {
        Some(entry) if entry.managed || entry.state == NeighbourState::Permanent => return None,
        Some(entry) if entry.mac.is_some() => ASK_AGAIN,
        _ => ASK_MISSING,
    };
    Some(asked.map_or(now, |asked| asked + pause))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Mac;

    #[test]
    fn a_neighbour_is_asked_for_until_the_kernel_looks_after_it() {
        let now = Instant::now();
        let entry = |mac: Option<Mac>, managed| Neighbour {
            mac,
            state: NeighbourState::Stale,
            managed,
        };
        let mac = Some(Mac([2, 0, 0, 0, 0, 9]));
        assert_eq!(due(None, None, now), Some(now), "at once");
        assert_eq!(
            due(None, Some(now), now),
            Some(now + ASK_MISSING),
            "then at a pace"
        );
        assert_eq!(
            due(Some(&entry(mac, false)), Some(now), now),
            Some(now + ASK_AGAIN)
        );
        assert_eq!(due(Some(&entry(mac, true)), None, now), None);
        assert_eq!(
            due(Some(&entry(None, true)), None, now),
            None,
            "the kernel asks by itself"
        );
        let by_hand = Neighbour {
            state: NeighbourState::Permanent,
            ..entry(mac, false)
        };
        assert_eq!(
            due(Some(&by_hand), None, now),
            None,
            "would lose its permanence"
        );
    }
}
