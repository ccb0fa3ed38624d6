//! The command line: what `sim` can be told, and what it answers with.

use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};

use crate::check;
use crate::machine;
use crate::model;
use crate::output::{Cost, Figure, Origin, Report, check_figure_path};
use crate::progress::{EXIT_INTERRUPTED, Progress, Telling, stop_on_ctrl_c};
use crate::scenario::{Run, Scenario, Verb};
use crate::settings::{self, Parsed, Refused};

/// The words on the command line or the scenario file were wrong: nothing ran.
const EXIT_USAGE: u8 = 2;

/// Runs the very protocol of Atoll on a virtual clock and a simulated network.
///
/// A scenario takes its settings from flags, from a file (--file), or else from defaults that run in seconds. The same seed and
/// settings give the same figures on every machine.
#[derive(Debug, clap::Parser)]
#[command(
    name = "sim",
    version,
    after_help = "Examples:\n  sim hops --nodes 1000,10000 --links 16\n  sim run sim/scenarios/fail.toml --plot fail.svg\n\n\
                  Exit status: 0, or 1 when a run failed, 2 when a setting is wrong, 130 when the run was interrupted."
)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
    /// Where the results go.
    #[command(flatten)]
    pub output: Output,
}

/// Where the results go, and how the machine is used: the same for every scenario, and not part of it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print one JSON object instead of the table.
    #[arg(long, global = true, conflicts_with = "csv")]
    pub json: bool,
    /// Print comma-separated values instead of the table.
    #[arg(long, global = true)]
    pub csv: bool,
    /// Draw the plots into this file (.svg or .png), or into this directory as both; may be given more than once.
    #[arg(long, global = true, value_name = "FILE", value_parser = figure_path)]
    pub plot: Vec<PathBuf>,
    /// Tell the progress also where standard error is no terminal: a line every few seconds.
    #[arg(long, global = true)]
    pub progress: bool,
    /// Runs at one time, each on one core; without this, as many as there are cores.
    #[arg(long, global = true, value_name = "RUNS", value_parser = settings::values::count)]
    pub jobs: Option<usize>,
}

impl Output {
    /// Runs at one time.
    pub fn jobs(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, usize::from);
        self.jobs.unwrap_or_else(cores)
    }
}

/// Does what the words say; the first of them is the program's name.
pub fn main(words: impl IntoIterator<Item = std::ffi::OsString>) -> ExitCode {
    let parsed = match settings::parse(words) {
        Ok(parsed) => parsed,
        Err(refused) => return refuse(&refused),
    };
    if let Err(error) = check_words(&parsed) {
        eprintln!("error: {error:#}");
        return EXIT_USAGE.into();
    }
    match run(&parsed) {
        Ok(End::Done) => ExitCode::SUCCESS,
        Ok(End::Broken) => ExitCode::FAILURE,
        Ok(End::Interrupted) => EXIT_INTERRUPTED.into(),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Runs a scenario with words as on the command line, without the program's name, and without a sign of progress.
///
/// # Errors
///
/// When the words are wrong, or the run fails.
pub fn report(words: &[&str]) -> Result<Report> {
    let parsed = settings::parse(std::iter::once("sim").chain(words.iter().copied()))?;
    let scenario = parsed.cli.verb.scenario().context("this is no scenario")?;
    measure(&parsed, scenario, Telling::Silent)
}

/// How a run came to its end.
enum End {
    Done,
    /// A check has found something.
    Broken,
    Interrupted,
}

/// Whether the checks can do what they are told; the settings of scenarios have been looked at before.
fn check_words(parsed: &Parsed) -> Result<()> {
    let output = &parsed.cli.output;
    match &parsed.cli.verb {
        Verb::Check(args) => args.check()?,
        Verb::Model(args) => args.check()?,
        _ => return Ok(()),
    }
    ensure!(!output.csv && output.plot.is_empty(), "a check has no table and no plot: leave --csv and --plot out");
    Ok(())
}

fn run(parsed: &Parsed) -> Result<End> {
    stop_on_ctrl_c().context("cannot listen for Ctrl-C")?;
    let output = &parsed.cli.output;
    let telling = Telling::fitting(output.progress, output.json || output.csv);
    match &parsed.cli.verb {
        Verb::Check(args) => {
            let progress = Progress::new(telling);
            progress.expect(if args.seed.is_some() || args.file.is_some() { 1 } else { args.seeds });
            let did = |_, events: u64| {
                progress.did(1, events.saturating_sub(progress.events()));
                !progress.is_stopped()
            };
            let outcome = check::run(args, output.jobs(), &did)?;
            progress.end();
            say(&outcome, output)?;
            let unbroken = if outcome.interrupted { End::Interrupted } else { End::Done };
            Ok(if outcome.passed() { unbroken } else { End::Broken })
        }
        Verb::Model(args) => {
            let outcome = model::run(args)?;
            say(&outcome, output)?;
            Ok(if outcome.failure.is_some() { End::Broken } else { End::Done })
        }
        verb => {
            let Some(scenario) = verb.scenario() else {
                unreachable!("the file of `run` is read before this, and it names a scenario");
            };
            let report = measure(parsed, scenario, telling)?;
            print(&report, output)?;
            for path in &output.plot {
                for written in report.write_figures(path)? {
                    eprintln!("drawn: {}", written.display());
                }
            }
            Ok(if report.interrupted { End::Interrupted } else { End::Done })
        }
    }
}

/// Prints what a check has found.
fn say(outcome: &(impl std::fmt::Display + serde::Serialize), output: &Output) -> Result<()> {
    let text = if output.json { serde_json::to_string_pretty(outcome)? } else { outcome.to_string() };
    put(&(text.trim_end().to_owned() + "\n"))
}

fn measure(parsed: &Parsed, scenario: &dyn Scenario, telling: Telling) -> Result<Report> {
    let run = Run::new(Progress::new(telling), parsed.cli.output.jobs())?;
    let report = scenario.run(&run);
    run.progress.end();
    let mut report = report?;
    report.origin = origin(parsed);
    report.interrupted |= run.progress.is_stopped();
    report.cost = Cost {
        seconds: run.progress.elapsed().as_secs_f64(),
        events: run.progress.events(),
        peak_memory: machine::peak_memory(),
    };
    Ok(report)
}

fn origin(parsed: &Parsed) -> Origin {
    let settings = parsed.chosen();
    let mut repeat = format!("sim {}", parsed.verb());
    for chosen in settings.iter().filter(|chosen| !chosen.default || chosen.name == "seed") {
        repeat += &format!(" --{}={}", chosen.name, chosen.value);
    }
    Origin { scenario: parsed.verb().to_owned(), version: env!("CARGO_PKG_VERSION").to_owned(), settings, repeat }
}

/// Prints the report as it is wanted. A reader that has seen enough is no failure.
fn print(report: &Report, output: &Output) -> Result<()> {
    let text = match report.figures.first() {
        _ if output.json => report.to_json()? + "\n",
        _ if output.csv => report.to_csv()?,
        Some(Figure::Drawing { svg, .. }) if output.plot.is_empty() => svg.clone(),
        _ => report.to_table(),
    };
    put(&text)
}

fn put(text: &str) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("cannot print the report"),
        _ => Ok(()),
    }
}

fn refuse(refused: &Refused) -> ExitCode {
    match refused {
        Refused::Clap(error) => {
            // Nowhere is left to say that printing failed.
            let _ = error.print();
            u8::try_from(error.exit_code()).unwrap_or(EXIT_USAGE).into()
        }
        Refused::Text(text) => {
            eprintln!("error: {text}");
            EXIT_USAGE.into()
        }
    }
}

fn figure_path(text: &str) -> Result<PathBuf, String> {
    let path = PathBuf::from(text);
    check_figure_path(&path)?;
    Ok(path)
}
