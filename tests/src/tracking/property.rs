//! Random histories: backends come and go, gain and lose weight, drain, die, come back;
//! agents die in the middle; and all the while packets come, also between any two writes.
//!
//! The model that they are held against is one sentence: **a flow that says something
//! now and then reaches the backend that its first packet reached, until that backend
//! dies**. Besides: a first packet goes where a gateway without a past would send it,
//! and when everything is quiet nothing is looked up any more.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use fastrand::Rng;

use super::{
    Client, Segment, Service,
    world::{MEMBERS, World},
};

/// What a random history had in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Changes of the backends.
    pub changes: usize,
    /// Flows that began.
    pub flows: usize,
    /// Flows that ended because their backend died.
    pub broken: usize,
    /// Packets sent.
    pub packets: usize,
    /// Of these, such as came between two writes of the agent.
    pub between: usize,
    /// Packets that went elsewhere than a new flow's would have.
    pub kept: u64,
}

/// A flow that is under way.
#[derive(Clone, Copy, Debug)]
struct Flow {
    service: Service,
    client: Client,
    sequence: u32,
    member: usize,
    /// Its second packet was seen.
    is_established: bool,
}

struct History {
    world: World,
    /// A gateway without a past that has the same backends, until they change again.
    fresh: Option<World>,
    random: Rng,
    /// Weights by member, as the topology has them.
    members: BTreeMap<usize, u16>,
    drained: BTreeSet<usize>,
    /// Drained, and its flows moved.
    dead: BTreeSet<usize>,
    flows: Vec<Flow>,
    clients: u32,
    tally: Tally,
}

/// Plays a history of so many steps, the same one for the same seed. The error says at
/// which step something else happened than should.
pub fn play(seed: u64, steps: usize, world: World) -> Result<Tally> {
    let mut history = History {
        world,
        fresh: None,
        random: Rng::with_seed(seed),
        members: BTreeMap::new(),
        drained: BTreeSet::new(),
        dead: BTreeSet::new(),
        flows: Vec::new(),
        clients: 0,
        tally: Tally::default(),
    };
    let told = |step: usize| format!("history {seed}, step {step}");
    history.edit().with_context(|| told(0))?;
    for step in 1..=steps {
        let done = history.step();
        done.with_context(|| format!("{}; {}", told(step), history.world.describe()))?;
    }
    history.rest().with_context(|| told(steps + 1))?;
    let [_, _, kept] = history.world.events()?;
    Ok(Tally {
        kept,
        ..history.tally
    })
}

impl History {
    fn step(&mut self) -> Result<()> {
        match self.random.u8(..100) {
            0..30 => self.open()?,
            30..70 => self.send_some(10)?,
            70..74 => self.forge()?,
            74..76 => self.noise()?,
            76..80 => self.close(),
            80..88 => self.edit()?,
            88..91 => self.drain()?,
            91..94 => self.undo()?,
            94..96 => self.restart()?,
            _ => self.pass()?,
        }
        Ok(())
    }

    /// The file names other backends, or gives them other weights.
    fn edit(&mut self) -> Result<()> {
        let count = self.random.usize(1..=5);
        for _ in 0..count {
            let member = self.random.usize(..MEMBERS);
            match self.random.u8(..4) {
                0 => drop(self.members.remove(&member)),
                1 => drop(self.members.insert(member, self.random.u16(..4))),
                _ => drop(self.members.insert(member, 1)),
            }
        }
        // A service has at least one backend.
        if self.members.is_empty() {
            self.members.insert(self.random.usize(..MEMBERS), 1);
        }
        let members: Vec<_> = self
            .members
            .iter()
            .map(|(&m, &weight)| (m, weight))
            .collect();
        self.world.begin_set(&members)?;
        self.finish()
    }

    fn drain(&mut self) -> Result<()> {
        let member = self.random.usize(..MEMBERS);
        let now = self.random.bool();
        self.drained.insert(member);
        match now {
            true => drop(self.dead.insert(member)),
            false => drop(self.dead.remove(&member)),
        }
        self.world.begin_drain(member, now)?;
        self.finish()
    }

    fn undo(&mut self) -> Result<()> {
        let Some(member) = self.random.choice(self.drained.iter().copied()) else {
            return Ok(());
        };
        // Its flows had moved before; those that it has had since are none.
        self.drained.remove(&member);
        self.dead.remove(&member);
        self.world.begin_undo(member)?;
        self.finish()
    }

    fn restart(&mut self) -> Result<()> {
        self.world.restart()?;
        self.send_all()
    }

    /// Performs the writes of a change, with packets in between.
    fn finish(&mut self) -> Result<()> {
        self.tally.changes += 1;
        self.fresh = None;
        for _ in 0..self.random.usize(..4) {
            let most = self.random.usize(..=self.world.pending());
            if !self.world.write(most)? {
                break;
            }
            let before = self.tally.packets;
            if self.random.u8(..3) == 0 {
                self.open()?;
            }
            self.send_some(10)?;
            self.tally.between += self.tally.packets - before;
            if self.random.u8(..20) == 0 {
                // The agent dies here; the next one does the rest.
                self.world.restart()?;
            }
        }
        self.world.finish()?;
        self.bury()?;
        self.send_all()
    }

    /// Flows of dead backends end: what they still send reaches somebody else.
    fn bury(&mut self) -> Result<()> {
        let (broken, flows): (Vec<_>, Vec<_>) =
            (self.flows.iter()).partition(|flow| self.dead.contains(&flow.member));
        self.flows = flows;
        for flow in broken {
            self.tally.broken += 1;
            let reached = self.packet(flow.service, flow.client, flow.next())?;
            ensure!(
                reached != Some(flow.member),
                "{flow:?} still reaches its dead backend"
            );
        }
        Ok(())
    }

    /// A new flow: its first packet, and mostly a second one.
    fn open(&mut self) -> Result<()> {
        self.clients += 1;
        let [_, a, b, c] = (self.clients / 7).to_be_bytes();
        let client = Client([100, a, b, c].into(), 1_024 + self.clients as u16 % 60_000);
        let service = Service::ALL[self.random.usize(..Service::ALL.len())];
        let sequence = self.random.u32(..);
        let first = match service.is_tcp() {
            true => Segment::Syn(sequence),
            false => Segment::Datagram,
        };
        let reached = self.packet(service, client, first)?;
        if self.world.pending() == 0 {
            let fresh = match self.fresh.take() {
                Some(fresh) => fresh,
                None => self.world.afresh()?,
            };
            let expected = self.fresh.insert(fresh).send(service, client, first)?;
            // A datagram of a tracked service might be an older flow's.
            let is_new = service != Service::Calls || self.world.tracked_slots() == 0;
            ensure!(
                !is_new || reached == expected,
                "{service:?}: {client:?} reaches {reached:?}, not {expected:?}"
            );
            ensure!(
                reached.is_none_or(|member| !self.dead.contains(&member)),
                "{service:?}: {client:?} reaches {reached:?}, which is dead"
            );
        }
        let (Some(member), true) = (reached, service != Service::Names) else {
            return Ok(());
        };
        self.tally.flows += 1;
        self.flows.push(Flow {
            service,
            client,
            sequence,
            member,
            is_established: false,
        });
        if service.is_tcp() && self.random.u8(..5) == 0 {
            let again = self.packet(service, client, first)?;
            ensure!(
                again == reached || self.world.pending() > 0,
                "the same first packet reaches {again:?}, not {reached:?}"
            );
        }
        if self.random.u8(..5) > 0 {
            self.say(self.flows.len() - 1)?;
        }
        Ok(())
    }

    /// A packet of a flow, which must reach its backend.
    fn say(&mut self, number: usize) -> Result<()> {
        let flow = &mut self.flows[number];
        flow.sequence = flow.sequence.wrapping_add(1);
        flow.is_established = true;
        let flow = *flow;
        let reached = self.packet(flow.service, flow.client, flow.segment())?;
        let may_die = self.dead.contains(&flow.member) && self.world.pending() > 0;
        ensure!(
            reached == Some(flow.member) || may_die,
            "{flow:?} reaches {reached:?}"
        );
        Ok(())
    }

    fn send_some(&mut self, count: usize) -> Result<()> {
        for _ in 0..count.min(self.flows.len()) {
            let number = self.random.usize(..self.flows.len());
            self.say(number)?;
        }
        Ok(())
    }

    fn send_all(&mut self) -> Result<()> {
        (0..self.flows.len()).try_for_each(|number| self.say(number))
    }

    /// Somebody else sends a first packet of a flow that is under way.
    fn forge(&mut self) -> Result<()> {
        let Some(&flow) = self.random.choice(&self.flows) else {
            return Ok(());
        };
        if flow.service.is_tcp() && flow.is_established {
            // Whoever knows the number need not guess; this one is far off.
            let guess = flow.sequence.wrapping_add(1 << 31);
            self.packet(flow.service, flow.client, Segment::Syn(guess))?;
        }
        Ok(())
    }

    /// Packets of no flow.
    fn noise(&mut self) -> Result<()> {
        for _ in 0..5 {
            let client = Client(self.random.u32(..).into(), self.random.u16(..));
            let segment = Segment::Ack(self.random.u32(..));
            self.packet(Service::Web, client, segment)?;
        }
        Ok(())
    }

    fn close(&mut self) {
        if !self.flows.is_empty() {
            let number = self.random.usize(..self.flows.len());
            self.flows.swap_remove(number);
        }
    }

    /// Time passes, less than a flow may be silent.
    fn pass(&mut self) -> Result<()> {
        self.world.tick();
        self.send_all()?;
        for _ in 0..self.random.usize(1..3) {
            self.world.pass(self.random.u64(1..55))?;
        }
        self.send_all()
    }

    /// All flows end, and everything gets quiet.
    fn rest(&mut self) -> Result<()> {
        self.flows.clear();
        for _ in 0..8 {
            self.world.pass(250)?;
        }
        ensure!(self.world.tracked_slots() == 0, "{}", self.world.describe());
        let before = self.world.events()?;
        for _ in 0..100 {
            self.open()?;
        }
        let after = self.world.events()?;
        ensure!(
            before == after,
            "{after:?} after {before:?}, in steady state"
        );
        Ok(())
    }

    fn packet(
        &mut self,
        service: Service,
        client: Client,
        segment: Segment,
    ) -> Result<Option<usize>> {
        self.tally.packets += 1;
        self.world.send(service, client, segment)
    }
}

impl Flow {
    const fn segment(&self) -> Segment {
        match self.service.is_tcp() {
            true => Segment::Ack(self.sequence),
            false => Segment::Datagram,
        }
    }

    const fn next(mut self) -> Segment {
        self.sequence = self.sequence.wrapping_add(1);
        self.segment()
    }
}
