//! A gateway whose backends change: the agent's side, without the agent.

use std::{collections::BTreeMap, net::Ipv4Addr};

use anyhow::{Context, Result, bail, ensure};
use gateway_common::{Endpoint, EndpointKey, RingSlot, Track};
use lingyun::{
    config::{self, Topology},
    diff::{Write, diff},
    model::{self, Clock, Course, Drain, Label, ServiceId, Tables},
    reachability::Reachability,
};
use serde_json::json;

use super::{Gateway, HostGateway, KernelGateway};
use crate::{
    cases::site::{self, HOST_A, VIP, from_border},
    packet::Frame,
};

/// Instances that can be backends.
pub(super) const MEMBERS: usize = 12;

/// A service; all have the same backends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// TCP.
    Web,
    /// UDP, whose flows go where a new one would.
    Names,
    /// UDP with `udp_tracking`.
    Calls,
    /// TCP with `affinity: source_ip`.
    Sticky,
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Web, Self::Names, Self::Calls, Self::Sticky];

    /// Whether it is a TCP service.
    pub const fn is_tcp(self) -> bool {
        matches!(self, Self::Web | Self::Sticky)
    }

    const fn port(self) -> u16 {
        443 + self as u16
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Names => "names",
            Self::Calls => "calls",
            Self::Sticky => "sticky",
        }
    }
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Client(pub Ipv4Addr, pub u16);

impl Client {
    /// The usual client, with some port.
    pub const fn port(port: u16) -> Self {
        Self(site::CLIENT, port)
    }
}

/// What a client sends. Numbers are TCP's sequence numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Segment {
    /// The first packet of a TCP connection.
    Syn(u32),
    /// A later one.
    Ack(u32),
    /// The end of one.
    Reset(u32),
    /// A UDP datagram.
    Datagram,
}

/// A gateway and what leads it.
pub struct World {
    gateway: Box<dyn Gateway>,
    reach: Reachability,
    /// Weight of each member that the topology names.
    members: BTreeMap<usize, u16>,
    idle: u64,
    max: u64,
    course: Course,
    served: Topology,
    /// What the gateway's tables hold.
    now: Tables,
    /// Writes that are still to come.
    pending: Vec<Write>,
    /// What each index stands for in `served`.
    labels: Vec<Label>,
    /// Packets that each member got, by service.
    carried: BTreeMap<(Service, usize), u64>,
    milliseconds: u64,
}

impl World {
    /// On the host.
    pub fn on_host(members: &[(usize, u16)]) -> Result<Self> {
        // Its tables grow as they have to.
        Self::new(members, 1, |tables| Ok(Box::new(HostGateway::new(tables))))
    }

    /// In the kernel. `harness::unavailable` must have been asked before.
    pub fn in_kernel(members: &[(usize, u16)]) -> Result<Self> {
        Self::new(members, MEMBERS, |tables| {
            Ok(Box::new(KernelGateway::new(tables)?) as Box<dyn Gateway>)
        })
    }

    fn new(
        members: &[(usize, u16)],
        most: usize,
        gateway: impl FnOnce(&Tables) -> Result<Box<dyn Gateway>>,
    ) -> Result<Self> {
        let all = (0..most).map(|member| (member, 1)).collect();
        let (_, reach) = site::Site::Usual.surroundings();
        let (idle, max) = (300, 7 * 24 * 3600);
        let largest = topology(&all, idle, max)?;
        let largest = model::build(&largest, &largest.gateways[0], &reach);
        let mut world = Self {
            gateway: gateway(&largest)?,
            reach,
            members: BTreeMap::new(),
            idle,
            max,
            course: Course::default(),
            served: topology(&all, idle, max)?,
            now: largest,
            pending: Vec::new(),
            labels: Vec::new(),
            carried: BTreeMap::new(),
            milliseconds: 1_000_000,
        };
        world.set(members)?;
        Ok(world)
    }

    /// Other times: for how long a silent flow counts, and a draining backend lasts.
    pub fn times(&mut self, idle: u64, max: u64) -> Result<()> {
        (self.idle, self.max) = (idle, max);
        self.follow()?;
        self.finish()
    }

    /// The topology names these members now, with these weights.
    pub fn set(&mut self, members: &[(usize, u16)]) -> Result<()> {
        self.begin_set(members)?;
        self.finish()
    }

    /// The same, with all writes still to come.
    pub fn begin_set(&mut self, members: &[(usize, u16)]) -> Result<()> {
        self.members = members.iter().copied().collect();
        self.follow()
    }

    /// Drains a member by command; `now` means that it is dead.
    pub fn begin_drain(&mut self, member: usize, now: bool) -> Result<()> {
        let drains = &mut self.course.drains;
        drains.insert(format!("shop/vm-{member}"), Drain { now });
        self.follow()
    }

    /// The same, with all writes done.
    pub fn drain(&mut self, member: usize, now: bool) -> Result<()> {
        self.begin_drain(member, now)?;
        self.finish()
    }

    /// Ends that.
    pub fn begin_undo(&mut self, member: usize) -> Result<()> {
        self.course.drains.remove(&format!("shop/vm-{member}"));
        self.follow()
    }

    /// Performs up to so many of the writes that are still to come. Whether more are.
    pub fn write(&mut self, most: usize) -> Result<bool> {
        let rest = self.pending.split_off(most.min(self.pending.len()));
        let writes = std::mem::replace(&mut self.pending, rest);
        self.gateway.apply(&writes)?;
        for write in &writes {
            write.apply(&mut self.now);
        }
        Ok(!self.pending.is_empty())
    }

    /// Performs all writes that are still to come.
    pub fn finish(&mut self) -> Result<()> {
        self.write(usize::MAX)?;
        Ok(())
    }

    /// Writes that are still to come.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Time passes, and the agent looks at what is on its way. All writes are done.
    pub fn pass(&mut self, seconds: u64) -> Result<()> {
        self.milliseconds += seconds * 1_000;
        let now = self.milliseconds / 1_000;
        let mut course = std::mem::take(&mut self.course);
        let mark = |slot| self.gateway.mark(slot);
        let changed = course.observe(&self.served, mark, |index| self.packets(index), now);
        self.course = course;
        if changed {
            self.follow()?;
        }
        self.finish()
    }

    /// Packets to the backend with an index.
    fn packets(&self, index: u32) -> u64 {
        let Some(&Label::Backend {
            load_balancer,
            backend,
            ..
        }) = self.labels.get(index as usize)
        else {
            return 0;
        };
        let member = self.served.load_balancers[load_balancer].backends[backend];
        let carried = (Service::ALL[load_balancer], member.instance.instance);
        self.carried.get(&carried).copied().unwrap_or_default()
    }

    /// So much time passes that packets leave another mark.
    pub fn tick(&mut self) {
        self.gateway.pass();
    }

    /// The agent dies, at whatever point of its writes, and another one goes on.
    pub fn restart(&mut self) -> Result<()> {
        self.pending.clear();
        let file = serde_json::to_string(&self.course)?;
        let mut course: Course = serde_json::from_str(&file)?;
        for service in &self.served.load_balancers {
            let id = ServiceId::from(service);
            let (words, epochs) = self.left(&id)?;
            let seconds = self.milliseconds / 1_000;
            course.rings.adopt(id, &words, &epochs, seconds);
        }
        self.course = course;
        self.follow()?;
        self.finish()
    }

    /// A service's ring as the tables have it.
    fn left(&self, service: &ServiceId) -> Result<(Vec<u64>, Vec<u32>)> {
        let (protocol, port) = (service.protocol.number(), service.port.to_be());
        let key = EndpointKey::v4(model::word(VIP), protocol, port);
        let endpoint = self.now.endpoints.get(&key.0).context("it is served")?;
        let endpoint = Endpoint(*endpoint);
        if endpoint.slots() == 1 {
            return Ok((vec![RingSlot::settled(endpoint.index()).0], vec![0]));
        }
        // Lists end where only zeros would follow.
        fn at<T: Copy + Default>(list: &[T], slot: u32) -> T {
            list.get(slot as usize).copied().unwrap_or_default()
        }
        let slots = endpoint.index()..endpoint.index() + endpoint.slots();
        let words = slots.clone().map(|slot| at(&self.now.ring, slot));
        let epochs = slots.map(|slot| at(&self.now.epochs, slot));
        Ok((words.collect(), epochs.collect()))
    }

    fn follow(&mut self) -> Result<()> {
        self.finish()?;
        // Every change has a millisecond of its own, as changes by hand do.
        self.milliseconds += 1;
        let clock = Clock {
            seconds: self.milliseconds / 1_000,
            milliseconds: self.milliseconds as u32,
        };
        let topology = topology(&self.members, self.idle, self.max)?;
        let course = std::mem::take(&mut self.course);
        (self.course, self.served) = course.follow(&topology, clock);
        let gateway = &self.served.gateways[0];
        let wanted = model::tables(&self.served, gateway, &self.reach, &self.course);
        self.pending = diff(&self.now, &wanted);
        self.labels = wanted.labels;
        Ok(())
    }

    /// Sends a packet; the member that it reaches.
    pub fn send(
        &mut self,
        service: Service,
        client: Client,
        segment: Segment,
    ) -> Result<Option<usize>> {
        let frame = frame(service, client, segment).bytes();
        let Some(sent) = self.gateway.send(&frame)? else {
            return Ok(None);
        };
        let member = receiver(service, &sent)?;
        *self.carried.entry((service, member)).or_default() += 1;
        Ok(Some(member))
    }

    /// Sends a frame as it is; whether it is sent on.
    pub fn send_frame(&mut self, frame: &[u8]) -> Result<bool> {
        Ok(self.gateway.send(frame)?.is_some())
    }

    /// Counts of what happened to flows: first packets, flows remembered, packets kept.
    pub fn events(&self) -> Result<[u64; 3]> {
        self.gateway.events()
    }

    /// Slots that are looked up.
    pub fn tracked_slots(&self) -> usize {
        let services = self.served.load_balancers.iter();
        let tracked = services.map(|service| self.course.rings.tracked(&service.into()));
        tracked.sum()
    }

    /// What a gateway that knows nothing of the past would do with new flows.
    pub fn afresh(&self) -> Result<Self> {
        let drained = |member: usize| {
            self.course
                .drains
                .contains_key(&format!("shop/vm-{member}"))
        };
        let members: Vec<_> = (self.members.iter())
            .map(|(&member, &weight)| (member, if drained(member) { 0 } else { weight }))
            .collect();
        Self::on_host(&members)
    }

    /// The mark of a slot and its epoch, for messages.
    pub fn describe(&self) -> String {
        let tracked = (0..).zip(&self.now.ring);
        let tracked = tracked.filter(|(_, word)| RingSlot(**word).is_tracked());
        let marks: Vec<_> = tracked
            .take(4)
            .map(|(slot, &word)| {
                let slot_now = RingSlot(word);
                let track = Track(u64::from(self.gateway.mark(slot)) << 32);
                format!(
                    "slot {slot}: {} was {}, mark {}",
                    slot_now.current(),
                    slot_now.previous(),
                    track.mark()
                )
            })
            .collect();
        format!(
            "{} slots tracked; {}",
            self.tracked_slots(),
            marks.join("; ")
        )
    }
}

/// The frame that a client sends.
pub(super) fn frame(service: Service, Client(address, port): Client, segment: Segment) -> Frame {
    const RST: u8 = 0x04;
    let ip = from_border().ipv4(address, VIP);
    let tcp = |sequence| ip.clone().tcp(port, service.port()).sequence(sequence);
    match segment {
        Segment::Syn(sequence) => tcp(sequence).syn(),
        Segment::Ack(sequence) => tcp(sequence),
        Segment::Reset(sequence) => tcp(sequence).tcp_flags(RST),
        Segment::Datagram => ip.udp(port, service.port()).payload(b"?"),
    }
}

/// The member that a frame in a tunnel is for.
fn receiver(service: Service, sent: &[u8]) -> Result<usize> {
    const INNER_IP: usize = 50 + 14;
    let [172, 16, 1, last] = sent[INNER_IP + 16..INNER_IP + 20] else {
        bail!(
            "a frame for nobody: {:?}",
            &sent[INNER_IP + 16..INNER_IP + 20]
        );
    };
    let port = u16::from_be_bytes([sent[INNER_IP + 22], sent[INNER_IP + 23]]);
    ensure!(port == 8_000 + service.port(), "port {port} of {service:?}");
    Ok(usize::from(last) - 100)
}

/// The site, with these members as backends of all services.
fn topology(members: &BTreeMap<usize, u16>, idle: u64, max: u64) -> Result<Topology> {
    let services = Service::ALL.map(|service| {
        let backends: Vec<_> = (members.iter())
            .map(|(member, weight)| {
                let port = 8_000 + service.port();
                json!({ "instance": format!("vm-{member}"), "port": port, "weight": weight })
            })
            .collect();
        let protocol = if service.is_tcp() { "tcp" } else { "udp" };
        json!({
            "name": service.name(),
            "vip": VIP,
            "listen": format!("{protocol}/{}", service.port()),
            "vpc": "shop",
            "backends": backends,
            "udp_tracking": service == Service::Calls,
            "affinity": if service == Service::Sticky { "source_ip" } else { "flow" },
        })
    });
    let instances: Vec<_> = (0..MEMBERS)
        .map(|member| {
            json!({
                "name": format!("vm-{member}"),
                "ip": format!("172.16.1.{}", 100 + member),
                "mac": format!("02:aa:00:00:01:{member:02x}"),
                "host": "host-a",
            })
        })
        .collect();
    let text = json!({
        "version": 1,
        "anycast_vtep": site::ANYCAST,
        "underlay_mtu": 1600,
        "secret": "000102030405060708090a0b0c0d0e0f",
        "gateways": [{
            "name": "gw1",
            "public": { "interface": "public" },
            "underlay": { "interface": "underlay", "vtep": site::OWN_VTEP },
        }],
        "hosts": [{ "name": "host-a", "vtep": HOST_A }],
        "vpcs": [{
            "name": "shop",
            "vni": 5001,
            "subnets": [{ "name": "zone-1", "cidr": "172.16.1.0/24" }],
            "instances": instances,
        }],
        "load_balancers": services,
        "drain": { "idle": format!("{idle}s"), "max": format!("{max}s"), "flows": 1024 },
    });
    let loaded = config::parse("world.json", &text.to_string());
    Ok(loaded
        .map_err(|report| anyhow::anyhow!("{report}"))?
        .topology)
}
