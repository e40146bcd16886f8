//! Maps that packets write and that outlive a load: remembered flows. They are pinned
//! by name, and the next load (after a restart, or when a table is outgrown) takes the
//! same maps. The indices that they hold mean the same then: the agent keeps them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use aya::{
    Ebpf, EbpfLoader,
    maps::{Map, MapData},
};
use gateway_common::map;

use super::take;

/// Their names; of another layout, they would lie below another ABI's path.
const MAPS: [&str; 2] = [map::MOVED, map::BEGUN];

/// Entries of `BEGUN`: first packets that wait for a second one, at most a few seconds.
const BEGUN: u32 = 1 << 16;

/// The maps of a load, to be pinned.
pub(super) struct Lasting {
    maps: Vec<(&'static str, Map)>,
    pinned: Vec<PathBuf>,
}

impl Lasting {
    /// Tells the loader to take the maps that an earlier load left, or how large new
    /// ones are. Those that are there keep their size: flows count more.
    pub(super) fn prepare(loader: &mut EbpfLoader<'_>, directory: Option<&Path>, flows: u32) {
        for name in MAPS {
            let wanted = match name {
                map::MOVED => flows,
                _ => BEGUN,
            };
            loader.map_max_entries(name, wanted);
            let Some(pin) = directory.map(|directory| directory.join(name)) else {
                continue;
            };
            let Ok(held) = MapData::from_pin(&pin) else {
                continue;
            };
            if held.info().is_ok_and(|info| info.max_entries() != wanted) {
                log::info!("{name} keeps its size until the agent is stopped and started");
            }
            loader.map_pin_path(name, pin);
        }
    }

    /// Takes the maps of a loaded object.
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self> {
        let maps = MAPS.iter().map(|name| Ok((*name, take(ebpf, name)?)));
        Ok(Self {
            maps: maps.collect::<Result<_>>()?,
            pinned: Vec::new(),
        })
    }

    /// Pins the maps that are not pinned yet.
    pub(super) fn pin(&mut self, directory: &Path) -> Result<()> {
        for (name, map) in self.maps.drain(..) {
            let path = directory.join(name);
            if !path.exists() {
                map.pin(&path)
                    .with_context(|| format!("cannot pin {}", path.display()))?;
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
