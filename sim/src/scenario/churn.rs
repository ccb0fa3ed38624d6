//! Nodes come and go without end while others look keys up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use atoll::id::Id;
use atoll::proto::{Answer, Event, Owner, Time};
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::ring::{Growth, Recipe};
use super::samples::Samples;
use super::{Run, Scenario};
use crate::engine::{Happening, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory::PAPER_CHURN;

/// Virtual time between two looks at whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The longest time that is drawn, in virtual seconds: a year.
const MAX_SESSION: f64 = 3.2e7;

/// How long nodes stay, as people write it: `poisson`, or `weibull:0.5` with its shape.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sessions {
    /// Joins and departures are independent, both at the same mean rate; whoever leaves is chosen at random.
    Poisson,
    /// Joins as before; each newcomer stays for a time with this distribution, whose mean keeps the size of the ring. With shapes
    /// below 1 most stay briefly and a few for very long, as people in file sharing do (Stutzbach, Rejaie, IMC 2006).
    Weibull {
        /// The shape.
        shape: f64,
    },
}

impl FromStr for Sessions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "poisson" => Ok(Sessions::Poisson),
            Some(("weibull", shape)) => match values::positive(shape)? {
                shape if (0.2..=10.0).contains(&shape) => Ok(Sessions::Weibull { shape }),
                _ => Err("the shape lies between 0.2 and 10".to_owned()),
            },
            _ => Err(format!("{text:?} is no kind of session; write poisson or weibull:0.5")),
        }
    }
}

impl fmt::Display for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sessions::Poisson => f.write_str("poisson"),
            Sessions::Weibull { shape } => write!(f, "weibull:{shape}"),
        }
    }
}

/// What lookups do while nodes come and go.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim churn --nodes 1000 --rate 0.05,0.4 --stabilize-every 30s --duration 2h")]
pub struct Churn {
    /// Size of the ring, on average.
    #[arg(long, default_value = "200", value_name = "NODES", value_parser = values::count)]
    pub(super) nodes: usize,
    /// Joins a second, and as many departures.
    #[arg(long, default_value = "0.05,0.2,0.4", value_name = "RATE", value_delimiter = ',', value_parser = values::rate)]
    pub(super) rate: Vec<f64>,
    /// How long nodes stay: poisson, or weibull with its shape.
    #[arg(long, default_value = "poisson", value_name = "SESSIONS")]
    pub(super) sessions: Sessions,
    /// The share of departures that is announced; the others are killed.
    #[arg(long, default_value = "0", value_name = "SHARE", value_parser = values::share)]
    pub(super) announced: f64,
    /// Lookups of random keys by random members, a second.
    #[arg(long, default_value = "1", value_name = "RATE", value_parser = values::positive)]
    pub(super) lookup_rate: f64,
    /// Virtual time for which nodes come and go.
    #[arg(long, default_value = "10min", value_name = "WAIT", value_parser = values::wait)]
    pub(super) duration: Duration,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// In what order the first nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// One ring whose nodes came and went.
#[derive(Default)]
struct Measured {
    rate: f64,
    joins: usize,
    departures: usize,
    asked: usize,
    right: usize,
    wrong: usize,
    hops: Samples,
    seconds: Samples,
    frames: u64,
    node_seconds: f64,
}

impl Measured {
    /// Lookups that named a wrong owner or none, of 10,000.
    fn failures(&self) -> Option<f64> {
        (self.asked > 0).then(|| 1e4 * (self.asked - self.right) as f64 / self.asked as f64)
    }
}

impl Scenario for Churn {
    fn check(&self) -> Result<(), Wrong> {
        self.common.protocol.check(&[self.nodes], &[self.links])
    }

    /// Those who left still stand in the engine's table.
    fn sizes(&self) -> Vec<usize> {
        let newcomers = |rate: &f64| (rate * self.duration.as_secs_f64()) as usize;
        self.rate.iter().map(|rate| self.nodes + newcomers(rate)).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let work = self.nodes as u64 + self.duration.as_secs();
        run.progress.expect(work * self.rate.len() as u64);
        let measured = run.each(&self.rate, |&rate| self.measure(run, rate))?;
        Ok(self.report(measured))
    }
}

impl Churn {
    fn measure(&self, run: &Run, rate: f64) -> Result<Option<Measured>> {
        let recipe = Recipe::new(self.nodes, self.links, self.growth, &self.common);
        let Some(world) = recipe.build_settled(run)? else { return Ok(None) };
        let mut crowd = Crowd::new(world, self, recipe, rate);
        crowd.live(run);
        Ok(Some(crowd.measured))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let title = format!("Nodes come and go: {} nodes, sessions {}", self.nodes, self.sessions);
        let mut report = Report::new(title).with_columns(&[
            ("rate", "joins a second", 2),
            ("joins", "", 0),
            ("departures", "", 0),
            ("lookups", "", 0),
            ("failed", "of 10,000", 1),
            ("wrong", "", 0),
            ("mean", "hops", 3),
            ("p50", "s", 3),
            ("p99", "s", 3),
            ("frames", "a node and second", 2),
        ]);
        for run in &mut measured {
            report.row([
                run.rate.into(),
                run.joins.into(),
                run.departures.into(),
                run.asked.into(),
                run.failures().into(),
                run.wrong.into(),
                run.hops.mean().into(),
                run.seconds.quantile(0.5).into(),
                run.seconds.quantile(0.99).into(),
                (run.frames as f64 / run.node_seconds).into(),
            ]);
        }
        report.figures.push(Figure::Plot(failures(&measured)));
        report.figures.push(Figure::Plot(hops(&measured)));
        report
    }
}

fn failures(measured: &[Measured]) -> Plot {
    let atoll = measured.iter().filter_map(|run| Some((run.rate, run.failures()?)));
    let paper = PAPER_CHURN.iter().map(|row| (row.rate, row.failures));
    Plot {
        name: "failures".to_owned(),
        title: "Lookups that fail while nodes come and go".to_owned(),
        x: Axis::linear("joins and departures (each a second)"),
        y: Axis::linear("failed lookups (of 10,000)"),
        series: vec![
            Series::new("Atoll", Style::Measured, atoll),
            Series::new("Chord, 1000 nodes (ToN 2003)", Style::Paper, paper),
        ],
    }
}

fn hops(measured: &[Measured]) -> Plot {
    let atoll = measured.iter().filter_map(|run| Some((run.rate, run.hops.mean()?)));
    let paper = PAPER_CHURN.iter().map(|row| (row.rate, row.hops));
    Plot {
        name: "hops".to_owned(),
        title: "Mean path length while nodes come and go".to_owned(),
        x: Axis::linear("joins and departures (each a second)"),
        y: Axis::linear("mean path length (hops)"),
        series: vec![
            Series::new("Atoll", Style::Measured, atoll),
            Series::new("Chord, 1000 nodes (ToN 2003)", Style::Paper, paper),
        ],
    }
}

/// The nodes of one run, and what is to happen to them. The schedule has chance of its own: whatever the nodes do, with one seed
/// the same nodes come and go and the same keys are looked up at the same times.
struct Crowd<'a> {
    world: World,
    churn: &'a Churn,
    recipe: Recipe<'a>,
    rng: Pcg32,
    measured: Measured,
    /// Those who live, members or not.
    alive: BTreeMap<Id, usize>,
    members: BTreeSet<Id>,
    /// When nodes leave again, where sessions have a length.
    leaving: BTreeSet<(Time, usize)>,
    next_join: Time,
    next_departure: Time,
    next_lookup: Time,
    /// By token.
    asked: Vec<Asked>,
}

/// A lookup that was begun.
struct Asked {
    at: Time,
    from: usize,
    key: Id,
    /// Who owned the key then.
    owner: Option<Id>,
    /// It has an answer, or whoever asked is gone.
    settled: bool,
}

/// Time that never comes.
const NEVER: Time = Time(u64::MAX);

impl<'a> Crowd<'a> {
    fn new(mut world: World, churn: &'a Churn, recipe: Recipe<'a>, rate: f64) -> Self {
        world.watch.answers = true;
        world.watch.events = true;
        world.happened.clear();
        let ids = || world.nodes.iter().map(|node| node.proto.id());
        let (alive, members) = (ids().zip(0..).collect(), ids().collect());
        let mut crowd = Crowd {
            world,
            churn,
            recipe,
            rng: Pcg32::seed_from_u64(churn.common.seed),
            measured: Measured { rate, ..Measured::default() },
            alive,
            members,
            leaving: BTreeSet::new(),
            next_join: NEVER,
            next_departure: NEVER,
            next_lookup: NEVER,
            asked: Vec::new(),
        };
        crowd.next_join = crowd.after(rate);
        crowd.next_lookup = crowd.after(churn.lookup_rate);
        match churn.sessions {
            Sessions::Poisson => crowd.next_departure = crowd.after(rate),
            Sessions::Weibull { .. } => (0..crowd.world.nodes.len()).for_each(|node| crowd.limit_stay(node)),
        }
        crowd
    }

    fn live(&mut self, run: &Run) {
        let before = self.world.counts();
        let end = self.world.now().after(self.churn.duration);
        let mut look = self.world.now();
        while look < end && !run.progress.is_stopped() {
            look = look.after(LOOK_EVERY).min(end);
            let events = self.world.counts().events;
            self.live_until(look);
            run.progress.did(LOOK_EVERY.as_secs(), self.world.counts().events - events);
            self.measured.node_seconds += self.alive.len() as f64 * LOOK_EVERY.as_secs_f64();
        }
        self.measured.frames = self.world.counts().frames - before.frames;
        // The answers to the last lookups are still on their way.
        self.run_until(self.world.now().after(self.churn.common.protocol.lookup_patience()));
        self.measured.asked = self.measured.right + self.asked.iter().filter(|asked| !asked.settled).count();
    }

    /// Lets happen what is to happen until then.
    fn live_until(&mut self, end: Time) {
        loop {
            let leaving = self.leaving.first().map_or(NEVER, |(at, _)| *at);
            let next = self.next_join.min(self.next_departure).min(self.next_lookup).min(leaving);
            self.run_until(next.min(end));
            if next > end {
                return;
            }
            if next == self.next_lookup {
                self.look_up();
                self.next_lookup = self.after(self.churn.lookup_rate);
            } else if next == self.next_join {
                self.arrive();
                self.next_join = self.after(self.measured.rate);
            } else if next == leaving {
                if let Some((_, node)) = self.leaving.pop_first() {
                    self.depart(node);
                }
            } else {
                if let Some(node) = self.random_node() {
                    self.depart(node);
                }
                self.next_departure = self.after(self.measured.rate);
            }
        }
    }

    fn run_until(&mut self, end: Time) {
        while self.world.step_until(end) {
            if !self.world.happened.is_empty() {
                self.take_news();
            }
        }
    }

    fn take_news(&mut self) {
        for (at, happening) in std::mem::take(&mut self.world.happened) {
            match happening {
                Happening::Event { node, event: Event::Joined } if self.world.nodes[node].is_member() => {
                    self.members.insert(self.world.nodes[node].proto.id());
                }
                Happening::Answer { token, answer: Answer::Lookup(Ok(owner)), .. } => self.take(token, &owner, at),
                _ => {}
            }
        }
    }

    fn take(&mut self, token: u64, owner: &Owner, at: Time) {
        let Some(asked) = self.asked.get(token as usize).filter(|asked| !asked.settled) else { return };
        // Whoever owned the key when it was asked for or is answered may answer for it.
        if Some(owner.id) == asked.owner || Some(owner.id) == self.owner(asked.key) {
            self.measured.right += 1;
            self.measured.hops.push(f64::from(owner.hops));
            self.measured.seconds.push(at.since(asked.at).as_secs_f64());
            self.asked[token as usize].settled = true;
        } else {
            self.measured.wrong += 1;
        }
    }

    fn look_up(&mut self) {
        let key = Id::random(&mut self.rng);
        let Some(mut from) = self.random_node() else { return };
        if !self.world.nodes[from].is_member() {
            // Who is not there yet cannot ask: the next member does.
            let after = self.owner(self.world.nodes[from].proto.id()).and_then(|owner| self.alive.get(&owner));
            let Some(&after) = after else { return };
            from = after;
        }
        let token = self.asked.len() as u64;
        self.asked.push(Asked { at: self.world.now(), from, key, owner: self.owner(key), settled: false });
        self.world.lookup(from, token, key);
        self.take_news();
    }

    fn arrive(&mut self) {
        let node = self.recipe.add_by(&mut self.rng, &mut self.world);
        self.alive.insert(self.world.nodes[node].proto.id(), node);
        self.measured.joins += 1;
        self.limit_stay(node);
    }

    fn depart(&mut self, node: usize) {
        // Somebody must stay for the others to join.
        if self.alive.len() < 2 {
            return;
        }
        let id = self.world.nodes[node].proto.id();
        self.alive.remove(&id);
        self.members.remove(&id);
        self.measured.departures += 1;
        // What the node asks for is nobody's business any more.
        let patience = self.churn.common.protocol.lookup_patience();
        let now = self.world.now();
        let open = self.asked.iter_mut().rev().take_while(|asked| now.since(asked.at) < patience);
        open.filter(|asked| asked.from == node).for_each(|asked| asked.settled = true);
        let announced = self.churn.announced > 0.0 && self.rng.random_bool(self.churn.announced);
        if announced { self.world.leave(node) } else { self.world.kill(node) }
    }

    /// The first member at or after the key.
    fn owner(&self, key: Id) -> Option<Id> {
        self.members.range(key..).next().or(self.members.first()).copied()
    }

    fn random_node(&mut self) -> Option<usize> {
        if self.alive.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..self.alive.len());
        self.alive.values().nth(at).copied()
    }

    /// The next event of a Poisson process with so many a second.
    fn after(&mut self, rate: f64) -> Time {
        if rate <= 0.0 {
            return NEVER;
        }
        let wait = -libm::log(1.0 - self.rng.random::<f64>()) / rate;
        self.world.now().after(Duration::from_secs_f64(wait.min(MAX_SESSION)))
    }

    /// Draws how long a node stays, where sessions have a length: with a mean that keeps the ring's size.
    fn limit_stay(&mut self, node: usize) {
        let Sessions::Weibull { shape } = self.churn.sessions else { return };
        if self.measured.rate <= 0.0 {
            return;
        }
        let mean = self.churn.nodes as f64 / self.measured.rate;
        let scale = mean / libm::tgamma(1.0 + 1.0 / shape);
        let stay = scale * libm::pow(-libm::log(1.0 - self.rng.random::<f64>()), 1.0 / shape);
        let until = self.world.now().after(Duration::from_secs_f64(stay.min(MAX_SESSION)));
        self.leaving.insert((until, node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_sessions_are_shown_as_they_are_read() {
        for text in ["poisson", "weibull:0.5"] {
            assert_eq!(text.parse::<Sessions>().unwrap().to_string(), text);
        }
        assert!("weibull:-1".parse::<Sessions>().unwrap_err().contains("above 0"));
        assert!("forever".parse::<Sessions>().unwrap_err().contains("write poisson or weibull:0.5"));
    }
}
