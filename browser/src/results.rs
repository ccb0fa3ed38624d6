//! Results that come one by one.

use std::cell::RefCell;
use std::rc::Rc;

use atoll::object::{Results, Value};
use js_sys::Promise;
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;
use web_sys::AbortSignal;

use crate::cancel::promise;
use crate::value;

/// The results of a function that gives many, or the changes of a value.
#[wasm_bindgen(js_name = Results)]
pub struct WebResults(Rc<RefCell<Option<Results<Value>>>>);

impl WebResults {
    pub(crate) fn new(results: Results<Value>) -> Self {
        WebResults(Rc::new(RefCell::new(Some(results))))
    }
}

#[wasm_bindgen(js_class = Results)]
impl WebResults {
    /// The next, in an array of its own; `undefined` after the last. The face never asks for two at once.
    pub fn next(&self, signal: Option<AbortSignal>) -> Promise {
        let shared = Rc::clone(&self.0);
        promise(signal, async move {
            let taken = shared.borrow_mut().take();
            let Some(mut results) = taken else { return Ok(JsValue::UNDEFINED) };
            match results.next().await.transpose()? {
                Some(item) => {
                    *shared.borrow_mut() = Some(results);
                    Ok(js_sys::Array::of1(&value::to_js(&item)).into())
                }
                None => Ok(JsValue::UNDEFINED),
            }
        })
    }

    /// Wants no more.
    pub fn end(&self) {
        let ended = self.0.borrow_mut().take();
        drop(ended);
    }
}
