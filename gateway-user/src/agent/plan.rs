//! What the agent wants the kernel to do: a topology, and the course that flows are
//! on. Every change makes a new plan from the one in force; no I/O but the clock.

use anyhow::{Result, bail};
use nix::time::{ClockId, clock_gettime};

use super::Settings;
use crate::{
    config::{Gateway, Topology},
    datapath::Left,
    model::{self, Clock, Course, Drain, ServiceId, Tables},
    reachability::Reachability,
    server::DrainRequest,
};

/// See the [module](self).
#[derive(Clone)]
pub(super) struct Plan {
    /// As the file has it.
    pub(super) topology: Topology,
    /// This node in it.
    pub(super) gateway: Gateway,
    /// As it is served, see [`Course::follow`].
    pub(super) served: Topology,
    pub(super) course: Course,
}

impl Plan {
    /// The plan of an agent that starts: goes on where an earlier one was.
    pub(super) fn resume(settings: &Settings, mut course: Course, left: Option<&Left>) -> Self {
        let now = clock();
        for service in &settings.topology.load_balancers {
            let id = ServiceId::from(service);
            if let Some((words, epochs)) = left.and_then(|left| left.ring(&id)) {
                course.rings.adopt(id, &words, &epochs, now.seconds);
            }
        }
        let (course, served) = course.follow(&settings.topology, now);
        Self {
            topology: settings.topology.clone(),
            gateway: settings.gateway.clone(),
            served,
            course,
        }
    }

    /// What the maps should hold.
    pub(super) fn tables(&self, reach: &Reachability) -> Tables {
        model::tables(&self.served, &self.gateway, reach, &self.course)
    }

    /// The plan for another topology, or for a later time.
    pub(super) fn with_topology(&self, topology: Topology) -> Self {
        let (course, served) = self.course.clone().follow(&topology, clock());
        let gateway = topology.gateway(&self.gateway.name);
        Self {
            gateway: gateway.unwrap_or(&self.gateway).clone(),
            topology,
            served,
            course,
        }
    }

    /// The plan with a backend drained, or not drained any more; and what that means.
    pub(super) fn with_drain(&self, request: &DrainRequest) -> Result<(Self, String)> {
        let name = self.backend_name(&request.backend)?;
        let mut plan = self.clone();
        let drains = &mut plan.course.drains;
        let what = if request.undo {
            if drains.remove(&name).is_none() {
                bail!("{name} is not drained by command{}", by_weight(self, &name));
            }
            format!("{name} takes new flows again")
        } else {
            drains.insert(name.clone(), Drain { now: request.now });
            match request.now {
                true => format!("{name} is out at once: its flows move to other backends"),
                false => format!("{name} drains: it keeps its flows and takes no new ones"),
            }
        };
        Ok((plan.with_topology(self.topology.clone()), what))
    }

    /// The full name of a backend that somebody named: `INSTANCE`, `VPC/INSTANCE`,
    /// each with `:PORT` or without.
    fn backend_name(&self, given: &str) -> Result<String> {
        let (instance, port) = match given.rsplit_once(':') {
            Some((instance, port)) => (instance, Some(port)),
            None => (given, None),
        };
        let services = &self.topology.load_balancers;
        let members = services.iter().flat_map(|service| &service.backends);
        let mut found: Vec<String> = members
            .map(|backend| model::member_name(&self.topology, backend))
            .filter_map(|name| {
                let (full, own_port) = name.rsplit_once(':')?;
                let (_, short) = full.split_once('/')?;
                let is_it =
                    [full, short].contains(&instance) && port.is_none_or(|port| port == own_port);
                is_it.then(|| match port {
                    Some(_) => name.clone(),
                    None => full.to_owned(),
                })
            })
            .collect();
        found.sort();
        found.dedup();
        match &found[..] {
            [only] => Ok(only.clone()),
            // What was drained may have left the topology since.
            [] if self.course.drains.contains_key(given) => Ok(given.to_owned()),
            [] => bail!("no load balancer has a backend {given}: see `lingyun status`"),
            several => bail!("{given} could be {}: say which", several.join(" or ")),
        }
    }
}

/// A hint, if it is the topology that drains a backend.
fn by_weight(plan: &Plan, name: &str) -> &'static str {
    let services = &plan.topology.load_balancers;
    let mut members = services.iter().flat_map(|service| &service.backends);
    let is_it = members.any(|backend| {
        let member = model::member_name(&plan.topology, backend);
        backend.weight == 0 && (member == name || member.starts_with(&format!("{name}:")))
    });
    match is_it {
        true => ", but has weight 0 in the topology",
        false => "",
    }
}

/// A clock that starts with the machine and goes on while it sleeps.
pub(super) fn clock() -> Clock {
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).expect("every Linux has this clock");
    let seconds = time.tv_sec() as u64;
    Clock {
        seconds,
        milliseconds: (seconds as u32)
            .wrapping_mul(1_000)
            .wrapping_add(time.tv_nsec() as u32 / 1_000_000),
    }
}
