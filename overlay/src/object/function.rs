//! Functions of this node: what they get, and what they give.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, Stream, StreamExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::access::{Access, Caller};
use super::core::{Core, read, write};
use super::error::{ArgumentError, CallError, Failure};
use super::shape::{FunctionShape, Gives};
use super::value::{Callable, Function, Value};
use crate::net::platform::Instant;

/// Bytes read at once by [`Reply::read`].
const READ_BYTES: usize = 64 << 10;

/// A call as the function sees it.
#[derive(Debug)]
pub struct Call {
    pub(super) caller: Caller,
    pub(super) path: String,
    pub(super) arguments: Vec<Value>,
    pub(super) deadline: Instant,
}

impl Call {
    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// The path by which the function was called, such as `deep.x.f`; the scope of a handler; empty for a function passed in a call.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// How much time is left; then the function is dropped, and the caller gets [`CallError::TimedOut`].
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// All arguments.
    pub fn arguments(&self) -> &[Value] {
        &self.arguments
    }

    /// The arguments themselves.
    pub fn into_arguments(self) -> Vec<Value> {
        self.arguments
    }

    /// The argument numbered `index` from 0. One that is not there is like `null`, and so fits `Option`.
    pub fn arg<T: DeserializeOwned>(&self, index: usize) -> Result<T, ArgumentError> {
        let value = self.arguments.get(index).cloned();
        let missing = value.is_none();
        value.unwrap_or_default().to().map_err(|error| {
            let number = index + 1;
            ArgumentError(if missing {
                format!("argument {number} is missing")
            } else {
                format!("argument {number}: {error}")
            })
        })
    }

    /// All arguments as a tuple: as many as it has, neither more nor fewer.
    pub fn args<T: DeserializeOwned>(&self) -> Result<T, ArgumentError> {
        Value::Array(self.arguments.clone()).to().map_err(|error| ArgumentError(error.to_string()))
    }
}

/// What a function gives.
#[non_exhaustive]
pub enum Reply {
    /// One value.
    Value(Value),
    /// Any number of values, one after the other. The caller's reading sets the pace.
    Items(BoxStream<'static, Result<Value, Failure>>),
    /// Any number of bytes, in pieces of any size. The caller's reading sets the pace, so they are never whole in memory.
    Bytes(BoxStream<'static, Result<Bytes, Failure>>),
}

impl Reply {
    /// Bytes in pieces.
    pub fn bytes<E: Into<Failure>>(pieces: impl Stream<Item = Result<Bytes, E>> + Send + 'static) -> Self {
        Reply::Bytes(pieces.map(|piece| piece.map_err(Into::into)).boxed())
    }

    /// Bytes that are read from a file, a socket, or whatever can be read.
    pub fn read(reader: impl AsyncRead + Send + Unpin + 'static) -> Self {
        Reply::bytes(stream::try_unfold(reader, |mut reader| async move {
            let mut piece = BytesMut::with_capacity(READ_BYTES);
            let count = reader.read_buf(&mut piece).await?;
            Ok::<_, std::io::Error>((count > 0).then(|| (piece.freeze(), reader)))
        }))
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reply::Value(value) => f.debug_tuple("Value").field(value).finish(),
            Reply::Items(_) => f.write_str("Items"),
            Reply::Bytes(_) => f.write_str("Bytes"),
        }
    }
}

/// Values that a function gives one after the other, instead of one.
pub struct Items<T>(BoxStream<'static, Result<T, Failure>>);

impl<T: Send + 'static> Items<T> {
    /// These, as they come.
    pub fn new(items: impl Stream<Item = T> + Send + 'static) -> Self {
        Items(items.map(Ok).boxed())
    }

    /// These, as they come; with an error they end.
    pub fn fallible<E: Into<Failure>>(items: impl Stream<Item = Result<T, E>> + Send + 'static) -> Self {
        Items(items.map(|item| item.map_err(Into::into)).boxed())
    }
}

impl<T> Stream for Items<T> {
    type Item = Result<T, Failure>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_next_unpin(cx)
    }
}

impl<T> fmt::Debug for Items<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Items")
    }
}

/// What a function may give: everything that serde knows, [`Items`], or a whole [`Reply`].
pub trait IntoReply {
    /// What the caller gets.
    fn into_reply(self) -> Result<Reply, Failure>;
}

impl<T: Serialize> IntoReply for T {
    fn into_reply(self) -> Result<Reply, Failure> {
        Value::of(&self).map(Reply::Value).map_err(unsendable)
    }
}

impl IntoReply for Reply {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(self)
    }
}

impl<T: Serialize + 'static> IntoReply for Items<T> {
    fn into_reply(self) -> Result<Reply, Failure> {
        Ok(Reply::Items(self.0.map(|item| item.and_then(|item| Value::of(&item).map_err(unsendable))).boxed()))
    }
}

fn unsendable(error: super::value::ValueError) -> Failure {
    match error {
        super::value::ValueError::Type(what) => Failure::new(format!("the result cannot be sent: {what}")),
        other => Failure(other.into()),
    }
}

type Run = dyn Fn(Call) -> BoxFuture<'static, Result<Reply, Failure>> + Send + Sync;

/// A function of this node.
pub(super) struct Local {
    run: Arc<RwLock<Option<Arc<Run>>>>,
    pub(super) shape: FunctionShape,
    pub(super) access: Access,
    /// The node that it belongs to: known from when it is provided or passed.
    home: Arc<OnceLock<std::sync::Weak<Core>>>,
}

impl Callable for Local {}

impl Function {
    /// A function that runs this. It is dropped, wherever it waits, when the caller cancels or the deadline passes; when it
    /// panics, it failed.
    ///
    /// It runs in a task of its own. What takes long without awaiting anything belongs on a thread (`tokio::task::spawn_blocking`).
    pub fn new<F, R, E>(run: impl Fn(Call) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<R, E>> + Send + 'static,
        R: IntoReply,
        E: Into<Failure>,
    {
        let run: Arc<Run> = Arc::new(move |call| {
            let running = run(call);
            Box::pin(async move { running.await.map_err(Into::into)?.into_reply() })
        });
        Function(Arc::new(Local {
            run: Arc::new(RwLock::new(Some(run))),
            shape: FunctionShape::default(),
            access: Access::Everyone,
            home: Arc::default(),
        }))
    }

    /// Says what it does.
    #[must_use]
    pub fn doc(self, doc: impl Into<String>) -> Self {
        self.change(|local| local.shape.doc = doc.into())
    }

    /// Names its parameters, and so says how many it takes. Calls with more or fewer arguments are answered with
    /// [`CallError::WrongArguments`]; fewer are in order where those left out are named with a `?` at the end.
    #[must_use]
    pub fn parameters<S: Into<String>>(self, names: impl IntoIterator<Item = S>) -> Self {
        let names = names.into_iter().map(Into::into).collect();
        self.change(|local| local.shape.parameters = Some(names))
    }

    /// Says whether it gives a value, many, or bytes.
    #[must_use]
    pub fn gives(self, gives: Gives) -> Self {
        self.change(|local| local.shape.gives = gives)
    }

    /// Who may call it.
    #[must_use]
    pub fn access(self, access: Access) -> Self {
        self.change(|local| local.access = access)
    }

    /// Says something about a function of this node; of another's nothing can be said.
    fn change(self, change: impl FnOnce(&mut Local)) -> Self {
        let Some(local) = self.behind::<Local>() else { return self };
        let mut local = Local {
            run: local.run.clone(),
            shape: local.shape.clone(),
            access: local.access.clone(),
            home: local.home.clone(),
        };
        change(&mut local);
        Function(Arc::new(local))
    }

    /// Gives the function up: nobody can call it any more, here or elsewhere ([`CallError::NoSuchFunction`]), and what it holds
    /// is freed. Of a remote function: tells its node that this one needs it no more.
    pub fn release(&self) {
        if let Some(local) = self.behind::<Local>() {
            write(&local.run).take();
        } else if let Some(held) = self.behind::<super::held::Held>() {
            held.release();
        }
    }
}

impl Local {
    /// Learns to which node it belongs.
    pub(super) fn settle(&self, core: &Arc<Core>) {
        let _ = self.home.set(Arc::downgrade(core));
    }

    pub(super) fn home(&self) -> Option<Arc<Core>> {
        self.home.get()?.upgrade()
    }

    /// Runs it for a caller that was let in already. The number of arguments is checked, their types it checks itself.
    pub(super) async fn run(&self, call: Call) -> Result<Reply, CallError> {
        if !self.access.is_everyone() && !self.access.admits(&call.caller, &call.path).await {
            return Err(CallError::Refused);
        }
        let run = read(&self.run).clone();
        let Some(run) = run else { return Err(CallError::NoSuchFunction(call.path)) };
        self.check_count(call.arguments.len())?;
        // A function that panics must not take the task with it, or the caller would wait for nothing.
        match AssertUnwindSafe(async move { run(call).await }).catch_unwind().await {
            Ok(done) => done.map_err(|failure| failure.0),
            Err(_) => Err(Failure::new("the function panicked").0),
        }
    }

    fn check_count(&self, count: usize) -> Result<(), CallError> {
        let Some(parameters) = &self.shape.parameters else { return Ok(()) };
        let needed = parameters.iter().take_while(|name| !name.ends_with('?')).count();
        if (needed..=parameters.len()).contains(&count) {
            return Ok(());
        }
        let takes = parameters.join(", ");
        Err(CallError::WrongArguments(format!("it takes {} ({takes}), and got {count}", parameters.len())))
    }
}

impl<F, Fut, R, E> From<F> for Function
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<R, E>> + Send + 'static,
    R: IntoReply,
    E: Into<Failure>,
{
    fn from(run: F) -> Self {
        Function::new(run)
    }
}
