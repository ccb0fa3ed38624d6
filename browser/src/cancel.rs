//! Promises that an `AbortSignal` ends.

use std::future::Future;
use std::pin::pin;

use futures::channel::oneshot;
use futures::future::{Either, LocalBoxFuture, select};
use gloo_events::EventListener;
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::future_to_promise;
use web_sys::{AbortController, AbortSignal};

use crate::error::WebError;

/// A promise for what the future gives. Aborted, the future is dropped, and the promise is rejected with the signal's reason.
pub(crate) fn promise<T: Into<JsValue>>(
    signal: Option<AbortSignal>,
    work: impl Future<Output = Result<T, WebError>> + 'static,
) -> Promise {
    one_for_all(signal, Box::pin(async move { work.await.map(Into::into).map_err(JsValue::from) }))
}

/// What all operations share is compiled once: a page has to load it.
fn one_for_all(signal: Option<AbortSignal>, work: LocalBoxFuture<'static, Result<JsValue, JsValue>>) -> Promise {
    future_to_promise(async move {
        match &signal {
            None => work.await,
            Some(signal) => match select(work, pin!(aborted(signal))).await {
                Either::Left((done, _)) => done,
                Either::Right((reason, _)) => Err(reason),
            },
        }
    })
}

/// Waits until the signal is aborted, and gives its reason.
async fn aborted(signal: &AbortSignal) -> JsValue {
    let (tell, told) = oneshot::channel();
    let listener = EventListener::once(signal, "abort", move |_| {
        let _ = tell.send(());
    });
    if !signal.aborted() {
        let _ = told.await;
    }
    drop(listener);
    signal.reason()
}

/// Aborts what it watches when it is dropped: tells a function of JavaScript that nobody waits for it any more.
pub(crate) struct Interest(AbortController);

impl Interest {
    pub(crate) fn new() -> Result<Self, JsValue> {
        AbortController::new().map(Interest)
    }

    pub(crate) fn signal(&self) -> AbortSignal {
        self.0.signal()
    }
}

impl Drop for Interest {
    fn drop(&mut self) {
        self.0.abort();
    }
}
