//! One contestant between a source and a sink, each in a namespace of its own.

use std::time::Duration;

use anyhow::{Context, Result};
use aya::Ebpf;
use lingyun::datapath::Datapath;
use nix::net::if_::if_nametoindex;

use super::{
    ends::{Arriving, Pace, Sink, Source, pin_to},
    judge::{Expected, Service},
    kernel, openvswitch, xdp,
};
use crate::{
    bench::cases::Sample,
    cases::site::{BORDER_MAC, PUBLIC_MAC, SPINE_MAC, UNDERLAY_MAC},
    lab::Stand,
};

/// Who is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Contestant {
    /// Redirection alone.
    Redirect,
    /// 50 constant bytes and redirection: the floor of VXLAN.
    Push,
    /// Lingyun: a VIP of two backends.
    Lingyun,
    /// The kernel's IPv4 forwarding, without NAT or tunnel.
    Forwarding,
    /// nftables DNAT with conntrack, and the kernel's VXLAN.
    Nftables,
    /// Open vSwitch, userspace datapath: DNAT and VXLAN by flows.
    Openvswitch,
}

impl Contestant {
    /// As people call it.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Redirect => "devmap redirect only",
            Self::Push => "constant VXLAN push + redirect",
            Self::Lingyun => "Lingyun VIP: DNAT + VXLAN",
            Self::Forwarding => "kernel forwarding",
            Self::Nftables => "nftables DNAT + conntrack + kernel vxlan",
            Self::Openvswitch => "Open vSwitch (userspace): DNAT + VXLAN",
        }
    }

    /// Whether it must work wherever the bench does.
    pub(super) const fn is_ours(self) -> bool {
        matches!(self, Self::Redirect | Self::Push | Self::Lingyun)
    }

    /// What comes out of it.
    pub(super) const fn expected(self) -> Expected {
        match self {
            Self::Redirect => Expected::Same,
            Self::Push => Expected::Longer,
            Self::Forwarding => Expected::Forwarded,
            Self::Lingyun | Self::Nftables | Self::Openvswitch => Expected::Delivered,
        }
    }

    /// The cheapest sink for what it sends.
    const fn sends(self) -> Arriving {
        match self {
            Self::Redirect | Self::Push | Self::Lingyun => Arriving::Frames,
            Self::Forwarding | Self::Nftables | Self::Openvswitch => Arriving::Packets,
        }
    }
}

/// A contestant with what is around it.
pub(super) struct Lane {
    pub contestant: Contestant,
    service: &'static Service,
    /// Namespaces of the source and of the contestant.
    pub source: String,
    pub node: String,
    pub sources: Vec<(usize, Source)>,
    pub sink: Sink,
    /// Programs and processes in the middle.
    middle: Middle,
}

/// What keeps a contestant working. Dropped, it stops.
pub(super) enum Middle {
    /// A program of the bench's object.
    Floor(Box<Ebpf>),
    /// The gateway.
    Gateway(Box<Datapath>),
    /// The kernel, or processes of the stand.
    Others,
}

impl Middle {
    /// Stops it.
    pub(super) fn end(self) -> Result<()> {
        match self {
            Self::Gateway(datapath) => datapath.detach(),
            Self::Floor(floor) => {
                drop(floor);
                Ok(())
            }
            Self::Others => Ok(()),
        }
    }
}

/// What one measurement gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Measured {
    pub sent: u64,
    pub arrived: u64,
    pub time: Duration,
}

impl Measured {
    pub(super) fn per_second(self) -> f64 {
        self.arrived as f64 / self.time.as_secs_f64()
    }
}

/// Devices of the middle.
pub(super) const PUBLIC: &str = "public";
pub(super) const UNDERLAY: &str = "underlay";

/// Devices of the source's namespace that its programs are attached to.
const RESTS: [&str; 2] = ["rest", "rest-2"];

impl Lane {
    /// Makes namespaces, links, the contestant and both ends.
    pub(super) fn new(
        stand: &Stand,
        contestant: Contestant,
        (service, sample): (&'static Service, &Sample),
        flows: &[usize],
        pace: Pace,
    ) -> Result<Self> {
        let name = format!("{contestant:?}").to_lowercase();
        let [source, node, sink] = ["src", "gw", "dst"].map(|end| format!("{name}-{end}"));
        for node in [&source, &node, &sink] {
            stand.node(node)?;
        }
        links(stand, [&source, &node, &sink])?;
        let arriving = contestant.sends();
        let sink = stand.enter(&sink, || {
            let shortest = contestant.expected().shortest();
            Sink::new(sample, "wire", arriving, shortest, pace)
        })??;
        let middle = match contestant {
            Contestant::Redirect | Contestant::Push | Contestant::Lingyun => {
                xdp::set_up(stand, &node, contestant, sample)
            }
            Contestant::Forwarding => kernel::forwarding(stand, &node),
            Contestant::Nftables => kernel::nftables(stand, &node, service),
            Contestant::Openvswitch => openvswitch::set_up(stand, &node),
        }
        .with_context(|| format!("set up {}", contestant.title()))?;
        let sources = stand.enter(&source, || -> Result<_> {
            let device = if_nametoindex("wire")?;
            let sources = flows.iter().map(|&flows| {
                let source = Source::new(sample, flows, device, pace)?;
                Ok((flows, source))
            });
            let mut sources: Vec<_> = sources.collect::<Result<_>>()?;
            // One after the other: a device has room for one program.
            for ((_, source), device) in sources.iter_mut().zip(RESTS) {
                source.stay_attached(device)?;
            }
            Ok(sources)
        })??;
        Ok(Self {
            contestant,
            service,
            source,
            node,
            sources,
            sink,
            middle,
        })
    }

    /// Sends so long, on one processor, and counts what arrives.
    pub(super) fn measure(
        &mut self,
        stand: &Stand,
        flows: usize,
        duration: Duration,
        processor: usize,
    ) -> Result<Measured> {
        let Self { sources, sink, .. } = self;
        let source = sources.iter_mut().find(|(count, _)| *count == flows);
        let (_, source) = source.context("a lane has no source for so many flows")?;
        stand.enter(&self.source, || {
            pin_to(processor)?;
            let before = sink.count()?;
            let (sent, time) = source.send_for(duration)?;
            Ok(Measured {
                sent,
                arrived: sink.count()? - before,
                time,
            })
        })?
    }

    /// Complains if what came out lately is not what should have.
    pub(super) fn judge(&self) -> Result<()> {
        self.contestant
            .expected()
            .judge(self.service, &self.sink.samples()?)
    }

    /// Stops it.
    pub(super) fn end(self) -> Result<()> {
        self.middle.end()
    }
}

/// source -- public, node, underlay -- sink
pub(super) fn links(stand: &Stand, [source, node, sink]: [&str; 3]) -> Result<()> {
    let mac = |mac: [u8; 6]| lingyun::config::Mac(mac).to_string();
    let link = |(end, end_mac): (&str, _), (device, device_mac): (&str, _), mtu: u32| {
        format!(
            "link add wire netns @{end} address {} mtu {mtu} type veth \
             peer name {device} netns @{node} address {} mtu {mtu}",
            mac(end_mac),
            mac(device_mac)
        )
    };
    stand.ip(&[
        link((source, BORDER_MAC), (PUBLIC, PUBLIC_MAC), 1_500),
        link((sink, SPINE_MAC), (UNDERLAY, UNDERLAY_MAC), 1_600),
    ])?;
    for end in [source, sink] {
        stand.ip_in(end, &["link set wire up".into()])?;
    }
    let [rest, other] = RESTS;
    stand.ip_in(
        source,
        &[format!("link add {rest} type veth peer name {other}")],
    )?;
    let up = [PUBLIC, UNDERLAY, "lo"].map(|device| format!("link set {device} up"));
    stand.ip_in(node, &up)
}
