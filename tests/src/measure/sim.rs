//! The simulator's figures: the protocol that ships among 1,000 to 1,000,000 nodes on a virtual clock.
//!
//! Each comes from a run of a scenario, as on the command line of `sim`; what it was measured with names the command.

use std::process::Stdio;

use anyhow::{Context, bail};
use serde_json::Value;

use super::report::{Figure, Report};

/// Lookups of one ring whose hops are counted.
const LOOKUPS: usize = 10_000;

/// Lookups in the largest ring.
const MANY_LOOKUPS: usize = 100_000;

/// The largest ring.
const LARGEST: usize = 1_000_000;

/// What is to hold of the ways of lookups in a ring of this size.
struct Ways {
    nodes: usize,
    mean: f64,
    stretch: f64,
    p99: f64,
    /// With one node in ten at 128 links.
    rich: Option<f64>,
}

const WAYS: [Ways; 4] = [
    Ways { nodes: 1_000, mean: 3.4, stretch: 3.0, p99: 6.0, rich: Some(2.7) },
    Ways { nodes: 10_000, mean: 5.0, stretch: 4.3, p99: 9.0, rich: Some(3.6) },
    Ways { nodes: 100_000, mean: 6.8, stretch: 5.8, p99: 11.0, rich: None },
    Ways { nodes: LARGEST, mean: 8.7, stretch: 7.4, p99: 14.0, rich: Some(5.6) },
];

/// Random scenarios that are checked.
const CHECKED: u64 = 10_000;

/// How far the mean paths of the classic mode may be from the paper's, in per cent.
const CLASSIC_WITHIN: f64 = 5.0;

/// All that takes minutes together: rings of 1,000 and 10,000 nodes.
pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    for ways in &WAYS[..2] {
        hops(report, ways).await?;
        rich(report, ways).await?;
    }
    for nodes in [1_000, 10_000] {
        dead(report, nodes).await?;
    }
    attack(report, 10_000, 99.5).await?;
    classic_paths(report).await?;
    classic_load(report).await?;
    churn(report).await?;
    check(report).await
}

/// The rest: rings of 100,000 and 1,000,000 nodes.
pub(super) async fn measure_large(report: &mut Report) -> anyhow::Result<()> {
    for ways in &WAYS[2..] {
        hops(report, ways).await?;
        rich(report, ways).await?;
    }
    for nodes in [100_000, LARGEST] {
        dead(report, nodes).await?;
    }
    attack(report, LARGEST, 97.0).await
}

async fn hops(report: &mut Report, ways: &Ways) -> anyhow::Result<()> {
    let nodes = ways.nodes;
    let lookups = if nodes == LARGEST { MANY_LOOKUPS } else { LOOKUPS };
    let run = simulate(report, &format!("hops --nodes {nodes} --lookups {lookups} --jobs 1")).await?;
    let named = |what: &str| format!("{nodes} nodes, 16 links: {what}");
    let delivered = run.number("delivered")?;
    let mean = Figure::new(named("mean hops"), run.number("mean")?, "hops").at_most(ways.mean);
    report.add(run.with(mean).with("stretch", ways.stretch).with_number("delivered", delivered));
    report.add(run.with(Figure::new(named("p99 hops"), run.number("p99")?, "hops").at_most(ways.p99)));
    if nodes == LARGEST {
        let bytes = run.cost("peak_memory")? / nodes as f64;
        let memory = Figure::new(named("memory in all"), bytes, "B a node").at_most(8192.0);
        report.add(run.with(memory).with_number("tables", run.number("memory")?));
        let (seconds, events) = (run.cost("seconds")?, run.cost("events")?);
        report.add(run.with(Figure::new(named("protocol events"), events / seconds, "a second").at_least(1e6)));
        let whole = Figure::new(named(&format!("the whole run with {lookups} lookups")), seconds / 60.0, "min");
        report.add(run.with(whole.at_most(10.0)));
    }
    Ok(())
}

async fn rich(report: &mut Report, ways: &Ways) -> anyhow::Result<()> {
    let (nodes, Some(target)) = (ways.nodes, ways.rich) else { return Ok(()) };
    let run = simulate(report, &format!("hops --nodes {nodes} --lookups {LOOKUPS} --rich-share 0.1 --jobs 1")).await?;
    let name = format!("{nodes} nodes, one in ten with 128 links: mean hops");
    report.add(run.with(Figure::new(name, run.number("mean")?, "hops").at_most(target)));
    Ok(())
}

async fn dead(report: &mut Report, nodes: usize) -> anyhow::Result<()> {
    // One ring of 1,000 has few nodes that are hard to reach, or none.
    let runs = if nodes == 1_000 { 10 } else { 1 };
    let words = format!("fail --nodes {nodes} --dead 0.3 --repair=false --runs {runs} --jobs 1");
    let run = simulate(report, &words).await?;
    let name = format!("{nodes} nodes, 30 % die at once, no repair: packets delivered");
    let figure = Figure::new(name, run.number("packets-before")?, "%").at_least(99.9);
    report.add(run.with(figure).with_number("lookups answered", run.number("lookups-before")?));
    Ok(())
}

async fn attack(report: &mut Report, nodes: usize, target: f64) -> anyhow::Result<()> {
    for (misdeed, what, target) in [("drop", "drop", Some(target)), ("misroute", "send astray", None)] {
        let words = format!("attack --nodes {nodes} --attackers 0.1 --lookup-tries 8 --misdeed {misdeed} --jobs 1");
        let run = simulate(report, &words).await?;
        let name = format!("{nodes} nodes, 10 % {what} what they should forward, 8 tries: delivered");
        let mut figure = Figure::new(name, run.number("reached")?, "%");
        if let Some(target) = target {
            figure = figure.at_least(target);
        }
        report.add(run.with(figure).with_number("answered", run.number("answered")?));
    }
    Ok(())
}

async fn classic_paths(report: &mut Report) -> anyhow::Result<()> {
    let run = simulate(report, "fail --protocol chord --nodes 1000 --runs 5 --jobs 1").await?;
    for row in 0..run.rows() {
        let number = |column: &str| run.at(row, column);
        let dead = number("dead")?;
        let name = format!("classic Chord, {dead:.0} % dead: mean path beside the paper's");
        let figure = Figure::new(name, number("difference")?.abs(), "% off").at_most(CLASSIC_WITHIN);
        let figure = figure.with_number("path", number("mean")?).with_number("paper", number("paper")?);
        let figure = figure.with_number("time-outs", number("time-outs")?);
        report.add(run.with(figure).with_number("paper's", number("paper-time-outs")?));
        let name = format!("classic Chord, {dead:.0} % dead: lookups that fail");
        report
            .add(run.with(Figure::new(name, number("failed")?, "").exactly(0.0)).with_number("of", number("lookups")?));
    }
    Ok(())
}

/// The paper's figures are those of one ring each, and theirs are what theory says of many: our own are held against that.
async fn classic_load(report: &mut Report) -> anyhow::Result<()> {
    for (places, keys) in [(1, 500_000), (20, 1_000_000)] {
        let run = simulate(report, &format!("load --nodes 10000 --keys {keys} --virtual-nodes {places}")).await?;
        for (what, column) in [("p99", "p99"), ("maximum", "max")] {
            let name = format!("classic load, {places} on the ring a node, {keys} keys: {what}");
            let mut figure = Figure::new(name, run.number(column)?, "× mean");
            figure = figure.with_number("theory", run.number(&format!("{column}-theory"))?);
            if let Ok(paper) = run.number(&format!("{column}-paper")) {
                figure = figure.with_number("paper", paper);
            }
            report.add(run.with(figure));
        }
    }
    Ok(())
}

/// All rates of the paper's table.
const RATES: &str = "0.05,0.1,0.15,0.2,0.25,0.3,0.35,0.4";

async fn churn(report: &mut Report) -> anyhow::Result<()> {
    let words = format!("churn --nodes 1000 --rate {RATES} --stabilize-every 30s --lookup-rate 10 --jobs 1");
    let run = simulate(report, &words).await?;
    // Atoll and Chord take turns.
    for row in (0..run.rows().saturating_sub(1)).step_by(2) {
        let (atoll, chord) = (|column: &str| run.at(row, column), |column: &str| run.at(row + 1, column));
        let name = format!("churn at {} a second: failed lookups beside classic Chord's", atoll("rate")?);
        // Where nobody fails, Atoll cannot be better.
        let figure = Figure::new(name, atoll("failed")?, "of 10,000").at_most((chord("failed")? - 0.1).max(0.0));
        let figure = figure.with_number("chord", chord("failed")?).with_number("hops", atoll("mean")?);
        report.add(run.with(figure).with_number("chord's hops", chord("mean")?));
    }
    Ok(())
}

/// Random scenarios with the invariants checked after every event: as many as a nightly run has.
/// Records in a ring of 1,000 nodes with sessions of ten minutes.
pub(super) async fn store(report: &mut Report) -> anyhow::Result<()> {
    let run = simulate(report, "store --nodes 1000 --records 10000 --look-at 1h --jobs 1").await?;
    let name = "1,000 nodes, sessions of 10 min: of 10,000 records readable after 1 h";
    let figure = Figure::new(name, run.number("readable")?, "%").exactly(100.0);
    report.add(run.with(figure).with_number("at_first_%", run.number("at-first")?));
    let name = "the same: values copied / each lost replica once";
    let figure = Figure::new(name, run.number("copied-over-least")?, "x").at_most(5.0);
    let figure = run.with(figure).with_number("copied_B_a_node_and_second", run.number("copied")?);
    report.add(figure.with_number("all_frames_B", run.number("all-frames")?));
    Ok(())
}

async fn check(report: &mut Report) -> anyhow::Result<()> {
    let outcome = sim(report, &format!("check --seeds {CHECKED}")).await?;
    let number = |what: &str| outcome.0[what].as_f64().with_context(|| format!("sim check did not say its {what}"));
    let figure = Figure::new("sim check: scenarios in which no invariant was broken", number("run")?, "");
    let figure = figure.at_least(CHECKED as f64).with_number("virtual hours", number("virtual_seconds")? / 3600.0);
    let figure = figure.with_number("events", number("events")?).with_number("seconds", number("seconds")?);
    report.add(outcome.with(figure.with_number("slowest convergence, s", number("slowest_convergence")?)));
    Ok(())
}

/// What the program printed, as JSON.
struct Found(Value);

impl Found {
    fn rows(&self) -> usize {
        self.0["rows"].as_array().map_or(0, Vec::len)
    }

    fn number(&self, column: &str) -> anyhow::Result<f64> {
        self.at(0, column)
    }

    fn at(&self, row: usize, column: &str) -> anyhow::Result<f64> {
        self.0["rows"][row][column].as_f64().with_context(|| format!("{} gave no {column}", self.command()))
    }

    fn cost(&self, what: &str) -> anyhow::Result<f64> {
        self.0["cost"][what].as_f64().with_context(|| format!("{} did not say its {what}", self.command()))
    }

    fn command(&self) -> &str {
        self.0["repeat"].as_str().or(self.0["command"].as_str()).unwrap_or("sim")
    }

    fn with(&self, figure: Figure) -> Figure {
        figure.with("command", self.command())
    }
}

/// Runs a scenario, with the seed of all choices.
async fn simulate(report: &Report, words: &str) -> anyhow::Result<Found> {
    let found = sim(report, &format!("{words} --seed {}", report.seed())).await?;
    if found.rows() == 0 {
        bail!("{} gave nothing", found.command());
    }
    Ok(found)
}

/// Runs the program itself, which has an allocator of its own, and a memory in which nothing else was done before.
async fn sim(report: &Report, words: &str) -> anyhow::Result<Found> {
    report.progress(words);
    let mut command = tokio::process::Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--release", "--package", "atoll-sim", "--bin", "sim", "--", "--json"]);
    command.args(words.split(' ')).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    let output = command.output().await.context("cannot start cargo")?;
    if !output.status.success() {
        bail!("sim {words} failed: {}", output.status);
    }
    let found = serde_json::from_slice(&output.stdout).with_context(|| format!("sim {words} printed no JSON"))?;
    Ok(Found(found))
}
