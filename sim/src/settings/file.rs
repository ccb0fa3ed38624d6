//! A scenario file: TOML whose names are those of the flags, with the place of every value kept for messages.

use std::fs::{self, File};
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use clap::{Arg, Command};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Refused;

/// Bytes in a scenario file at most.
const MAX_BYTES: u64 = 256 * 1024;

/// The name under which a file says which scenario it is for.
pub(super) const SCENARIO: &str = "scenario";

/// How alike a mistyped name must be to one that exists to be mistaken for it: 1 is the same.
const ALIKE: f64 = 0.7;

/// A scenario file that was read.
#[derive(Clone, Debug)]
pub(super) struct ScenarioFile {
    path: PathBuf,
    text: String,
}

/// One setting of a file, as words of the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// The name of the flag, without hyphens.
    pub(super) name: String,
    /// What it would be on the command line.
    pub(super) words: Vec<String>,
    /// Where its value stands.
    pub(super) span: Range<usize>,
}

impl ScenarioFile {
    pub(super) fn read(path: &Path) -> Result<Self, Refused> {
        let refuse = |why: &dyn std::fmt::Display| Refused::Text(format!("{}: {why}", path.display()));
        let found = fs::metadata(path).map_err(|error| refuse(&error))?;
        // A named pipe without a writer would wait for ever.
        if !found.is_file() {
            return Err(refuse(&"it is not a file"));
        }
        let mut text = String::new();
        let file = File::open(path).map_err(|error| refuse(&error))?;
        file.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| refuse(&error))?;
        if text.len() as u64 > MAX_BYTES {
            return Err(refuse(&format!("it is longer than {MAX_BYTES} bytes")));
        }
        Ok(ScenarioFile { path: path.to_owned(), text })
    }

    /// The scenario that the file says it is for, with its place.
    pub(super) fn scenario(&self) -> Result<Option<(String, Range<usize>)>, Refused> {
        let table = self.parse()?;
        let Some(value) = table.get(SCENARIO) else { return Ok(None) };
        match value.get_ref() {
            DeValue::String(name) => Ok(Some((name.to_string(), value.span()))),
            _ => Err(self.refuse(&value.span(), "scenario takes a name, such as \"hops\"")),
        }
    }

    /// The settings, in the order of the file. Each must be one of this verb's, in the table of its heading.
    pub(super) fn settings(&self, verb: &Command) -> Result<Vec<Setting>, Refused> {
        let mut settings = Vec::new();
        for (name, value) in in_order(&self.parse()?) {
            if *name.get_ref() == SCENARIO {
                continue;
            }
            let heading = headings(verb).into_iter().find(|heading| is_named(heading, name.get_ref()));
            match (heading, value.get_ref()) {
                (Some(heading), DeValue::Table(table)) => {
                    for (name, value) in in_order(table) {
                        settings.push(self.setting(verb, Some(&heading), name, value)?);
                    }
                }
                (None, DeValue::Table(_)) => return Err(self.no_such_table(verb, name)),
                _ => settings.push(self.setting(verb, None, name, value)?),
            }
        }
        Ok(settings)
    }

    /// A message that names the file and the line, and shows it.
    pub(super) fn refuse(&self, span: &Range<usize>, why: &str) -> Refused {
        let start = span.start.min(self.text.len());
        let before = self.text.get(..start).unwrap_or_default();
        let number = 1 + before.matches('\n').count();
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(line_start..).unwrap_or_default().lines().next().unwrap_or_default();
        let column = before[line_start..].chars().count();
        let marked = self.text.get(start..span.end.min(line_start + line.len())).unwrap_or_default();
        let marks = "^".repeat(marked.chars().count().max(1));
        let margin = " ".repeat(number.to_string().len());
        let path = self.path.display();
        Refused::Text(format!(
            "{path}:{number}: {why}\n{margin} |\n{number} | {line}\n{margin} | {}{marks}",
            " ".repeat(column)
        ))
    }

    fn parse(&self) -> Result<DeTable<'_>, Refused> {
        DeTable::parse(&self.text).map(Spanned::into_inner).map_err(|error| {
            let end = self.text.trim_end().len();
            self.refuse(&error.span().unwrap_or(end..end), &error.message().replace('\n', ", "))
        })
    }

    fn setting(
        &self,
        verb: &Command,
        heading: Option<&str>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Setting, Refused> {
        let wanted = name.get_ref().replace('_', "-");
        let Some(flag) = settable(verb).find(|flag| flag.get_long() == Some(wanted.as_str())) else {
            let names = settable(verb).filter_map(Arg::get_long).chain([SCENARIO]);
            let mend = match nearest(&wanted, names) {
                Some(name) => format!("did you mean {name}?"),
                None => format!("see sim {} --help", verb.get_name()),
            };
            return Err(self.refuse(&name.span(), &format!("there is no setting {wanted}: {mend}")));
        };
        let belongs = flag.get_help_heading();
        if belongs != heading {
            let place = match belongs {
                Some(table) => format!("in the table [{}]", table.to_lowercase()),
                None => "above all tables".to_owned(),
            };
            return Err(self.refuse(&name.span(), &format!("{wanted} belongs {place}")));
        }
        let words = match value.get_ref() {
            DeValue::Array(values) if takes_list(flag) => {
                if values.is_empty() {
                    return Err(
                        self.refuse(&value.span(), &format!("{wanted} is an empty list: give at least one value"))
                    );
                }
                values.iter().map(|value| self.word(&wanted, value)).collect::<Result<_, _>>()?
            }
            DeValue::Array(_) => {
                return Err(self.refuse(&value.span(), &format!("{wanted} takes one value, not a list")));
            }
            _ => vec![self.word(&wanted, value)?],
        };
        Ok(Setting { name: wanted, words, span: value.span() })
    }

    fn word(&self, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Refused> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().to_owned(),
            DeValue::Float(number) => number.as_str().to_owned(),
            DeValue::Boolean(value) => value.to_string(),
            other => {
                let why = format!("{name} takes a number or a text, not this {}", other.type_str());
                return Err(self.refuse(&value.span(), &why));
            }
        };
        Ok(format!("--{name}={text}"))
    }

    fn no_such_table(&self, verb: &Command, name: &Spanned<std::borrow::Cow<'_, str>>) -> Refused {
        let tables: Vec<String> = headings(verb).iter().map(|heading| heading.to_lowercase()).collect();
        let mend = match nearest(name.get_ref(), tables.iter().map(String::as_str)) {
            Some(table) => format!("did you mean [{table}]?"),
            None => format!("the tables are [{}]", tables.join("], [")),
        };
        self.refuse(&name.span(), &format!("there is no table [{}]: {mend}", name.get_ref()))
    }
}

/// What a file may set: everything but what says where the settings come from and where the results go.
pub(super) fn settable(verb: &Command) -> impl Iterator<Item = &Arg> {
    verb.get_arguments().filter(|flag| {
        flag.get_long().is_some()
            && !flag.is_global_set()
            && !matches!(flag.get_id().as_str(), "file" | "help" | "version")
    })
}

fn headings(verb: &Command) -> Vec<String> {
    let mut headings: Vec<String> =
        settable(verb).filter_map(|flag| flag.get_help_heading()).map(str::to_owned).collect();
    headings.dedup();
    headings
}

fn is_named(heading: &str, name: &str) -> bool {
    heading.to_lowercase() == name
}

fn takes_list(flag: &Arg) -> bool {
    matches!(flag.get_action(), clap::ArgAction::Append)
}

fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a Spanned<std::borrow::Cow<'i, str>>, &'a Spanned<DeValue<'i>>)> {
    let mut entries: Vec<_> = table.iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    entries
}

/// The name that a mistyped one resembles most.
pub(super) fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let likeness = |name: &str| strsim::jaro_winkler(wanted, name);
    names
        .map(|name| (likeness(name), name))
        .filter(|(like, _)| *like > ALIKE)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
