//! What an agent leaves behind for the next one: the maps that say which backend each
//! flow has. They are read back rather than written down a second time, since they
//! alone know what packets were told, at whatever point the agent died. The names of
//! the backends that they mention are in the agent's file (see `agent::store`), which
//! is written before the maps.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aya::maps::MapData;
use gateway_common::{Bucket, Endpoint, EndpointKey, RingSlot, Track, WideBucket, WideSlot, map};
use gateway_ebpf::bucket;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::{links, shared::SharedArray};
use crate::model::{self, ServiceId};

/// Start of the names of all pinned sets; each load has one of its own, since the
/// programs of an earlier agent go on with theirs until the last link is swapped.
const PREFIX: &str = "rings-";

/// In the order in which they are pinned: a set is complete if it has the last one.
const MAPS: [&str; 4] = [map::RING, map::TRACKS, map::ADDRESSES, map::ENDPOINTS];

/// Maps of this load that are to outlive the agent.
#[derive(Default)]
pub(super) struct Pins {
    maps: Vec<(&'static str, MapData)>,
    directory: Option<PathBuf>,
}

impl Pins {
    /// Keeps a map, to be pinned when packets are about to come.
    pub(super) fn keep(&mut self, name: &str, data: MapData) {
        if let Some(name) = MAPS.into_iter().find(|known| *known == name) {
            self.maps.push((name, data));
        }
    }

    /// Pins the maps, once. They hold what packets will be told.
    pub(super) fn pin(&mut self, base: &Path) -> Result<()> {
        if self.directory.is_some() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let directory = base.join(format!("{PREFIX}{:020x}", now.as_nanos()));
        let path = || directory.display().to_string();
        fs::create_dir(&directory).with_context(path)?;
        for name in MAPS {
            let map = self.maps.iter().find(|(known, _)| *known == name);
            let (_, map) = map.with_context(|| format!("the XDP object has no map {name}"))?;
            map.pin(directory.join(name)).with_context(path)?;
        }
        self.maps.clear();
        self.directory = Some(directory);
        Ok(())
    }

    /// Removes the pins of earlier loads.
    pub(super) fn drop_stale(&self, base: &Path) -> Result<()> {
        for set in sets(base)? {
            if self.directory.as_ref() != Some(&set) {
                remove(&set)?;
            }
        }
        Ok(())
    }

    /// Removes the pins: no interface has a program any more.
    pub(super) fn unpin(self) -> Result<()> {
        self.directory.as_deref().map_or(Ok(()), remove)
    }
}

/// Pinned sets, oldest first.
fn sets(base: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(base).with_context(|| format!("cannot list {}", base.display()))?;
    let mut sets = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(PREFIX) {
            sets.push(entry.path());
        }
    }
    sets.sort();
    Ok(sets)
}

fn remove(set: &Path) -> Result<()> {
    let path = || format!("cannot remove {}", set.display());
    for entry in fs::read_dir(set).with_context(path)? {
        fs::remove_file(entry?.path()).with_context(path)?;
    }
    fs::remove_dir(set).with_context(path)
}

/// What an earlier agent's programs tell packets.
pub struct Left {
    ring: Vec<u64>,
    tracks: Vec<u64>,
    addresses: Vec<WideBucket>,
    endpoints: Vec<Bucket>,
}

/// A service's ring: its slots, and the epoch of each.
pub type LeftRing = (Vec<u64>, Vec<u32>);

impl Left {
    /// Reads the newest complete set below a node's directory. A set is filled before
    /// it is pinned and pinned before a link is swapped, so it is at least as new as
    /// what packets see.
    pub fn read(pin_dir: &Path) -> Result<Option<Self>> {
        let base = links::directory(pin_dir)?;
        let complete = |set: &PathBuf| MAPS.iter().all(|name| set.join(name).exists());
        let Some(set) = sets(&base)?.into_iter().rfind(complete) else {
            return Ok(None);
        };
        Ok(Some(Self {
            ring: content(&set, map::RING)?,
            tracks: content(&set, map::TRACKS)?,
            addresses: content(&set, map::ADDRESSES)?,
            endpoints: content(&set, map::ENDPOINTS)?,
        }))
    }

    /// The ring of a service, if it has one that makes sense.
    pub fn ring(&self, service: &ServiceId) -> Option<LeftRing> {
        let endpoint = self.endpoint(service)?;
        if endpoint.kind() != Endpoint::SERVICE {
            return None;
        }
        if endpoint.slots() == 1 {
            return Some((vec![RingSlot::settled(endpoint.index()).0], vec![0]));
        }
        let first = endpoint.index() as usize;
        let range = first..first + endpoint.slots() as usize;
        let epochs = self.tracks.get(range.clone())?.iter();
        let epochs = epochs.map(|&track| Track(track).epoch()).collect();
        Some((self.ring.get(range)?.to_vec(), epochs))
    }

    fn endpoint(&self, service: &ServiceId) -> Option<Endpoint> {
        let (protocol, port) = (service.protocol.number(), service.port.to_be());
        let address = model::address(service.vip);
        let key = match service.vip {
            IpAddr::V4(_) => EndpointKey::v4(address[0], protocol, port),
            IpAddr::V6(_) => EndpointKey::v6(self.number(address)?, protocol, port),
        };
        let endpoint = bucket::find(key.0, |place| at(&self.endpoints, place))?;
        Some(Endpoint(endpoint))
    }

    /// Number of an IPv6 address.
    fn number(&self, [a, b, c, d]: gateway_common::Address) -> Option<u32> {
        let word = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        let address = [word(a, b), word(c, d)];
        let read = |place| at(&self.addresses, place);
        bucket::find_wide(WideSlot::PUBLIC, address, read).map(|entry| Endpoint(entry).number())
    }
}

/// A bucket of a table whose size is a power of two.
fn at<T>(buckets: &[T], place: u32) -> Option<&T> {
    buckets.get(place as usize & buckets.len().wrapping_sub(1))
}

fn content<T: FromBytes + IntoBytes + Immutable>(set: &Path, name: &str) -> Result<Vec<T>> {
    let path = set.join(name);
    let what = || format!("cannot read {}", path.display());
    let map = MapData::from_pin(&path).with_context(what)?;
    let entries = map.info().with_context(what)?.max_entries();
    let array = SharedArray::new(map.fd(), entries).with_context(what)?;
    Ok((0..array.len()).map(|index| array.get(index)).collect())
}
