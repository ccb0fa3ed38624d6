//! Records in the store of a ring whose nodes come and go: whether they are still read hours later, and what keeping them takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Result, ensure};
use atoll::proto::{Answer, Input, Time, Token};
use atoll::record::{CLOCK_SKEW, MAX_TTL, MAX_VALUE, Record, Seconds};
use atoll::wire::kind;
use rand::SeedableRng;
use rand::seq::IndexedRandom;
use rand_pcg::Pcg32;

use super::ring::{Growth, Recipe};
use super::turnover::{Turnover, go, next_event};
use super::{Run, Scenario};
use crate::engine::{Fate, Happening, Watch, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// Virtual time between two looks at whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Requests under way at once.
const AT_ONCE: usize = 200;

/// Times that a record is read before it counts as unreadable, each by another node.
const READS: u32 = 3;

/// Times that a writing that fails is tried again, each by another node.
const WRITES: u32 = 10;

/// How often the traffic is noted for the plot.
const NOTE_EVERY: Duration = Duration::from_secs(60);

/// Before the end of a record nobody is asked for it: reading takes a while.
const MARGIN: Duration = Duration::from_secs(90);

/// Whether records are still read hours after they were written, while nodes come and go, and how much is copied for that.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim store --nodes 1000 --records 10000 --look-at 1h,6h,24h")]
pub struct Store {
    /// Size of the ring, on average.
    #[arg(long, default_value = "1000", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// Records that are written once, and never again.
    #[arg(long, default_value = "10000", value_name = "RECORDS", value_parser = values::count)]
    pub(super) records: usize,
    /// Bytes of each.
    #[arg(long, default_value = "1024", value_name = "BYTES", value_parser = values::count)]
    pub(super) bytes: usize,
    #[command(flatten)]
    pub(super) turnover: Turnover,
    /// When all records are read, after they were written. A record ends a day after it was written, so the last look comes a little sooner.
    #[arg(long, default_value = "1h", value_name = "WAIT", value_delimiter = ',', value_parser = values::wait)]
    pub(super) look_at: Vec<Duration>,
    /// Budget of links.
    #[arg(long, default_value = "16", value_name = "LINKS", value_parser = values::count)]
    pub(super) links: usize,
    /// In what order the first nodes join: at-once, every:100ms, or doubling:10s.
    #[arg(long, default_value = "doubling:10s", value_name = "GROWTH")]
    pub(super) growth: Growth,
    #[command(flatten)]
    pub(super) common: Common,
}

/// What one look at all records showed.
struct Look {
    nodes: usize,
    /// Virtual time since the records were written.
    after: Duration,
    departures: usize,
    written: usize,
    read: usize,
    at_first: usize,
    /// Records that no running node keeps any more.
    lost: usize,
    kept: f64,
    /// Bytes a node and second: of copies, of all frames about replicas on all their hops, and what copying each lost replica once takes.
    copied: f64,
    frames: f64,
    least: f64,
}

impl Scenario for Store {
    fn check(&self) -> Result<(), Wrong> {
        if !(8..=MAX_VALUE).contains(&self.bytes) {
            return Err(Wrong::new("bytes", "a record has 8 to 65,536 bytes"));
        }
        if !self.look_at.is_sorted() || self.look_at.first().is_some_and(Duration::is_zero) {
            return Err(Wrong::new("look-at", "write these times in their order, each above 0"));
        }
        if self.look_at.last().is_some_and(|last| *last > MAX_TTL) {
            return Err(Wrong::new("look-at", "a record lives for 24h at most"));
        }
        self.common.protocol.check(&self.nodes, &[self.links])
    }

    /// Those who left still stand in the engine's table.
    fn sizes(&self) -> Vec<usize> {
        let newcomers = |nodes: usize| self.turnover.newcomers(nodes, self.lasts());
        self.nodes.iter().map(|&nodes| nodes + newcomers(nodes) / 4).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let work = |nodes: &usize| *nodes as u64 + self.lasts().as_secs();
        run.progress.expect(self.nodes.iter().map(work).sum());
        let measured = run.each(&self.nodes, |&nodes| self.measure(run, nodes))?;
        Ok(self.report(measured))
    }
}

type Traffic = Vec<(f64, f64)>;

impl Store {
    fn lasts(&self) -> Duration {
        self.look_at.last().copied().unwrap_or_default()
    }

    fn measure(&self, run: &Run, nodes: usize) -> Result<Option<(Vec<Look>, Traffic)>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(world) = recipe.build_settled(run)? else { return Ok(None) };
        let mut crowd = Crowd::new(world, self, recipe, nodes);
        crowd.write(run)?;
        crowd.live(run);
        Ok(Some((crowd.looks, crowd.traffic)))
    }

    fn report(&self, measured: Vec<(Vec<Look>, Traffic)>) -> Report {
        let mut report = Report::new("Records while nodes come and go").with_columns(&[
            ("nodes", "", 0),
            ("after", "h", 2),
            ("departures", "", 0),
            ("written", "", 0),
            ("readable", "%", 3),
            ("at-first", "%", 3),
            ("lost", "", 0),
            ("replicas", "a record", 2),
            ("copied", "B/s a node", 1),
            ("least", "B/s a node", 1),
            ("copied-over-least", "", 2),
            ("all-frames", "B/s a node", 1),
        ]);
        let mut series = Vec::new();
        for (looks, traffic) in measured {
            for look in &looks {
                let share = |count: usize| 100.0 * count as f64 / look.written.max(1) as f64;
                report.row([
                    look.nodes.into(),
                    (look.after.as_secs_f64() / 3600.0).into(),
                    look.departures.into(),
                    look.written.into(),
                    share(look.read).into(),
                    share(look.at_first).into(),
                    look.lost.into(),
                    look.kept.into(),
                    look.copied.into(),
                    look.least.into(),
                    (look.copied / look.least).into(),
                    look.frames.into(),
                ]);
            }
            if let Some(Look { nodes, least, .. }) = looks.first() {
                let last = traffic.last().map_or(0.0, |(after, _)| *after);
                series.push(Series::new(format!("copied, {nodes} nodes"), Style::Measured, traffic));
                let name = format!("each lost replica once, {nodes} nodes");
                series.push(Series::new(name, Style::Theory, [(0.0, *least), (last, *least)]));
            }
        }
        report.figures.push(Figure::Plot(Plot {
            name: "repair".to_owned(),
            title: "What is copied so that records survive".to_owned(),
            x: Axis::linear("time since they were written (h)"),
            y: Axis::linear("bytes of values a node and second"),
            series,
        }));
        report
    }
}

struct Crowd<'a> {
    world: World,
    store: &'a Store,
    recipe: Recipe<'a>,
    rng: Pcg32,
    nodes: usize,
    alive: Vec<usize>,
    records: Vec<Record>,
    /// By token: which record, how often it was tried before, and by which node now.
    asked: BTreeMap<u64, (usize, u32, usize)>,
    /// When the next node goes, and the next one comes; nobody does before the records are written.
    next: Option<[Time; 2]>,
    /// Requests that failed, and are to be tried again.
    failed: Vec<(usize, u32)>,
    done: usize,
    at_first: usize,
    tokens: u64,
    /// Bytes of frames about replicas.
    frames: Arc<AtomicU64>,
    departures: usize,
    /// Bytes of replicas that were lost with them: each is to be copied once.
    least: f64,
    node_seconds: f64,
    /// Bytes copied by nodes that are gone.
    copied_by_dead: u64,
    looks: Vec<Look>,
    traffic: Traffic,
}

impl<'a> Crowd<'a> {
    fn new(mut world: World, store: &'a Store, recipe: Recipe<'a>, nodes: usize) -> Self {
        world.watch = Watch { answers: true, events: false, dead_contacts: false };
        world.happened.clear();
        let frames = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&frames);
        world.sabotage = Some(Box::new(move |_, frame| {
            if matches!(frame.header.kind, kind::REPLICATE | kind::PARCEL) {
                counted.fetch_add(frame.encode().len() as u64, Ordering::Relaxed);
            }
            Fate::Goes
        }));
        let alive = (0..world.nodes.len()).collect();
        let rng = Pcg32::seed_from_u64(store.common.seed);
        let (records, asked, next, failed, looks, traffic) = Default::default();
        Crowd {
            world,
            store,
            recipe,
            rng,
            nodes,
            alive,
            records,
            asked,
            next,
            failed,
            done: 0,
            at_first: 0,
            tokens: 0,
            frames,
            departures: 0,
            least: 0.0,
            node_seconds: 0.0,
            copied_by_dead: 0,
            looks,
            traffic,
        }
    }

    /// The records are written, before anybody goes.
    fn write(&mut self, run: &Run) -> Result<()> {
        // Each may live as long as a clock that is right within a minute can tell.
        let expires = Seconds(self.world.now().0 / 1_000_000).after(MAX_TTL + CLOCK_SKEW);
        for number in 0..self.store.records as u64 {
            let mut value = number.to_be_bytes().to_vec();
            value.resize(self.store.bytes, 0);
            self.records.push(Record::value_of(value, expires)?);
        }
        let written = self.ask_all(WRITES, true, run);
        ensure!(written || run.progress.is_stopped(), "{} of {} records were written", self.done, self.records.len());
        Ok(())
    }

    /// Writes or reads all records. Gives whether each was, in so many tries.
    fn ask_all(&mut self, tries: u32, write: bool, run: &Run) -> bool {
        (self.done, self.at_first) = (0, 0);
        let (mut next, mut given_up) = (0, 0);
        while self.done + given_up < self.records.len() && !run.progress.is_stopped() {
            while self.asked.len() < AT_ONCE {
                let (record, tried) = match self.failed.pop() {
                    Some((_, tried)) if tried >= tries => {
                        given_up += 1;
                        continue;
                    }
                    Some(again) => again,
                    None if next < self.records.len() => {
                        next += 1;
                        (next - 1, 0)
                    }
                    None => break,
                };
                self.ask(record, tried, write);
            }
            self.step(run);
        }
        self.asked.clear();
        self.failed.clear();
        given_up == 0
    }

    fn ask(&mut self, record: usize, tried: u32, write: bool) {
        let some = std::iter::repeat_with(|| self.alive.choose(&mut self.rng).copied()).take(4).flatten();
        let Some(node) = some.collect::<Vec<_>>().into_iter().find(|&at| self.world.nodes[at].is_member()) else {
            return self.failed.push((record, tried));
        };
        self.tokens += 1;
        let token = Token(self.tokens);
        self.asked.insert(self.tokens, (record, tried, node));
        let input = match write {
            true => Input::Put { token, record: Box::new(self.records[record].clone()) },
            false => Input::Get { token, key: Box::new(self.records[record].key()) },
        };
        self.world.input(node, input);
        self.take_news();
    }

    /// A little time passes.
    fn step(&mut self, run: &Run) {
        let events = self.world.counts().events;
        let end = self.world.now().after(Duration::from_millis(20));
        self.pass(end);
        // Nobody answers for one that is gone.
        let gone = |at: usize| !self.world.nodes[at].is_running();
        let dead: Vec<u64> = self.asked.iter().filter(|(_, asked)| gone(asked.2)).map(|(&token, _)| token).collect();
        for token in dead {
            let asked = self.asked.remove(&token);
            self.failed.extend(asked.map(|(record, tried, _)| (record, tried)));
        }
        run.progress.did(0, self.world.counts().events - events);
    }

    fn run_until(&mut self, end: Time) {
        while self.world.step_until(end) {
            if !self.world.happened.is_empty() {
                self.take_news();
            }
        }
    }

    fn take_news(&mut self) {
        for (_, happening) in std::mem::take(&mut self.world.happened) {
            let Happening::Answer { token, answer, .. } = happening else { continue };
            let Some((record, tried, _)) = self.asked.remove(&token) else { continue };
            let well = match answer {
                Answer::Put(result) => result.is_ok(),
                Answer::Get(Ok(Some(found))) => *found == self.records[record],
                _ => false,
            };
            if well {
                self.done += 1;
                self.at_first += usize::from(tried == 0);
            } else {
                self.failed.push((record, tried + 1));
            }
        }
    }

    fn live(&mut self, run: &Run) {
        let start = self.world.now();
        self.frames.store(0, Ordering::Relaxed);
        let before = self.copied();
        let departures = self.store.turnover.rate(self.nodes);
        self.next = Some([self.after(departures), self.after(departures)]);
        let (mut noted, mut noted_bytes) = (start, before);
        let latest = MAX_TTL + CLOCK_SKEW - MARGIN;
        for look_at in self.store.look_at.clone() {
            let end = start.after(look_at.min(latest));
            while self.world.now() < end && !run.progress.is_stopped() {
                let look = self.world.now().after(LOOK_EVERY).min(end);
                let events = self.world.counts().events;
                self.pass(look);
                self.node_seconds += self.alive.len() as f64 * LOOK_EVERY.as_secs_f64();
                run.progress.did(LOOK_EVERY.as_secs(), self.world.counts().events - events);
                if self.world.now() >= noted.after(NOTE_EVERY) {
                    let copied = self.copied();
                    let seconds = self.world.now().since(noted).as_secs_f64() * self.alive.len() as f64;
                    let hours = self.world.now().since(start).as_secs_f64() / 3600.0;
                    self.traffic.push((hours, (copied - noted_bytes) as f64 / seconds));
                    (noted, noted_bytes) = (self.world.now(), copied);
                }
            }
            if run.progress.is_stopped() {
                return;
            }
            let (copied, frames) = ((self.copied() - before) as f64, self.frames.load(Ordering::Relaxed) as f64);
            let (kept, lost) = self.kept();
            self.ask_all(READS, false, run);
            self.looks.push(Look {
                nodes: self.nodes,
                after: end.since(start),
                departures: self.departures,
                written: self.records.len(),
                read: self.done,
                at_first: self.at_first,
                lost,
                kept,
                copied: copied / self.node_seconds,
                frames: frames / self.node_seconds,
                least: self.least / self.node_seconds,
            });
        }
    }

    /// Replicas of a record on average, and the records that have none.
    fn kept(&self) -> (f64, usize) {
        let now = self.world.now();
        let replicas = |record: &Record| {
            let key = record.key();
            self.alive.iter().filter(|&&at| self.world.nodes[at].proto.stored(&key, now).is_some()).count()
        };
        // All nodes for each record: where that takes long, a part of the records will do.
        let step = (self.records.len() * self.alive.len()).div_ceil(20_000_000).max(1);
        let counts: Vec<usize> = self.records.iter().step_by(step).map(replicas).collect();
        let lost = counts.iter().filter(|&&count| count == 0).count() * step;
        (counts.iter().sum::<usize>() as f64 / counts.len().max(1) as f64, lost)
    }

    /// Bytes of values that were copied so far.
    fn copied(&self) -> u64 {
        let copied = |&at: &usize| self.world.nodes[at].proto.store_stats().copied_bytes;
        self.copied_by_dead + self.alive.iter().map(copied).sum::<u64>()
    }

    /// Time passes, and nodes come and go.
    fn pass(&mut self, end: Time) {
        let departures = self.store.turnover.rate(self.nodes);
        let soonest = |next: &[Time; 2]| (0..2).map(|what| (next[what], what)).min();
        while let Some((at, what)) = self.next.as_ref().and_then(soonest).filter(|(at, _)| *at < end) {
            self.run_until(at);
            if what == 0 {
                self.depart()
            } else {
                self.arrive()
            }
            let again = self.after(departures);
            if let Some(next) = &mut self.next {
                next[what] = again;
            }
        }
        self.run_until(end);
    }

    fn arrive(&mut self) {
        let node = self.recipe.add_by(&mut self.rng, &mut self.world);
        self.alive.push(node);
    }

    fn depart(&mut self) {
        let living = self.alive.len();
        let Some(node) = Turnover::choose(&mut self.alive, &mut self.rng) else { return };
        let replicas = self.recipe.configs()[0].replicas * self.records.len();
        self.least += (replicas * self.store.bytes) as f64 / living as f64;
        self.copied_by_dead += self.world.nodes[node].proto.store_stats().copied_bytes;
        self.departures += 1;
        go(&mut self.world, node, self.store.turnover.announced, &mut self.rng);
    }

    fn after(&mut self, rate: f64) -> Time {
        next_event(self.world.now(), rate, &mut self.rng)
    }
}
