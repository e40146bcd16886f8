//! The programs that others go on with, in a map that must be pinned: the kernel
//! empties a program array when nothing but programs refers to it any more
//! (`bpf_map_put_uref` in kernel/bpf/syscall.c), and an agent may die at any time.

use std::{
    fs,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result};
use aya::{
    Ebpf,
    maps::{Map, ProgramArray},
};
use gateway_common::{Step, Underlay, map};

use super::{take, xdp};

/// Start of the names of all pins; each load has one of its own, since the programs
/// of an earlier agent go on with theirs until the last link is swapped.
const PREFIX: &str = "steps-";

/// The filled map.
pub(super) struct Steps {
    map: Map,
    pin: Option<PathBuf>,
}

impl Steps {
    /// Puts every step's program into the map.
    pub(super) fn fill(ebpf: &mut Ebpf, underlay: Underlay) -> Result<Self> {
        let mut map = take(ebpf, map::STEPS)?;
        let mut steps = ProgramArray::try_from(&mut map)?;
        for &step in Step::ALL {
            let name = step.program().name(underlay);
            let fd = xdp(ebpf, name)?.fd()?.try_clone()?;
            steps
                .set(step as u32, &fd, 0)
                .with_context(|| format!("the kernel refused {name} as a step"))?;
        }
        Ok(Self { map, pin: None })
    }

    /// Pins the map, once.
    pub(super) fn pin(&mut self, directory: &Path) -> Result<()> {
        if self.pin.is_some() {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let path = directory.join(format!("{PREFIX}{:x}", now.as_nanos()));
        self.map
            .pin(&path)
            .with_context(|| format!("cannot pin {}", path.display()))?;
        self.pin = Some(path);
        Ok(())
    }

    /// Removes the pins of earlier loads.
    pub(super) fn drop_stale(&self, directory: &Path) -> Result<()> {
        let entries = fs::read_dir(directory)
            .with_context(|| format!("cannot list {}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            let is_ours = self.pin.as_ref() == Some(&path);
            if !is_ours && name(&path).starts_with(PREFIX) {
                remove(&path)?;
            }
        }
        Ok(())
    }

    /// Removes the pin: no interface has a program any more.
    pub(super) fn unpin(self) -> Result<()> {
        self.pin.as_deref().map_or(Ok(()), remove)
    }
}

fn name(path: &Path) -> &str {
    path.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

fn remove(path: &Path) -> Result<()> {
    fs::remove_file(path).with_context(|| format!("cannot remove {}", path.display()))
}
