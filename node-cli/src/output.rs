//! What the program prints: text for people, or JSON with one object a line.

use std::fmt::Display;
use std::io::{self, Write};

use atoll::Id;
use serde::Serialize;

use crate::objects::Failed;

/// The way that this run prints. Results go to standard output, errors to standard error.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Output { json }
    }

    /// Prints `text` to people and `object` to programs, and flushes: whoever waits for the line has it.
    pub(crate) fn line(&self, text: impl Display, object: &impl Serialize) -> anyhow::Result<()> {
        self.line_to(&mut io::stdout().lock(), text, object)
    }

    /// Prints something that happened beside what was asked for, on standard error.
    pub(crate) fn event(&self, text: impl Display, object: &impl Serialize) {
        // Where standard error is closed nobody wants to know.
        let _ = self.line_to(&mut io::stderr().lock(), text, object);
    }

    /// Whether this run prints for programs.
    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    /// Prints a remark that only people need, on standard error.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.json {
            eprintln!("note: {text}");
        }
    }

    /// Prints why the program failed, in one line, on standard error.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        // With what caused it; and one line, whatever a library wrote.
        let text = format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ");
        if self.json {
            match error.downcast_ref::<Failed>() {
                Some(Failed { kind, data, .. }) => {
                    eprintln!("{}", serde_json::json!({ "error": text, "kind": kind, "data": data }));
                }
                None => eprintln!("{}", serde_json::json!({ "error": text })),
            }
        } else {
            eprintln!("error: {text}");
        }
    }

    fn line_to(&self, to: &mut impl Write, text: impl Display, object: &impl Serialize) -> anyhow::Result<()> {
        if self.json {
            writeln!(to, "{}", serde_json::to_string(object)?)?;
        } else {
            writeln!(to, "{text}")?;
        }
        Ok(to.flush()?)
    }
}

/// Ids in one line.
pub(crate) fn list(ids: &[Id]) -> String {
    if ids.is_empty() {
        return "nobody".to_owned();
    }
    ids.iter().map(Id::to_string).collect::<Vec<_>>().join(" ")
}

/// Whether the reader of standard output went away, as `head` does: the end of the work, and no failure.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .any(|cause| cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_get_text_and_programs_one_object_a_line() {
        let object = serde_json::json!({ "id": "00f3a1b2c4d5", "text": "two\nlines" });
        let printed = |json| {
            let mut bytes = Vec::new();
            Output::new(json).line_to(&mut bytes, "id 00f3a1b2c4d5", &object).unwrap();
            String::from_utf8(bytes).unwrap()
        };
        assert_eq!(printed(false), "id 00f3a1b2c4d5\n");
        assert_eq!(printed(true).lines().count(), 1);
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed(true)).unwrap(), object);
    }
}
