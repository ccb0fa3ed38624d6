//! What a number of runs came to.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::run::{CONVERGES_WITHIN, Failed, Ran};
use super::scenario::Scenario;

/// What a number of runs came to.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Outcome {
    /// Of the program that ran.
    pub version: &'static str,
    /// The command that repeats it.
    pub command: String,
    /// Scenarios that were asked for.
    pub asked: u64,
    /// Scenarios that ran.
    pub run: u64,
    /// How many of them ran twice, and did the same.
    pub repeated: u64,
    /// Virtual time in all, in seconds.
    pub virtual_seconds: f64,
    /// Inputs that nodes took.
    pub events: u64,
    /// Times that the invariants were checked.
    pub checks: u64,
    /// The longest time from the end of the faults to an ideal ring, in seconds of virtual time.
    pub slowest_convergence: f64,
    /// How long all took.
    pub seconds: f64,
    /// It was ended before all had run.
    pub interrupted: bool,
    /// The first scenario, by its number, that failed.
    pub failure: Option<Failure>,
}

/// A scenario that failed.
#[derive(Clone, Debug, Serialize)]
pub struct Failure {
    /// The one command that replays it.
    pub replay: String,
    /// What is broken.
    #[serde(flatten)]
    pub failed: Failed,
    /// The smallest scenario that fails in the same way.
    pub minimal: Option<Minimal>,
}

/// A smaller scenario, and how that one fails.
#[derive(Clone, Debug, Serialize)]
pub struct Minimal {
    /// The scenario.
    pub scenario: Scenario,
    /// How it fails.
    #[serde(flatten)]
    pub failed: Failed,
}

impl Outcome {
    /// Nothing is broken in what ran.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    pub(super) fn count(&mut self, ran: &Ran) {
        self.run += 1;
        self.virtual_seconds += ran.virtual_us as f64 / 1e6;
        self.events += ran.events;
        self.checks += ran.checks;
        self.slowest_convergence = self.slowest_convergence.max(ran.converged_us as f64 / 1e6);
    }

    pub(super) fn count_failed(&mut self, failed: &Failed) {
        self.run += 1;
        self.virtual_seconds += failed.at as f64 / 1e3;
        self.events += failed.events;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours = self.virtual_seconds / 3600.0;
        let rate = self.events as f64 / self.seconds.max(1e-6);
        writeln!(f, "command       {}", self.command)?;
        writeln!(f, "version       {}", self.version)?;
        writeln!(
            f,
            "scenarios     {} of {} run, {} of them twice, with the same trace",
            self.run, self.asked, self.repeated
        )?;
        writeln!(f, "virtual time  {hours:.2} h")?;
        writeln!(f, "events        {}, {} checks of all invariants", self.events, self.checks)?;
        let limit = CONVERGES_WITHIN.as_secs();
        writeln!(f, "convergence   {:.1} s at most, of {limit} s allowed", self.slowest_convergence)?;
        writeln!(f, "time          {:.1} s, {rate:.0} events a second", self.seconds)?;
        match &self.failure {
            None if self.interrupted => write!(f, "result        interrupted; nothing is broken in what ran"),
            None => write!(f, "result        nothing is broken"),
            Some(failure) => write!(f, "result        BROKEN\n\n{failure}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |failed: &Failed| Duration::from_millis(failed.at);
        writeln!(f, "{}\nat {:?}. Replay it with\n\n    {}\n", self.failed.broken, at(&self.failed), self.replay)?;
        match &self.minimal {
            None => write_circumstances(f, &self.failed),
            Some(Minimal { scenario, failed }) => {
                let toml = scenario.to_toml();
                writeln!(f, "The smallest scenario found that fails so; `sim check --file` replays it:\n\n{toml}")?;
                writeln!(f, "There, at {:?}, {}", at(failed), failed.broken)?;
                write_circumstances(f, failed)
            }
        }
    }
}

fn write_circumstances(f: &mut fmt::Formatter<'_>, failed: &Failed) -> fmt::Result {
    writeln!(f, "The last events:")?;
    failed.history.iter().try_for_each(|line| writeln!(f, "{line}"))?;
    write!(f, "The nodes then:\n{}", failed.state)
}
