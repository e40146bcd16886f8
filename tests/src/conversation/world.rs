//! Where conversations take place: two gateways, on the host or in the kernel, and what
//! the rest of the world sees of them.

use std::{collections::BTreeSet, net::Ipv4Addr};

use gateway_common::Reason;
use lingyun::{
    datapath::{Datapath, Options},
    model::Tables,
};

use super::{
    packet::Packet,
    site::{self, Vm},
};
use crate::{
    cases::{
        Program,
        site::{OWN_VTEP, counter},
    },
    harness::{self, Action, Host, Observed},
    packet::{Frame, diff, wrong_checksums},
};

/// Where the outer UDP source port lies in a tunnel frame: it is up to the gateway.
const OUTER_PORT: std::ops::Range<usize> = 34..36;

/// What a conversation says when something is not as it should be.
pub type Told<T = ()> = Result<T, String>;

/// One gateway.
enum Gateway {
    Host(Box<Host>),
    Kernel(Box<Datapath>),
}

/// Two gateways that share a site.
pub struct World {
    gateways: Vec<(Gateway, Tables)>,
    reached: BTreeSet<Reason>,
}

/// Both gateways' own VTEPs.
pub(super) const VTEPS: [Ipv4Addr; 2] = [OWN_VTEP, site::OTHER_VTEP];

impl World {
    /// Gateways that are the library.
    pub fn on_host() -> Self {
        Self::new(|tables| Gateway::Host(Box::new(Host::new(tables.clone()))))
    }

    /// Gateways that are the object, loaded into the kernel.
    pub fn in_kernel(object: &[u8], pins: &std::path::Path) -> anyhow::Result<Self> {
        let options = Options {
            object,
            pin_dir: pins.into(),
        };
        let mut loaded = Vec::new();
        for gateway in 0..VTEPS.len() {
            loaded.push(Datapath::load(
                &options,
                &site::tables(&site::topology(), gateway),
            )?);
        }
        let mut loaded = loaded.into_iter();
        let mut next = || loaded.next().expect("one for each gateway");
        Ok(Self::new(|_| Gateway::Kernel(Box::new(next()))))
    }

    fn new(mut gateway: impl FnMut(&Tables) -> Gateway) -> Self {
        let topology = site::topology();
        let gateways = (0..VTEPS.len()).map(|index| {
            let tables = site::tables(&topology, index);
            (gateway(&tables), tables)
        });
        Self {
            gateways: gateways.collect(),
            reached: BTreeSet::new(),
        }
    }

    /// Reasons that packets ended with.
    pub fn reached(&self) -> &BTreeSet<Reason> {
        &self.reached
    }

    /// Whether this is the kernel's own work.
    pub fn is_kernel(&self) -> bool {
        matches!(self.gateways[0].0, Gateway::Kernel(_))
    }

    /// Time passes, without a packet.
    pub fn wait(&mut self, seconds: u32) {
        for (gateway, _) in &mut self.gateways {
            match gateway {
                // A jiffy is a tick there, and stands for a second.
                Gateway::Host(host) => host.tables().pass(seconds.into()),
                // Nobody can set the kernel's clock: what is there grows older instead.
                Gateway::Kernel(datapath) => datapath.lapse(seconds),
            }
        }
    }

    /// The agents look for what is over.
    pub fn sweep(&mut self) -> Told {
        for (gateway, tables) in &mut self.gateways {
            if let Gateway::Kernel(datapath) = gateway {
                datapath
                    .sweep(tables)
                    .map_err(|error| format!("{error:#}"))?;
            }
        }
        Ok(())
    }

    /// Forgets every mapping, so that another conversation can begin.
    pub fn start_over(&mut self) -> Told {
        if !self.is_kernel() {
            *self = Self::on_host();
            return Ok(());
        }
        self.reached.clear();
        self.wait(1 << 30);
        self.sweep()?;
        let used = |(gateway, _): &(Gateway, Tables)| match gateway {
            Gateway::Kernel(datapath) => {
                let accounts = datapath.snat_usage().accounts;
                accounts.iter().map(|account| account.used).sum()
            }
            Gateway::Host(_) => 0_u64,
        };
        match self.gateways.iter().map(used).sum() {
            0 => Ok(()),
            used => Err(format!("{used} mappings are still there after 34 years")),
        }
    }

    /// Ports that a tenant uses of its pool by its account, as the agent counts them.
    pub fn used(&self, gateway: usize) -> Vec<u64> {
        match &self.gateways[gateway].0 {
            Gateway::Host(host) => host.snat_used(),
            Gateway::Kernel(datapath) => {
                let accounts = datapath.snat_usage().accounts.into_iter();
                accounts.map(|account| account.used).collect()
            }
        }
    }

    /// Changes what a gateway's tables say.
    pub fn rewrite(&mut self, gateway: usize, change: impl FnOnce(&mut Tables)) -> Told {
        let (gateway, tables) = &mut self.gateways[gateway];
        let before = tables.clone();
        change(tables);
        match gateway {
            Gateway::Host(host) => host.tables_mut().update(tables.clone()),
            Gateway::Kernel(datapath) => datapath
                .apply(&lingyun::diff::diff(&before, tables))
                .map_err(|error| format!("{error:#}"))?,
        }
        Ok(())
    }

    /// Sends a frame in at a gateway.
    pub fn send(&mut self, gateway: usize, program: Program, frame: &[u8]) -> Told<Observed> {
        let (gateway, _) = &mut self.gateways[gateway];
        let observed = match gateway {
            Gateway::Host(host) => Ok(host.send(program, frame, 256)),
            Gateway::Kernel(datapath) => harness::send(datapath, program, frame),
        };
        let observed = observed.map_err(|error| format!("{error:#}"))?;
        self.reached.extend(observed.reasons.keys());
        Ok(observed)
    }

    /// Whether what an instance sends to the first gateway leaves. Nothing else is looked
    /// at, so that it is quick.
    pub fn passes(&mut self, vm: Vm, packet: Packet) -> Told<bool> {
        let frame = packet.sent(vm).bytes();
        let action = match &mut self.gateways[0].0 {
            Gateway::Host(host) => Ok(host.send(Program::Underlay, &frame, 256).action),
            Gateway::Kernel(datapath) => harness::act(datapath, Program::Underlay, &frame),
        };
        let action = action.map_err(|error| format!("{error:#}"))?;
        Ok(matches!(action, Action::Redirect(_)))
    }

    /// What an instance sends leaves, behind the address that it shares; the port that
    /// it has there.
    pub fn leaves(
        &mut self,
        gateway: usize,
        vm: Vm,
        address: Ipv4Addr,
        packet: Packet,
    ) -> Told<u16> {
        let sent = packet.sent(vm).bytes();
        let observed = self.send(gateway, Program::Underlay, &sent)?;
        let what = || format!("{packet:?} of {vm:?} at gateway {}", gateway + 1);
        redirected(&observed).map_err(|error| format!("{}: {error}", what()))?;
        let found = observed.output.clone();
        let port = public_port(packet, &found).ok_or("the frame that left is too short")?;
        same(&packet.left(address, port), &found)
            .map_err(|error| format!("{}: {error}", what()))?;
        let expected = (1, found.len() as u64);
        let counter = self.counter(gateway, address);
        let count = observed.counters.get(&counter).copied().unwrap_or_default();
        if (count.out_packets, count.out_bytes) != expected || observed.counters.len() != 1 {
            return Err(format!("{}: counted {:?}", what(), observed.counters));
        }
        Ok(port)
    }

    /// The answer to a packet reaches the instance.
    pub fn returns(
        &mut self,
        gateway: usize,
        vm: Vm,
        (address, port): (Ipv4Addr, u16),
        packet: Packet,
    ) -> Told {
        let answer = packet.answer(address, port).bytes();
        let observed = self.send(gateway, Program::Public, &answer)?;
        let what = || format!("answer to {packet:?} of {vm:?} at gateway {}", gateway + 1);
        redirected(&observed).map_err(|error| format!("{}: {error}", what()))?;
        same_tunnel(&packet.delivered(vm), &observed.output)
            .map_err(|error| format!("{}: {error}", what()))?;
        let count = observed.counters.get(&self.counter(gateway, address));
        match count.map(|count| (count.in_packets, count.in_bytes)) {
            Some(counted) if counted == (1, answer.len() as u64) => Ok(()),
            _ => Err(format!("{}: counted {:?}", what(), observed.counters)),
        }
    }

    /// There and back.
    pub fn both_ways(
        &mut self,
        gateway: usize,
        vm: Vm,
        address: Ipv4Addr,
        packet: Packet,
    ) -> Told<u16> {
        let port = self.leaves(gateway, vm, address, packet)?;
        self.returns(gateway, vm, (address, port), packet)?;
        Ok(port)
    }

    /// What an instance sends ends with a reason.
    pub fn stays(&mut self, gateway: usize, vm: Vm, packet: Packet, reason: Reason) -> Told {
        let frame = packet.sent(vm);
        self.ends(gateway, Program::Underlay, &frame, reason)
            .map_err(|error| format!("{packet:?} of {vm:?}: {error}"))
    }

    /// The answer to a packet ends with a reason.
    pub fn is_refused(
        &mut self,
        gateway: usize,
        (address, port): (Ipv4Addr, u16),
        packet: Packet,
        reason: Reason,
    ) -> Told {
        let frame = packet.answer(address, port);
        self.ends(gateway, Program::Public, &frame, reason)
            .map_err(|error| format!("answer to {packet:?} at port {port}: {error}"))
    }

    /// A frame ends with a reason.
    pub fn ends(
        &mut self,
        gateway: usize,
        program: Program,
        frame: &Frame,
        reason: Reason,
    ) -> Told {
        let observed = self.send(gateway, program, &frame.bytes())?;
        let found: Vec<_> = observed.reasons.keys().copied().collect();
        match found == [reason] && observed.action == Action::Drop && observed.counters.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "expected it to end with {reason:?}, found {:?} {found:?}",
                observed.action
            )),
        }
    }

    fn counter(&self, gateway: usize, address: Ipv4Addr) -> u32 {
        counter(&self.gateways[gateway].1, &format!("snat/{address}"))
    }
}

/// The port, or echo identifier, with which a packet left.
fn public_port(packet: Packet, frame: &[u8]) -> Option<u16> {
    let at = match packet.kind {
        super::packet::Kind::Echo => 38,
        _ => 34,
    };
    let bytes = frame.get(at..at + 2)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn redirected(observed: &Observed) -> Told {
    match observed.action {
        Action::Redirect(_) => Ok(()),
        action => {
            let reasons: Vec<_> = observed.reasons.keys().collect();
            Err(format!("{action:?} {reasons:?}"))
        }
    }
}

/// Whether a frame is this one.
pub(super) fn same(expected: &Frame, found: &[u8]) -> Told {
    let wrong = wrong_checksums(found);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    diff(&expected.bytes(), found).map_or(Ok(()), Err)
}

/// Whether a frame is this one, whatever its outer source port.
pub(super) fn same_tunnel(expected: &Frame, found: &[u8]) -> Told {
    let mut expected = expected.bytes();
    let port = found.get(OUTER_PORT).ok_or("the frame is too short")?;
    expected
        .get_mut(OUTER_PORT)
        .ok_or("nothing to compare")?
        .copy_from_slice(port);
    let wrong = wrong_checksums(found);
    if !wrong.is_empty() {
        return Err(wrong.join("\n"));
    }
    diff(&expected, found).map_or(Ok(()), Err)
}
