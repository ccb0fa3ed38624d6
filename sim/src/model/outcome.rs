//! What a walk over the model found.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use stateright::{Checker, Expectation, Model};

use super::{Grain, ModelArgs, RingModel};

/// What a walk over the model found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// The bounds, in words.
    pub bound: String,
    /// The command that repeats it.
    pub command: String,
    /// States that were reached, by whatever way.
    pub states: usize,
    /// Different ones among them: each was looked at once.
    pub unique: usize,
    /// The most steps from the beginning.
    pub depth: usize,
    /// Nothing within the bound was left out.
    pub exhaustive: bool,
    /// States left out because more frames were on their way than the bound allows.
    pub cut: u64,
    /// Different states from which a fair schedule was run to an ideal ring.
    pub converged: u64,
    /// A state was reached in which everybody has joined, as many have failed as may, and the ring is ideal.
    pub arrived: bool,
    /// How long it took.
    pub elapsed: Duration,
    /// What is broken, and how it comes about.
    pub failure: Option<Failure>,
}

/// A counterexample.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Failure {
    /// What should always hold.
    pub property: String,
    /// Why it does not.
    pub reason: String,
    /// The steps, in their order.
    pub steps: Vec<String>,
    /// The state that they lead to, a line for each node.
    pub state: String,
    /// Where it is about what comes next: the last steps of the fair schedule from there.
    pub then: Vec<String>,
}

impl Outcome {
    pub(super) fn new(args: &ModelArgs, checker: &impl Checker<RingModel>, elapsed: Duration) -> Result<Self> {
        let model = checker.model();
        let discoveries = checker.discoveries();
        let properties = model.properties();
        let broken = properties
            .iter()
            .find(|property| property.expectation != Expectation::Sometimes && discoveries.contains_key(property.name));
        let failure = broken.map(|property| {
            let path = discoveries[property.name].clone().into_vec();
            let last = path.last().map(|(world, _)| world.clone());
            let step = |(world, action): &(super::World, Option<super::Action>)| {
                action.map(|action| model.rules.describe_action(world, action))
            };
            let (reason, then) = last.as_ref().map(|world| model.reason(property.name, world)).unwrap_or_default();
            Failure {
                property: property.name.to_owned(),
                reason,
                steps: path.iter().filter_map(step).collect(),
                state: last.map(|world| model.rules.describe(&world)).unwrap_or_default(),
                then,
            }
        });
        let cut = model.cut.load(Ordering::Relaxed);
        let unique = checker.unique_state_count();
        // States that were reached and not looked at are left over when the walk was stopped.
        let complete = model.looked.load(Ordering::Relaxed) == unique as u64;
        Ok(Outcome {
            bound: bound(args),
            command: command(args),
            states: checker.state_count(),
            unique,
            depth: checker.max_depth(),
            exhaustive: failure.is_none() && cut == 0 && complete,
            cut,
            converged: model.converged.load(Ordering::Relaxed),
            arrived: properties.iter().any(|property| {
                property.expectation == Expectation::Sometimes && discoveries.contains_key(property.name)
            }),
            elapsed,
            failure,
        })
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "bound          {}", self.bound)?;
        writeln!(f, "command        {}", self.command)?;
        writeln!(f, "states         {} reached, {} different", self.states, self.unique)?;
        writeln!(f, "depth          {} steps", self.depth)?;
        let extent = match (self.exhaustive, self.cut) {
            (true, _) => "every state within the bound".to_owned(),
            (false, 0) => "not all: stopped by --max-depth, --max-states, --timeout or a failure".to_owned(),
            (false, cut) => format!("not all: {cut} times too many frames were on their way (--in-flight)"),
        };
        writeln!(f, "extent         {extent}")?;
        writeln!(f, "convergence    shown from {} states", self.converged)?;
        writeln!(f, "all joined     {}", if self.arrived { "reached, and the ring is ideal" } else { "not reached" })?;
        writeln!(f, "time           {:.1} s", self.elapsed.as_secs_f64())?;
        match &self.failure {
            None => write!(f, "result         holds"),
            Some(failure) => write!(f, "result         BROKEN\n{failure}"),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nalways: {}\n  {}\n\nafter these steps:", self.property, self.reason)?;
        for (at, step) in self.steps.iter().enumerate() {
            writeln!(f, "{:4}  {step}", at + 1)?;
        }
        write!(f, "\nthe nodes are:{}", self.state)?;
        if !self.then.is_empty() {
            write!(f, "\n\nand then, without further faults (the last {} steps):", self.then.len())?;
        }
        self.then.iter().try_for_each(|step| write!(f, "\n      {step}"))
    }
}

fn bound(args: &ModelArgs) -> String {
    let grain = match args.grain {
        Grain::Frames => "a step is a frame",
        Grain::Bursts => "a step is all frames on one link",
        Grain::Operations => "a step is an operation",
    };
    let stabilizations = args.stabilizations.map_or("any number of".to_owned(), |most| most.to_string());
    format!(
        "ring of {} + {} joining, {} crashing, {} links breaking, {} checks, {stabilizations} stabilizations, successor lists of \
         {}, {grain}",
        args.nodes, args.joins, args.fails, args.breaks, args.checks, args.successors
    )
}

/// The options that differ from the defaults.
fn command(args: &ModelArgs) -> String {
    use clap::ValueEnum;
    let default = ModelArgs::default();
    let mut command = format!("sim model --nodes {} --joins {}", args.nodes, args.joins);
    let mut option = |differs: bool, text: String| {
        if differs {
            command.push_str(&text);
        }
    };
    option(args.fails != default.fails, format!(" --fails {}", args.fails));
    option(args.breaks != default.breaks, format!(" --breaks {}", args.breaks));
    option(args.checks != default.checks, format!(" --checks {}", args.checks));
    option(args.stabilizations.is_some(), format!(" --stabilizations {}", args.stabilizations.unwrap_or_default()));
    option(args.successors != default.successors, format!(" --successors {}", args.successors));
    let grain = args.grain.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
    option(args.grain != default.grain, format!(" --grain {grain}"));
    option(args.in_flight != default.in_flight, format!(" --in-flight {}", args.in_flight));
    option(args.max_depth.is_some(), format!(" --max-depth {}", args.max_depth.unwrap_or_default()));
    option(args.max_states.is_some(), format!(" --max-states {}", args.max_states.unwrap_or_default()));
    option(args.timeout.is_some(), format!(" --timeout {}", args.timeout.unwrap_or_default().as_secs()));
    option(args.converge_every != 1, format!(" --converge-every {}", args.converge_every));
    option(args.threads.is_some(), format!(" --threads {}", args.threads.unwrap_or_default()));
    #[cfg(feature = "known-bugs")]
    option(args.bug.is_some(), args.bug.map(|bug| format!(" --bug {bug}")).unwrap_or_default());
    command
}
