//! Sockets, both directions apart, and what takes those that peers dial.

use std::cell::RefCell;
use std::rc::Rc;

use atoll::net::session::{Listener, Socket, SocketReader, SocketWriter};
use atoll_door::ErrorKind;
use js_sys::{Promise, Uint8Array};
use tokio::sync::Mutex;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::AbortSignal;

use crate::cancel::promise;
use crate::error::{self, WebError};

/// Bytes handed over at once, at most.
const PIECE: usize = 64 * 1024;

/// A socket with a peer.
#[wasm_bindgen(js_name = Socket)]
pub struct WebSocket {
    peer: String,
    reader: Rc<Mutex<Option<SocketReader>>>,
    writer: Rc<Mutex<Option<SocketWriter>>>,
}

impl WebSocket {
    pub(crate) fn new(socket: Socket) -> Self {
        let peer = socket.peer().to_string();
        let (reader, writer) = socket.into_split();
        WebSocket { peer, reader: Rc::new(Mutex::new(Some(reader))), writer: Rc::new(Mutex::new(Some(writer))) }
    }
}

fn closed() -> WebError {
    WebError::new(ErrorKind::Closed, "the socket is closed for this")
}

#[wasm_bindgen(js_class = Socket)]
impl WebSocket {
    /// Who is at the other end.
    #[wasm_bindgen(getter)]
    pub fn peer(&self) -> String {
        self.peer.clone()
    }

    /// The next bytes; `undefined` at the end.
    pub fn read(&self) -> Promise {
        let reader = Rc::clone(&self.reader);
        promise(None, async move {
            let mut reader = reader.lock().await;
            let bytes = reader.as_mut().ok_or_else(closed)?.read_bytes(PIECE).await.map_err(error::socket)?;
            Ok(bytes.map_or(JsValue::UNDEFINED, |bytes| Uint8Array::from(&bytes[..]).into()))
        })
    }

    /// Writes; waits while the peer does not read.
    pub fn write(&self, bytes: Vec<u8>) -> Promise {
        let writer = Rc::clone(&self.writer);
        promise(None, async move {
            let mut writer = writer.lock().await;
            writer.as_mut().ok_or_else(closed)?.write_bytes(bytes.into()).await.map_err(error::socket)?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Ends this side's bytes, and waits until the peer has them all.
    pub fn finish(&self) -> Promise {
        let writer = Rc::clone(&self.writer);
        promise(None, async move {
            let mut writer = writer.lock().await;
            writer.as_mut().ok_or_else(closed)?.finish().await.map_err(error::socket)?;
            Ok(JsValue::UNDEFINED)
        })
    }

    /// Wants no more bytes of the peer; or only once a read that waits is over.
    #[wasm_bindgen(js_name = stopReading)]
    pub fn stop_reading(&self) {
        if let Ok(mut reader) = self.reader.try_lock() {
            reader.take();
        }
    }

    /// Gives this side's bytes up; or only once a write that waits is over.
    #[wasm_bindgen(js_name = stopWriting)]
    pub fn stop_writing(&self) {
        if let Ok(mut writer) = self.writer.try_lock() {
            writer.take();
        }
    }
}

/// Takes the sockets that peers dial, until it is freed.
#[wasm_bindgen(js_name = Listener)]
pub struct WebListener(Rc<RefCell<Option<Listener>>>);

impl WebListener {
    pub(crate) fn new(listener: Listener) -> Self {
        WebListener(Rc::new(RefCell::new(Some(listener))))
    }
}

#[wasm_bindgen(js_class = Listener)]
impl WebListener {
    /// The next socket; `undefined` when the node has closed, and after an abort. The face never asks for two at once.
    pub fn next(&self, signal: Option<AbortSignal>) -> Promise {
        let shared = Rc::clone(&self.0);
        promise(signal, async move {
            let taken = shared.borrow_mut().take();
            let Some(mut listener) = taken else { return Ok(JsValue::UNDEFINED) };
            let socket = listener.accept().await;
            *shared.borrow_mut() = Some(listener);
            Ok(socket.map_or(JsValue::UNDEFINED, |socket| WebSocket::new(socket).into()))
        })
    }
}
