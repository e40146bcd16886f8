//! Maps that packets write and that outlive a load: remembered flows, and the ports that
//! egress NAT handed out. They are pinned by name, and the next load (after a restart, or
//! when a table is outgrown) takes the same maps. The indices that they hold mean the
//! same then: the agent keeps them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
};
use gateway_common::map;

use super::{
    snat::{Sizes, Stamp},
    take,
};

/// Their names; of another layout, they would lie below another ABI's path.
const MAPS: [&str; 5] = [
    map::MOVED,
    map::BEGUN,
    map::SNAT_PEERS,
    map::SNAT_PORTS,
    map::SNAT_ACCOUNTS,
];

/// Entries of `BEGUN`: first packets that wait for a second one, at most a few seconds.
const BEGUN: u32 = 1 << 16;

/// What a load takes from earlier ones, and how large the rest is.
#[derive(Default)]
pub(super) struct Inheritance {
    /// Entries of each map.
    sizes: Vec<(&'static str, u32)>,
    /// Maps that go on as they are.
    adopted: Vec<(&'static str, PathBuf)>,
    /// Maps that are too small. Their content is carried over, see `snat::carry`.
    outgrown: Vec<(&'static str, MapData)>,
}

impl Inheritance {
    /// Looks for what an earlier load left. Flows of load balancers keep the size of
    /// their map: they count more than a number in the topology. Ports cannot, since a
    /// place among them stands for an address and a port.
    pub(super) fn find(directory: Option<&Path>, flows: u32, snat: &Sizes, stamp: Stamp) -> Self {
        let mut found = Self::default();
        let held = |name: &str| -> Option<(PathBuf, MapData, u32)> {
            let pin = directory?.join(name);
            let data = MapData::from_pin(&pin).ok()?;
            let entries = data.info().ok()?.max_entries();
            Some((pin, data, entries))
        };
        let ports_are_ours =
            held(map::SNAT_ACCOUNTS).is_some_and(|(_, data, entries)| stamp.is_on(&data, entries));
        for name in MAPS {
            let (wanted, may_be_outgrown) = match name {
                map::MOVED => (flows, false),
                map::BEGUN => (BEGUN, false),
                map::SNAT_PEERS => (snat.peers, true),
                map::SNAT_PORTS => (snat.ports, true),
                _ => (snat.accounts, true),
            };
            let usable = held(name).filter(|_| !may_be_outgrown || ports_are_ours);
            let size = match usable {
                Some((_, data, entries)) if may_be_outgrown && entries < wanted => {
                    found.outgrown.push((name, data));
                    wanted
                }
                Some((pin, _, entries)) => {
                    if !may_be_outgrown && entries != wanted {
                        log::info!("{name} keeps its size until the agent is stopped and started");
                    }
                    found.adopted.push((name, pin));
                    entries
                }
                None => wanted,
            };
            found.sizes.push((name, size));
        }
        found
    }

    /// Tells the loader which maps to take and how large new ones are.
    pub(super) fn prepare<'a>(&'a self, loader: &mut EbpfLoader<'a>) {
        for &(name, size) in &self.sizes {
            loader.map_max_entries(name, size);
        }
        for (name, pin) in &self.adopted {
            loader.map_pin_path(name, pin);
        }
    }

    /// Entries of one of the maps.
    pub(super) fn size(&self, name: &str) -> u32 {
        let size = self.sizes.iter().find(|(known, _)| *known == name);
        size.map_or(0, |(_, size)| *size)
    }

    /// A map that is too small by now.
    pub(super) fn outgrown(&mut self, name: &str) -> Option<MapData> {
        let at = self.outgrown.iter().position(|(known, _)| *known == name)?;
        Some(self.outgrown.swap_remove(at).1)
    }
}

/// The maps of a load.
pub(super) struct Lasting {
    maps: Vec<(&'static str, Map)>,
    adopted: Vec<&'static str>,
    pinned: Vec<PathBuf>,
}

impl Lasting {
    /// Takes the maps of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf, inheritance: &Inheritance) -> Result<Self> {
        let maps = MAPS.iter().map(|name| Ok((*name, take(ebpf, name)?)));
        Ok(Self {
            maps: maps.collect::<Result<_>>()?,
            adopted: inheritance.adopted.iter().map(|(name, _)| *name).collect(),
            pinned: Vec::new(),
        })
    }

    /// An array among them.
    pub(super) fn array(&self, name: &str) -> Result<&MapData> {
        match self.maps.iter().find(|(known, _)| *known == name) {
            Some((_, Map::Array(data))) => Ok(data),
            _ => bail!("map {name} of the XDP object is not an array"),
        }
    }

    /// Pins the maps that are not pinned yet, in place of what they replace.
    pub(super) fn pin(&mut self, directory: &Path) -> Result<()> {
        if !self.pinned.is_empty() {
            return Ok(());
        }
        for (name, map) in &self.maps {
            let path = directory.join(name);
            if !self.adopted.contains(name) {
                let what = || format!("cannot pin {}", path.display());
                // No dot: the BPF file system refuses names with one.
                let new = directory.join(format!("{name}_new"));
                // Left by an agent that died between the two steps.
                let _ = fs::remove_file(&new);
                map.pin(&new).with_context(what)?;
                fs::rename(&new, &path).with_context(what)?;
            }
            self.pinned.push(path);
        }
        Ok(())
    }

    /// Removes the pins: no interface has a program any more.
    pub(super) fn unpin(self) -> Result<()> {
        self.pinned.iter().try_for_each(|path| {
            fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
        })
    }
}
