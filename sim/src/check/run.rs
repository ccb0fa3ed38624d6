//! One run of a scenario: the faults at their times, the invariants after every change, and in the end a ring that must be ideal.

mod ideal;

use std::collections::VecDeque;
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Config, Phase, Proto, Time};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;
use serde::Serialize;

use super::channel::{Channel, TOKENS};
use super::scenario::{Fault, Scenario};
use super::store::{self, Store};
use crate::engine::{Happening, Network, World};
use crate::invariant::answered::Asked;
use crate::invariant::principals::{Base, principals};
use crate::invariant::{self, Broken, Members, live_successor};

/// Once the faults have stopped, the ring is ideal within this time.
pub const CONVERGES_WITHIN: Duration = Duration::from_secs(60);

/// So long it stays ideal before it counts: what was lost before can take a living node for dead until then.
const REST: Duration = Duration::from_secs(10);

/// The largest share of lost frames at which a living node is not taken for dead, but for one in a very long time: that takes five
/// signs of life that are lost in a row, or a dial.
const MILD_LOSS: f64 = 0.02;

/// So long after a partition, its healing, or heavy loss, nodes that live are still taken for dead because of it, see
/// [`Config::dead_after`], and lists are on their way that tell of them. Zave assumes that failures are detected without error:
/// until then, and until rings have merged and the one ring has a principal, its shape is not looked at. That it comes to
/// that is demanded in the end.
const DOUBT: Duration = Duration::from_secs(10);

/// So long after a death it may still stand in lists, and others on their way.
const REPAIR: Duration = Duration::from_secs(15);

/// Events that are told of when something is broken.
const HISTORY: usize = 40;

/// Tries to find two parts that can live without each other.
const TRIES: u32 = 64;

/// What a run that went well came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ran {
    /// Virtual time, in microseconds.
    pub virtual_us: u64,
    /// Inputs that nodes took.
    pub events: u64,
    /// Times that the invariants were checked.
    pub checks: u64,
    /// From the end of the faults to the ideal ring, in microseconds.
    pub converged_us: u64,
    /// Equal when two runs did the same.
    pub trace_hash: u64,
}

/// What a run that went wrong came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failed {
    /// What does not hold.
    #[serde(flatten)]
    pub broken: Broken,
    /// When that was seen, in milliseconds of virtual time.
    pub at: u64,
    /// The nodes then.
    pub state: String,
    /// The last that they told of the ring.
    pub history: Vec<String>,
    /// Inputs that nodes had taken.
    pub events: u64,
    /// All that had happened by then.
    pub trace_hash: u64,
}

/// Runs a scenario with nodes that are set as `base`, where it says nothing.
///
/// # Errors
///
/// The first invariant that does not hold.
pub fn run_scenario(scenario: &Scenario, base: &Config) -> Result<Ran, Box<Failed>> {
    let mut run = Run::new(scenario, base);
    match run.whole() {
        Ok(converged) => Ok(Ran {
            virtual_us: run.world.now().0,
            events: run.world.counts().events,
            checks: run.checks,
            converged_us: converged.as_micros() as u64,
            trace_hash: run.world.trace_hash(),
        }),
        Err(broken) => Err(Box::new(Failed {
            broken,
            history: run.history(),
            at: run.world.now().0 / 1000,
            state: run.world.describe(),
            events: run.world.counts().events,
            trace_hash: run.world.trace_hash(),
        })),
    }
}

/// Something that is done to the world at a time.
#[derive(Clone, Copy, Debug)]
enum Action {
    Start,
    Fault(Fault),
    Heal,
    ServerUp,
    LossEnds(f64),
    Fast(Id),
}

/// What a node looked like when its invariants were checked last.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Seen {
    member: bool,
    predecessors: Vec<Id>,
    successors: Vec<Id>,
}

struct Run<'a> {
    scenario: &'a Scenario,
    config: Config,
    world: World,
    seen: Vec<Seen>,
    base: Base,
    asked: Asked,
    channel: Channel,
    store: Store,
    tokens: u64,
    /// Who was killed or left, and when.
    gone: Vec<(Time, Id)>,
    /// The last events, the oldest first.
    recent: VecDeque<(Time, Happening)>,
    parted: bool,
    /// By part of the network: since when living nodes may be taken for dead, and the ring's shape is not looked at.
    doubt: [Option<Time>; 2],
    checks: u64,
}

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, base: &Config) -> Self {
        let mut world = World::new(scenario.seed, scenario.network.network());
        world.watch.events = true;
        Run {
            scenario,
            config: scenario.config(base),
            world,
            seen: Vec::new(),
            base: Base::default(),
            asked: Asked::default(),
            channel: Channel::default(),
            store: Store::default(),
            tokens: 0,
            gone: Vec::new(),
            recent: VecDeque::with_capacity(HISTORY),
            parted: false,
            doubt: [None; 2],
            checks: 0,
        }
    }

    fn whole(&mut self) -> Result<Duration, Broken> {
        for (at, action) in timetable(self.scenario) {
            self.pass_until(Time(at * 1000))?;
            self.take_answers()?;
            self.store.acknowledged.check(&self.world)?;
            self.act(action)?;
            self.store.acknowledged.forget_what_died(&self.world);
            self.look_at_all()?;
        }
        self.pass_until(Time(self.scenario.faults_for * 1000))?;
        self.stop_faults();
        let took = self.converge()?;
        self.talk()?;
        self.tell_all()?;
        self.read_all()?;
        invariant::check_converged(self.running())?;
        Ok(took)
    }

    fn pass_until(&mut self, end: Time) -> Result<(), Broken> {
        while self.world.step_until(end) {
            self.look()?;
            // What an answer says of the store is compared with what nodes keep at that moment.
            if !self.world.happened.is_empty() {
                self.take_answers()?;
            }
        }
        self.take_answers()
    }

    /// Waits for the ring to be ideal, and to stay so: how long the first took.
    fn converge(&mut self) -> Result<Duration, Broken> {
        let start = self.world.now();
        let end = start.after(CONVERGES_WITHIN);
        let mut ideal_since = None;
        loop {
            self.take_answers()?;
            let now = self.world.now();
            ideal_since = self.world.is_ideal().then(|| ideal_since.unwrap_or(now));
            if let Some(since) = ideal_since.filter(|since| now >= since.after(REST)) {
                return Ok(since.since(start));
            }
            let until = ideal_since.map_or(end, |since| since.after(REST));
            for _ in 0..self.world.nodes.len().max(1) {
                if self.world.step_until(until) {
                    self.look()?;
                    if !self.world.happened.is_empty() {
                        self.take_answers()?;
                    }
                    continue;
                }
                if ideal_since.is_none() {
                    let within = CONVERGES_WITHIN.as_secs();
                    return invariant::check_converged(self.running()).map(|()| CONVERGES_WITHIN).map_err(|broken| {
                        let what = format!("{within} s after the faults stopped, {}", broken.what);
                        Broken { what, ..broken }
                    });
                }
                break;
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = &Proto> + Clone {
        self.world.nodes.iter().filter(|node| node.is_running()).map(|node| &node.proto)
    }

    /// Members in one part of the network.
    fn members(&self, group: u8) -> Members<'_> {
        let here = self.world.nodes.iter().filter(|node| node.is_member() && node.group == group);
        Members::new(here.map(|node| &node.proto))
    }

    /// The invariants, when the node that took the last input has changed.
    fn look(&mut self) -> Result<(), Broken> {
        let at = self.world.touched();
        let node = &self.world.nodes[at];
        invariant::link_budget::check(&node.proto)?;
        let seconds = self.world.now().0 / 1_000_000 + 10;
        invariant::calm::check(self.world.counts().events, self.world.nodes.len(), seconds)?;
        if self.seen.len() <= at {
            self.seen.resize_with(at + 1, Seen::default);
        }
        let (proto, seen) = (&node.proto, &mut self.seen[at]);
        let member = node.is_member();
        let same =
            seen.member == member && seen.predecessors == proto.predecessors() && seen.successors == proto.successors();
        if same {
            return Ok(());
        }
        let (predecessors, successors) = (proto.predecessors().to_vec(), proto.successors().to_vec());
        *seen = Seen { member, predecessors, successors };
        self.look_at_all()
    }

    fn look_at_all(&mut self) -> Result<(), Broken> {
        self.checks += 1;
        let trusting = self.scenario.is_trusting();
        let mut base = std::mem::take(&mut self.base);
        let now = self.world.now();
        if self.world.network.loss > MILD_LOSS {
            self.doubt = [Some(now); 2];
        }
        for group in 0..=u8::from(self.parted) {
            let members = self.members(group);
            if trusting {
                let calm = self.gone.last().is_none_or(|&(at, _)| now >= at.after(REPAIR));
                base.check(&members, calm, now)?;
            }
            // One that founded a ring of its own meanwhile leaves nobody out, for its list is empty.
            let merged = || !principals(&members).is_empty() && members.rings().len() == 1;
            let doubt = self.doubt[usize::from(group)];
            if doubt.is_some_and(|since| now < since.after(DOUBT) || !merged()) {
                continue;
            }
            invariant::check_always(&members, 1)?;
            self.doubt[usize::from(group)] = None;
        }
        self.base = base;
        Ok(())
    }

    fn take_answers(&mut self) -> Result<(), Broken> {
        for (at, happening) in std::mem::take(&mut self.world.happened) {
            match &happening {
                Happening::Answer { token, answer, .. } if *token >= store::TOKENS => {
                    self.store.answer(&self.world, *token, answer)?;
                }
                Happening::Answer { node, token, answer } if *token >= TOKENS => self.channel.answer(*node, answer),
                Happening::Answer { node, token, .. } => self.asked.answer(*token, *node, at)?,
                Happening::Channel { node, event, .. } => self.channel.hear(*node, event)?,
                _ => {}
            }
            self.remember(at, happening);
        }
        let nodes = &self.world.nodes;
        self.asked.check(self.world.now(), |node| nodes[node].is_running())
    }

    fn remember(&mut self, at: Time, happening: Happening) {
        if let Happening::Event { .. } = happening {
            if self.recent.len() == HISTORY {
                self.recent.pop_front();
            }
            self.recent.push_back((at, happening));
        }
    }

    fn history(&mut self) -> Vec<String> {
        for (at, happening) in std::mem::take(&mut self.world.happened) {
            self.remember(at, happening);
        }
        let line = |(at, happening): &(Time, Happening)| match happening {
            Happening::Event { node, event } => {
                format!("{:>9.3} s  {}  {event:?}", at.0 as f64 / 1e6, self.world.nodes[*node].proto.id())
            }
            other => format!("{other:?}"),
        };
        self.recent.iter().map(line).collect()
    }

    fn act(&mut self, action: Action) -> Result<(), Broken> {
        match action {
            Action::Start => self.world.start(1, &self.config),
            Action::Fault(fault) => self.begin(fault),
            Action::Heal => self.heal(),
            Action::ServerUp => self.world.server_up = true,
            Action::LossEnds(share) => self.world.network.loss = (self.world.network.loss - share).max(0.0),
            Action::Fast(node) => {
                if let Some(at) = self.node_at(node) {
                    self.world.set_slow(at, false);
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self, fault: Fault) {
        match fault {
            Fault::Join { id, .. } => {
                if self.world.find(id).is_none() {
                    self.world.add(id, self.config.clone());
                }
            }
            Fault::Kill { node, count, .. } => self.kill(node, count),
            Fault::Leave { node, .. } => {
                if let Some(at) = self.node_at(node).filter(|&at| self.may_go(at)) {
                    self.gone.push((self.world.now(), self.world.nodes[at].proto.id()));
                    self.world.leave(at);
                }
            }
            Fault::Partition { share, salt, .. } => self.part(share, salt),
            Fault::ServerDown { .. } => self.world.server_up = false,
            Fault::Loss { share, .. } => self.world.network.loss = (self.world.network.loss + share).min(1.0),
            Fault::Slow { node, .. } => {
                if let Some(at) = self.node_at(node) {
                    self.world.set_slow(at, true);
                }
            }
            Fault::Lookups { count, salt, .. } => self.look_up(count, salt),
            Fault::Messages { count, salt, .. } => self.publish(count, salt),
            Fault::Writes { count, salt, .. } => self.write(count, salt),
        }
    }

    /// The first running node at or after a point.
    fn node_at(&self, point: Id) -> Option<usize> {
        self.world.running().min_by_key(|&at| point.clockwise_to(self.world.nodes[at].proto.id()))
    }

    fn kill(&mut self, first: Id, count: usize) {
        let mut victims: Vec<usize> = self.world.running().collect();
        victims.sort_unstable_by_key(|&at| first.clockwise_to(self.world.nodes[at].proto.id()));
        for at in victims.into_iter().take(count) {
            if self.may_go(at) {
                self.gone.push((self.world.now(), self.world.nodes[at].proto.id()));
                self.world.kill(at);
            }
        }
    }

    /// Whether the protocol survives that this node goes now: Zave's assumption, and a principal is left.
    fn may_go(&self, at: usize) -> bool {
        let node = &self.world.nodes[at];
        let members = self.members(node.group);
        self.survives(&members, |id| id == node.proto.id())
    }

    fn survives(&self, members: &Members<'_>, gone: impl Fn(Id) -> bool) -> bool {
        let since = Time(self.world.now().0.saturating_sub(REPAIR.as_micros() as u64));
        let lately = self.gone.iter().filter(|&&(at, _)| at >= since).map(|&(_, id)| id);
        let cut_off = self.world.nodes.iter().filter(|node| node.is_member()).map(|node| node.proto.id());
        let dead = lately.chain(cut_off.filter(|&id| members.place_of(id).is_none())).collect();
        let rest = Members::new(members.nodes().iter().copied().filter(|node| !gone(node.id())));
        let joining = || self.running().filter(|node| node.phase() == Phase::Joining && !gone(node.id()));
        // Those about to be members, by a list that they have copied, or will from one that has none but itself to give.
        let keeps_one = |node: &Proto| {
            let lives = |&id: &Id| rest.place_of(id).is_some();
            let list = node.successors();
            list.iter().any(lives) || !list.iter().any(|&id| members.place_of(id).is_some())
        };
        live_successor::allows(members, &dead, &gone)
            && joining().all(keeps_one)
            && (!rest.is_empty() || joining().next().is_none())
            && (rest.is_empty() || !principals(&rest).is_empty() || principals(members).is_empty())
    }

    fn part(&mut self, share: f64, salt: u32) {
        if self.parted {
            return;
        }
        for salt in (0..TRIES).map(|more| salt.wrapping_add(more)) {
            let rng = &mut Pcg32::seed_from_u64(salt.into());
            let groups: Vec<u8> = self.world.nodes.iter().map(|_| u8::from(rng.random_bool(share))).collect();
            let members = self.members(0);
            let group_of = |id: Id| self.world.find(id).map_or(0, |at| groups[at]);
            if (0..2).all(|group| self.survives(&members, |id| group_of(id) != group)) {
                self.world.nodes.iter_mut().zip(groups).for_each(|(node, group)| node.group = group);
                self.parted = true;
                self.doubt = [Some(self.world.now()); 2];
                return;
            }
        }
    }

    fn heal(&mut self) {
        if !std::mem::take(&mut self.parted) {
            return;
        }
        self.doubt = [Some(self.world.now()); 2];
        self.world.nodes.iter_mut().for_each(|node| node.group = 0);
    }

    fn look_up(&mut self, count: usize, salt: u32) {
        let rng = &mut Pcg32::seed_from_u64(salt.into());
        let running: Vec<usize> = self.world.running().collect();
        for _ in 0..count {
            let key = Id::random(rng);
            if let Some(&from) = running.choose(rng) {
                self.ask(from, key);
            }
        }
    }

    fn publish(&mut self, count: usize, salt: u32) {
        let rng = &mut Pcg32::seed_from_u64(salt.into());
        let running: Vec<usize> = self.world.running().collect();
        for _ in 0..count {
            if let Some(&from) = running.choose(rng) {
                self.channel.publish(&mut self.world, from);
            }
        }
    }

    fn write(&mut self, count: usize, salt: u32) {
        let rng = &mut Pcg32::seed_from_u64(salt.into());
        let running: Vec<usize> = self.world.running().collect();
        for _ in 0..count {
            let number = rng.random();
            if let Some(&from) = running.choose(rng) {
                self.store.write(&mut self.world, from, number);
            }
        }
    }

    fn ask(&mut self, from: usize, key: Id) -> u64 {
        let token = self.tokens;
        self.tokens += 1;
        self.asked.ask(token, from, &self.config, self.world.now());
        self.world.lookup(from, token, key);
        token
    }

    fn stop_faults(&mut self) {
        self.heal();
        self.world.server_up = true;
        let now = Network { loss: 0.0, failing_links: 0.0, ..self.world.network.clone() };
        self.world.network = now;
        (0..self.world.nodes.len()).for_each(|at| self.world.set_slow(at, false));
    }
}

/// Everything that is done, in its order.
fn timetable(scenario: &Scenario) -> Vec<(u64, Action)> {
    let mut actions: Vec<(u64, Action)> = Vec::new();
    for number in 0..scenario.nodes as u64 {
        actions.push((scenario.start_over * number / scenario.nodes as u64, Action::Start));
    }
    for &fault in &scenario.faults {
        actions.push((fault.at(), Action::Fault(fault)));
        match fault {
            Fault::Partition { at, lasts, .. } => actions.push((at + lasts, Action::Heal)),
            Fault::ServerDown { at, lasts } => actions.push((at + lasts, Action::ServerUp)),
            Fault::Loss { at, lasts, share } => actions.push((at + lasts, Action::LossEnds(share))),
            Fault::Slow { at, lasts, node } => actions.push((at + lasts, Action::Fast(node))),
            _ => {}
        }
    }
    actions.retain(|&(at, _)| at <= scenario.faults_for);
    actions.sort_by_key(|&(at, _)| at);
    actions
}
