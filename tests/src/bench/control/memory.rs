//! What an agent takes: its own memory, and the kernel's for its maps.

use std::{
    collections::BTreeSet,
    fs,
    os::fd::{AsFd, AsRawFd, BorrowedFd},
};

use anyhow::{Context, Result};
use aya::{maps::MapInfo, programs::loaded_programs};

/// Bytes of a field of /proc/PID/status, such as `VmRSS`.
pub(super) fn of_process(pid: u32, field: &str) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    kib(&text, field)
        .map(|kib| kib * 1024)
        .with_context(|| format!("{path} has no {field}"))
}

/// Number of the maps that a process and its programs use, and the bytes that the kernel
/// holds for them. Many are known to the programs only: the agent maps its shared arrays
/// into its memory and closes them.
pub(super) fn of_maps(pid: u32) -> Result<(usize, u64)> {
    let open = Open::of(pid)?;
    let mut maps = open.maps;
    for program in loaded_programs() {
        // A program that another process unloads meanwhile is not one of these.
        let Ok(program) = program else { continue };
        let fd = program.fd().context("open a program by its number")?;
        if open.programs.contains(&own_field(fd.as_fd(), "prog_id:")?) {
            maps.extend(
                program
                    .map_ids()?
                    .unwrap_or_default()
                    .into_iter()
                    .map(u64::from),
            );
        }
    }
    let mut bytes = 0;
    for &map in &maps {
        let map = MapInfo::from_id(u32::try_from(map)?)?.fd()?;
        bytes += own_field(map.as_fd(), "memlock:")?;
    }
    Ok((maps.len(), bytes))
}

/// Numbers of what a process has open.
#[derive(Debug, Default)]
struct Open {
    maps: BTreeSet<u64>,
    programs: BTreeSet<u64>,
}

impl Open {
    fn of(pid: u32) -> Result<Self> {
        let folder = format!("/proc/{pid}/fdinfo");
        let mut open = Self::default();
        for entry in fs::read_dir(&folder).with_context(|| format!("cannot list {folder}"))? {
            // A file that was closed meanwhile is none of them.
            open.add(&fs::read_to_string(entry?.path()).unwrap_or_default());
        }
        Ok(open)
    }

    /// Takes note of a descriptor of a map, a program, or a program's link.
    fn add(&mut self, text: &str) {
        self.maps.extend(number(text, "map_id:"));
        self.programs.extend(number(text, "prog_id:"));
    }
}

/// A number that the kernel tells of one of our own descriptors.
fn own_field(fd: BorrowedFd<'_>, name: &str) -> Result<u64> {
    let path = format!("/proc/self/fdinfo/{}", fd.as_raw_fd());
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    number(&text, name).with_context(|| format!("{path} has no `{name}`"))
}

fn number(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().parse().ok()
}

/// Of a line such as `VmRSS: 1234 kB`.
fn kib(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    let (number, unit) = line.strip_prefix(':')?.trim().split_once(' ')?;
    (unit == "kB").then(|| number.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_as_the_kernel_writes_them() {
        let status = "Name:\tlingyun\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n";
        assert_eq!(kib(status, "VmRSS"), Some(1_024));
        assert_eq!(kib(status, "VmSwap"), None);
        let map = "pos:\t0\nmap_type:\t2\nmemlock:\t8192\nmap_id:\t17\n";
        assert_eq!(number(map, "memlock:"), Some(8_192));
        let mut open = Open::default();
        for text in [map, map, "prog_id:\t3\nmemlock:\t4096\n", "pos:\t0\n"] {
            open.add(text);
        }
        assert_eq!(open.maps, [17].into());
        assert_eq!(open.programs, [3].into());
    }

    #[test]
    fn a_process_has_memory() {
        assert!(of_process(std::process::id(), "VmRSS").unwrap() > 0);
    }
}
