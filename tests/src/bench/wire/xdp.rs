//! Contestants in XDP: the floors, and Lingyun as its agent loads it.

use anyhow::{Context, Result};
use aya::{maps::DevMap, programs::XdpMode};
use lingyun::{
    config::Topology,
    datapath::{self, Datapath, Mode, Role},
    model,
};
use nix::net::if_::if_nametoindex;

use super::lane::{Contestant, Middle, PUBLIC, UNDERLAY};
use crate::{
    bench::{
        cases::Sample,
        generator::{load, program, take},
    },
    cases::site,
    harness::object_path,
    lab::Stand,
};

pub(super) fn set_up(
    stand: &Stand,
    node: &str,
    contestant: Contestant,
    sample: &Sample,
) -> Result<Middle> {
    match contestant {
        Contestant::Redirect => floor(stand, node, sample, "floor_redirect"),
        Contestant::Push => floor(stand, node, sample, "floor_push_redirect"),
        _ => lingyun(stand, node, &site::topology()),
    }
}

fn floor(stand: &Stand, node: &str, sample: &Sample, name: &str) -> Result<Middle> {
    let floors = stand.enter(node, || -> Result<_> {
        let mut ebpf = load(sample, 1, &[])?;
        let mut ports = DevMap::try_from(take(&mut ebpf, "FLOOR_PORTS")?)?;
        ports.set(1, if_nametoindex(UNDERLAY)?, None, 0)?;
        let floor = program(&mut ebpf, name)?;
        floor.load()?;
        floor.attach(PUBLIC, XdpMode::Driver)?;
        Ok(ebpf)
    })??;
    Ok(Middle::Floor(Box::new(floors)))
}

/// The first gateway of a topology like the fixtures' one, on these devices.
pub(super) fn lingyun(stand: &Stand, node: &str, topology: &Topology) -> Result<Middle> {
    datapath::ensure_bpffs()?;
    let path = object_path();
    let object = std::fs::read(&path)
        .with_context(|| format!("{} is not built: type `cargo xtask build`", path.display()))?;
    let options = datapath::Options {
        object: &object,
        pin_dir: stand.pin_dir(node)?,
    };
    let datapath = stand.enter(node, || -> Result<_> {
        let mut reach = site::reachability();
        for (name, interface) in &mut reach.interfaces {
            interface.ifindex = if_nametoindex(name.as_str())?;
        }
        let tables = model::build(topology, &topology.gateways[0], &reach);
        let mut datapath = Datapath::load(&options, &tables)?;
        datapath.attach(PUBLIC, Role::Public, Mode::Native)?;
        datapath.attach(UNDERLAY, Role::Underlay, Mode::Native)?;
        Ok(datapath)
    })??;
    Ok(Middle::Gateway(Box::new(datapath)))
}
