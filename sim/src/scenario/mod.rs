//! The scenarios: each builds rings, does something to them, and reports what it measured.

mod attack;
mod channel;
mod churn;
mod classic;
mod damage;
mod draw;
mod fail;
mod hops;
mod join;
mod journey;
mod load;
mod lookups;
mod merge;
mod packets;
mod ring;
mod samples;
mod store;
mod trace;
mod turnover;

use std::path::PathBuf;

use anyhow::{Context, Result};
use rayon::prelude::*;

use crate::check::CheckArgs;
use crate::model::ModelArgs;
use crate::output::Report;
use crate::progress::Progress;
use crate::settings::Wrong;

pub use attack::{Attack, Misdeed};
pub use channel::Channel;
pub(crate) use channel::identity;
pub use churn::{Churn, Sessions};
pub use classic::Kind;
pub use draw::Draw;
pub use fail::Fail;
pub use hops::Hops;
pub use join::Join;
pub use load::Load;
pub use lookups::Target;
pub use merge::Merge;
pub use ring::Growth;
pub use store::Store;
pub use trace::Trace;

/// What `sim` can do.
#[derive(Debug, clap::Subcommand)]
pub enum Verb {
    /// How long the ways of lookups are, against the size of the ring and the budget of links.
    Hops(Hops),
    /// How long it takes until nodes that join are one correct ring.
    Join(Join),
    /// What arrives when a share of all nodes dies at one moment: before any repair, and after it.
    Fail(Fail),
    /// How evenly keys are spread over nodes with random ids.
    Load(Load),
    /// How many lookups come through though a share of the nodes drops what it should forward, or sends it astray.
    Attack(Attack),
    /// What lookups do while nodes come and go.
    Churn(Churn),
    /// How much of what is published on a channel comes to its members, and how soon, while nodes come and go.
    Channel(Channel),
    /// Whether records are still read hours after they were written, while nodes come and go, and what is copied for that.
    Store(Store),
    /// How long two rings that meet take to become one.
    Merge(Merge),
    /// Every event of one lookup.
    Trace(Trace),
    /// Draws the ring with its links and the way of one lookup. Without --plot the SVG goes to standard output.
    Draw(Draw),
    /// Checks the protocol with random scenarios of faults: Zave's invariants after every change, then convergence.
    #[command(after_help = "Example:\n  sim check --seeds 10000")]
    Check(CheckArgs),
    /// Checks every interleaving of join, fail and stabilize on a small ring.
    #[command(after_help = "Example:\n  sim model --nodes 3 --joins 1 --fails 1")]
    Model(ModelArgs),
    /// Runs the scenario that a file describes. Flags behind the file go before what it says.
    Run {
        /// The file (TOML); `scenario = "hops"` in it says which scenario it is for.
        #[arg(value_name = "FILE")]
        scenario_file: PathBuf,
        /// Flags of that scenario.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLAGS")]
        flags: Vec<String>,
    },
}

impl Verb {
    /// The scenario, where the verb is one.
    pub fn scenario(&self) -> Option<&dyn Scenario> {
        match self {
            Verb::Hops(hops) => Some(hops),
            Verb::Join(join) => Some(join),
            Verb::Fail(fail) => Some(fail),
            Verb::Load(load) => Some(load),
            Verb::Attack(attack) => Some(attack),
            Verb::Churn(churn) => Some(churn),
            Verb::Channel(channel) => Some(channel),
            Verb::Store(store) => Some(store),
            Verb::Merge(merge) => Some(merge),
            Verb::Trace(trace) => Some(trace),
            Verb::Draw(draw) => Some(draw),
            Verb::Check(_) | Verb::Model(_) | Verb::Run { .. } => None,
        }
    }
}

/// One kind of experiment, with its settings.
pub trait Scenario: std::fmt::Debug + Sync {
    /// Checks what the settings say together; each alone is right already.
    ///
    /// # Errors
    ///
    /// [`Wrong`], which names a setting and the mend.
    fn check(&self) -> Result<(), Wrong>;

    /// How many nodes each of its runs holds at one time, for the memory that they take.
    fn sizes(&self) -> Vec<usize>;

    /// Does it. When it is asked to stop meanwhile, the report holds what was measured until then.
    ///
    /// # Errors
    ///
    /// When the rings do not do what the scenario needs to measure anything.
    fn run(&self, run: &Run) -> Result<Report>;
}

/// What a scenario runs in.
#[derive(Debug)]
pub struct Run {
    /// How far it is, and whether it is to stop.
    pub progress: Progress,
    pool: rayon::ThreadPool,
}

impl Run {
    /// A run on so many cores.
    ///
    /// # Errors
    ///
    /// When the threads cannot be started.
    pub fn new(progress: Progress, jobs: usize) -> Result<Self> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(jobs).build().context("cannot start threads")?;
        Ok(Run { progress, pool })
    }

    /// Does the same to each of these, several at one time. The results are in the order of what they are of; what was not begun
    /// when the run was asked to stop has none.
    ///
    /// # Errors
    ///
    /// The first that occurred.
    pub fn each<T: Sync, R: Send>(&self, of: &[T], work: impl Fn(&T) -> Result<Option<R>> + Sync) -> Result<Vec<R>> {
        let work = |one: &T| if self.progress.is_stopped() { Ok(None) } else { work(one) };
        // One at a time: a long run must not wait behind another while a core is idle.
        let results: Result<Vec<Option<R>>> = self.pool.install(|| of.par_iter().with_max_len(1).map(work).collect());
        Ok(results?.into_iter().flatten().collect())
    }
}
