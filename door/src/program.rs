//! What a program says.

use std::borrow::Cow;
use std::time::Duration;

use atoll::object::{CallError, Function, Value, ValueError};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::body::{self, Mention, Take};
use crate::channel::{self, ChannelName, ChannelRequest};
use crate::error::{DoorError, ErrorKind};
use crate::limits::MAX_NUMBER;

/// A message of a program.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum FromProgram {
    /// The first message.
    Hello {
        /// The name under which it provides, unless it says another.
        name: String,
        /// Whether it is new, or comes back after it lost the daemon.
        init: bool,
    },
    /// Provides an object, in place of the one that the program provides by this name, if there is one.
    Provide {
        /// By this name instead of that of `hello`.
        name: Option<String>,
        /// The object.
        body: Value,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Provides it no longer.
    Withdraw {
        /// By this name instead of that of `hello`.
        name: Option<String>,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Sets a value of an object that it provides; who watches it is told.
    Set {
        /// By this name instead of that of `hello`.
        name: Option<String>,
        /// Where.
        path: String,
        /// The value.
        value: Value,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Answers calls to a scope, in place of the function that the program has there, if there is one.
    Handle {
        /// Which scope.
        scope: String,
        /// What answers.
        fun: Function,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Answers them no longer.
    Unhandle {
        /// Which scope.
        scope: String,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Claims a name in the ring for the daemon's node, as long as the program is attached.
    Claim {
        /// The name, with or without its `@`.
        name: String,
        /// The number of the request.
        uid: u64,
    },
    /// Gives such a name up.
    Unclaim {
        /// The name, with or without its `@`.
        name: String,
        /// If it wants a response.
        uid: Option<u64>,
    },
    /// Asks which services a peer provides.
    Remote {
        /// An id or an `@name`; `None` is the daemon's own node.
        remote: Option<String>,
        /// The number of the request.
        uid: u64,
        /// How long it may take.
        within: Option<Duration>,
    },
    /// Asks for a whole service.
    Service {
        /// As in `Remote`.
        remote: Option<String>,
        /// Which service.
        name: String,
        /// The number of the request.
        uid: u64,
        /// How long it may take.
        within: Option<Duration>,
    },
    /// Reads a value.
    Get {
        /// As in `Remote`.
        remote: Option<String>,
        /// Which service.
        name: String,
        /// Where in it; empty for all its values.
        path: String,
        /// The number of the request.
        uid: u64,
        /// How long it may take.
        within: Option<Duration>,
    },
    /// Reads a value, and each change of it.
    Watch {
        /// As in `Remote`.
        remote: Option<String>,
        /// Which service.
        name: String,
        /// Where in it; empty for all its values.
        path: String,
        /// The number of the request.
        uid: u64,
        /// How long the first value may take.
        within: Option<Duration>,
    },
    /// Calls a function.
    Call {
        /// Which.
        target: Target,
        /// With these.
        args: Vec<Value>,
        /// The number of the request.
        uid: u64,
        /// How long it may take; of one with many results, until the first.
        within: Option<Duration>,
        /// Whether it wants its results one by one.
        stream: bool,
        /// How many results it takes until it asks for [`More`](Self::More); `None`: as fast as it reads.
        window: Option<u64>,
    },
    /// Takes so many more results of a call with a window.
    More {
        /// The number of the request.
        uid: u64,
        /// How many.
        count: u64,
    },
    /// Gives a request up: a watch, a call.
    Cancel {
        /// The number of the request.
        uid: u64,
    },
    /// The answer to a call.
    Response {
        /// The number of the call.
        uid: u64,
        /// What the function gives.
        result: Result<Value, DoorError>,
    },
    /// One of the results of a call, instead of a `Response`.
    Item {
        /// The number of the call.
        uid: u64,
        /// The result.
        value: Value,
    },
    /// No more results of a call follow.
    End {
        /// The number of the call.
        uid: u64,
        /// Why, unless it is the proper end.
        error: Option<DoorError>,
    },
    /// Needs these functions of others no more.
    Release {
        /// By the numbers that the node gave them.
        funs: Vec<u64>,
    },
    /// Wants something of a channel.
    Channel {
        /// Which.
        channel: ChannelName,
        /// What.
        request: ChannelRequest,
        /// The number of the request.
        uid: u64,
        /// How long it may take; of a subscription, until it has begun.
        within: Option<Duration>,
    },
    /// Asks what is provided by programs of this daemon.
    List {
        /// The number of the request.
        uid: u64,
    },
}

/// Which function is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// One of a service.
    Member {
        /// An id or an `@name`; `None` is the daemon's own node.
        remote: Option<String>,
        /// Which service.
        name: String,
        /// Where in it.
        path: String,
    },
    /// What handles a scope.
    Scope {
        /// An `@name`, or any address: whoever is there, or owns it; `None` is the daemon's own node.
        remote: Option<String>,
        /// Which scope.
        scope: String,
    },
    /// One that the node wrote, by its number.
    Function(u64),
}

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{error}")]
pub struct Malformed {
    /// The number of the request, if it could be read.
    pub uid: Option<u64>,
    /// What is wrong.
    pub error: DoorError,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    uid: Option<u64>,
    name: Option<String>,
    init: Option<bool>,
    remote: Option<String>,
    path: Option<String>,
    scope: Option<String>,
    channel: Option<String>,
    unsigned: Option<bool>,
    fun: Option<String>,
    funs: Option<Vec<String>>,
    status: Option<String>,
    within: Option<u64>,
    stream: Option<bool>,
    window: Option<u64>,
    count: Option<u64>,
    #[serde(borrow)]
    body: Option<&'a RawValue>,
    #[serde(borrow)]
    value: Option<&'a RawValue>,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
    #[serde(borrow)]
    secret: Option<&'a RawValue>,
    #[serde(borrow)]
    args: Option<&'a RawValue>,
    #[serde(borrow)]
    ret: Option<&'a RawValue>,
    #[serde(borrow)]
    error: Option<ErrorLine<'a>>,
}

#[derive(Deserialize)]
struct ErrorLine<'a> {
    #[serde(default, borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    message: String,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Number {
    uid: Option<u64>,
}

impl FromProgram {
    /// Reads a line.
    ///
    /// # Errors
    /// It is no JSON object, has no `type` that is known here, lacks a field, or has a value that [`body::decode`] refuses.
    pub fn decode(line: &[u8], take: &mut Take<'_>) -> Result<Self, Malformed> {
        let read: Line<'_> = serde_json::from_slice(line).map_err(|error| {
            // The rest is passed over, however deep: so a request that is wrong elsewhere gets its answer.
            let uid = serde_json::from_slice(line).ok().and_then(|number: Number| number.uid);
            Malformed { uid, error: DoorError::new(ErrorKind::Malformed, format!("not a message: {error}")) }
        })?;
        let uid = read.uid;
        read.message(take).map_err(|error| Malformed { uid, error })
    }

    /// The number of a request that is under way until it is answered.
    pub fn request(&self) -> Option<u64> {
        match self {
            FromProgram::Remote { uid, .. }
            | FromProgram::Service { uid, .. }
            | FromProgram::Get { uid, .. }
            | FromProgram::Watch { uid, .. }
            | FromProgram::Claim { uid, .. }
            | FromProgram::Channel { uid, .. }
            | FromProgram::Call { uid, .. } => Some(*uid),
            _ => None,
        }
    }
}

impl Line<'_> {
    fn message(self, take: &mut Take<'_>) -> Result<FromProgram, DoorError> {
        if self.uid.is_some_and(|uid| uid > MAX_NUMBER) {
            return Err(malformed(format!("uid is larger than {MAX_NUMBER}")));
        }
        let within = self.within.map(Duration::from_millis);
        Ok(match &*self.kind {
            "hello" => FromProgram::Hello { name: need(self.name, "name")?, init: self.init.unwrap_or(true) },
            "provide" => {
                FromProgram::Provide { body: value(need(self.body, "body")?, take)?, name: self.name, uid: self.uid }
            }
            "withdraw" => FromProgram::Withdraw { name: self.name, uid: self.uid },
            "set" => FromProgram::Set {
                path: need(self.path, "path")?,
                value: value(need(self.value, "value")?, take)?,
                name: self.name,
                uid: self.uid,
            },
            "handle" => FromProgram::Handle {
                fun: function(&need(self.fun, "fun")?, take)?,
                scope: need(self.scope, "scope")?,
                uid: self.uid,
            },
            "unhandle" => FromProgram::Unhandle { scope: need(self.scope, "scope")?, uid: self.uid },
            "claim" => FromProgram::Claim { name: need(self.name, "name")?, uid: need(self.uid, "uid")? },
            "unclaim" => FromProgram::Unclaim { name: need(self.name, "name")?, uid: self.uid },
            "remote" => FromProgram::Remote { remote: self.remote, uid: need(self.uid, "uid")?, within },
            "service" => FromProgram::Service {
                remote: self.remote,
                name: need(self.name, "name")?,
                uid: need(self.uid, "uid")?,
                within,
            },
            "get" => FromProgram::Get {
                remote: self.remote,
                name: need(self.name, "name")?,
                path: self.path.unwrap_or_default(),
                uid: need(self.uid, "uid")?,
                within,
            },
            "watch" => FromProgram::Watch {
                remote: self.remote,
                name: need(self.name, "name")?,
                path: self.path.unwrap_or_default(),
                uid: need(self.uid, "uid")?,
                within,
            },
            "call" => FromProgram::Call {
                uid: need(self.uid, "uid")?,
                args: match self.args.map(|args| value(args, take)).transpose()? {
                    None => Vec::new(),
                    Some(Value::Array(args)) => args,
                    Some(_) => return Err(malformed("args is a list")),
                },
                target: match self.scope {
                    Some(scope) => Target::Scope { remote: self.remote, scope },
                    None => target(need(self.fun, "fun")?, self.remote, self.name)?,
                },
                within,
                stream: self.stream.unwrap_or(false),
                window: self.window,
            },
            "more" => FromProgram::More { uid: need(self.uid, "uid")?, count: need(self.count, "count")? },
            "item" => {
                let (uid, item) = (need(self.uid, "uid")?, need(self.value, "value")?);
                match value(item, take) {
                    Ok(value) => FromProgram::Item { uid, value },
                    Err(error) => FromProgram::End { uid, error: Some(no_value(error)) },
                }
            }
            "end" => {
                let error = self.error.map(|error| error.read(take));
                FromProgram::End { uid: need(self.uid, "uid")?, error }
            }
            "cancel" | "unwatch" => FromProgram::Cancel { uid: need(self.uid, "uid")? },
            "response" => {
                let uid = need(self.uid, "uid")?;
                let ok = match self.status.as_deref() {
                    Some("ok") => true,
                    Some("error") => false,
                    None => self.error.is_none(),
                    Some(_) => return Err(malformed("status is ok or error")),
                };
                let result = if ok {
                    self.ret.map(|ret| value(ret, take)).transpose().map(Option::unwrap_or_default).map_err(no_value)
                } else {
                    Err(self.error.map_or_else(unexplained, |error| error.read(take)))
                };
                FromProgram::Response { uid, result }
            }
            "release" => {
                let funs = need(self.funs, "funs")?.into_iter().map(|fun| match Mention::parse(&fun) {
                    Some(Mention::Own(number) | Mention::Yours(number)) => Ok(number),
                    None => Err(malformed("funs is a list of functions such as \"$0\"")),
                });
                FromProgram::Release { funs: funs.collect::<Result<_, _>>()? }
            }
            "subscribe" => {
                let request = ChannelRequest::Subscribe { scope: self.scope.clone(), window: self.window };
                self.channel(request, within, take)?
            }
            "publish" => {
                let payload = channel::bytes(value(need(self.payload, "payload")?, take)?, "payload")?;
                let scope = self.scope.clone().unwrap_or_default();
                self.channel(ChannelRequest::Publish { scope, payload }, within, take)?
            }
            "leave" => self.channel(ChannelRequest::Leave, within, take)?,
            "list" => FromProgram::List { uid: need(self.uid, "uid")? },
            other => {
                let shown: String = other.chars().take(40).collect();
                return Err(malformed(format!("there is no message of type {shown:?}")));
            }
        })
    }
}

impl Line<'_> {
    fn channel(
        self,
        request: ChannelRequest,
        within: Option<Duration>,
        take: &mut Take<'_>,
    ) -> Result<FromProgram, DoorError> {
        let secret = self.secret.map(|secret| channel::bytes(value(secret, take)?, "secret")).transpose()?;
        let (name, unsigned) = (need(self.channel, "channel")?, self.unsigned.unwrap_or(false));
        let channel = ChannelName { name, unsigned, secret };
        Ok(FromProgram::Channel { channel, request, uid: need(self.uid, "uid")?, within })
    }
}

impl ErrorLine<'_> {
    /// Data that is no value is left out.
    fn read(self, take: &mut Take<'_>) -> DoorError {
        let kind = serde_json::Value::String(self.kind.into_owned());
        DoorError {
            kind: serde_json::from_value(kind).unwrap_or(ErrorKind::Failed),
            message: self.message,
            data: self.data.and_then(|data| value(data, take).ok()),
        }
    }
}

/// What a function gave is no value: whoever called it is told, and does not wait for another.
fn no_value(error: DoorError) -> DoorError {
    let kind = if error.kind == ErrorKind::Malformed { ErrorKind::Failed } else { error.kind };
    DoorError::new(kind, format!("the function gave no value: {}", error.message))
}

fn unexplained() -> DoorError {
    DoorError::new(ErrorKind::Failed, "the function failed and did not say why")
}

fn target(fun: String, remote: Option<String>, name: Option<String>) -> Result<Target, DoorError> {
    if fun.starts_with('$') {
        // A number says all: the node remembers of which service it was.
        return match Mention::parse(&fun) {
            Some(Mention::Own(number) | Mention::Yours(number)) => Ok(Target::Function(number)),
            None => Err(malformed("fun is a path such as deep.x.f, or a function such as \"$0\"")),
        };
    }
    Ok(Target::Member { remote, name: need(name, "name")?, path: fun })
}

/// A function, as a program writes it.
fn function(fun: &str, take: &mut Take<'_>) -> Result<Function, DoorError> {
    match Mention::parse(fun) {
        Some(mention) => take(mention).map_err(no_message),
        None => Err(malformed("fun is a function such as \"$0\"")),
    }
}

fn value(json: &RawValue, take: &mut Take<'_>) -> Result<Value, DoorError> {
    body::decode(json.get(), take).map_err(no_message)
}

fn no_message(error: ValueError) -> DoorError {
    match error {
        ValueError::Type(why) => malformed(why),
        ValueError::Malformed(why) => malformed(why),
        other => CallError::from(other).into(),
    }
}

fn need<T>(field: Option<T>, name: &str) -> Result<T, DoorError> {
    field.ok_or_else(|| malformed(format!("{name} is missing")))
}

fn malformed(why: impl Into<String>) -> DoorError {
    DoorError::new(ErrorKind::Malformed, why)
}
