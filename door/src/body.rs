//! Values as JSON.
//!
//! JSON has neither bytes nor functions, so text that begins with `$` means something else:
//!
//! | JSON | value |
//! |---|---|
//! | `"$0"`, `"$1"`, … | a function, by the number that whoever writes it gave it |
//! | `"$~0"`, … | a function of whoever reads it, given back |
//! | `"$bytes:AAEC"` | bytes, in base64 (RFC 4648, section 4) |
//! | `"$float:NaN"`, `"$float:Infinity"`, `"$float:-Infinity"` | the numbers that JSON has not |
//! | `"$$…"` | the text `"$…"` |
//!
//! Any other text with `$` at its beginning is refused. Names in objects are never read this way.

use std::collections::BTreeMap;
use std::fmt;

use atoll::object::{Function, MAX_FUNCTIONS, MAX_MESSAGE, MAX_VALUES, Value, ValueError};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::limits::{MAX_DEPTH, MAX_LINE, MAX_NUMBER};

/// A function as it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mention {
    /// `"$0"`: of whoever writes.
    Own(u64),
    /// `"$~0"`: of whoever reads.
    Yours(u64),
}

impl Mention {
    /// Reads `$0` or `$~0`.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix('$')?;
        let (number, own) = rest.strip_prefix('~').map_or((rest, true), |number| (number, false));
        // `parse` would take a sign and zeros before the number, too.
        if !number.bytes().all(|byte| byte.is_ascii_digit()) || (number.len() > 1 && number.starts_with('0')) {
            return None;
        }
        let number = number.parse().ok().filter(|number| *number <= MAX_NUMBER)?;
        Some(if own { Mention::Own(number) } else { Mention::Yours(number) })
    }
}

impl fmt::Display for Mention {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Mention::Own(number) => write!(f, "${number}"),
            Mention::Yours(number) => write!(f, "$~{number}"),
        }
    }
}

/// Gives the function that is meant.
pub type Take<'a> = dyn FnMut(Mention) -> Result<Function, ValueError> + 'a;

/// Gives the words for a function.
pub type Offer<'a> = dyn FnMut(&Function) -> Result<Mention, ValueError> + 'a;

/// Reads a value.
///
/// # Errors
/// No JSON, unknown text with `$`, nested deeper than [`MAX_DEPTH`], more than [`MAX_VALUES`], [`MAX_FUNCTIONS`] or
/// [`MAX_MESSAGE`] bytes of text and bytes; or what `take` says.
pub fn decode(json: &str, take: &mut Take<'_>) -> Result<Value, ValueError> {
    let mut reading = Reading { take, values: 0, functions: 0, bytes: 0, why: None };
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let read = Part { reading: &mut reading, depth: 0 }.deserialize(&mut deserializer);
    let read = read.and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| reading.why.unwrap_or_else(|| ValueError::Type(error.to_string())))
}

struct Reading<'a, 'b> {
    take: &'a mut Take<'b>,
    values: usize,
    functions: usize,
    bytes: usize,
    /// Why it was refused, where serde's own words do not tell.
    why: Option<ValueError>,
}

impl Reading<'_, '_> {
    fn refuse<E: Error>(&mut self, why: ValueError) -> E {
        let error = E::custom(&why);
        self.why = Some(why);
        error
    }

    fn add_bytes<E: Error>(&mut self, count: usize) -> Result<(), E> {
        self.bytes += count;
        if self.bytes > MAX_MESSAGE { Err(self.refuse(ValueError::TooLarge)) } else { Ok(()) }
    }

    fn text<E: Error>(&mut self, text: &str) -> Result<Value, E> {
        let Some(special) = text.strip_prefix('$') else {
            self.add_bytes(text.len())?;
            return Ok(Value::Text(text.to_owned()));
        };
        if special.starts_with('$') {
            self.add_bytes(special.len())?;
            return Ok(Value::Text(special.to_owned()));
        }
        if let Some(base64) = special.strip_prefix("bytes:") {
            self.add_bytes(base64.len() / 4 * 3)?;
            let bytes = BASE64_STANDARD
                .decode(base64)
                .map_err(|_| self.refuse(ValueError::Malformed("what follows $bytes: is not base64")))?;
            return Ok(Value::Bytes(Bytes::from(bytes)));
        }
        match special {
            "float:NaN" => return Ok(Value::Float(f64::NAN)),
            "float:Infinity" => return Ok(Value::Float(f64::INFINITY)),
            "float:-Infinity" => return Ok(Value::Float(f64::NEG_INFINITY)),
            _ => {}
        }
        let Some(mention) = Mention::parse(text) else {
            let why = "text that begins with $ is written with $$";
            return Err(self.refuse(ValueError::Malformed(why)));
        };
        self.functions += 1;
        if self.functions > MAX_FUNCTIONS {
            return Err(self.refuse(ValueError::TooManyFunctions));
        }
        (self.take)(mention).map(Value::Function).map_err(|why| self.refuse(why))
    }
}

struct Part<'r, 'a, 'b> {
    reading: &'r mut Reading<'a, 'b>,
    depth: usize,
}

impl Part<'_, '_, '_> {
    fn deeper<E: Error>(&mut self) -> Result<(), E> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(self.reading.refuse(ValueError::TooDeep)) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Part<'_, '_, '_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.reading.values += 1;
        if self.reading.values > MAX_VALUES {
            return Err(self.reading.refuse(ValueError::TooMany));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Part<'_, '_, '_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.reading.text(text)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut seq: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut list = Vec::new();
        while let Some(value) = seq.next_element_seed(Part { reading: &mut *self.reading, depth: self.depth })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Value, A::Error> {
        self.deeper()?;
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            self.reading.add_bytes(name.len())?;
            let value = map.next_value_seed(Part { reading: &mut *self.reading, depth: self.depth })?;
            members.insert(name, value);
        }
        Ok(Value::Map(members))
    }
}

/// Writes a value.
///
/// # Errors
/// It would be longer than [`MAX_LINE`], is nested deeper than any value that can be sent; or what `offer` says.
pub fn encode(value: &Value, offer: &mut Offer<'_>) -> Result<String, ValueError> {
    value.check()?;
    let mut json = Vec::new();
    write(&mut json, value, offer)?;
    Ok(String::from_utf8(json).expect("JSON is written as UTF-8"))
}

fn write(json: &mut Vec<u8>, value: &Value, offer: &mut Offer<'_>) -> Result<(), ValueError> {
    match value {
        Value::Null => json.extend_from_slice(b"null"),
        Value::Bool(value) => put(json, value),
        Value::Int(number) => put(json, number),
        Value::Uint(number) => put(json, number),
        Value::Float(number) if number.is_nan() => put(json, "$float:NaN"),
        Value::Float(number) if number.is_infinite() && *number > 0.0 => put(json, "$float:Infinity"),
        Value::Float(number) if number.is_infinite() => put(json, "$float:-Infinity"),
        Value::Float(number) => put(json, number),
        Value::Text(text) if text.starts_with('$') => put(json, &format!("${text}")),
        Value::Text(text) => put(json, text),
        Value::Bytes(bytes) => put(json, &format!("$bytes:{}", BASE64_STANDARD.encode(bytes))),
        Value::Function(function) => put(json, &offer(function)?.to_string()),
        Value::Array(list) => {
            json.push(b'[');
            for (index, value) in list.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                write(json, value, offer)?;
            }
            json.push(b']');
        }
        Value::Map(map) => {
            json.push(b'{');
            for (index, (name, value)) in map.iter().enumerate() {
                if index > 0 {
                    json.push(b',');
                }
                put(json, name);
                json.push(b':');
                write(json, value, offer)?;
            }
            json.push(b'}');
        }
        other => return Err(ValueError::Type(format!("{} has no form in JSON", other.kind()))),
    }
    if json.len() > MAX_LINE { Err(ValueError::TooLarge) } else { Ok(()) }
}

fn put(json: &mut Vec<u8>, value: &(impl serde::Serialize + ?Sized)) {
    serde_json::to_writer(json, value).expect("memory takes everything, and these are plain values");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn no_functions(_: Mention) -> Result<Function, ValueError> {
        Err(ValueError::TooManyFunctions)
    }

    fn none_to_offer(_: &Function) -> Result<Mention, ValueError> {
        Err(ValueError::TooManyFunctions)
    }

    fn read(json: &str) -> Result<Value, ValueError> {
        decode(json, &mut no_functions)
    }

    fn written(value: impl Into<Value>) -> String {
        encode(&value.into(), &mut none_to_offer).unwrap()
    }

    #[test]
    fn text_that_begins_with_a_dollar_survives() {
        for (text, json) in [("$0", r#""$$0""#), ("$", r#""$$""#), ("$$", r#""$$$""#), ("a$0", r#""a$0""#)] {
            assert_eq!(written(text), json);
            assert_eq!(read(json), Ok(text.into()));
        }
    }

    #[test]
    fn bytes_and_the_numbers_that_json_has_not_have_a_form() {
        assert_eq!(written(Bytes::from_static(&[0, 1, 2])), r#""$bytes:AAEC""#);
        assert_eq!(read(r#""$bytes:AAEC""#), Ok(Bytes::from_static(&[0, 1, 2]).into()));
        assert_eq!(written(f64::NEG_INFINITY), r#""$float:-Infinity""#);
        assert!(matches!(read(r#""$float:NaN""#), Ok(Value::Float(number)) if number.is_nan()));
    }

    #[test]
    fn functions_are_numbers_behind_a_dollar() {
        let mut seen = Vec::new();
        let mut take = |mention| {
            seen.push(mention);
            Err(ValueError::TooManyFunctions)
        };
        for json in [r#""$0""#, r#""$17""#, r#"["$~3"]"#] {
            assert!(decode(json, &mut take).is_err());
        }
        assert_eq!(seen, [Mention::Own(0), Mention::Own(17), Mention::Yours(3)]);
        for bad in ["$", "$-1", "$+1", "$01", "$1x", "$~", "$9007199254740992", "$bytes:A", "$float:nan", "$ "] {
            assert!(matches!(read(&format!("{bad:?}")), Err(ValueError::Malformed(_))), "{bad:?} was taken");
        }
    }

    #[test]
    fn what_is_too_large_is_told_before_it_is_all_read() {
        let nested = |depth| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(read(&nested(MAX_DEPTH)).is_ok());
        assert_eq!(read(&nested(MAX_DEPTH + 1)), Err(ValueError::TooDeep));
        assert_eq!(read(&nested(10_000)), Err(ValueError::TooDeep));
        assert_eq!(read(&format!("[{}0]", "0,".repeat(MAX_VALUES))), Err(ValueError::TooMany));
        assert_eq!(read(&format!("\"{}\"", "x".repeat(MAX_MESSAGE + 1))), Err(ValueError::TooLarge));
        assert!(matches!(read("[1,"), Err(ValueError::Type(_))));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("a NaN does not equal itself", |number| !number.is_nan()).prop_map(Value::from),
            any::<String>().prop_map(Value::from),
            "\\$[$~a-z0-9:]{0,8}".prop_map(Value::from),
            any::<Vec<u8>>().prop_map(|bytes| Value::from(Bytes::from(bytes))),
        ];
        leaf.prop_recursive(6, 64, 8, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
                prop::collection::btree_map("\\$?[a-z]{0,4}", inner, 0..8).prop_map(Value::from),
            ]
        })
    }

    proptest! {
        #[test]
        fn every_value_comes_back_as_it_went(value in values()) {
            prop_assert_eq!(read(&written(value.clone())), Ok(value));
        }
    }
}
