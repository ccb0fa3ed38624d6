//! Where a setting comes from: the flag, else the scenario file, else the default.
//!
//! clap knows every flag, its default and what it takes. What a file says beside the flags is handed to clap as if it stood on
//! the command line: so every setting is described once, and one parser judges every value. The names in a file are those of
//! the long flags; the flags under a heading of `--help` stand in a table with the heading's name.
//!
//! Everything is checked before anything runs. What is wrong is told with the file, the line, and the mend.

mod file;
pub mod groups;
#[cfg(test)]
mod tests;
pub mod values;

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Command, CommandFactory, FromArgMatches};

use crate::cli::Cli;
use file::{ScenarioFile, Setting};

/// The verb that takes its scenario from a file.
const RUN: &str = "run";

/// What flags, file and defaults together say.
#[derive(Debug)]
pub struct Parsed {
    /// The settings.
    pub cli: Cli,
    command: Command,
    matches: ArgMatches,
    source: Option<Source>,
}

/// The command line or the scenario file is wrong.
#[derive(Debug)]
pub enum Refused {
    /// In clap's own words. Help and version come this way too.
    Clap(clap::Error),
    /// With the place and the mend.
    Text(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Clap(error) => error.fmt(f),
            Refused::Text(text) => f.write_str(text),
        }
    }
}

impl Error for Refused {}

/// Settings that are right one by one do not go together.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{setting}: {why}")]
pub struct Wrong {
    /// The setting to change, by the name of its flag without hyphens.
    pub setting: &'static str,
    /// What is wrong, and what to do.
    pub why: String,
}

impl Wrong {
    /// A complaint about one setting.
    pub fn new(setting: &'static str, why: impl Into<String>) -> Self {
        Wrong { setting, why: why.into() }
    }
}

/// One setting of a run, as `--help` names it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Chosen {
    /// The flag's name without hyphens.
    pub name: String,
    /// Its value, as the flag takes it.
    pub value: String,
    /// Whether nobody chose it.
    pub default: bool,
}

#[derive(Debug)]
struct Source {
    file: ScenarioFile,
    settings: Vec<Setting>,
}

/// Parses the words of the command line, the first of which is the program's name, and the scenario file that they name.
///
/// # Errors
///
/// [`Refused`], when a word, a name or a value is wrong, or settings do not go together.
pub fn parse(words: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Parsed, Refused> {
    let words = named_scenario(words.into_iter().map(Into::into).collect())?;
    let command = command();
    let matches = command.clone().try_get_matches_from(&words).map_err(one_line)?;
    let source = match file_of(&matches) {
        Some(path) => Some(Source::read(&path, &command, &matches)?),
        None => None,
    };
    let all = match &source {
        Some(source) => source.with_flags(words, &matches),
        None => words,
    };
    let matches = command.clone().try_get_matches_from(all).map_err(|error| blame(error, source.as_ref()))?;
    let cli = Cli::from_arg_matches(&matches).map_err(Refused::Clap)?;
    let parsed = Parsed { cli, command, matches, source };
    if let Some(scenario) = parsed.cli.verb.scenario() {
        let jobs = parsed.cli.output.jobs();
        scenario.check().and_then(|()| memory(scenario.sizes(), jobs)).map_err(|wrong| parsed.refuse(&wrong))?;
    }
    Ok(parsed)
}

impl Parsed {
    /// The name of the verb.
    pub fn verb(&self) -> &str {
        self.matches.subcommand_name().unwrap_or_default()
    }

    /// Every setting of the scenario, in the order of `--help`.
    pub fn chosen(&self) -> Vec<Chosen> {
        let Some((name, matches)) = self.matches.subcommand() else { return Vec::new() };
        let Some(verb) = self.command.find_subcommand(name) else { return Vec::new() };
        let chosen = |flag: &clap::Arg| {
            let id = flag.get_id().as_str();
            let values: Vec<_> = matches.get_raw(id)?.map(|value| value.to_string_lossy()).collect();
            let default = matches.value_source(id) == Some(ValueSource::DefaultValue);
            Some(Chosen { name: flag.get_long()?.to_owned(), value: values.join(","), default })
        };
        file::settable(verb).filter_map(chosen).collect()
    }

    /// Where what is wrong stands: in the file, or on the command line.
    fn refuse(&self, wrong: &Wrong) -> Refused {
        match &self.source {
            // Where the setting has its default, the nodes may be what does not go with it.
            Some(source) => source.refuse(wrong.setting, &wrong.why).or_else(|| source.refuse("nodes", &wrong.why)),
            None => None,
        }
        .unwrap_or_else(|| Refused::Text(format!("--{wrong}")))
    }
}

impl Source {
    fn read(path: &std::path::Path, command: &Command, matches: &ArgMatches) -> Result<Self, Refused> {
        let file = ScenarioFile::read(path)?;
        let verb = matches.subcommand_name().and_then(|name| command.find_subcommand(name));
        let verb = verb.expect("only scenarios have a file, and they are subcommands");
        if let Some((name, span)) = file.scenario()?
            && name != verb.get_name()
        {
            let why = format!("this file is for the scenario {name}, not {}: use sim run", verb.get_name());
            return Err(file.refuse(&span, &why));
        }
        let settings = file.settings(verb)?;
        Ok(Source { file, settings })
    }

    /// The words, with those of the file behind them that no flag decides.
    fn with_flags(&self, mut words: Vec<OsString>, matches: &ArgMatches) -> Vec<OsString> {
        let given = |name: &str| {
            let id = name.replace('-', "_");
            let matches = matches.subcommand().map(|(_, matches)| matches);
            matches.and_then(|matches| matches.value_source(&id)) == Some(ValueSource::CommandLine)
        };
        let from_file = self.settings.iter().filter(|setting| !given(&setting.name));
        words.extend(from_file.flat_map(|setting| setting.words.iter().map(OsString::from)));
        words
    }

    fn refuse(&self, setting: &str, why: &str) -> Option<Refused> {
        let found = self.settings.iter().find(|found| found.name == setting)?;
        Some(self.file.refuse(&found.span, &format!("{setting}: {why}")))
    }
}

/// Refuses what would not fit into the machine: the largest of the runs may be under way at one time.
fn memory(mut sizes: Vec<usize>, jobs: usize) -> Result<(), Wrong> {
    sizes.sort_unstable_by(|a, b| b.cmp(a));
    groups::check_memory(sizes.into_iter().take(jobs).fold(0, usize::saturating_add))
}

/// Turns `sim run FILE …` into `sim SCENARIO --file FILE …`.
fn named_scenario(words: Vec<OsString>) -> Result<Vec<OsString>, Refused> {
    let command = command().ignore_errors(true);
    let Ok(matches) = command.try_get_matches_from(&words) else { return Ok(words) };
    let Some((RUN, run)) = matches.subcommand() else { return Ok(words) };
    let (Some(path), Some(at)) = (run.get_one::<PathBuf>("scenario_file"), words.iter().position(|word| word == RUN))
    else {
        return Ok(words);
    };
    let file = ScenarioFile::read(path)?;
    let command = Cli::command();
    let names = || command.get_subcommands().filter(|verb| is_scenario(verb)).map(Command::get_name);
    let Some((name, span)) = file.scenario()? else {
        let all: Vec<&str> = names().collect();
        let why =
            format!("the file does not say what it is for: add scenario = \"hops\", or one of {}", all.join(", "));
        return Err(file.refuse(&(0..0), &why));
    };
    if !names().any(|known| known == name) {
        let mend = match file::nearest(&name, names()) {
            Some(known) => format!("did you mean {known}?"),
            None => "see sim --help".to_owned(),
        };
        return Err(file.refuse(&span, &format!("there is no scenario {name:?}: {mend}")));
    }
    let mut renamed = words;
    renamed[at] = name.into();
    if let Some(at) = renamed.iter().position(|word| word == path.as_os_str()) {
        renamed.splice(at..=at, ["--file".into(), path.clone().into_os_string()]);
    }
    Ok(renamed)
}

/// The command line, with negative numbers as values everywhere: they are wrong, and are told so.
fn command() -> Command {
    Cli::command().mut_subcommands(|verb| {
        verb.mut_args(|flag| if flag.get_action().takes_values() { flag.allow_negative_numbers(true) } else { flag })
    })
}

fn is_scenario(verb: &Command) -> bool {
    verb.get_arguments().any(|flag| flag.get_id() == "file")
}

fn file_of(matches: &ArgMatches) -> Option<PathBuf> {
    let (_, matches) = matches.subcommand()?;
    matches.try_get_one::<PathBuf>("file").ok()?.cloned()
}

/// Without the file the words were right: tells which line of it is wrong.
fn blame(error: clap::Error, source: Option<&Source>) -> Refused {
    let (Some(ContextValue::String(shown)), Some(source)) = (error.get(ContextKind::InvalidArg), source) else {
        return one_line(error);
    };
    let flag = shown.split([' ', '=']).next().unwrap_or_default().trim_start_matches('-').to_owned();
    let why = match (error.source(), error.get(ContextKind::ValidValue)) {
        (Some(cause), _) => cause.to_string(),
        (None, Some(ContextValue::Strings(values))) => format!("it is one of {}", values.join(", ")),
        (None, _) => first_line(&error),
    };
    source.refuse(&flag, &why).unwrap_or_else(|| one_line(error))
}

/// A value that does not parse needs no page of usage.
fn one_line(error: clap::Error) -> Refused {
    match error.kind() {
        ErrorKind::ValueValidation => Refused::Text(first_line(&error)),
        _ => Refused::Clap(error),
    }
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}
