//! Where a setting comes from: the flag, else the `ATOLL_*` variable, else the settings file, else the default.
//!
//! clap knows flags, variables and defaults. What the file says about the rest is handed to clap as if it had been
//! written on the command line, so that one parser judges every value and no setting is described twice. The names in
//! the file are those of the long flags; flags that only one verb has stand in a table with the verb's name.

use std::error::Error;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, ValueHint};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::args::Cli;

/// The settings file where none is named.
const DEFAULT_FILE: &str = "atoll.toml";

/// Bytes in a settings file at most.
const MAX_FILE_BYTES: u64 = 256 * 1024;

/// What all layers together say.
pub(crate) struct Parsed {
    pub(crate) cli: Cli,
    pub(crate) command: Command,
    pub(crate) matches: ArgMatches,
    from_file: Vec<FromFile>,
}

/// The command line, a variable or the settings file is wrong.
#[derive(Debug)]
pub(crate) enum Refused {
    /// In clap's own words. Help and version come this way too.
    Clap(clap::Error),
    /// In one line.
    Text(String),
}

/// In one line.
impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::Clap(error) => f.write_str(&first_line(error)),
            Refused::Text(text) => f.write_str(text),
        }
    }
}

/// One setting that the file decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FromFile {
    /// The long flag, with its two hyphens.
    flag: String,
    /// What it would be on the command line.
    words: Vec<String>,
    at: Place,
}

/// A line of the settings file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    file: PathBuf,
    line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file.display(), self.line)
    }
}

/// Parses the words of the command line, the first of which is the program's name.
pub(crate) fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Parsed, Refused> {
    let words: Vec<_> = words.into_iter().collect();
    let command = Cli::command();
    let matches = command.clone().try_get_matches_from(&words).map_err(one_line)?;
    let file = match matches.get_one::<PathBuf>("config") {
        Some(path) => Some((path.as_path(), read(path)?)),
        None => read_if_there(Path::new(DEFAULT_FILE))?.map(|text| (Path::new(DEFAULT_FILE), text)),
    };
    let from_file = match &file {
        Some((path, text)) => SettingsFile { path, text }.settings(&command, &matches)?,
        None => Vec::new(),
    };
    let matches = command.clone().try_get_matches_from(with(words, &from_file)).map_err(|e| blame(e, &from_file))?;
    let cli = Cli::from_arg_matches(&matches).map_err(Refused::Clap)?;
    Ok(Parsed { cli, command, matches, from_file })
}

impl Parsed {
    /// Where the value of this flag, one of those that every verb has, comes from; `None` where it has no value.
    pub(crate) fn source(&self, flag: &Arg) -> Option<String> {
        if let Some(found) = self.from_file.iter().find(|setting| Some(setting.flag.as_str()) == long(flag).as_deref())
        {
            return Some(found.at.to_string());
        }
        match self.matches.value_source(flag.get_id().as_str())? {
            ValueSource::CommandLine => Some("flag".to_owned()),
            ValueSource::EnvVariable => flag.get_env().map(|name| name.to_string_lossy().into_owned()),
            _ => Some("default".to_owned()),
        }
    }
}

struct SettingsFile<'a> {
    path: &'a Path,
    text: &'a str,
}

impl SettingsFile<'_> {
    /// The settings that nothing above the file decides. Every name in the file is checked, needed or not.
    fn settings(&self, command: &Command, matches: &ArgMatches) -> Result<Vec<FromFile>, Refused> {
        let table = DeTable::parse(self.text).map_err(|error| {
            let at = error.span().map_or(0, |span| span.start);
            self.refuse(at, error.message())
        })?;
        let mut settings = Vec::new();
        self.collect(command, Some(matches), table.get_ref(), &mut settings)?;
        Ok(settings)
    }

    /// `matches` is `None` in the table of a verb that was not asked for.
    fn collect(
        &self,
        command: &Command,
        matches: Option<&ArgMatches>,
        table: &DeTable<'_>,
        settings: &mut Vec<FromFile>,
    ) -> Result<(), Refused> {
        for (name, value) in table {
            let at = name.span().start;
            if let (Some(verb), DeValue::Table(table)) =
                (command.find_subcommand(name.get_ref().as_ref()), value.get_ref())
            {
                let matches = matches.and_then(|matches| matches.subcommand_matches(verb.get_name()));
                self.collect(verb, matches, table, settings)?;
                continue;
            }
            let Some(flag) =
                command.get_arguments().find(|flag| may_be_set(flag) && flag.get_long() == Some(name.get_ref()))
            else {
                let place = if command.get_name() == Cli::command().get_name() { "" } else { " of this verb" };
                return Err(
                    self.refuse(at, &format!("there is no setting {:?}{place}: see node-cli --help", name.get_ref()))
                );
            };
            let words = self.words(flag, value)?;
            if matches.is_some_and(|matches| !is_given(command, flag, matches)) {
                let flag = long(flag).expect("it was found by its long name");
                settings.push(FromFile { flag, words, at: self.place(at) });
            }
        }
        Ok(())
    }

    /// The words of a command line that say the same.
    fn words(&self, flag: &Arg, value: &Spanned<DeValue<'_>>) -> Result<Vec<String>, Refused> {
        let name = long(flag).expect("settings are found by their long names");
        let wrong = |wanted: &str| Err(self.refuse(value.span().start, &format!("{} takes {wanted}", &name[2..])));
        match (flag.get_action(), value.get_ref()) {
            (ArgAction::SetTrue, DeValue::Boolean(on)) => Ok(if *on { vec![name] } else { Vec::new() }),
            (ArgAction::SetTrue, _) => wrong("true or false"),
            (ArgAction::Count, DeValue::Integer(_)) => match json(value.get_ref()).and_then(|n| n.as_u64()) {
                Some(times @ 0..=3) => Ok(vec![name; times as usize]),
                _ => wrong("a number from 0 to 3"),
            },
            (ArgAction::Count, _) => wrong("a number from 0 to 3"),
            (ArgAction::Append, DeValue::Array(values)) => {
                values.iter().map(|value| self.word(flag, &name, value)).collect()
            }
            (_, DeValue::Array(_)) => wrong("one value"),
            _ => Ok(vec![self.word(flag, &name, value)?]),
        }
    }

    fn word(&self, flag: &Arg, name: &str, value: &Spanned<DeValue<'_>>) -> Result<String, Refused> {
        let text = match (value.get_ref(), json(value.get_ref())) {
            // As in other tools: a path in a file is seen from where the file is.
            (DeValue::String(text), _) if flag.get_value_hint() == ValueHint::FilePath => {
                let folder = self.path.parent().unwrap_or(Path::new(""));
                folder.join(text.as_ref()).to_string_lossy().into_owned()
            }
            (DeValue::String(text), _) => text.clone().into_owned(),
            (DeValue::Integer(_) | DeValue::Table(_), Some(value)) => value.to_string(),
            _ => return Err(self.refuse(value.span().start, &format!("{} takes text or a whole number", &name[2..]))),
        };
        Ok(format!("{name}={text}"))
    }

    fn place(&self, at: usize) -> Place {
        let line = 1 + self.text.bytes().take(at).filter(|byte| *byte == b'\n').count();
        Place { file: self.path.into(), line }
    }

    fn refuse(&self, at: usize, why: &str) -> Refused {
        Refused::Text(format!("{}: {}", self.place(at), why.lines().next().unwrap_or_default()))
    }
}

/// The value as JSON, which is how a table reaches a flag; `None` where JSON has no such thing.
fn json(value: &DeValue<'_>) -> Option<serde_json::Value> {
    Some(match value {
        DeValue::String(text) => text.as_ref().into(),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Boolean(value) => (*value).into(),
        DeValue::Array(values) => values.iter().map(|value| json(value.get_ref())).collect::<Option<Vec<_>>>()?.into(),
        DeValue::Table(table) => {
            let pairs = table.iter().map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?)));
            serde_json::Value::Object(pairs.collect::<Option<_>>()?)
        }
        DeValue::Float(_) | DeValue::Datetime(_) => return None,
    })
}

/// Whether a settings file may hold it.
pub(crate) fn may_be_set(flag: &Arg) -> bool {
    flag.get_long().is_some() && !matches!(flag.get_id().as_str(), "config" | "help" | "version")
}

/// Whether a flag or a variable decides this flag, or rules it out.
fn is_given(command: &Command, flag: &Arg, matches: &ArgMatches) -> bool {
    let given = |id: &clap::Id| {
        matches!(matches.value_source(id.as_str()), Some(ValueSource::CommandLine | ValueSource::EnvVariable))
    };
    let exclusive = command.get_groups().filter(|group| !(*group).clone().is_multiple());
    let mut rivals = exclusive.filter(|group| group.get_args().any(|id| id == flag.get_id()));
    given(flag.get_id()) || rivals.any(|group| group.get_args().any(given))
}

fn long(flag: &Arg) -> Option<String> {
    flag.get_long().map(|name| format!("--{name}"))
}

/// The command line with the file's words at its end, though before a `--`.
fn with(mut words: Vec<OsString>, from_file: &[FromFile]) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--").unwrap_or(words.len());
    words.splice(end..end, from_file.iter().flat_map(|setting| setting.words.iter().map(OsString::from)));
    words
}

/// Without the file the words were right: tells which line of the file is wrong.
fn blame(error: clap::Error, from_file: &[FromFile]) -> Refused {
    let Some(ContextValue::String(shown)) = error.get(ContextKind::InvalidArg) else {
        return one_line(error);
    };
    let flag = shown.split_whitespace().next().unwrap_or_default();
    match from_file.iter().find(|setting| setting.flag == flag) {
        Some(setting) => Refused::Text(format!("{}: {}", setting.at, first_line(&error))),
        None => one_line(error),
    }
}

/// A value that does not parse needs no page of usage.
fn one_line(error: clap::Error) -> Refused {
    match error.kind() {
        clap::error::ErrorKind::ValueValidation => Refused::Text(first_line(&error)),
        _ => Refused::Clap(error),
    }
}

fn first_line(error: &clap::Error) -> String {
    // The words that clap would repeat hold a credential.
    if let (Some(ContextValue::String(flag)), Some(cause)) = (error.get(ContextKind::InvalidArg), error.source())
        && flag.starts_with("--ice-server ")
    {
        return format!("invalid value for '{flag}': {cause}");
    }
    let text = error.to_string();
    let line = text.lines().next().unwrap_or_default();
    line.strip_prefix("error: ").unwrap_or(line).to_owned()
}

fn read(path: &Path) -> Result<String, Refused> {
    read_if_there(path)?.ok_or_else(|| Refused::Text(format!("there is no settings file {}", path.display())))
}

fn read_if_there(path: &Path) -> Result<Option<String>, Refused> {
    let refuse = |why: &dyn fmt::Display| Refused::Text(format!("the settings file {}: {why}", path.display()));
    match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(refuse(&error)),
        // A named pipe without a writer would wait for ever.
        Ok(found) if !found.is_file() => return Err(refuse(&"it is not a file")),
        Ok(_) => {}
    }
    let mut text = String::new();
    let file = File::open(path).map_err(|error| refuse(&error))?;
    file.take(MAX_FILE_BYTES + 1).read_to_string(&mut text).map_err(|error| refuse(&error))?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(&format!("it is longer than {MAX_FILE_BYTES} bytes")));
    }
    Ok(Some(text))
}
