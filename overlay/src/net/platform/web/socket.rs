//! The browser's WebSocket.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use gloo_events::EventListener;
use rustls::ClientConfig;
use send_wrapper::SendWrapper;
use wasm_bindgen::JsCast;
use web_sys::{CloseEvent, MessageEvent};

/// Messages that wait to be read, at most: a browser cannot be told to wait. A server that sends more is left.
const MAX_WAITING: usize = 256;

/// An open connection. Errors are texts for humans.
#[derive(Debug)]
pub(crate) struct WebSocket(SendWrapper<Inner>);

#[derive(Debug)]
struct Inner {
    socket: web_sys::WebSocket,
    state: Rc<RefCell<State>>,
    _listeners: [EventListener; 4],
}

/// What the browser has told.
#[derive(Debug, Default)]
struct State {
    open: bool,
    received: VecDeque<String>,
    /// Why there is no connection any more.
    ended: Option<String>,
    waker: Option<Waker>,
}

impl WebSocket {
    /// Connects to `ws://…` or `wss://…`, the latter by the browser's own TLS. Messages of more than `longest` bytes end the
    /// connection.
    pub(crate) async fn connect(url: &str, _: Option<Arc<ClientConfig>>, longest: usize) -> Result<Self, String> {
        let socket = WebSocket(SendWrapper::new(Inner::new(url, longest)?));
        poll_fn(|cx| socket.0.poll_open(cx)).await?;
        Ok(socket)
    }

    /// The next message. Never `None` here: browsers hide the signs of life. Cancel safe.
    pub(crate) async fn next(&mut self) -> Result<Option<String>, String> {
        poll_fn(|cx| self.0.poll_next(cx)).await.map(Some)
    }

    /// Sends a message. It does not wait: the browser takes whatever it is given.
    pub(crate) async fn send(&mut self, message: String) -> Result<(), String> {
        if let Some(reason) = &self.0.state.borrow().ended {
            return Err(reason.clone());
        }
        self.0.socket.send_with_str(&message).map_err(|_| FAILED.to_owned())
    }

    /// Asks for a sign of life. `false`: this platform has no way to.
    pub(crate) async fn ping(&mut self) -> Result<bool, String> {
        Ok(false)
    }

    /// Says goodbye, and waits until the server has heard it.
    pub(crate) async fn close(self) {
        let _ = self.0.socket.close();
        while poll_fn(|cx| self.0.poll_next(cx)).await.is_ok() {}
    }
}

const FAILED: &str = "the connection failed";

impl Inner {
    fn new(url: &str, longest: usize) -> Result<Self, String> {
        // It throws for what is no URL, and for ws:// in a page that came over https://.
        let socket = web_sys::WebSocket::new(url).map_err(|_| "the browser refuses this URL here".to_owned())?;
        let state = Rc::new(RefCell::new(State::default()));
        let on = |name: &'static str, change: fn(&mut State, &web_sys::Event, usize)| {
            let state = Rc::clone(&state);
            EventListener::new(&socket, name, move |event| {
                let waker = {
                    let mut state = state.borrow_mut();
                    change(&mut state, event, longest);
                    state.waker.take()
                };
                if let Some(waker) = waker {
                    waker.wake();
                }
            })
        };
        let listeners = [
            on("open", |state, _, _| state.open = true),
            on("message", State::receive),
            on("error", |state, _, _| state.end(FAILED)),
            on("close", |state, event, _| {
                let code = event.dyn_ref::<CloseEvent>().map_or(0, CloseEvent::code);
                state.end(match code {
                    1000 | 1001 => "the server closed the connection",
                    _ => FAILED,
                });
            }),
        ];
        Ok(Inner { socket, state, _listeners: listeners })
    }

    fn poll_open(&self, cx: &mut Context<'_>) -> Poll<Result<(), String>> {
        let mut state = self.state.borrow_mut();
        match (&state.ended, state.open) {
            (Some(reason), _) => Poll::Ready(Err(reason.clone())),
            (None, true) => Poll::Ready(Ok(())),
            (None, false) => {
                state.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    fn poll_next(&self, cx: &mut Context<'_>) -> Poll<Result<String, String>> {
        let mut state = self.state.borrow_mut();
        if let Some(message) = state.received.pop_front() {
            return Poll::Ready(Ok(message));
        }
        if let Some(reason) = &state.ended {
            return Poll::Ready(Err(reason.clone()));
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl State {
    fn receive(&mut self, event: &web_sys::Event, longest: usize) {
        match event.dyn_ref::<MessageEvent>().and_then(|event| event.data().as_string()) {
            None => self.end("the server sent binary data"),
            Some(message) if message.len() > longest => self.end("the server sent a message over the limit"),
            Some(_) if self.received.len() >= MAX_WAITING => self.end("the server sent more than can be read"),
            Some(message) => self.received.push_back(message),
        }
    }

    fn end(&mut self, reason: &str) {
        self.ended.get_or_insert_with(|| reason.to_owned());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // A connection that is closed already takes no harm.
        let _ = self.socket.close();
    }
}
