//! Nodes come and go without end while others look keys up.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use anyhow::Result;
use atoll::id::Id;
use atoll::proto::{Answer, Event, Owner, Time};
use atoll::wire::kind;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::classic::Kind;
use super::ring::{Growth, Recipe};
use super::samples::Samples;
use super::turnover::{MAX_WAIT, NEVER, go, next_event};
use super::{Run, Scenario};
use crate::engine::{Happening, Watch, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;
use crate::theory::{PAPER_CHURN, PaperChurn};

/// Virtual time between two looks at whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
#[command(after_help = "Example:\n  sim churn --nodes 1000 --rate 0.05,0.4 --stabilize-every 30s --lookup-rate 10")]
pub struct Churn {
    /// Size of the ring, on average.
    #[arg(long, default_value = "200", value_name = "NODES", value_parser = values::count)]
    pub(super) nodes: usize,
    /// Nodes as they ship (atoll), and as in the paper (chord): the same nodes come and go, the same keys are looked up.
    #[arg(long, default_value = "atoll,chord", value_enum, value_name = "PROTOCOL", value_delimiter = ',')]
    pub(super) protocol: Vec<Kind>,
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
struct Measured {
    kind: Kind,
    rate: f64,
    joins: usize,
    departures: usize,
    asked: usize,
    right: usize,
    wrong: usize,
    hops: Samples,
    seconds: Samples,
    /// Questions that were sent to nodes that were dead.
    time_outs: usize,
    frames: u64,
    node_seconds: f64,
}

impl Measured {
    fn new(kind: Kind, rate: f64) -> Self {
        let (hops, seconds) = (Samples::default(), Samples::default());
        let (joins, departures, asked, right, wrong, time_outs) = (0, 0, 0, 0, 0, 0);
        Measured {
            kind,
            rate,
            joins,
            departures,
            asked,
            right,
            wrong,
            hops,
            seconds,
            time_outs,
            frames: 0,
            node_seconds: 0.0,
        }
    }

    fn time_outs(&self) -> Option<f64> {
        (self.asked > 0).then(|| self.time_outs as f64 / self.asked as f64)
    }

    /// Lookups that named a wrong owner or none, of 10,000.
    fn failures(&self) -> Option<f64> {
        (self.asked > 0).then(|| 1e4 * (self.asked - self.right) as f64 / self.asked as f64)
    }
}

impl Scenario for Churn {
    fn check(&self) -> Result<(), Wrong> {
        let links = [self.links];
        let links = if self.protocol.contains(&Kind::Atoll) { &links[..] } else { &[] };
        self.common.protocol.check(&[self.nodes], links)
    }

    /// Those who left still stand in the engine's table.
    fn sizes(&self) -> Vec<usize> {
        let newcomers = |rate: &f64| (rate * self.duration.as_secs_f64()) as usize;
        self.runs().iter().map(|(_, rate)| self.nodes + newcomers(rate)).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let work = self.nodes as u64 + self.duration.as_secs();
        let runs = self.runs();
        run.progress.expect(work * runs.len() as u64);
        let measured = run.each(&runs, |&(kind, rate)| self.measure(run, kind, rate))?;
        Ok(self.report(measured))
    }
}

impl Churn {
    fn runs(&self) -> Vec<(Kind, f64)> {
        self.rate.iter().flat_map(|&rate| self.protocol.iter().map(move |&kind| (kind, rate))).collect()
    }

    fn measure(&self, run: &Run, kind: Kind, rate: f64) -> Result<Option<Measured>> {
        let mut recipe = match kind {
            Kind::Atoll => Recipe::new(self.nodes, self.links, self.growth, &self.common),
            Kind::Chord => Recipe::classic(self.nodes, self.growth, &self.common),
        };
        let Some(mut world) = recipe.build_settled(run)? else { return Ok(None) };
        if kind == Kind::Chord {
            recipe.slow_down(&mut world, run);
        }
        let mut crowd = Crowd::new(world, self, recipe, Measured::new(kind, rate));
        crowd.live(run);
        Ok(Some(crowd.measured))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let title = format!("Nodes come and go: {} nodes, sessions {}", self.nodes, self.sessions);
        let mut report = Report::new(title).with_columns(&[
            ("rate", "joins a second", 2),
            ("protocol", "", 0),
            ("joins", "", 0),
            ("departures", "", 0),
            ("lookups", "", 0),
            ("failed", "of 10,000", 1),
            ("paper-failed", "of 10,000", 0),
            ("wrong", "", 0),
            ("mean", "hops", 3),
            ("time-outs", "a lookup", 3),
            ("paper-time-outs", "a lookup", 2),
            ("p50", "s", 3),
            ("p99", "s", 3),
            ("frames", "a node and second", 2),
        ]);
        for run in &mut measured {
            let same = |row: &&PaperChurn| self.nodes == 1000 && (row.rate - run.rate).abs() < 1e-9;
            let paper = PAPER_CHURN.iter().find(same).filter(|_| run.kind == Kind::Chord);
            report.row([
                run.rate.into(),
                run.kind.name().into(),
                run.joins.into(),
                run.departures.into(),
                run.asked.into(),
                run.failures().into(),
                paper.map(|row| row.failures).into(),
                run.wrong.into(),
                run.hops.mean().into(),
                run.time_outs().into(),
                paper.map(|row| row.timeouts).into(),
                run.seconds.quantile(0.5).into(),
                run.seconds.quantile(0.99).into(),
                (run.frames as f64 / run.node_seconds).into(),
            ]);
        }
        report.figures.push(Figure::Plot(self.plot(&measured, &FAILURES)));
        report.figures.push(Figure::Plot(self.plot(&measured, &HOPS)));
        report.figures.push(Figure::Plot(self.plot(&measured, &TIME_OUTS)));
        report
    }

    fn plot(&self, measured: &[Measured], curve: &Curve) -> Plot {
        let mut series = Vec::new();
        for &kind in &self.protocol {
            let runs = measured.iter().filter(|run| run.kind == kind);
            let points = runs.filter_map(|run| Some((run.rate, (curve.of)(run)?)));
            series.push(Series::new(kind.name(), Style::Measured, points));
        }
        let paper = PAPER_CHURN.iter().map(|row| (row.rate, (curve.paper)(row)));
        series.push(Series::new("Chord, 1000 nodes (ToN 2003)", Style::Paper, paper));
        Plot {
            name: curve.name.to_owned(),
            title: curve.title.to_owned(),
            x: Axis::linear("joins and departures (each a second)"),
            y: Axis::linear(curve.axis),
            series,
        }
    }
}

/// What is drawn over the rate.
struct Curve {
    name: &'static str,
    title: &'static str,
    axis: &'static str,
    of: fn(&Measured) -> Option<f64>,
    paper: fn(&PaperChurn) -> f64,
}

const FAILURES: Curve = Curve {
    name: "failures",
    title: "Lookups that fail while nodes come and go",
    axis: "failed lookups (of 10,000)",
    of: Measured::failures,
    paper: |row| row.failures,
};

const HOPS: Curve = Curve {
    name: "hops",
    title: "Mean path length while nodes come and go",
    axis: "mean path length (hops)",
    of: |run| run.hops.mean(),
    paper: |row| row.hops,
};

const TIME_OUTS: Curve = Curve {
    name: "time-outs",
    title: "Dead contacts that lookups meet while nodes come and go",
    axis: "time-outs (a lookup)",
    of: Measured::time_outs,
    paper: |row| row.timeouts,
};

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
    /// Who has asked for which keys.
    questions: BTreeSet<(Id, Id)>,
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

impl<'a> Crowd<'a> {
    fn new(mut world: World, churn: &'a Churn, recipe: Recipe<'a>, measured: Measured) -> Self {
        let rate = measured.rate;
        world.watch = Watch { answers: true, events: true, dead_contacts: true };
        world.happened.clear();
        let ids = || world.nodes.iter().map(|node| node.proto.id());
        let (alive, members) = (ids().zip(0..).collect(), ids().collect());
        let mut crowd = Crowd {
            world,
            churn,
            recipe,
            rng: Pcg32::seed_from_u64(churn.common.seed),
            measured,
            alive,
            members,
            leaving: BTreeSet::new(),
            next_join: NEVER,
            next_departure: NEVER,
            next_lookup: NEVER,
            asked: Vec::new(),
            questions: BTreeSet::new(),
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
        self.run_until(self.world.now().after(self.recipe.patience()));
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
                Happening::DeadContact { kind: kind::FIND, src, dst, .. } if self.questions.contains(&(src, dst)) => {
                    self.measured.time_outs += 1;
                }
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
        self.questions.insert((self.world.nodes[from].proto.id(), key));
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
        let patience = self.recipe.patience();
        let now = self.world.now();
        let open = self.asked.iter_mut().rev().take_while(|asked| now.since(asked.at) < patience);
        open.filter(|asked| asked.from == node).for_each(|asked| asked.settled = true);
        go(&mut self.world, node, self.churn.announced, &mut self.rng);
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

    fn after(&mut self, rate: f64) -> Time {
        next_event(self.world.now(), rate, &mut self.rng)
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
        let until = self.world.now().after(Duration::from_secs_f64(stay.min(MAX_WAIT)));
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
