//! A program at the door: what it provides, what it holds, what it is asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use atoll::Node;
use atoll::key::hex;
use atoll::object::{Call, CallError, Failure, Function, Object, ProvideError, Reply, Service, Value, ValueError};
use atoll_door::body::{self, Mention};
use atoll_door::limits::{MAX_HELD, MAX_SERVICES, WINDOW};
use atoll_door::{Caller, DoorError, ErrorBody, ErrorKind, FromNode, Session, Target, raw};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::answers::{Answers, Asked, cancelled};
use super::channels::Channels;
use super::outbox::{Gone, Outbox, Unsent};
use super::own::{Claims, Scopes};
use super::requests;

/// How long the name of a caller is looked for, before the program is told of the call without it.
const NAME_WITHIN: Duration = Duration::from_millis(250);

/// Results that a program takes ahead of one stream, at most.
const MAX_WINDOW: usize = 1 << 20;

/// One program. The locks are held for no longer than it takes to look something up.
pub(super) struct Program {
    pub(super) node: Node,
    pub(super) outbox: Outbox,
    session: Mutex<Session>,
    /// Functions of others that it holds, by the numbers that it knows them by.
    held: Mutex<Held>,
    services: Mutex<BTreeMap<String, Service>>,
    pub(super) scopes: Scopes,
    pub(super) claims: Claims,
    pub(super) channels: Channels,
    pub(super) answers: Answers,
    /// How many more results each stream with a window may give it.
    windows: Mutex<BTreeMap<u64, Arc<Semaphore>>>,
}

#[derive(Default)]
struct Held {
    next: u64,
    functions: BTreeMap<u64, HeldFunction>,
}

/// A function of somebody else, as a program holds it.
#[derive(Clone)]
pub(super) enum HeldFunction {
    /// It was passed.
    Passed(Function),
    /// It lies in a service, and is called by its path; or handles a scope.
    Member(Target),
}

impl Program {
    pub(super) fn new(node: Node, outbox: Outbox) -> Arc<Self> {
        Arc::new(Program {
            scopes: Scopes::new(node.clone()),
            claims: Claims::new(node.clone()),
            channels: Channels::new(node.clone()),
            node,
            outbox,
            session: Mutex::default(),
            held: Mutex::default(),
            services: Mutex::default(),
            answers: Answers::new(),
            windows: Mutex::default(),
        })
    }

    pub(super) fn session(&self) -> MutexGuard<'_, Session> {
        lock(&self.session)
    }

    /// Says something to the program.
    pub(super) async fn send(&self, message: FromNode) -> Result<(), Unsent> {
        let line = message.encode().map_err(|error| Unsent::Refused(error.into()))?;
        // It may be long, and wait for long.
        drop(message);
        self.outbox.send(line).await
    }

    /// Says something to the program; where that cannot be sent, why not.
    pub(super) async fn say(&self, message: FromNode) -> Result<(), Gone> {
        let (uid, ends) = match message {
            FromNode::Response { uid, .. } => (Some(uid), false),
            FromNode::End { uid, .. } => (Some(uid), true),
            _ => (None, false),
        };
        match self.send(message).await {
            Ok(()) => Ok(()),
            Err(Unsent::Gone) => Err(Gone),
            Err(Unsent::Refused(error)) => {
                let error = ErrorBody::from(error);
                let instead = match uid {
                    Some(uid) if ends => FromNode::End { uid, error: Some(error) },
                    Some(uid) => FromNode::failed(uid, error),
                    None => FromNode::Error { error, uid: None },
                };
                self.send(instead).await.map_err(|_| Gone)
            }
        }
    }

    /// Provides an object under this name, or the one of `hello`.
    pub(super) fn provide(&self, name: Option<String>, object: Object) -> Result<(), DoorError> {
        let name = self.service_name(name);
        let mut services = lock(&self.services);
        if let Some(service) = services.get(&name) {
            return Ok(service.replace(object)?);
        }
        if services.len() >= MAX_SERVICES {
            let why = format!("a program provides {MAX_SERVICES} services at most");
            return Err(DoorError::new(ErrorKind::TooMany, why));
        }
        let service = self.node.provide(name.clone(), object).map_err(|error| match error {
            ProvideError::Taken(name) => {
                DoorError::new(ErrorKind::NameTaken, format!("another program provides {name:?} on this node"))
            }
            other => other.into(),
        })?;
        services.insert(name, service);
        Ok(())
    }

    /// Provides it no longer.
    pub(super) fn withdraw(&self, name: Option<String>) -> Result<(), DoorError> {
        let name = self.service_name(name);
        let service = lock(&self.services).remove(&name).ok_or_else(|| not_provided(&name))?;
        service.withdraw();
        Ok(())
    }

    /// Sets a value of a service that it provides.
    pub(super) fn set(&self, name: Option<String>, path: &str, value: Value) -> Result<(), DoorError> {
        let name = self.service_name(name);
        let service = lock(&self.services).get(&name).cloned().ok_or_else(|| not_provided(&name))?;
        Ok(service.set(path, value)?)
    }

    /// A stream that gives the program so many results, and more only as it asks for them.
    pub(super) fn open_window(&self, uid: u64, count: u64) -> Window<'_> {
        let room = Arc::new(Semaphore::new(clamped(count)));
        lock(&self.windows).insert(uid, room.clone());
        Window { program: self, uid, room }
    }

    /// The program takes more results of such a stream.
    pub(super) fn take_more(&self, uid: u64, count: u64) {
        if let Some(room) = lock(&self.windows).get(&uid) {
            room.add_permits(clamped(count).min(MAX_WINDOW.saturating_sub(room.available_permits())));
        }
    }

    /// A function of the program, or one that it was given and gives back.
    pub(super) fn take(self: &Arc<Self>, mention: Mention) -> Result<Function, ValueError> {
        match mention {
            Mention::Own(number) => {
                if !self.outbox.asides.mention() {
                    return Err(ValueError::TooManyFunctions);
                }
                let mentioned =
                    Arc::new(Mentioned { program: Arc::downgrade(self), outbox: self.outbox.clone(), number });
                Ok(Function::new(move |call| {
                    let mentioned = mentioned.clone();
                    async move { mentioned.call(call).await }
                }))
            }
            Mention::Yours(number) => match self.held(number) {
                Some(HeldFunction::Passed(function)) => Ok(function),
                Some(HeldFunction::Member(target)) => {
                    let node = self.node.clone();
                    Ok(Function::new(move |call: Call| {
                        let (node, target) = (node.clone(), target.clone());
                        async move {
                            let within = call.time_left();
                            let done = requests::call_member(&node, &target, within, call.into_arguments()).await;
                            done.map(Reply::Value).map_err(Failure::relay)
                        }
                    }))
                }
                None => Err(ValueError::Malformed("it gives a function back that it does not hold")),
            },
        }
    }

    pub(super) fn held(&self, number: u64) -> Option<HeldFunction> {
        lock(&self.held).functions.get(&number).cloned()
    }

    /// A function for the program to hold.
    pub(super) fn hold(&self, function: HeldFunction) -> Result<Mention, ValueError> {
        let mut held = lock(&self.held);
        if held.functions.len() >= MAX_HELD {
            return Err(ValueError::TooManyFunctions);
        }
        let number = held.next;
        held.next += 1;
        held.functions.insert(number, function);
        Ok(Mention::Own(number))
    }

    /// The program needs these no more.
    pub(super) fn release(&self, numbers: &[u64]) {
        let released: Vec<_> = {
            let mut held = lock(&self.held);
            numbers.iter().filter_map(|number| held.functions.remove(number)).collect()
        };
        // Without the lock: their nodes are told.
        drop(released);
    }

    /// JSON for the program; functions in it are held by it. What of a value that cannot be written was offered is taken back.
    pub(super) fn json(&self, value: &Value) -> Result<Box<RawValue>, DoorError> {
        let mut offered = Vec::new();
        let written = body::encode(value, &mut |function| {
            let mention = self.hold(HeldFunction::Passed(function.clone()))?;
            offered.push(mention);
            Ok(mention)
        });
        written.and_then(raw).map_err(|error| {
            let numbers: Vec<_> = offered.iter().map(|&(Mention::Own(n) | Mention::Yours(n))| n).collect();
            self.release(&numbers);
            CallError::from(error).into()
        })
    }

    /// The error as the program reads it.
    pub(super) fn error(&self, error: &DoorError) -> ErrorBody {
        ErrorBody::new(error, &mut |function| self.hold(HeldFunction::Passed(function.clone())))
    }

    /// The program is served no longer: what it provides goes, and nobody waits for it.
    pub(super) fn leave(&self) {
        let services = std::mem::take(&mut *lock(&self.services));
        services.into_values().for_each(|service| service.withdraw());
        self.scopes.clear();
        self.claims.clear();
        self.channels.clear();
        self.answers.clear();
        let held = std::mem::take(&mut *lock(&self.held));
        drop(held);
    }

    fn service_name(&self, name: Option<String>) -> String {
        name.unwrap_or_else(|| self.session().name().unwrap_or_default().to_owned())
    }
}

/// How many results a program takes.
pub(super) struct Window<'a> {
    program: &'a Program,
    uid: u64,
    room: Arc<Semaphore>,
}

impl Window<'_> {
    /// Waits until it takes one more.
    pub(super) async fn one_more(&self) {
        self.room.acquire().await.expect("it is never closed").forget();
    }
}

impl Drop for Window<'_> {
    fn drop(&mut self) {
        let mut windows = lock(&self.program.windows);
        // Another request may have the number by now.
        if windows.get(&self.uid).is_some_and(|room| Arc::ptr_eq(room, &self.room)) {
            windows.remove(&self.uid);
        }
    }
}

fn clamped(count: u64) -> usize {
    usize::try_from(count).unwrap_or(MAX_WINDOW).min(MAX_WINDOW)
}

fn not_provided(name: &str) -> DoorError {
    DoorError::new(ErrorKind::NoSuchService, format!("this program provides no service {name:?}"))
}

/// A function of a program, each time that it wrote it: dropped, the program is told.
struct Mentioned {
    program: Weak<Program>,
    outbox: Outbox,
    number: u64,
}

impl Mentioned {
    async fn call(&self, call: Call) -> Result<Reply, Failure> {
        let program = self.program.upgrade().ok_or_else(cancelled)?;
        let caller = Caller {
            id: call.caller().id().to_string(),
            key: hex(&call.caller().key().to_spki_der()),
            name: timeout(NAME_WITHIN, call.caller().name()).await.ok().flatten().map(|name| format!("@{name}")),
        };
        let (path, within) = (call.path().to_owned(), u64::try_from(call.time_left().as_millis()).unwrap_or(u64::MAX));
        let args = Value::Array(call.into_arguments());
        let args = program.json(&args).map_err(|error| Failure::relay(error.into()))?;
        let asked = Asked::new(program.clone()).ok_or_else(|| Failure::relay(CallError::TooManyCalls))?;
        let (fun, uid) = (Mention::Own(self.number).to_string(), asked.uid());
        let message = FromNode::Call { fun, args, uid, within, caller, path, window: WINDOW };
        match program.send(message).await {
            Ok(()) => asked.reply().await,
            Err(Unsent::Gone) => Err(cancelled()),
            Err(Unsent::Refused(error)) => Err(Failure::relay(error.into())),
        }
    }
}

impl Drop for Mentioned {
    fn drop(&mut self) {
        self.outbox.asides.release(self.number);
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
