//! What the JavaScript face does for the code here.

use std::cell::RefCell;

use js_sys::{Function, Promise};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// The functions of the face.
    pub type Hooks;

    /// An error with this code and text, and data or `undefined`.
    #[wasm_bindgen(method)]
    fn error(this: &Hooks, code: &str, message: &str, data: JsValue) -> JsValue;

    /// A function that calls the function of another node that has this number here.
    #[wasm_bindgen(method)]
    fn hold(this: &Hooks, number: u32) -> Function;

    /// The number of such a function; `undefined` for any other.
    #[wasm_bindgen(method)]
    fn held(this: &Hooks, function: &Function) -> Option<u32>;

    /// A promise that the browser's next turn settles.
    #[wasm_bindgen(method)]
    fn turn(this: &Hooks) -> Promise;

    /// Says that the code here has failed for good.
    #[wasm_bindgen(method)]
    fn panicked(this: &Hooks, message: &str);
}

thread_local! {
    static HOOKS: RefCell<Option<Hooks>> = const { RefCell::new(None) };
}

pub(crate) fn set(hooks: Hooks) {
    HOOKS.set(Some(hooks));
    std::panic::set_hook(Box::new(|panic| {
        with(|hooks| hooks.panicked(&panic.to_string()));
    }));
}

pub(crate) fn error(code: &str, message: &str, data: JsValue) -> JsValue {
    with(|hooks| hooks.error(code, message, data)).unwrap_or_else(|| JsValue::from_str(message))
}

pub(crate) fn hold(number: u32) -> JsValue {
    with(|hooks| hooks.hold(number).into()).unwrap_or(JsValue::NULL)
}

pub(crate) fn held(function: &Function) -> Option<u32> {
    with(|hooks| hooks.held(function)).flatten()
}

pub(crate) fn turn() -> Option<Promise> {
    with(Hooks::turn)
}

fn with<T>(call: impl FnOnce(&Hooks) -> T) -> Option<T> {
    HOOKS.with_borrow(|hooks| hooks.as_ref().map(call))
}
