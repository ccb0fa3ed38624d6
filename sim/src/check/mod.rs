//! `sim check`: random scenarios of faults, and the invariants of the ring after every change.
//!
//! Each scenario follows from one number, its seed. While its faults last, what must [always](crate::invariant) hold is checked after every
//! event that changes a node's place; then they stop, and within [`CONVERGES_WITHIN`] the ring must be ideal. What fails is made
//! smaller, and printed as a file that replays it.

mod channel;
mod outcome;
mod random;
mod run;
mod scenario;
mod shrink;
mod store;

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use atoll::proto::Config;
#[cfg(feature = "known-bugs")]
use atoll::proto::KnownBug;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

pub use outcome::{Failure, Minimal, Outcome};
pub use run::{CONVERGES_WITHIN, Failed, Ran, run_scenario};
pub use scenario::{Fault, Scenario, Travel, Weather};
pub use shrink::shrink;

/// Checks the protocol with random scenarios of faults.
#[derive(Clone, Debug, clap::Args, serde::Serialize)]
pub struct CheckArgs {
    /// Scenarios to run
    #[arg(long, default_value_t = 200)]
    pub seeds: u64,
    /// The seed of the first; the others follow
    #[arg(long, default_value_t = 0)]
    pub from: u64,
    /// Run the scenario of this seed only
    #[arg(long, conflicts_with_all = ["seeds", "from", "replay"])]
    pub seed: Option<u64>,
    /// Run the scenario in this file only
    // Not the `file` of the scenarios, which holds settings.
    #[arg(id = "replay", long = "file", value_name = "TOML", conflicts_with_all = ["seeds", "from"])]
    pub file: Option<PathBuf>,
    /// Run one scenario in so many twice, and compare what happened event by event; 0: none
    #[arg(long, default_value_t = 10)]
    pub repeat: u64,
    /// Do not look for a smaller scenario that fails
    #[arg(long)]
    pub no_shrink: bool,
    /// Commit this known bug, to see it found
    #[cfg(feature = "known-bugs")]
    #[arg(long)]
    #[serde(skip)]
    pub bug: Option<KnownBug>,
}

impl Default for CheckArgs {
    fn default() -> Self {
        CheckArgs {
            seeds: 200,
            from: 0,
            seed: None,
            file: None,
            repeat: 10,
            no_shrink: false,
            #[cfg(feature = "known-bugs")]
            bug: None,
        }
    }
}

/// Runs the scenarios, `jobs` at a time. `go_on` is told after each how many have run, and how many events those took; when it says no,
/// the rest is left.
///
/// # Errors
///
/// When a file is no scenario, or no threads can be had. A broken invariant is an [`Outcome`].
pub fn run(args: &CheckArgs, jobs: usize, go_on: &(dyn Fn(u64, u64) -> bool + Sync)) -> Result<Outcome> {
    args.check()?;
    let file = args.file.as_deref().map(Scenario::read).transpose()?;
    let seeds = args.seed.map_or(args.from..args.from + args.seeds, |seed| seed..seed + 1);
    let seeds = if file.is_some() { 0..1 } else { seeds };
    let campaign = Campaign { args, file, base: args.base(), started: Instant::now(), ..Campaign::new(args, &seeds) };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().context("no threads to run in")?;
    // In their order, but for what runs at one time: the first failure is one of the first seeds.
    let next = AtomicU64::new(seeds.start);
    pool.install(|| {
        (0..jobs.max(1)).into_par_iter().for_each(|_| {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= seeds.end || campaign.stopped.load(Ordering::Relaxed) {
                    break;
                }
                campaign.run(seed, go_on);
            }
        });
    });
    Ok(campaign.end())
}

impl CheckArgs {
    /// Says what is wrong with the options before anything runs.
    ///
    /// # Errors
    ///
    /// What is wrong, and with which of them.
    pub fn check(&self) -> Result<()> {
        ensure!(self.seeds > 0, "--seeds is at least 1");
        self.from.checked_add(self.seeds).context("--from and --seeds go beyond the largest seed")?;
        ensure!(self.seed != Some(u64::MAX), "--seed goes beyond the largest seed");
        self.file.as_deref().map(Scenario::read).transpose()?;
        Ok(())
    }

    /// What every node is set to, where a scenario says nothing.
    pub fn base(&self) -> Config {
        #[allow(unused_mut, reason = "nothing is set without the feature")]
        let mut base = Config::default();
        #[cfg(feature = "known-bugs")]
        {
            base.known_bug = self.bug;
        }
        base
    }

    fn command(&self, which: &str) -> String {
        let mut command = format!("sim check {which}");
        if self.repeat != CheckArgs::default().repeat {
            command += &format!(" --repeat {}", self.repeat);
        }
        #[cfg(feature = "known-bugs")]
        if let Some(bug) = self.bug {
            command += &format!(" --bug {bug}");
        }
        command
    }
}

/// Many runs, and what they have come to.
struct Campaign<'a> {
    args: &'a CheckArgs,
    file: Option<Scenario>,
    base: Config,
    started: Instant,
    stopped: AtomicBool,
    outcome: Mutex<Outcome>,
    /// By seed.
    failed: Mutex<Option<(u64, Box<Failed>)>>,
}

impl<'a> Campaign<'a> {
    fn new(args: &'a CheckArgs, seeds: &std::ops::Range<u64>) -> Self {
        let which = match (&args.file, args.seed) {
            (Some(file), _) => format!("--file {}", file.display()),
            (None, Some(seed)) => format!("--seed {seed}"),
            (None, None) => format!("--from {} --seeds {}", args.from, args.seeds),
        };
        let outcome = Outcome {
            version: env!("CARGO_PKG_VERSION"),
            command: args.command(&which),
            asked: seeds.end - seeds.start,
            ..Outcome::default()
        };
        Campaign {
            args,
            file: None,
            base: Config::default(),
            started: Instant::now(),
            stopped: AtomicBool::new(false),
            outcome: Mutex::new(outcome),
            failed: Mutex::new(None),
        }
    }

    fn scenario(&self, seed: u64) -> Scenario {
        self.file.clone().unwrap_or_else(|| Scenario::random(seed))
    }

    fn run(&self, seed: u64, go_on: &(dyn Fn(u64, u64) -> bool + Sync)) {
        let scenario = self.scenario(seed);
        let result = run_scenario(&scenario, &self.base);
        let repeat = self.args.repeat > 0 && (seed.is_multiple_of(self.args.repeat) || self.outcome().asked == 1);
        let result = if repeat { repeated(result, run_scenario(&scenario, &self.base)) } else { result };
        let (run, events) = {
            let mut outcome = self.outcome();
            outcome.repeated += u64::from(repeat);
            match &result {
                Ok(ran) => outcome.count(ran),
                Err(failed) => outcome.count_failed(failed),
            }
            (outcome.run, outcome.events)
        };
        if let Err(failed) = result {
            let mut first = self.failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            if first.as_ref().is_none_or(|&(earlier, _)| seed < earlier) {
                *first = Some((seed, failed));
            }
            self.stopped.store(true, Ordering::Relaxed);
        }
        if !go_on(run, events) {
            self.stopped.store(true, Ordering::Relaxed);
        }
    }

    fn outcome(&self) -> std::sync::MutexGuard<'_, Outcome> {
        self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn end(self) -> Outcome {
        let failed = self.failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).take();
        let failure = failed.map(|(seed, failed)| {
            let replay = match &self.args.file {
                Some(file) => self.args.command(&format!("--file {}", file.display())),
                None => self.args.command(&format!("--seed {seed}")),
            };
            let minimal = (!self.args.no_shrink && failed.broken.invariant != SAME).then(|| {
                let (scenario, failed) = shrink(&self.scenario(seed), failed.clone(), &self.base);
                Minimal { scenario, failed: *failed }
            });
            Failure { replay, failed: *failed, minimal }
        });
        let mut outcome = self.outcome().clone();
        outcome.interrupted = failure.is_none() && outcome.run < outcome.asked;
        outcome.failure = failure;
        outcome.seconds = self.started.elapsed().as_secs_f64();
        outcome
    }
}

/// Two runs of one scenario did the same.
const SAME: &str = "same run twice";

/// The result of the first run, when the second is the same.
fn repeated(first: Result<Ran, Box<Failed>>, second: Result<Ran, Box<Failed>>) -> Result<Ran, Box<Failed>> {
    if first == second {
        return first;
    }
    let hash = |result: &Result<Ran, Box<Failed>>| match result {
        Ok(ran) => ran.trace_hash,
        Err(failed) => failed.trace_hash,
    };
    let what = format!("the trace hashes of two runs are {:016x} and {:016x}", hash(&first), hash(&second));
    let broken = crate::invariant::Broken::new(SAME, what);
    let (state, history) = (String::new(), Vec::new());
    Err(Box::new(Failed { broken, at: 0, state, history, events: 0, trace_hash: hash(&first) }))
}
