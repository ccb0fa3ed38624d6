//! Tasks on the browser's event loop. They run one at a time, each until it waits, and all that can run do so before the browser's
//! next event.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures::future::{self, AbortHandle as Handle, LocalBoxFuture};
use tokio::sync::oneshot;

/// Runs a future until it ends or is aborted.
pub(crate) fn spawn<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let (result_in, result) = oneshot::channel();
    let abort = run(Box::pin(async move {
        let _ = result_in.send(future.await);
    }));
    JoinHandle { abort, result }
}

/// What all tasks share is compiled once: a page has to load it.
fn run(task: LocalBoxFuture<'static, ()>) -> AbortHandle {
    let (task, abort) = future::abortable(task);
    wasm_bindgen_futures::spawn_local(async move {
        let _ = task.await;
    });
    AbortHandle(abort)
}

/// Whether [`spawn`] may be called here: always, in a browser.
pub(crate) fn can_spawn() -> bool {
    true
}

/// Waits for a task. When it is dropped the task goes on.
#[derive(Debug)]
pub(crate) struct JoinHandle<T> {
    abort: AbortHandle,
    result: oneshot::Receiver<T>,
}

impl<T> JoinHandle<T> {
    /// What aborts the task.
    pub(crate) fn abort_handle(&self) -> AbortHandle {
        self.abort.clone()
    }
}

impl<T> Future for JoinHandle<T> {
    /// An error when the task was aborted.
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.result).poll(cx)
    }
}

/// Ends a task where it waits.
#[derive(Debug, Clone)]
pub(crate) struct AbortHandle(Handle);

impl AbortHandle {
    /// Ends the task, if it has not ended.
    pub(crate) fn abort(&self) {
        self.0.abort();
    }
}
