//! From a scenario that fails to a smaller one that fails in the same way.
//!
//! Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input" (IEEE TSE 28(2), 2002): parts are dropped, half of them first,
//! for as long as the same invariant is broken.

use std::time::{Duration, Instant};

use atoll::proto::Config;

use super::run::{Failed, run_scenario};
use super::scenario::{Fault, Scenario, Travel, Weather};

/// How long is spent on one scenario.
const PATIENCE: Duration = Duration::from_secs(60);

/// Times are rounded to so many milliseconds, where it does not matter.
const ROUND: u64 = 100;

/// The smallest scenario that was found, and how it fails.
pub fn shrink(scenario: &Scenario, failed: Box<Failed>, base: &Config) -> (Scenario, Box<Failed>) {
    let mut search = Search { best: scenario.clone(), failed, base, end: Instant::now() + PATIENCE };
    loop {
        let before = search.best.clone();
        search.drop_the_rest();
        search.drop_faults();
        search.drop_nodes();
        search.calm_the_network();
        search.hasten();
        if search.best == before || search.is_late() {
            return (search.best, search.failed);
        }
    }
}

struct Search<'a> {
    best: Scenario,
    failed: Box<Failed>,
    base: &'a Config,
    end: Instant,
}

impl Search<'_> {
    fn is_late(&self) -> bool {
        Instant::now() >= self.end
    }

    /// Takes the candidate if it fails in the same way.
    fn take_if_fails(&mut self, candidate: Scenario) -> bool {
        if candidate == self.best || self.is_late() {
            return false;
        }
        match run_scenario(&candidate, self.base) {
            Err(failed) if failed.broken.invariant == self.failed.broken.invariant => {
                (self.best, self.failed) = (candidate, failed);
                true
            }
            _ => false,
        }
    }

    /// What comes after the failure plays no part in it.
    fn drop_the_rest(&mut self) {
        let at = self.failed.at;
        let mut candidate = self.best.clone();
        candidate.faults.retain(|fault| fault.at() <= at);
        candidate.faults_for = candidate.faults_for.min(at + 1);
        self.take_if_fails(candidate);
        let mut candidate = self.best.clone();
        let last = candidate.faults.iter().map(Fault::at).max().unwrap_or_default();
        candidate.faults_for = last;
        self.take_if_fails(candidate);
    }

    fn drop_faults(&mut self) {
        let mut size = self.best.faults.len().max(1).next_power_of_two() / 2;
        while size > 0 {
            let mut at = 0;
            while at < self.best.faults.len() {
                let mut candidate = self.best.clone();
                let end = (at + size).min(candidate.faults.len());
                candidate.faults.drain(at..end);
                if !self.take_if_fails(candidate) {
                    at += size;
                }
            }
            size /= 2;
        }
        for at in 0..self.best.faults.len() {
            if let Fault::Kill { count, .. }
            | Fault::Lookups { count, .. }
            | Fault::Messages { count, .. }
            | Fault::Writes { count, .. } = self.best.faults[at]
            {
                for fewer in 1..count {
                    let mut candidate = self.best.clone();
                    match &mut candidate.faults[at] {
                        Fault::Kill { count, .. }
                        | Fault::Lookups { count, .. }
                        | Fault::Messages { count, .. }
                        | Fault::Writes { count, .. } => *count = fewer,
                        _ => {}
                    }
                    if self.take_if_fails(candidate) {
                        break;
                    }
                }
            }
        }
    }

    fn drop_nodes(&mut self) {
        let fewer = |best: &Scenario, nodes: usize| Scenario { nodes, ..best.clone() };
        while self.best.nodes > 1 && self.take_if_fails(fewer(&self.best, self.best.nodes / 2)) {}
        for nodes in (1..self.best.nodes).rev().take(8) {
            self.take_if_fails(fewer(&self.best, nodes));
        }
    }

    fn calm_the_network(&mut self) {
        let calm: [fn(&mut Scenario); 8] = [
            |scenario| scenario.network = Weather::default(),
            |scenario| scenario.network.loss = 0.0,
            |scenario| scenario.network.failing_links = 0.0,
            |scenario| scenario.network.links_notice = Weather::default().links_notice,
            |scenario| scenario.network.latency = Travel::Constant(20),
            |scenario| scenario.network.link_setup = Weather::default().link_setup,
            |scenario| scenario.start_over = 0,
            |scenario| (scenario.links, scenario.successors) = (16, 8),
        ];
        for calm in calm {
            let mut candidate = self.best.clone();
            calm(&mut candidate);
            self.take_if_fails(candidate);
        }
    }

    /// Everything sooner, then at rounder times.
    fn hasten(&mut self) {
        for at in 0..self.best.faults.len() {
            for to in [self.best.faults[at].at() / 2, self.best.faults[at].at() / ROUND * ROUND] {
                let mut candidate = self.best.clone();
                candidate.faults[at] = candidate.faults[at].moved(to);
                self.take_if_fails(candidate);
            }
        }
        let rounded = self.best.faults_for.div_ceil(ROUND) * ROUND;
        self.take_if_fails(Scenario { faults_for: rounded, ..self.best.clone() });
    }
}
