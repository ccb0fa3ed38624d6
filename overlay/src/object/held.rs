//! A function of a peer, held here: calls go to the peer; when the last clone is dropped, the peer is told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::answer::{Answer, ByteStream, Results};
use super::arguments::Arguments;
use super::core::Core;
use super::error::CallError;
use super::function::{Call, Local, Reply};
use super::line::Line;
use super::message::{Request, Target};
use super::peer::DEFAULT_TIMEOUT;
use super::value::{Callable, Function};
use super::wire::{Taking, ask};
use crate::id::Id;
use crate::net::platform::{self, Instant};

/// How long a function that went back to its node is held on: the message that names it must arrive before its release does.
pub const RETURN_WITHIN: Duration = Duration::from_secs(5);

pub(super) struct Held {
    handle: u64,
    line: Arc<Line>,
    core: Weak<Core>,
    released: AtomicBool,
    returned: AtomicBool,
}

impl Callable for Held {}

impl Held {
    pub(super) fn function(core: &Arc<Core>, line: &Arc<Line>, handle: u64) -> Function {
        line.hold(handle);
        let (released, returned) = (AtomicBool::new(false), AtomicBool::new(false));
        Function(Arc::new(Held { handle, line: line.clone(), core: Arc::downgrade(core), released, returned }))
    }

    /// Its handle, to be sent back to its node, if that is this peer.
    pub(super) fn return_to(&self, peer: Id) -> Option<u64> {
        let returns = self.line.peer() == peer && !self.released.load(Ordering::Relaxed);
        returns.then(|| {
            self.returned.store(true, Ordering::Relaxed);
            self.handle
        })
    }

    pub(super) fn release(&self) {
        if self.released.swap(true, Ordering::Relaxed) {
            return;
        }
        let (line, handle) = (self.line.clone(), self.handle);
        if self.returned.load(Ordering::Relaxed) && platform::can_spawn() {
            platform::spawn(async move {
                platform::sleep(RETURN_WITHIN).await;
                line.let_go(handle);
            });
        } else {
            line.let_go(handle);
        }
    }

    async fn ask(&self, request: Request, taking: Taking, deadline: Instant) -> Result<Answer, CallError> {
        let core = self.core.upgrade().ok_or(CallError::Closed)?;
        ask(&core, &self.line.session, &request, taking, deadline).await
    }

    fn request(&self, arguments: Vec<super::Value>) -> Result<Request, CallError> {
        if self.released.load(Ordering::Relaxed) {
            return Err(CallError::NoSuchFunction("released".to_owned()));
        }
        Ok(Request::Call { target: Target::Function(self.handle), arguments })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.release();
    }
}

impl Function {
    /// Calls it, wherever it is, and waits for its result, [`DEFAULT_TIMEOUT`] at most. What it gives in pieces is put together.
    pub async fn call<T: DeserializeOwned>(&self, arguments: impl Arguments) -> Result<T, CallError> {
        self.call_within(DEFAULT_TIMEOUT, arguments).await
    }

    /// The same, for so long at most.
    pub async fn call_within<T: DeserializeOwned>(
        &self,
        timeout: Duration,
        arguments: impl Arguments,
    ) -> Result<T, CallError> {
        let deadline = deadline(timeout);
        self.answer(arguments, Taking::Whole, deadline).await?.result(deadline).await
    }

    /// Calls it and takes its results one by one.
    pub async fn stream<T: DeserializeOwned>(&self, arguments: impl Arguments) -> Result<Results<T>, CallError> {
        self.stream_within(DEFAULT_TIMEOUT, arguments).await
    }

    /// The same, where the first may take so long at most.
    pub async fn stream_within<T: DeserializeOwned>(
        &self,
        timeout: Duration,
        arguments: impl Arguments,
    ) -> Result<Results<T>, CallError> {
        self.answer(arguments, Taking::OneByOne, deadline(timeout)).await.map(Results::new)
    }

    /// Calls it and takes the bytes that it gives, in pieces.
    pub async fn bytes(&self, arguments: impl Arguments) -> Result<ByteStream, CallError> {
        self.answer(arguments, Taking::OneByOne, deadline(DEFAULT_TIMEOUT)).await.map(ByteStream::new)
    }

    async fn answer(&self, arguments: impl Arguments, taking: Taking, deadline: Instant) -> Result<Answer, CallError> {
        let arguments = arguments.into_values()?;
        if let Some(held) = self.behind::<Held>() {
            return held.ask(held.request(arguments)?, taking, deadline).await;
        }
        let local = self.behind::<Local>().ok_or_else(|| CallError::NoSuchFunction(String::new()))?;
        // It has no caller to be told unless it belongs to a node.
        let core = local.home().ok_or_else(|| CallError::NoSuchFunction("not provided, nor passed".to_owned()))?;
        let call = Call { caller: core.myself(), path: String::new(), arguments, deadline };
        let reply = platform::timeout_at(deadline, local.run(call)).await.map_err(|_| CallError::TimedOut)??;
        Ok(Answer::local(reply))
    }

    /// Runs it for another's call: what is here at once, what is elsewhere by passing the call on.
    pub(super) async fn run(&self, call: Call) -> Result<Reply, CallError> {
        if let Some(local) = self.behind::<Local>() {
            return local.run(call).await;
        }
        let held = self.behind::<Held>().ok_or_else(|| CallError::NoSuchFunction(String::new()))?;
        let answer = held.ask(held.request(call.arguments)?, Taking::OneByOne, call.deadline).await?;
        answer.pass_on().await
    }
}

/// So long from now; a year stands for ever.
pub(super) fn deadline(timeout: Duration) -> Instant {
    Instant::now() + timeout.min(Duration::from_secs(365 * 24 * 3600))
}
