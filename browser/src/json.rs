//! What serde says of something of ours, as JavaScript has it.

use js_sys::JSON;
use serde::Serialize;
use wasm_bindgen::JsValue;

pub(crate) fn to_js(told: &impl Serialize) -> JsValue {
    let json = serde_json::to_string(told).unwrap_or_default();
    JSON::parse(&json).unwrap_or(JsValue::UNDEFINED)
}
