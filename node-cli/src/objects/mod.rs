//! `node-cli services`, `get`, `call`, `watch`, `provide`: objects on the command line.
//!
//! Values are written and read as at the daemon's door: [`atoll_door::body`].

mod client;
mod exec;
mod provide;
mod via;

use std::path::PathBuf;
use std::time::Duration;

use atoll::object::{Function, ValueError};
use atoll_door::body::{self, Mention};
use atoll_door::{DoorError, ErrorKind};
use serde_json::value::RawValue;

pub(crate) use self::client::Client;
pub(crate) use self::exec::Exec;
pub(crate) use self::provide::run as provide;
pub(crate) use self::via::daemon;
use self::via::{Place, with};
use crate::UsageError;
use crate::args::{CallArgs, DoorArgs, GetArgs, NodeArgs, ServicesArgs, WatchArgs};
use crate::output::Output;
use crate::stop::Interrupted;
use crate::values::Whom;

/// A call that went wrong: its kind decides how the program ends.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failed {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// What the function that failed says besides.
    pub(crate) data: Option<Box<RawValue>>,
}

impl Failed {
    /// How the program ends.
    pub(crate) fn exit_code(&self) -> u8 {
        match self.kind {
            ErrorKind::Failed => 3,
            ErrorKind::NoSuchPeer | ErrorKind::NoSuchService | ErrorKind::NoSuchFunction | ErrorKind::NoSuchValue => 4,
            ErrorKind::Refused => 5,
            ErrorKind::TimedOut => 6,
            ErrorKind::PeerLost | ErrorKind::Cancelled | ErrorKind::Closed => 7,
            ErrorKind::WrongArguments | ErrorKind::TooLarge | ErrorKind::Malformed => 8,
            ErrorKind::NameTaken | ErrorKind::BadName => 9,
            _ => 1,
        }
    }
}

impl From<DoorError> for Failed {
    fn from(error: DoorError) -> Self {
        let message = match error.kind {
            ErrorKind::Failed => format!("the function failed: {}", error.message),
            _ => error.message,
        };
        let data = error.data.and_then(|data| json(&data).ok());
        Failed { kind: error.kind, message, data }
    }
}

pub(crate) async fn services(args: &ServicesArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    with(&args.door, node, output, async |via| {
        for name in via.services(&args.peer.to_string()).await? {
            output.line(&name, &serde_json::json!({ "service": name }))?;
        }
        Ok(())
    })
    .await
}

pub(crate) async fn get(args: &GetArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let Some(what) = &args.what else {
        let key = args.from.parse().map_err(|why| usage(format!("{why}; of a peer, name the service as well")))?;
        return crate::store::get(&key, args.output.as_deref(), node, output).await;
    };
    let peer: Whom = args.from.parse().map_err(|why: String| usage(why))?;
    let place = Place::parse(&peer, what);
    with(&args.door, node, output, async |via| show(&via.get(&place).await?, output)).await
}

pub(crate) async fn call(args: &CallArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let place = Place::parse(&args.peer, &args.what);
    let words: Vec<_> = args.args.iter().map(|word| argument(word)).collect::<Result<_, Failed>>()?;
    let called = with(&args.door, node, output, async |via| {
        if args.stream {
            return via.stream(&place, &words, &mut |item| show(item, output)).await;
        }
        show(&via.call(&place, &words).await?, output)
    });
    called.await.map_err(|error| match error.downcast::<Failed>() {
        Ok(failed) if place.is_scope() && failed.kind == ErrorKind::NoSuchFunction => {
            let message =
                format!("nothing handles the scope {:?} there; a function is named SERVICE.FUNCTION", args.what);
            Failed { message, ..failed }.into()
        }
        Ok(failed) => failed.into(),
        Err(error) => error,
    })
}

pub(crate) async fn watch(args: &WatchArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let place = Place::parse(&args.peer, &args.what);
    let watched = with(&args.door, node, output, async |via| via.watch(&place, &mut |value| show(value, output)).await);
    match watched.await {
        // It has no other end.
        Err(error) if error.is::<Interrupted>() => Ok(()),
        watched => watched,
    }
}

fn usage(why: String) -> UsageError {
    UsageError(why.into())
}

/// One value a line: text as it is to people, JSON to programs.
fn show(value: &RawValue, output: Output) -> anyhow::Result<()> {
    match serde_json::from_str::<String>(value.get()) {
        // As the door writes it, so that `$` means the same in what is shown and in what is typed.
        Ok(text) => output.line(text, &value),
        Err(_) => output.line(value.get(), &value),
    }
}

/// A word of the command line is JSON; what cannot be meant as such is text.
fn argument(word: &str) -> Result<String, Failed> {
    if serde_json::from_str::<&RawValue>(word).is_ok() {
        return Ok(word.to_owned());
    }
    if word.trim_start().starts_with(['{', '[', '"']) {
        return Err(DoorError::new(ErrorKind::Malformed, format!("this argument is not JSON: {word}")).into());
    }
    Ok(serde_json::to_string(word).expect("text is JSON"))
}

/// Reads a value that has no functions.
pub(crate) fn value(json: &str) -> Result<atoll::object::Value, Failed> {
    let none = |_: Mention| -> Result<Function, ValueError> {
        Err(ValueError::Malformed("a command has no functions; text that begins with $ is written with $$"))
    };
    body::decode(json, &mut { none }).map_err(|error| DoorError::from(error).into())
}

/// Writes a value; functions in it can only be seen.
pub(crate) fn json(value: &atoll::object::Value) -> Result<Box<RawValue>, Failed> {
    let mut count = 0;
    let json = body::encode(value, &mut |_| {
        count += 1;
        Ok(Mention::Own(count - 1))
    });
    json.and_then(atoll_door::raw).map_err(|error| DoorError::from(error).into())
}

/// How a command reaches the ring, as flags say it.
impl DoorArgs {
    /// The daemon's socket, and whether it was named: then nothing else will do.
    fn socket(&self) -> Option<(PathBuf, bool)> {
        match &self.socket {
            _ if self.no_daemon => None,
            Some(path) => Some((path.clone(), true)),
            None => crate::daemon::unix::default_path().map(|path| (path, false)),
        }
    }

    pub(crate) fn within(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }
}
