//! A channel whose members come and go: what arrives, and how soon.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use atoll::id::Id;
use atoll::key::Identity;
use atoll::proto::{Answer, ChannelEvent, Event, Input, Membership, Time, Token};
use atoll::wire::{Published, Terms};
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg32;

use super::ring::{Growth, Recipe};
use super::samples::Samples;
use super::turnover::{Turnover, go, next_event};
use super::{Run, Scenario};
use crate::engine::{Happening, Watch, World};
use crate::output::{Axis, Figure, Plot, Report, Series, Style};
use crate::settings::Wrong;
use crate::settings::groups::Common;
use crate::settings::values;

/// A message counts as lost for a member that has not had it for so long.
const ARRIVES_WITHIN: Duration = Duration::from_secs(30);

/// Virtual time between two looks at whether the run is to stop.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// One in so many deliveries is timed, where there are many.
const TIMED: u64 = 8;

/// Points of each curve in the plot.
const POINTS: usize = 100;

/// How much of what is published on a channel comes to its members, and how soon, while nodes come and go.
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Example:\n  sim channel --nodes 1000 --session 10min --duration 5min")]
pub struct Channel {
    /// Size of the ring, on average.
    #[arg(long, default_value = "1000", value_name = "NODES", value_delimiter = ',', value_parser = values::count)]
    pub(super) nodes: Vec<usize>,
    /// The share of nodes that are members of the channel.
    #[arg(long, default_value = "1", value_name = "SHARE", value_parser = values::share)]
    pub(super) members: f64,
    #[command(flatten)]
    pub(super) turnover: Turnover,
    /// Messages a second, of all publishers together.
    #[arg(long, default_value = "2", value_name = "RATE", value_parser = values::positive)]
    pub(super) rate: f64,
    /// Members that publish at one time; for one that goes another begins.
    #[arg(long, default_value = "4", value_name = "NODES", value_parser = values::count)]
    pub(super) publishers: usize,
    /// Bytes of a message.
    #[arg(long, default_value = "256", value_name = "BYTES", value_parser = values::count)]
    pub(super) bytes: usize,
    /// Messages are signed and verified, which costs a run most of its time.
    #[arg(long)]
    pub(super) signed: bool,
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

#[derive(Default)]
struct Measured {
    nodes: usize,
    departures: usize,
    published: usize,
    /// Deliveries to members that were there when the message was sent and for long enough after.
    expected: u64,
    missing: u64,
    twice: u64,
    out_of_order: u64,
    lagged: u64,
    seconds: Samples,
    lookups: Samples,
    frames: f64,
}

impl Scenario for Channel {
    fn check(&self) -> Result<(), Wrong> {
        if self.bytes < 4 || self.bytes > atoll::wire::MAX_PAYLOAD {
            return Err(Wrong::new("bytes", "a message has 4 to 15,360 bytes"));
        }
        self.common.protocol.check(&self.nodes, &[self.links])
    }

    /// Those who left still stand in the engine's table, and each member keeps the messages of late.
    fn sizes(&self) -> Vec<usize> {
        let newcomers = |nodes: usize| self.turnover.newcomers(nodes, self.duration);
        self.nodes.iter().map(|&nodes| 2 * (nodes + newcomers(nodes))).collect()
    }

    fn run(&self, run: &Run) -> Result<Report> {
        let work = |nodes: &usize| *nodes as u64 + self.duration.as_secs();
        run.progress.expect(self.nodes.iter().map(work).sum());
        let measured = run.each(&self.nodes, |&nodes| self.measure(run, nodes))?;
        Ok(self.report(measured))
    }
}

impl Channel {
    fn measure(&self, run: &Run, nodes: usize) -> Result<Option<Measured>> {
        let recipe = Recipe::new(nodes, self.links, self.growth, &self.common);
        let Some(world) = recipe.build_settled(run)? else { return Ok(None) };
        let mut crowd = Crowd::new(world, self, recipe);
        crowd.measured.nodes = nodes;
        crowd.gather(run)?;
        crowd.live(run);
        Ok((!run.progress.is_stopped()).then_some(crowd.measured))
    }

    fn report(&self, mut measured: Vec<Measured>) -> Report {
        let mut report = Report::new("A channel whose members come and go").with_columns(&[
            ("nodes", "", 0),
            ("departures", "", 0),
            ("published", "", 0),
            ("expected", "deliveries", 0),
            ("missing", "deliveries", 0),
            ("delivered", "%", 4),
            ("twice", "", 0),
            ("out-of-order", "", 0),
            ("lagged", "messages", 0),
            ("p50", "s", 3),
            ("p99", "s", 3),
            ("lookup", "mean, s", 3),
            ("p50-over-lookup", "", 2),
            ("frames", "a node and second", 2),
        ]);
        let mut series = Vec::new();
        for run in &mut measured {
            let share = (run.expected > 0).then(|| 100.0 * (run.expected - run.missing) as f64 / run.expected as f64);
            let (median, lookup) = (run.seconds.quantile(0.5), run.lookups.mean());
            report.row([
                run.nodes.into(),
                run.departures.into(),
                run.published.into(),
                (run.expected as usize).into(),
                (run.missing as usize).into(),
                share.into(),
                (run.twice as usize).into(),
                (run.out_of_order as usize).into(),
                (run.lagged as usize).into(),
                median.into(),
                run.seconds.quantile(0.99).into(),
                lookup.into(),
                median.zip(lookup).map(|(median, lookup)| median / lookup).into(),
                run.frames.into(),
            ]);
            for (name, samples) in [("delivery", &mut run.seconds), ("lookup", &mut run.lookups)] {
                let points = (1..=POINTS).filter_map(|at| {
                    let share = at as f64 / POINTS as f64;
                    Some((samples.quantile(share)?, 100.0 * share))
                });
                series.push(Series::new(format!("{name}, {} nodes", run.nodes), Style::Measured, points));
            }
        }
        report.figures.push(Figure::Plot(Plot {
            name: "delivery".to_owned(),
            title: "How soon messages of a channel arrive".to_owned(),
            x: Axis::linear("time (s)"),
            y: Axis::linear("share that has arrived (%)"),
            series,
        }));
        report
    }
}

/// A message, and who was to get it.
struct Message {
    sent: Time,
    publisher: usize,
}

/// A node that is, or was, a member.
struct Member {
    /// Since when it has a place in the tree.
    since: Option<Time>,
    got: Vec<u64>,
    /// By publisher's stream: the next number.
    next: BTreeMap<(Id, u64), u64>,
}

struct Crowd<'a> {
    world: World,
    channel: &'a Channel,
    recipe: Recipe<'a>,
    rng: Pcg32,
    measured: Measured,
    terms: Terms,
    alive: Vec<usize>,
    members: BTreeMap<usize, Member>,
    publishers: Vec<usize>,
    messages: Vec<Message>,
    /// The first message that is not yet judged.
    judged: usize,
    asked: BTreeMap<u64, Time>,
    tokens: u64,
}

impl<'a> Crowd<'a> {
    fn new(mut world: World, channel: &'a Channel, recipe: Recipe<'a>) -> Self {
        world.watch = Watch { answers: true, events: true, dead_contacts: false };
        world.happened.clear();
        let alive = (0..world.nodes.len()).collect();
        let rng = Pcg32::seed_from_u64(channel.common.seed);
        let terms = Terms::new("measured", channel.signed, None);
        let (measured, members, publishers, messages, asked) = Default::default();
        Crowd {
            world,
            channel,
            recipe,
            rng,
            measured,
            terms,
            alive,
            members,
            publishers,
            messages,
            judged: 0,
            asked,
            tokens: 0,
        }
    }

    fn token(&mut self) -> Token {
        self.tokens += 1;
        Token(self.tokens)
    }

    /// The members join, some at a time, until each has its place.
    fn gather(&mut self, run: &Run) -> Result<()> {
        for node in self.alive.clone() {
            self.join_by_chance(node);
            if node % 50 == 0 {
                self.pass(Duration::from_millis(50));
            }
        }
        for _ in 0..120 {
            if self.members.values().all(|member| member.since.is_some()) || run.progress.is_stopped() {
                return Ok(());
            }
            self.pass(LOOK_EVERY);
        }
        let waiting = self.members.values().filter(|member| member.since.is_none()).count();
        ensure!(waiting == 0, "{waiting} members have no place in the channel's tree after two minutes");
        Ok(())
    }

    fn join_by_chance(&mut self, node: usize) {
        if self.rng.random_bool(self.channel.members) {
            self.members.insert(node, Member { since: None, got: Vec::new(), next: BTreeMap::new() });
            self.join(node);
        }
    }

    fn join(&mut self, node: usize) {
        let token = self.token();
        let membership = Box::new(Membership { terms: self.terms.clone(), identity: identity(node), gate: None });
        self.world.input(node, Input::JoinChannel { token, membership });
    }

    fn live(&mut self, run: &Run) {
        let before = self.world.counts().frames;
        let start = self.world.now();
        let end = start.after(self.channel.duration);
        let departures = self.channel.turnover.rate(self.measured.nodes);
        let mut node_seconds = 0.0;
        let mut look = start;
        let mut next = [departures, departures, self.channel.rate, 1.0].map(|rate| (rate, self.after(rate)));
        while self.world.now() < end && !run.progress.is_stopped() {
            look = look.after(LOOK_EVERY).min(end);
            let events = self.world.counts().events;
            while let Some((at, what)) =
                (0..next.len()).map(|what| (next[what].1, what)).min().filter(|(at, _)| *at < look)
            {
                self.run_until(at);
                match what {
                    0 => self.depart(),
                    1 => self.arrive(),
                    2 => self.publish(),
                    _ => self.look_up(),
                }
                next[what].1 = self.after(next[what].0);
            }
            self.run_until(look);
            self.judge();
            node_seconds += self.alive.len() as f64;
            run.progress.did(LOOK_EVERY.as_secs(), self.world.counts().events - events);
        }
        self.measured.frames = (self.world.counts().frames - before) as f64 / node_seconds;
        // What is on its way may arrive; nobody goes any more.
        self.pass(ARRIVES_WITHIN);
        self.judge();
    }

    fn pass(&mut self, time: Duration) {
        let end = self.world.now().after(time);
        self.run_until(end);
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
                Happening::Channel { node, event: ChannelEvent::Messages(envelope), .. } => {
                    let stream = (envelope.publisher(), envelope.label().stream);
                    for (number, message) in (envelope.label().first..).zip(envelope.messages()) {
                        self.take(node, stream, number, &message.payload, at);
                    }
                }
                Happening::Channel { event: ChannelEvent::Lagged { count, .. }, .. } => self.measured.lagged += count,
                Happening::Answer { node, answer: Answer::Joined(joined), .. } => match joined {
                    Ok(()) => {
                        if let Some(member) = self.members.get_mut(&node) {
                            member.since = Some(at);
                        }
                    }
                    // An application tries again.
                    Err(_) if self.members.contains_key(&node) => self.join(node),
                    Err(_) => {}
                },
                Happening::Answer { token, answer: Answer::Lookup(Ok(_)), .. } => {
                    if let Some(asked) = self.asked.remove(&token) {
                        self.measured.lookups.push(at.since(asked).as_secs_f64());
                    }
                }
                Happening::Event { node, event: Event::Joined } if !self.members.contains_key(&node) => {
                    self.join_by_chance(node);
                }
                _ => {}
            }
        }
    }

    fn take(&mut self, node: usize, stream: (Id, u64), number: u64, payload: &[u8], at: Time) {
        let Some(index) = payload.first_chunk().map(|bytes| u32::from_be_bytes(*bytes) as usize) else { return };
        let (Some(member), Some(message)) = (self.members.get_mut(&node), self.messages.get(index)) else { return };
        if member.got.len() <= index / 64 {
            member.got.resize(index / 64 + 1, 0);
        }
        let bit = 1 << (index % 64);
        self.measured.twice += u64::from(member.got[index / 64] & bit != 0);
        member.got[index / 64] |= bit;
        let next = member.next.entry(stream).or_insert(number);
        self.measured.out_of_order += u64::from(number < *next);
        *next = number + 1;
        if node != message.publisher && ((node + index) as u64).is_multiple_of(TIMED) {
            self.measured.seconds.push(at.since(message.sent).as_secs_f64());
        }
    }

    /// Looks who has had the messages that have had their time.
    fn judge(&mut self) {
        let now = self.world.now();
        while let Some(message) = self.messages.get(self.judged).filter(|one| one.sent.after(ARRIVES_WITHIN) <= now) {
            let (index, sent) = (self.judged, message.sent);
            let there = self.members.iter().filter(|(_, member)| member.since.is_some_and(|since| since <= sent));
            for (&node, member) in there.filter(|(node, _)| **node != message.publisher) {
                if !self.world.nodes[node].is_running() {
                    continue;
                }
                self.measured.expected += 1;
                let had = member.got.get(index / 64).is_some_and(|bits| bits & 1 << (index % 64) != 0);
                self.measured.missing += u64::from(!had);
            }
            self.judged += 1;
        }
    }

    fn publish(&mut self) {
        self.publishers.retain(|&node| self.world.nodes[node].is_running());
        if self.publishers.len() < self.channel.publishers {
            let there: Vec<usize> =
                self.members.iter().filter(|(_, member)| member.since.is_some()).map(|(&node, _)| node).collect();
            let running: Vec<usize> = there.into_iter().filter(|&node| self.world.nodes[node].is_running()).collect();
            self.publishers.extend(running.choose(&mut self.rng).filter(|node| !self.publishers.contains(node)));
        }
        let Some(&publisher) = self.publishers.choose(&mut self.rng) else { return };
        let mut payload = (self.messages.len() as u32).to_be_bytes().to_vec();
        payload.resize(self.channel.bytes, 0);
        self.messages.push(Message { sent: self.world.now(), publisher });
        self.measured.published += 1;
        let message = Published { scope: String::new(), payload: payload.into() };
        let (token, channel) = (self.token(), self.terms.id());
        self.world.input(publisher, Input::Publish { channel, messages: vec![(token, message)] });
        self.take_news();
    }

    fn look_up(&mut self) {
        let key = Id::random(&mut self.rng);
        let Some(&node) = self.alive.choose(&mut self.rng) else { return };
        let token = self.token();
        self.asked.insert(token.0, self.world.now());
        self.world.lookup(node, token.0, key);
        self.take_news();
    }

    fn arrive(&mut self) {
        let node = self.recipe.add_by(&mut self.rng, &mut self.world);
        self.alive.push(node);
    }

    fn depart(&mut self) {
        let Some(node) = Turnover::choose(&mut self.alive, &mut self.rng) else { return };
        self.measured.departures += 1;
        go(&mut self.world, node, self.channel.turnover.announced, &mut self.rng);
    }

    fn after(&mut self, rate: f64) -> Time {
        next_event(self.world.now(), rate, &mut self.rng)
    }
}

/// A key pair that follows from a number, as publishers of a channel need one.
pub(crate) fn identity(number: usize) -> Identity {
    // RFC 5958: an EC key on P-256, without its public half.
    const HEAD: &[u8] = &[
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    let mut secret = [1; 32];
    secret[24..].copy_from_slice(&(number as u64).to_be_bytes());
    Identity::from_pkcs8_der(&[HEAD, &secret].concat()).expect("a number far below the order of the curve")
}
