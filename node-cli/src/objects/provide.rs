//! `node-cli provide`: values from a file, functions that run commands.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use atoll::Node;
use atoll::object::{Call, Failure, Function, Object, ProvideError, Value};
use atoll_door::DoorError;
use atoll_door::body::{self, Mention};
use atoll_door::limits::{MAX_CALLS, MAX_LINE};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::client::{Client, Said};
use super::exec::{Exec, MAX_RUNNING};
use super::{Failed, json, value, via};
use crate::args::{NodeArgs, ProvideArgs};
use crate::output::Output;
use crate::{join, stop};

pub(crate) async fn run(args: &ProvideArgs, node_args: &NodeArgs, output: Output) -> anyhow::Result<()> {
    let stop = stop::asked()?;
    tokio::pin!(stop);
    let body = Body::new(args)?;
    let program = args.service.as_deref().unwrap_or("node-cli");
    if let Some(client) = via::daemon(&args.door, node_args, output, program).await? {
        return tokio::select! {
            done = body.at_daemon(client, args, output) => done,
            () = &mut stop => Ok(()),
        };
    }
    // A leaf has no place on the ring that others could find: this is a member.
    let identity = node_args.load_identity().await?;
    let start = node_args.builder(&node_args.signalling_urls(), identity, args.name.as_deref())?.start();
    let node = tokio::select! {
        node = start => node.map_err(join::started)?,
        () = &mut stop => return Ok(()),
    };
    let result = match body.at_node(&node, args) {
        Ok(()) => {
            announce(args, &node.id().to_string(), output)?;
            stop.await;
            Ok(())
        }
        Err(error) => Err(Failed::from(DoorError::from(error)).into()),
    };
    node.close().await;
    result
}

fn announce(args: &ProvideArgs, id: &str, output: Output) -> anyhow::Result<()> {
    let name = args.name.as_ref().map(|name| format!("@{name}"));
    let scopes: Vec<_> = args.handle.iter().map(|exec| exec.path.as_str()).collect();
    let what: Vec<_> = args.service.as_deref().into_iter().chain(scopes.iter().copied()).collect();
    let at = name.as_ref().map_or_else(|| id.to_owned(), |name| format!("{name}, {id}"));
    output.line(
        format_args!("{} at {at}", what.join(", ")),
        &json!({ "event": "providing", "service": args.service, "scopes": scopes, "id": id, "name": name }),
    )
}

/// What is provided.
struct Body {
    value: Value,
    /// The functions in it, and then those for scopes, by number.
    functions: Vec<(Function, Arc<Exec>)>,
    places: Arc<Semaphore>,
}

impl Body {
    fn new(args: &ProvideArgs) -> anyhow::Result<Self> {
        let mut value = match &args.object {
            Some(path) => {
                let name = || format!("the object file {}", path.display());
                let mut text = String::new();
                File::open(path)
                    .with_context(name)?
                    .take(MAX_LINE as u64 + 1)
                    .read_to_string(&mut text)
                    .with_context(name)?;
                value(&text).with_context(name)?
            }
            None => Value::Map(BTreeMap::new()),
        };
        if !matches!(value, Value::Map(_)) {
            bail!("an object file holds one JSON object, such as {{\"a\": 1}}");
        }
        let places = Arc::new(Semaphore::new(MAX_RUNNING));
        let mut functions = Vec::new();
        for exec in &args.exec {
            let exec = Arc::new(exec.clone());
            let function = function(&exec, &places);
            insert(&mut value, &exec.path, Value::Function(function.clone()))?;
            functions.push((function, exec));
        }
        functions.extend(args.handle.iter().map(|exec| {
            let exec = Arc::new(exec.clone());
            (function(&exec, &places), exec)
        }));
        Ok(Body { value, functions, places })
    }

    /// Those for scopes, with their numbers.
    fn scopes<'a>(&'a self, args: &ProvideArgs) -> impl Iterator<Item = (usize, &'a (Function, Arc<Exec>))> {
        self.functions.iter().enumerate().skip(args.exec.len())
    }

    /// Provides it at a node of its own.
    fn at_node(&self, node: &Node, args: &ProvideArgs) -> Result<(), ProvideError> {
        if let Some(service) = &args.service {
            node.provide(service.as_str(), Object::from(self.value.clone()))?;
        }
        self.scopes(args).try_for_each(|(_, (function, exec))| node.handle(exec.path.as_str(), function.clone()))
    }

    /// Provides it as a program of the daemon, until the daemon goes.
    async fn at_daemon(self, mut client: Client, args: &ProvideArgs, output: Output) -> anyhow::Result<()> {
        let number = |function: &Function| self.functions.iter().position(|(own, _)| own == function);
        let body = body::encode(&self.value, &mut |function| {
            let number = number(function).expect("there are no others in it");
            Ok(Mention::Own(number as u64))
        })
        .map_err(|error| Failed::from(DoorError::from(error)))?;
        let body: serde_json::Value = serde_json::from_str(&body)?;
        if let Some(name) = &args.name {
            client.ask(json!({ "type": "claim", "name": name })).await?;
        }
        if args.service.is_some() {
            client.ask(json!({ "type": "provide", "body": body })).await?;
        }
        for (number, (_, exec)) in self.scopes(args) {
            client.ask(json!({ "type": "handle", "scope": exec.path, "fun": format!("${number}") })).await?;
        }
        announce(args, &client.node, output)?;
        let (mut reader, mut writer) = client.into_split();
        let (answers, mut ready) = mpsc::channel::<String>(MAX_CALLS);
        let writing = async {
            while let Some(answer) = ready.recv().await {
                writer.write_all(answer.as_bytes()).await.context("the daemon has gone")?;
            }
            anyhow::Ok(())
        };
        let reading = async {
            let (mut tasks, mut running) = (JoinSet::new(), BTreeMap::<u64, AbortHandle>::new());
            loop {
                let said = reader.next().await?;
                while tasks.try_join_next().is_some() {}
                match (said.kind.as_str(), said.uid) {
                    ("call", Some(uid)) => {
                        running.retain(|_, task| !task.is_finished());
                        running.insert(uid, tasks.spawn(self.answer(uid, said, answers.clone())));
                    }
                    ("cancel", Some(uid)) => {
                        if let Some(task) = running.remove(&uid) {
                            task.abort();
                        }
                    }
                    _ => {}
                }
            }
        };
        tokio::select! {
            read = reading => read,
            written = writing => written,
        }
    }

    fn answer(&self, uid: u64, said: Said, answers: mpsc::Sender<String>) -> impl Future<Output = ()> + use<> {
        let number = match said.fun.as_deref().and_then(Mention::parse) {
            Some(Mention::Own(number)) => usize::try_from(number).ok(),
            _ => None,
        };
        let exec = number.and_then(|number| self.functions.get(number)).map(|(_, exec)| exec.clone());
        let places = self.places.clone();
        async move {
            let within = Duration::from_millis(said.within.unwrap_or(0));
            let args = said.args.as_ref().map_or("[]", |args| args.get());
            let done = match exec {
                Some(exec) => exec.run(args, within, &places).await.and_then(|ret| checked(&ret)),
                None => Err(DoorError::new(atoll_door::ErrorKind::NoSuchFunction, "released")),
            };
            let answer = match done {
                Ok(ret) => format!("{{\"type\":\"response\",\"status\":\"ok\",\"uid\":{uid},\"ret\":{ret}}}\n"),
                Err(DoorError { kind, message, .. }) => {
                    let error = json!({ "kind": kind, "message": message });
                    format!("{}\n", json!({ "type": "response", "status": "error", "uid": uid, "error": error }))
                }
            };
            // The daemon is gone: nobody waits.
            let _ = answers.send(answer).await;
        }
    }
}

fn function(exec: &Arc<Exec>, places: &Arc<Semaphore>) -> Function {
    let (exec, places) = (exec.clone(), places.clone());
    Function::new(move |call: Call| {
        let (exec, places) = (exec.clone(), places.clone());
        async move {
            let within = call.time_left();
            let args = json(&Value::Array(call.into_arguments())).map_err(|error| Failure::new(error.message))?;
            let done = exec.run(args.get(), within, &places).await;
            done.and_then(|ret| result(&ret)).map_err(|error| Failure::relay(error.into()))
        }
    })
}

/// What a command printed, as a value.
fn result(printed: &str) -> Result<Value, DoorError> {
    value(printed).map_err(|error| {
        DoorError::new(atoll_door::ErrorKind::Failed, format!("the command printed no JSON: {}", error.message))
    })
}

/// What a command printed, in one line.
fn checked(printed: &str) -> Result<String, DoorError> {
    let value = result(printed)?;
    let written = json(&value).map(|json| json.get().to_owned());
    written.map_err(|error| DoorError::new(error.kind, error.message))
}

/// Puts a function where its path says, in objects that are made where there are none.
fn insert(value: &mut Value, path: &str, function: Value) -> anyhow::Result<()> {
    let Value::Map(map) = value else { bail!("there is no place for the function {path:?}: a value is in its way") };
    match path.split_once('.') {
        Some((first, rest)) => {
            insert(map.entry(first.to_owned()).or_insert_with(|| Value::Map(BTreeMap::new())), rest, function)
        }
        None if map.contains_key(path) => bail!("{path:?} is provided twice"),
        None => {
            map.insert(path.to_owned(), function);
            Ok(())
        }
    }
}
