//! What programs ask of other nodes, carried out.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use atoll::object::{CallError, DEFAULT_TIMEOUT, Member, Peer, Results, Shape, Value, ValueError};
use atoll::{Id, Node};
use atoll_door::body::Mention;
use atoll_door::{DoorError, FromNode, FromProgram, Payload, Target, raw};
use tokio::time::{Instant, timeout};

use super::channels;
use super::outbox::Unsent;
use super::program::{HeldFunction, Program, Window};

/// Carries a request out, and answers it, unless it has been cancelled by then.
pub(super) async fn carry_out(program: Arc<Program>, message: FromProgram) {
    let Some(uid) = message.request() else { return };
    let done = match message {
        FromProgram::Remote { remote, within, .. } => services(&program.node, remote.as_deref(), within).await,
        FromProgram::Service { remote, name, within, .. } => service(&program, remote, name, within).await,
        FromProgram::Get { remote, name, path, within, .. } => {
            get(&program, remote.as_deref(), &name, &path, within).await
        }
        FromProgram::Call { target, args, within, stream: false, .. } => call(&program, target, args, within).await,
        FromProgram::Call { target, args, within, stream: true, window, .. } => {
            let window = window.map(|count| program.open_window(uid, count));
            let results = stream(&program, target, args, within).await;
            return items(&program, uid, results, window).await;
        }
        FromProgram::Watch { remote, name, path, within, .. } => {
            let remote = peer(&program.node, remote.as_deref(), within).remote(&name);
            let changes = remote.watch::<Value>(&path).await.map_err(DoorError::from);
            return items(&program, uid, changes, None).await;
        }
        FromProgram::Claim { name, .. } => program.claims.claim(&name).await.map(|()| Payload::Nothing),
        FromProgram::Channel { channel, request, within, .. } => {
            return channels::carry_out(&program, channel, request, uid, within).await;
        }
        _ => unreachable!("the others are no requests that wait"),
    };
    if !program.session().finished(uid) {
        return;
    }
    let answer = match done {
        Ok(payload) => FromNode::done(uid, payload),
        Err(error) => FromNode::failed(uid, program.error(&error)),
    };
    // When the program is gone nobody wants it.
    let _ = program.say(answer).await;
}

/// Gives results one by one, at the pace of the program.
async fn items(program: &Program, uid: u64, results: Result<Results<Value>, DoorError>, window: Option<Window<'_>>) {
    let ended = async {
        let mut results = results?;
        let begun = program.say(FromNode::done(uid, Payload::Nothing)).await;
        while begun.is_ok() {
            if let Some(window) = &window {
                window.one_more().await;
            }
            let Some(value) = results.next().await else { break };
            let value = program.json(&value?)?;
            match program.send(FromNode::Item { uid, value }).await {
                Ok(()) => {}
                Err(Unsent::Refused(error)) => return Err(error),
                Err(Unsent::Gone) => break,
            }
        }
        Ok(())
    };
    let ended = ended.await;
    if program.session().finished(uid) {
        let error = ended.err().map(|error| program.error(&error));
        let _ = program.say(FromNode::End { uid, error }).await;
    }
}

async fn services(node: &Node, remote: Option<&str>, within: Option<Duration>) -> Result<Payload, DoorError> {
    Ok(Payload::List(peer(node, remote, within).services().await?))
}

/// The values of a service and its functions, in one body.
async fn service(
    program: &Program,
    remote: Option<String>,
    name: String,
    within: Option<Duration>,
) -> Result<Payload, DoorError> {
    let peer = peer(&program.node, remote.as_deref(), within);
    let unasked = peer.remote(&name);
    let (described, values) = tokio::try_join!(peer.service(&name), unasked.get::<Value>(""))?;
    let Value::Map(values) = values else { return Err(CallError::Protocol("a service is a map".to_owned()).into()) };
    // Placeholders for functions of the service are held by path; those within values were passed.
    let mut members = Vec::new();
    let json = with_functions(program, values, described.shape(), &mut |path, program| {
        let target = Target::Member { remote: remote.clone(), name: name.clone(), path };
        let mention = program.hold(HeldFunction::Member(target))?;
        members.push(mention);
        Ok(mention)
    });
    match json {
        Ok(json) => Ok(Payload::Body(raw(json)?, Box::new(described.shape().clone()))),
        Err(error) => {
            let numbers: Vec<_> = members.iter().map(|&(Mention::Own(n) | Mention::Yours(n))| n).collect();
            program.release(&numbers);
            Err(error)
        }
    }
}

type HoldMember<'a> = dyn FnMut(String, &Program) -> Result<Mention, ValueError> + 'a;

fn with_functions(
    program: &Program,
    values: BTreeMap<String, Value>,
    shape: &Shape,
    hold: &mut HoldMember<'_>,
) -> Result<String, DoorError> {
    object(program, values, shape, "", hold).map(|json| format!("{{{}}}", json.join(",")))
}

fn object(
    program: &Program,
    mut values: BTreeMap<String, Value>,
    shape: &Shape,
    prefix: &str,
    hold: &mut HoldMember<'_>,
) -> Result<Vec<String>, DoorError> {
    let mut entries = Vec::new();
    for (name, member) in &shape.members {
        let path = format!("{prefix}{name}");
        let json = match member {
            Member::Function(_) => {
                let mention = hold(path, program).map_err(|error| DoorError::from(CallError::from(error)))?;
                format!("\"{mention}\"")
            }
            Member::Object(inner) => {
                let inner_values = match values.remove(name) {
                    Some(Value::Map(map)) => map,
                    _ => BTreeMap::new(),
                };
                let entries = object(program, inner_values, inner, &format!("{path}."), hold)?;
                format!("{{{}}}", entries.join(","))
            }
            _ => match values.remove(name) {
                Some(value) => program.json(&value)?.get().to_owned(),
                // It went between the two questions.
                None => continue,
            },
        };
        let name = serde_json::to_string(name).expect("text is JSON");
        entries.push(format!("{name}:{json}"));
    }
    Ok(entries)
}

async fn get(
    program: &Program,
    remote: Option<&str>,
    name: &str,
    path: &str,
    within: Option<Duration>,
) -> Result<Payload, DoorError> {
    let value: Value = peer(&program.node, remote, within).remote(name).get(path).await?;
    Ok(Payload::Ret(program.json(&value)?))
}

async fn call(
    program: &Program,
    target: Target,
    args: Vec<Value>,
    within: Option<Duration>,
) -> Result<Payload, DoorError> {
    let within = within.unwrap_or(DEFAULT_TIMEOUT);
    let value: Value = match resolve(program, target)? {
        HeldFunction::Passed(function) => function.call_within(within, args).await?,
        HeldFunction::Member(target) => call_member(&program.node, &target, within, args).await?,
    };
    Ok(Payload::Ret(program.json(&value)?))
}

async fn stream(
    program: &Program,
    target: Target,
    args: Vec<Value>,
    within: Option<Duration>,
) -> Result<Results<Value>, DoorError> {
    let within = within.unwrap_or(DEFAULT_TIMEOUT);
    Ok(match resolve(program, target)? {
        HeldFunction::Passed(function) => function.stream_within(within, args).await?,
        HeldFunction::Member(target) => stream_member(&program.node, &target, within, args).await?,
    })
}

fn resolve(program: &Program, target: Target) -> Result<HeldFunction, CallError> {
    match target {
        Target::Function(number) => {
            let mention = Mention::Own(number).to_string();
            program.held(number).ok_or_else(|| CallError::NoSuchFunction(mention))
        }
        member => Ok(HeldFunction::Member(member)),
    }
}

/// Calls a function of a service, or what handles a scope.
pub(super) async fn call_member(
    node: &Node,
    target: &Target,
    within: Duration,
    args: Vec<Value>,
) -> Result<Value, CallError> {
    match target {
        Target::Member { remote, name, path } => {
            peer(node, remote.as_deref(), Some(within)).remote(name).call(path, args).await
        }
        Target::Scope { remote, scope } => address(node, remote.as_deref(), within).await?.call(scope, args).await,
        Target::Function(number) => Err(CallError::NoSuchFunction(Mention::Own(*number).to_string())),
    }
}

/// The same, for its results one by one.
async fn stream_member(
    node: &Node,
    target: &Target,
    within: Duration,
    args: Vec<Value>,
) -> Result<Results<Value>, CallError> {
    match target {
        Target::Member { remote, name, path } => {
            peer(node, remote.as_deref(), Some(within)).remote(name).stream(path, args).await
        }
        Target::Scope { remote, scope } => address(node, remote.as_deref(), within).await?.stream(scope, args).await,
        Target::Function(number) => Err(CallError::NoSuchFunction(Mention::Own(*number).to_string())),
    }
}

/// Whoever is at an address, or owns it; whoever has a name; without a word, the daemon's own node.
async fn address(node: &Node, remote: Option<&str>, within: Duration) -> Result<Peer, CallError> {
    let Some(Ok(address)) = remote.map(str::parse::<Id>) else { return Ok(peer(node, remote, Some(within))) };
    let begun = Instant::now();
    let owner = timeout(within, node.objects().at(address)).await.map_err(|_| CallError::TimedOut)??;
    Ok(owner.timeout(within.saturating_sub(begun.elapsed())))
}

/// The peer that a program means; without a word for it, the daemon's own node.
fn peer(node: &Node, remote: Option<&str>, within: Option<Duration>) -> Peer {
    let peer = match remote {
        Some(remote) => node.peer(remote),
        None => node.peer(node.key()),
    };
    peer.timeout(within.unwrap_or(DEFAULT_TIMEOUT))
}
