//! Functions: of JavaScript for other nodes, and of other nodes for JavaScript.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use atoll::object::{Call, Failure, Function, Gives, Reply, Value};
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use js_sys::{Array, AsyncIterator, Object, Promise, Reflect, Symbol};
use send_wrapper::SendWrapper;
use wasm_bindgen::{JsCast, JsValue};
use wasm_bindgen_futures::JsFuture;
use web_sys::{ReadableStream, ReadableStreamDefaultReader};

use crate::cancel::Interest;
use crate::error::thrown;
use crate::turn::Turn;
use crate::{hooks, value};

/// Functions of other nodes that JavaScript holds, by their numbers.
#[derive(Default)]
struct Held {
    functions: BTreeMap<u32, Function>,
    last: u32,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
}

/// The function with this number.
pub(crate) fn held(number: u32) -> Option<Function> {
    HELD.with_borrow(|held| held.functions.get(&number).cloned())
}

/// JavaScript holds it no longer.
pub(crate) fn release(number: u32) {
    // Dropped outside: that may run code of the node.
    let released = HELD.with_borrow_mut(|held| held.functions.remove(&number));
    drop(released);
}

pub(crate) fn to_js(function: &Function) -> JsValue {
    let number = HELD.with_borrow_mut(|held| {
        // As many as fit into memory: a number that comes round again belongs to nobody by then.
        held.last = held.last.wrapping_add(1);
        held.functions.insert(held.last, function.clone());
        held.last
    });
    hooks::hold(number)
}

/// One of another node as itself; any other as a function that the receiver may call.
pub(crate) fn to_value(function: &js_sys::Function) -> Value {
    match hooks::held(function).and_then(held) {
        Some(held) => held.into(),
        None => local(function).into(),
    }
}

/// A function of JavaScript for other nodes.
pub(crate) fn local(function: &js_sys::Function) -> Function {
    // A page has one thread, so what belongs to it may be wrapped as if it could be sent to another.
    let run = Arc::new(SendWrapper::new(function.clone()));
    let gives = if is_generator(function) { Gives::Stream } else { Gives::Any };
    Function::new(move |call| {
        let run = Arc::clone(&run);
        SendWrapper::new(async move { answer(&run, call).await })
    })
    .gives(gives)
}

/// Whether it is an `async function*`.
fn is_generator(function: &js_sys::Function) -> bool {
    let made_by = Reflect::get(function, &"constructor".into()).ok();
    let name = made_by.and_then(|made_by| Reflect::get(&made_by, &"name".into()).ok());
    name.and_then(|name| name.as_string()).as_deref() == Some("AsyncGeneratorFunction")
}

async fn answer(function: &js_sys::Function, call: Call) -> Result<Reply, Failure> {
    let interest = Interest::new().map_err(|error| thrown(&error))?;
    let this = Object::new();
    value::put(&this, "caller", &call.caller().id().to_string().into());
    value::put(&this, "path", &call.path().into());
    value::put(&this, "within", &(call.time_left().as_millis() as f64).into());
    value::put(&this, "signal", &interest.signal());
    let arguments: Array = call.arguments().iter().map(value::to_js).collect();
    let given = function.apply(&this, &arguments).map_err(|error| thrown(&error))?;
    let given = JsFuture::from(Promise::resolve(&given)).await.map_err(|error| thrown(&error))?;
    if let Some(stream) = given.dyn_ref::<ReadableStream>() {
        return pieces(stream, interest);
    }
    match iterator(&given) {
        Some(iterator) => Ok(items(iterator, interest)),
        None => value::from_js(&given).map(Reply::Value).map_err(Failure::from),
    }
}

/// The iterator of something that is iterated over asynchronously.
fn iterator(given: &JsValue) -> Option<AsyncIterator> {
    let object = given.dyn_ref::<Object>()?;
    let make: js_sys::Function = Reflect::get(object, &Symbol::async_iterator()).ok()?.dyn_into().ok()?;
    make.call0(given).ok().map(JsCast::unchecked_into)
}

/// What an iterator gives, one after the other. Left before its end, it is told so.
struct Items {
    iterator: AsyncIterator,
    over: bool,
    turn: Turn,
    _interest: Interest,
}

impl Items {
    async fn next(&mut self) -> Result<Option<Value>, Failure> {
        self.turn.pause().await;
        let next = match self.iterator.next() {
            Ok(next) => JsFuture::from(next).await,
            Err(error) => Err(error),
        };
        let next = next.map_err(|error| {
            self.over = true;
            thrown(&error)
        })?;
        let field = |name: &str| Reflect::get(&next, &name.into()).map_err(|error| thrown(&error));
        if field("done")?.is_truthy() {
            self.over = true;
            return Ok(None);
        }
        Ok(Some(value::from_js(&field("value")?)?))
    }
}

impl Drop for Items {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        let end =
            Reflect::get(&self.iterator, &"return".into()).ok().and_then(|end| end.dyn_into::<js_sys::Function>().ok());
        if let Some(Ok(promise)) = end.map(|end| end.call0(&self.iterator)) {
            quietly(&promise);
        }
    }
}

fn items(iterator: AsyncIterator, interest: Interest) -> Reply {
    let items = Items { iterator, over: false, turn: Turn::begin(), _interest: interest };
    let items = stream::try_unfold(items, |mut items| async move { Ok(items.next().await?.map(|item| (item, items))) });
    Reply::Items(SendWrapper::new(items).boxed())
}

/// The pieces of a stream of bytes.
struct Pieces {
    reader: ReadableStreamDefaultReader,
    over: bool,
    turn: Turn,
    _interest: Interest,
}

impl Pieces {
    async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        self.turn.pause().await;
        let next = JsFuture::from(self.reader.read()).await.map_err(|error| {
            self.over = true;
            thrown(&error)
        })?;
        let field = |name: &str| Reflect::get(&next, &name.into()).map_err(|error| thrown(&error));
        if field("done")?.is_truthy() {
            self.over = true;
            return Ok(None);
        }
        let bytes = value::bytes_of(&field("value")?);
        bytes.map(Some).ok_or_else(|| Failure::new("a stream that gives something else than bytes"))
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if !self.over {
            quietly(&self.reader.cancel());
        }
    }
}

fn pieces(stream: &ReadableStream, interest: Interest) -> Result<Reply, Failure> {
    let reader: ReadableStreamDefaultReader = stream.get_reader().unchecked_into();
    let pieces = Pieces { reader, over: false, turn: Turn::begin(), _interest: interest };
    let pieces =
        stream::try_unfold(pieces, |mut pieces| async move { Ok(pieces.next().await?.map(|piece| (piece, pieces))) });
    Ok(Reply::Bytes(SendWrapper::new(pieces).boxed()))
}

/// Whatever becomes of the promise, nobody waits for it: its rejection must not be reported as unhandled.
fn quietly(promise: &JsValue) {
    let waiting = JsFuture::from(Promise::resolve(promise));
    wasm_bindgen_futures::spawn_local(async move {
        let _ = waiting.await;
    });
}
