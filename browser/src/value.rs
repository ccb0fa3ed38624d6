//! Values of JavaScript and those that calls carry.

use std::collections::BTreeMap;

use atoll::object::{MAX_DEPTH, MAX_VALUES, Value, ValueError, decode_plain, encode_plain};
use bytes::{Bytes, BytesMut};
use js_sys::{Array, ArrayBuffer, BigInt, Function, Map, Object, Promise, Reflect, Set, Uint8Array};
use wasm_bindgen::prelude::wasm_bindgen;
use wasm_bindgen::{JsCast, JsValue};

use crate::error::WebError;
use crate::function;

/// The largest whole number below which a number of JavaScript tells all others apart.
const MAX_SAFE: i64 = (1 << 53) - 1;

/// The value of what JavaScript gave: what `JSON.stringify` would take, and bytes and functions besides.
pub(crate) fn from_js(js: &JsValue) -> Result<Value, ValueError> {
    let mut left = MAX_VALUES;
    read(js, 0, &mut left)
}

fn read(js: &JsValue, depth: usize, left: &mut usize) -> Result<Value, ValueError> {
    // What contains itself has no end.
    if depth > MAX_DEPTH {
        return Err(ValueError::TooDeep);
    }
    *left = left.checked_sub(1).ok_or(ValueError::TooMany)?;
    if js.is_undefined() || js.is_null() {
        return Ok(Value::Null);
    }
    if let Some(value) = js.as_bool() {
        return Ok(value.into());
    }
    if let Some(number) = js.as_f64() {
        let is_whole =
            number.fract() == 0.0 && number.abs() <= MAX_SAFE as f64 && !(number == 0.0 && number.is_sign_negative());
        return Ok(if is_whole { (number as i64).into() } else { number.into() });
    }
    if let Some(text) = js.as_string() {
        return Ok(text.into());
    }
    if let Some(function) = js.dyn_ref::<Function>() {
        return Ok(function::to_value(function));
    }
    if js.is_bigint() {
        return whole(js);
    }
    if js.is_symbol() {
        return Err(unsendable("a symbol"));
    }
    if let Some(bytes) = bytes_of(js) {
        return Ok(bytes.into());
    }
    if let Some(list) = js.dyn_ref::<Array>() {
        let values = list.iter().map(|item| read(&item, depth + 1, left));
        return Ok(Value::Array(values.collect::<Result<_, _>>()?));
    }
    let unfit = [
        (js.is_instance_of::<Map>(), "a Map; make it an object"),
        (js.is_instance_of::<Set>(), "a Set; make it an array"),
        (js.is_instance_of::<Promise>(), "a Promise; await it"),
    ];
    if let Some((_, what)) = unfit.iter().find(|(is, _)| *is) {
        return Err(unsendable(what));
    }
    if let Ok(to_json) = get(js, "toJSON")?.dyn_into::<Function>() {
        let json = to_json.call0(js).map_err(|_| unsendable("an object whose toJSON throws"))?;
        return read(&json, depth + 1, left);
    }
    let mut map = BTreeMap::new();
    for name in Object::keys(js.unchecked_ref::<Object>()).iter().filter_map(|name| name.as_string()) {
        let member = get(js, &name)?;
        if !member.is_undefined() {
            map.insert(name, read(&member, depth + 1, left)?);
        }
    }
    Ok(Value::Map(map))
}

/// Bytes, however JavaScript holds them.
pub(crate) fn bytes_of(js: &JsValue) -> Option<Bytes> {
    if let Some(bytes) = js.dyn_ref::<Uint8Array>() {
        return Some(bytes.to_vec().into());
    }
    if let Some(buffer) = js.dyn_ref::<ArrayBuffer>() {
        return Some(Uint8Array::new(buffer).to_vec().into());
    }
    if !ArrayBuffer::is_view(js) {
        return None;
    }
    let number = |name| Reflect::get(js, &JsValue::from_str(name)).ok()?.as_f64();
    let buffer = Reflect::get(js, &"buffer".into()).ok()?;
    let (from, length) = (number("byteOffset")? as u32, number("byteLength")? as u32);
    Some(Uint8Array::new_with_byte_offset_and_length(&buffer, from, length).to_vec().into())
}

fn whole(js: &JsValue) -> Result<Value, ValueError> {
    if let Ok(number) = i64::try_from(js.clone()) {
        return Ok(number.into());
    }
    u64::try_from(js.clone()).map(Value::from).map_err(|_| unsendable("a bigint of more than 64 bits"))
}

fn get(js: &JsValue, name: &str) -> Result<JsValue, ValueError> {
    Reflect::get(js, &name.into()).map_err(|_| unsendable("an object whose getter throws"))
}

fn unsendable(what: &str) -> ValueError {
    ValueError::Type(format!("this cannot be sent: {what}"))
}

/// What JavaScript gets for a value. Whole numbers that its numbers cannot tell apart become a `bigint`.
pub(crate) fn to_js(value: &Value) -> JsValue {
    match value {
        Value::Null => JsValue::NULL,
        Value::Bool(value) => (*value).into(),
        Value::Int(number) if number.abs() <= MAX_SAFE => (*number as f64).into(),
        Value::Int(number) => BigInt::from(*number).into(),
        Value::Uint(number) => BigInt::from(*number).into(),
        Value::Float(number) => (*number).into(),
        Value::Text(text) => text.into(),
        Value::Bytes(bytes) => Uint8Array::from(&bytes[..]).into(),
        Value::Array(list) => list.iter().map(to_js).collect::<Array>().into(),
        Value::Map(map) => {
            let object = Object::new();
            for (name, member) in map {
                put(&object, name, &to_js(member));
            }
            object.into()
        }
        Value::Function(function) => function::to_js(function),
        // Of a later version.
        _ => JsValue::UNDEFINED,
    }
}

/// A value without functions as bytes, in CBOR.
#[wasm_bindgen(js_name = encodeValue)]
pub fn encode(value: &JsValue) -> Result<Vec<u8>, JsValue> {
    let encoded = from_js(value).and_then(|value| encode_plain(&value, BytesMut::new()));
    encoded.map(Vec::from).map_err(|error| WebError::from(error).into())
}

/// The value that these bytes are.
#[wasm_bindgen(js_name = decodeValue)]
pub fn decode(bytes: Vec<u8>) -> Result<JsValue, JsValue> {
    decode_plain(&bytes.into()).map(|value| to_js(&value)).map_err(|error| WebError::from(error).into())
}

/// Sets a member of an object that was just made.
pub(crate) fn put(object: &Object, name: &str, member: &JsValue) {
    // Setting it would set what the object inherits from.
    if name == "__proto__" {
        let property = Object::new();
        for (field, value) in [("value", member), ("writable", &true.into()), ("enumerable", &true.into())] {
            let _ = Reflect::set(&property, &field.into(), value);
        }
        Object::define_property(object, &name.into(), &property);
    } else {
        let _ = Reflect::set(object, &name.into(), member);
    }
}

/// A list of arguments.
pub(crate) fn arguments(list: &Array) -> Result<Vec<Value>, ValueError> {
    let mut left = MAX_VALUES;
    list.iter().map(|argument| read(&argument, 0, &mut left)).collect()
}
