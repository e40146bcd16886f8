//! The kernel's side of the agent, and the only place that touches aya: loads the
//! object, fills its maps, attaches its programs, applies writes, reads counters.
//!
//! A restarted agent adopts none of the maps that the agent writes: it loads a
//! second, complete set of maps and programs and swaps the links over, one atomic
//! update per interface. Until then the old programs go on undisturbed. The same
//! serves an agent whose topology outgrows its maps.

mod guard;
mod jiffies;
mod lasting;
mod left;
mod links;
mod logs;
mod object;
mod shared;
mod sizes;
mod snat;
mod steps;
mod table;
mod verified;
mod verify;
mod wide;

use std::{fmt, fs, path::PathBuf, thread, time::Duration};

use anyhow::{Context, Result, bail};
use aya::{
    Ebpf, EbpfLoader,
    maps::{
        DevMap, Map, MapData, PerCpuArray, PerCpuValues,
        lpm_trie::{Key, LpmTrie},
    },
    programs::Xdp,
};
use gateway_common::{
    Backend, Bucket, Config, Counter, Instance, Interface, NextHop, Program, Reason, ReasonCount,
    SnatSetting, SourceNat, Step, Track, TrackEvent, Tunnel, Underlay, WideBucket, map,
};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use guard::Challenging;
use guard::GuardMaps;
use jiffies::Ticks;
use lasting::{Inheritance, Lasting};
use left::Pins;
pub use left::{Left, LeftRing};
pub use links::{Attachment, Mode, Role};
pub use logs::Logs;
pub use object::object;
use shared::SharedArray;
use sizes::Sizes;
pub use snat::{AccountUse, AddressUse, Usage};
use snat::{Snat, Stamp};
use steps::Steps;
use table::BucketTable;
pub use verified::verified;

use crate::{
    diff::{KeyTable, Write, diff},
    model::Tables,
};

/// How long a packet can take through a program, with orders of magnitude to spare.
const PASSAGE: Duration = Duration::from_millis(20);

/// A table is too small for what it should hold: the data path must be loaded anew.
#[derive(Debug)]
pub struct Outgrown(&'static str);

impl fmt::Display for Outgrown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "table {} is full", self.0)
    }
}

impl std::error::Error for Outgrown {}

/// How to load the data path.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    /// The BPF object, see [`object`].
    pub object: &'a [u8],
    /// Directory on bpffs for this node's links; made if missing. The ABI version
    /// is part of the path below it.
    pub pin_dir: PathBuf,
}

/// The loaded data path of one node.
pub struct Datapath {
    ebpf: Ebpf,
    underlay: Underlay,
    tagged: bool,
    steps: Steps,
    pins: Pins,
    lasting: Lasting,
    /// As it was asked for; the loaded one has masks too.
    config: Config,
    sizes: Sizes,
    pin_dir: PathBuf,
    attachments: Vec<Attachment>,
    addresses: BucketTable<WideBucket>,
    endpoints: BucketTable,
    instance_keys: BucketTable,
    reverse: BucketTable,
    guarded: BucketTable,
    guard: GuardMaps,
    ring: SharedArray<u64>,
    tracks: SharedArray<u64>,
    backends: SharedArray<Backend>,
    tunnels: SharedArray<Tunnel>,
    instances: SharedArray<Instance>,
    source_nats: SharedArray<SourceNat>,
    uplinks: SharedArray<NextHop>,
    interfaces: SharedArray<Interface>,
    filter: SharedArray<u64>,
    ranges: LpmTrie<MapData, [u32; 5], u32>,
    ports: DevMap<MapData>,
    counters: PerCpuArray<MapData, [u64; 4]>,
    routed: PerCpuArray<MapData, [u64; 4]>,
    reasons: PerCpuArray<MapData, [u64; 2]>,
    track_events: PerCpuArray<MapData, u64>,
    snat: Snat,
}

impl Datapath {
    /// Loads the programs with maps that hold `tables`; attaches nothing yet.
    pub fn load(options: &Options<'_>, tables: &Tables) -> Result<Self> {
        let sizes = Sizes::of(tables);
        let pin_dir = links::directory(&options.pin_dir)?;
        let (stamp, ticks) = (Stamp::of(tables), Ticks::measure()?);
        let mut left = Inheritance::find(Some(&pin_dir), tables.flows, &sizes.snat, stamp);
        let mut ebpf = open(options.object, tables, &sizes, &left, ticks)?;
        let lasting = Lasting::take(&mut ebpf, &left)?;
        let underlay = tables.underlay();
        let tagged = tables.config.tagged != 0;
        programs(&mut ebpf, underlay, tagged)?;
        let mut pins = Pins::default();
        let maps = &mut Maps {
            ebpf: &mut ebpf,
            pins: &mut pins,
        };
        let snat = Snat::new(maps, &sizes.snat, (&mut left, &lasting), stamp, ticks)?;
        let mut datapath = Self {
            snat,
            addresses: BucketTable::new(shared(maps, map::ADDRESSES, sizes.addresses)?),
            endpoints: BucketTable::new(shared::<Bucket>(maps, map::ENDPOINTS, sizes.endpoints)?),
            instance_keys: BucketTable::new(shared(maps, map::INSTANCE_KEYS, sizes.instance_keys)?),
            reverse: BucketTable::new(shared(maps, map::REVERSE, sizes.reverse)?),
            guarded: BucketTable::new(shared(maps, map::GUARDED, sizes.guarded)?),
            guard: GuardMaps::new(maps, sizes.guard)?,
            ring: shared(maps, map::RING, sizes.ring)?,
            tracks: shared(maps, map::TRACKS, sizes.ring)?,
            backends: shared(maps, map::BACKENDS, sizes.backends)?,
            tunnels: shared(maps, map::TUNNELS, sizes.tunnels)?,
            instances: shared(maps, map::INSTANCES, sizes.instances)?,
            source_nats: shared(maps, map::SOURCE_NATS, sizes.source_nats)?,
            uplinks: shared(maps, map::UPLINKS, gateway_common::ALL_UPLINK_SLOTS)?,
            interfaces: shared(maps, map::INTERFACES, gateway_common::MAX_INTERFACES)?,
            filter: shared(maps, map::PUBLIC_FILTER, gateway_common::FILTER_WORDS)?,
            ranges: LpmTrie::try_from(take(&mut ebpf, map::INSIDE_RANGES)?)?,
            ports: DevMap::try_from(take(&mut ebpf, map::PORTS)?)?,
            counters: PerCpuArray::try_from(take(&mut ebpf, map::COUNTERS)?)?,
            routed: PerCpuArray::try_from(take(&mut ebpf, map::ROUTED)?)?,
            reasons: PerCpuArray::try_from(take(&mut ebpf, map::REASONS)?)?,
            track_events: PerCpuArray::try_from(take(&mut ebpf, map::TRACK_EVENTS)?)?,
            steps: Steps::fill(&mut ebpf, underlay)?,
            lasting,
            underlay,
            tagged,
            pins,
            config: tables.config,
            sizes,
            ebpf,
            pin_dir,
            attachments: Vec::new(),
        };
        datapath.apply(&diff(&Tables::default(), tables))?;
        datapath.snat.carry();
        let jiffies = datapath.guard.now(&mut datapath.ebpf)?;
        datapath.snat.sweep(tables, jiffies, true);
        Ok(datapath)
    }

    /// Performs the writes, in their order.
    pub fn apply(&mut self, writes: &[Write]) -> Result<()> {
        for &write in writes {
            match write {
                Write::Port(index, 0) => self.clear_port(index)?,
                Write::Port(index, ifindex) => {
                    self.ports.set(index, ifindex, None, 0).with_context(|| {
                        format!("the kernel refused interface index {ifindex} as redirect target")
                    })?;
                }
                Write::Interface(index, value) => self.interfaces.set(index as usize, &value),
                Write::Tunnel(index, value) => self.tunnels.set(index as usize, &value),
                Write::Uplink(index, value) => self.uplinks.set(index as usize, &value),
                Write::Backend(index, value) => self.backends.set(index as usize, &value),
                Write::Instance(index, value) => self.instances.set(index as usize, &value),
                Write::SourceNat(index, value) => self.source_nats.set(index as usize, &value),
                Write::SnatAddress(index, value) => self.snat.set_address(index, &value),
                Write::SnatQuota(index, quota) => self.snat.set_quota(index, quota),
                Write::SnatShare(share, tunnel) => self.snat.set_share(share, tunnel),
                Write::Epoch(index, epoch) => {
                    self.tracks.set(index as usize, &Track::begin(epoch).0);
                }
                Write::Ring(index, value) => self.ring.set(index as usize, &value),
                Write::Filter(index, value) => self.filter.set(index as usize, &value),
                Write::InsertRange(bits, range) => {
                    let key = Key::new(bits, range.words());
                    if self.ranges.insert(&key, 1, 0).is_err() {
                        bail!(Outgrown(map::INSIDE_RANGES));
                    }
                }
                Write::RemoveRange(bits, range) => {
                    self.ranges
                        .remove(&Key::new(bits, range.words()))
                        .with_context(|| format!("the kernel keeps {range:?} as inside"))?;
                }
                Write::Guard(index, rules) => self.guard.set_rules(index, &rules),
                Write::Hint(index, bits) => self.guard.set_hint(index, bits),
                Write::Prefix(key, verdict) => self.guard.set_prefix(&key, verdict)?,
                Write::Insert(table, key, value) => {
                    if self.table(table).insert(key, value).is_err() {
                        bail!(Outgrown(table.name()));
                    }
                }
                Write::Remove(table, key) => self.table(table).remove(key),
                Write::InsertAddress(scope, address, value) => {
                    if self.addresses.insert((scope, address), value).is_err() {
                        bail!(Outgrown(map::ADDRESSES));
                    }
                }
                Write::RemoveAddress(scope, address) => self.addresses.remove((scope, address)),
                Write::Wait => thread::sleep(PASSAGE),
            }
        }
        Ok(())
    }

    /// Whether the loaded data path can hold these tables. If not, a second one has to
    /// be loaded.
    pub fn fits(&self, tables: &Tables) -> bool {
        let lists = [
            (self.ring.len(), tables.ring.len()),
            (self.backends.len(), tables.backends.len()),
            (self.tunnels.len(), tables.tunnels.len()),
            (self.instances.len(), tables.instances.len()),
            (self.source_nats.len(), tables.source_nats.len()),
            (self.sizes.ranges as usize, tables.ranges.len()),
            (self.sizes.networks as usize, tables.networks.len()),
        ];
        let buckets = [
            (&self.endpoints, &tables.endpoints),
            (&self.instance_keys, &tables.instance_keys),
            (&self.reverse, &tables.reverse),
            (&self.guarded, &tables.guard.guarded),
        ];
        self.config == tables.config
            && self.guard.fits(&tables.guard, tables.config.guard)
            && self.addresses.has_room_for(tables.addresses.len())
            && self.snat.fits(tables)
            && lists.into_iter().all(|(has, needs)| needs <= has)
            && buckets
                .into_iter()
                .all(|(table, entries)| table.has_room_for(entries.len()))
    }

    /// Marks that the programs left, by slot of `RING`, see [`Track::mark`].
    pub fn mark(&self, slot: u32) -> u32 {
        match self.tracks.len() > slot as usize {
            true => Track(self.tracks.get(slot as usize)).mark(),
            false => 0,
        }
    }

    /// Attaches the program for `role` to an interface, taking over the link that an
    /// earlier agent left pinned, without a gap.
    pub fn attach(&mut self, interface: &str, role: Role, mode: Mode) -> Result<&Attachment> {
        // Before packets come: without a pin the kernel empties the map when we die.
        self.steps.pin(&self.pin_dir)?;
        self.pins.pin(&self.pin_dir)?;
        self.lasting.pin(&self.pin_dir)?;
        let name = role.program(self.tagged).name(self.underlay);
        let program = xdp(&mut self.ebpf, name)?;
        let attachment = links::attach(program, &self.pin_dir, interface, role, mode)?;
        // An interface that was made anew: its pin is now the new link's.
        self.attachments
            .retain(|earlier| earlier.interface != interface);
        self.attachments.push(attachment);
        Ok(self.attachments.last().expect("just pushed"))
    }

    /// Removes pinned links of interfaces that this node does not have any more, and
    /// what earlier programs were pinned with. After all interfaces are attached.
    pub fn drop_stale_links(&mut self) -> Result<Vec<String>> {
        let dropped = links::drop_stale(&self.pin_dir, &self.attachments)?;
        self.steps.drop_stale(&self.pin_dir)?;
        self.pins.drop_stale(&self.pin_dir)?;
        self.snat.carry_rest();
        Ok(dropped)
    }

    /// What is attached where.
    pub fn attachments(&self) -> &[Attachment] {
        &self.attachments
    }

    /// Traffic by backend index, summed over all CPUs.
    pub fn counters(&self) -> Result<Vec<Counter>> {
        sums(&self.counters)
    }

    /// Traffic of one backend.
    pub fn counter(&self, index: u32) -> Result<Counter> {
        Ok(sum(self.counters.get(&index, 0)?.iter()))
    }

    /// Starts the count of a backend's traffic anew: its index is somebody else's now.
    pub fn clear_counter(&mut self, index: u32) -> Result<()> {
        clear(&mut self.counters, index)
    }

    /// The same for what a VPC's instances sent and got inside.
    pub fn clear_routed(&mut self, index: u32) -> Result<()> {
        clear(&mut self.routed, index)
    }

    /// Packets from (out) and to (in) instances that were routed inside, by index of
    /// the VPC, summed over all CPUs.
    pub fn routed(&self) -> Result<Vec<Counter>> {
        sums(&self.routed)
    }

    /// Exits by reason, in the order of [`Reason::ALL`], summed over all CPUs.
    pub fn reasons(&self) -> Result<Vec<(Reason, ReasonCount)>> {
        let mut counts = Vec::new();
        for (&reason, per_cpu) in Reason::ALL.iter().zip(self.reasons.iter()) {
            counts.push((reason, sum(per_cpu?.iter())));
        }
        Ok(counts)
    }

    /// What happened to flows of tracked slots, by [`TrackEvent`].
    pub fn track_events(&self) -> Result<[u64; TrackEvent::COUNT]> {
        let mut counts = [0; TrackEvent::COUNT];
        for (index, count) in (0..).zip(&mut counts) {
            *count = self.track_events.get(&index, 0)?.iter().sum();
        }
        Ok(counts)
    }

    /// Tells the programs what time it is. Now and then, since clocks drift apart.
    pub fn keep_time(&mut self) -> Result<()> {
        self.guard.keep_time(&mut self.ebpf)
    }

    /// Which challenges are on, by index of the guard.
    pub fn challenging(&mut self) -> Result<Vec<Challenging>> {
        self.guard.challenging(&mut self.ebpf)
    }

    /// Frees expired mappings of egress NAT and those of instances that `tables`, the
    /// ones applied last, do not have any more.
    pub fn sweep(&mut self, tables: &Tables) -> Result<()> {
        if !tables.snat.is_empty() {
            let jiffies = self.guard.now(&mut self.ebpf)?;
            self.snat.sweep(tables, jiffies, false);
        }
        Ok(())
    }

    /// Lets every mapping of egress NAT grow older by so much, as if nothing had been
    /// sent meanwhile. For tests, which cannot wait for hours.
    pub fn lapse(&mut self, seconds: u32) {
        self.snat.lapse(seconds);
    }

    /// What of egress NAT is in use.
    pub fn snat_usage(&self) -> Usage {
        self.snat.usage()
    }

    /// What the programs log, to be forwarded by the agent. Once per load.
    pub fn logs(&mut self) -> Result<Logs> {
        Logs::new(&mut self.ebpf)
    }

    /// Access to a loaded program, to run it on made-up packets.
    pub fn program(&mut self, role: Role) -> Result<&mut Xdp> {
        let name = role.program(self.tagged).name(self.underlay);
        xdp(&mut self.ebpf, name)
    }

    /// Detaches from every interface and removes the pins.
    pub fn detach(mut self) -> Result<()> {
        for attachment in self.attachments.drain(..) {
            attachment.detach()?;
        }
        self.steps.unpin()?;
        self.pins.unpin()?;
        self.lasting.unpin()?;
        links::remove_directory(&self.pin_dir);
        Ok(())
    }

    fn table(&mut self, table: KeyTable) -> &mut BucketTable {
        match table {
            KeyTable::Endpoints => &mut self.endpoints,
            KeyTable::InstanceKeys => &mut self.instance_keys,
            KeyTable::Reverse => &mut self.reverse,
            KeyTable::Guarded => &mut self.guarded,
        }
    }

    fn clear_port(&mut self, index: u32) -> Result<()> {
        // aya's DevMap has no removal. Nothing refers to a cleared port any more,
        // and the kernel empties the slot by itself when the device goes.
        log::debug!("port {index} is not used any more");
        Ok(())
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map> {
    ebpf.take_map(name)
        .with_context(|| format!("the XDP object has no map {name}"))
}

/// Maps of a loaded object, and those among them that are to be pinned.
struct Maps<'a> {
    ebpf: &'a mut Ebpf,
    pins: &'a mut Pins,
}

fn shared<T: FromBytes + IntoBytes + Immutable>(
    maps: &mut Maps<'_>,
    name: &str,
    entries: u32,
) -> Result<SharedArray<T>> {
    let Map::Array(data) = take(maps.ebpf, name)? else {
        bail!("map {name} of the XDP object is not an array");
    };
    let shared = SharedArray::new(data.fd(), entries)
        .with_context(|| format!("cannot map {name} into memory"))?;
    maps.pins.keep(name, data);
    Ok(shared)
}

/// Makes the object's maps, in the sizes and with the configuration for `tables`; those
/// that last are taken from where they are pinned.
fn open(
    object: &[u8],
    tables: &Tables,
    sizes: &Sizes,
    left: &Inheritance,
    ticks: Ticks,
) -> Result<Ebpf> {
    let mut snat = tables.config.snat;
    snat[SnatSetting::TICK_SHIFT] = ticks.shift;
    let config = Config {
        endpoints_mask: sizes.endpoints - 1,
        instances_mask: sizes.instance_keys - 1,
        reverse_mask: sizes.reverse - 1,
        addresses_mask: sizes.addresses - 1,
        errors: jiffies::error_limit(tables.config.errors)?,
        guarded_mask: sizes.guarded - 1,
        meters_mask: sizes.guard.meters - 1,
        snat,
        ..tables.config
    };
    let mut loader = EbpfLoader::new();
    loader.override_global(map::CONFIG, config.as_bytes(), true);
    for (name, entries) in sizes.by_name().into_iter().chain(sizes.guard.by_name()) {
        loader.map_max_entries(name, entries);
    }
    left.prepare(&mut loader);
    loader.load(object).context(
        "the kernel refused the maps of the XDP object: the agent needs CAP_BPF and \
         CAP_NET_ADMIN (run as root) and a kernel with BPF",
    )
}

/// Loads the programs for one family of underlay.
fn programs(ebpf: &mut Ebpf, underlay: Underlay, tagged: bool) -> Result<()> {
    let steps = Step::ALL.iter().map(|step| step.program());
    let entries = Program::entries(tagged).into_iter();
    for program in entries.chain([Program::CLOCK]).chain(steps) {
        let name = program.name(underlay);
        let program = xdp(ebpf, name)?;
        program.load().with_context(|| refused(name))?;
    }
    Ok(())
}

fn refused(program: &str) -> String {
    format!("the kernel's verifier refused program {program}")
}

fn xdp<'e>(ebpf: &'e mut Ebpf, name: &str) -> Result<&'e mut Xdp> {
    let program = ebpf
        .program_mut(name)
        .with_context(|| format!("the XDP object has no program {name}"))?;
    Ok(program.try_into()?)
}

/// Sets the counts under an index to zero, on every CPU.
fn clear(counters: &mut PerCpuArray<MapData, [u64; 4]>, index: u32) -> Result<()> {
    let cpus = aya::util::nr_cpus().map_err(|(_, error)| error)?;
    let zeros = PerCpuValues::try_from(vec![[0; 4]; cpus])?;
    Ok(counters.set(index, zeros, 0)?)
}

/// Every counter of a map, summed over all CPUs.
fn sums(counters: &PerCpuArray<MapData, [u64; 4]>) -> Result<Vec<Counter>> {
    counters
        .iter()
        .map(|per_cpu| Ok(sum(per_cpu?.iter())))
        .collect()
}

/// Sums per-CPU records of words.
fn sum<'a, T: FromBytes, const N: usize>(per_cpu: impl Iterator<Item = &'a [u64; N]>) -> T {
    let mut sum = [0_u64; N];
    for record in per_cpu {
        for (total, word) in sum.iter_mut().zip(record) {
            *total = total.wrapping_add(*word);
        }
    }
    T::read_from_bytes(sum.as_bytes()).expect("a record of words")
}

/// Makes sure that there is a BPF file system at `/sys/fs/bpf`.
///
/// Two agents that start at once must not mount it twice: the second mount would
/// hide the first one's pins.
pub fn ensure_bpffs() -> Result<()> {
    const BPFFS: &str = "/sys/fs/bpf";
    let is_mounted = || {
        nix::sys::statfs::statfs(BPFFS)
            .is_ok_and(|stat| stat.filesystem_type() == nix::sys::statfs::BPF_FS_MAGIC)
    };
    if is_mounted() {
        return Ok(());
    }
    fs::create_dir_all(BPFFS).with_context(|| format!("cannot create {BPFFS}"))?;
    // Whoever opened the folder before it was covered waits here, and then finds it
    // covered. Closing the folder unlocks it.
    let folder = fs::File::open(BPFFS).with_context(|| format!("cannot open {BPFFS}"))?;
    folder
        .lock()
        .with_context(|| format!("cannot lock {BPFFS}"))?;
    if is_mounted() {
        return Ok(());
    }
    nix::mount::mount(
        Some("bpf"),
        BPFFS,
        Some("bpf"),
        nix::mount::MsFlags::empty(),
        None::<&str>,
    )
    .with_context(|| format!("cannot mount the BPF file system at {BPFFS}: run as root"))
}
