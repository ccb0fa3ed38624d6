//! Types of Rust as values, by serde: as JSON has them, and bytes as bytes.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Display;

use serde::ser::{self, Serialize, SerializeMap};

use super::limits::MAX_DEPTH;
use super::value::{Function, Value, ValueError};

/// Calls of serde into each other, at most, for values nested as deep as may be.
const MAX_STACK: usize = 4 * MAX_DEPTH;

/// The name by which a function passes through serde; the function itself goes beside it.
pub(super) const FUNCTION: &str = "atoll::object::Function";

thread_local! {
    /// A function on its way between a type and the serializer, or deserializer, of this module: serde has no room for it.
    pub(super) static PASSING: RefCell<Option<Function>> = const { RefCell::new(None) };
}

impl Value {
    /// The value of any type that serde can take apart. Nested deeper than [`MAX_DEPTH`] is an error.
    pub fn of<T: Serialize + ?Sized>(value: &T) -> Result<Value, ValueError> {
        Serializer::default().make(value)
    }
}

impl Serialize for Function {
    /// Only into a [`Value`]: everywhere else a function is an error.
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        PASSING.set(Some(self.clone()));
        let done = serializer.serialize_newtype_struct(FUNCTION, &());
        match PASSING.take() {
            Some(_) if done.is_ok() => Err(ser::Error::custom("a function can only be passed in a call")),
            _ => done,
        }
    }
}

impl Serialize for Value {
    fn serialize<S: ser::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(value) => serializer.serialize_bool(*value),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Uint(number) => serializer.serialize_u64(*number),
            Value::Float(number) => serializer.serialize_f64(*number),
            Value::Text(text) => serializer.serialize_str(text),
            Value::Bytes(bytes) => serializer.serialize_bytes(bytes),
            Value::Array(list) => serializer.collect_seq(list),
            Value::Map(map) => serializer.collect_map(map),
            Value::Function(function) => function.serialize(serializer),
        }
    }
}

impl ser::Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        ValueError::Type(message.to_string())
    }
}

/// Makes one value, nested so deep.
#[derive(Clone, Copy, Default)]
struct Serializer {
    depth: usize,
    /// What stands on the stack for it: types that wrap another are no deeper as values.
    stack: usize,
}

impl Serializer {
    /// For what lies in a list or a map here. It may be empty at the deepest place.
    fn inner(self) -> Serializer {
        Serializer { depth: self.depth + 1, stack: self.stack + 1 }
    }

    fn make<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        if self.depth > MAX_DEPTH || self.stack > MAX_STACK {
            return Err(ValueError::TooDeep);
        }
        value.serialize(self)
    }

    fn wrapped<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        Serializer { stack: self.stack + 1, ..self }.make(value)
    }
}

/// What is a value by itself.
macro_rules! plain {
    ($($method:ident: $type:ty),* $(,)?) => { $(
        fn $method(self, value: $type) -> Result<Value, ValueError> {
            Ok(value.into())
        }
    )* };
}

impl ser::Serializer for Serializer {
    type Ok = Value;
    type Error = ValueError;
    type SerializeSeq = List;
    type SerializeTuple = List;
    type SerializeTupleStruct = List;
    type SerializeTupleVariant = List;
    type SerializeMap = Fields;
    type SerializeStruct = Fields;
    type SerializeStructVariant = Fields;

    plain! {
        serialize_bool: bool, serialize_str: &str, serialize_f32: f32, serialize_f64: f64,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64,
    }

    fn serialize_i128(self, value: i128) -> Result<Value, ValueError> {
        match (i64::try_from(value), u64::try_from(value)) {
            (Ok(value), _) => Ok(value.into()),
            (_, Ok(value)) => Ok(value.into()),
            _ => Err(ValueError::Type(format!("{value} does not fit into 64 bits"))),
        }
    }

    fn serialize_u128(self, value: u128) -> Result<Value, ValueError> {
        let fits = u64::try_from(value).map_err(|_| ValueError::Type(format!("{value} does not fit into 64 bits")))?;
        Ok(fits.into())
    }

    fn serialize_char(self, value: char) -> Result<Value, ValueError> {
        Ok(Value::Text(value.to_string()))
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<Value, ValueError> {
        Ok(Value::Bytes(bytes::Bytes::copy_from_slice(value)))
    }

    fn serialize_none(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<Value, ValueError> {
        self.wrapped(value)
    }

    fn serialize_unit(self) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<Value, ValueError> {
        Ok(Value::Null)
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<Value, ValueError> {
        Ok(variant.into())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        match name {
            FUNCTION => PASSING
                .take()
                .map(Value::Function)
                .ok_or_else(|| ValueError::Type(format!("no type but a function may be called {FUNCTION}"))),
            _ => self.wrapped(value),
        }
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<Value, ValueError> {
        Ok(tagged(Some(variant), self.inner().make(value)?))
    }

    fn serialize_seq(self, _length: Option<usize>) -> Result<List, ValueError> {
        Ok(List { inner: self.inner(), list: Vec::new(), variant: None })
    }

    fn serialize_tuple(self, length: usize) -> Result<List, ValueError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<List, ValueError> {
        self.serialize_seq(Some(length))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<List, ValueError> {
        Ok(List { inner: self.inner().inner(), list: Vec::new(), variant: Some(variant) })
    }

    fn serialize_map(self, _length: Option<usize>) -> Result<Fields, ValueError> {
        Ok(Fields { inner: self.inner(), map: BTreeMap::new(), name: None, variant: None })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Fields, ValueError> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Fields, ValueError> {
        Ok(Fields { inner: self.inner().inner(), map: BTreeMap::new(), name: None, variant: Some(variant) })
    }
}

/// A value of a variant is a map of it alone.
fn tagged(variant: Option<&str>, value: Value) -> Value {
    match variant {
        Some(variant) => Value::Map(BTreeMap::from([(variant.to_owned(), value)])),
        None => value,
    }
}

/// A list that grows.
struct List {
    inner: Serializer,
    list: Vec<Value>,
    variant: Option<&'static str>,
}

impl List {
    fn push<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        self.list.push(self.inner.make(value)?);
        Ok(())
    }
}

macro_rules! list {
    ($($name:ident: $add:ident),*) => { $(
        impl ser::$name for List {
            type Ok = Value;
            type Error = ValueError;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
                self.push(value)
            }

            fn end(self) -> Result<Value, ValueError> {
                Ok(tagged(self.variant, Value::Array(self.list)))
            }
        }
    )* };
}

list!(
    SerializeSeq: serialize_element,
    SerializeTuple: serialize_element,
    SerializeTupleStruct: serialize_field,
    SerializeTupleVariant: serialize_field
);

/// A map that grows.
struct Fields {
    inner: Serializer,
    map: BTreeMap<String, Value>,
    name: Option<String>,
    variant: Option<&'static str>,
}

impl Fields {
    fn insert<T: Serialize + ?Sized>(&mut self, name: String, value: &T) -> Result<(), ValueError> {
        self.map.insert(name, self.inner.make(value)?);
        Ok(())
    }
}

impl SerializeMap for Fields {
    type Ok = Value;
    type Error = ValueError;

    /// Numbers and such become texts, as in JSON.
    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), ValueError> {
        self.name = Some(match Serializer::default().make(key)? {
            Value::Text(text) => text,
            Value::Bool(value) => value.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            other => return Err(ValueError::Type(format!("a name in a map must be a text, not {}", other.kind()))),
        });
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), ValueError> {
        let name = self.name.take().ok_or_else(|| ValueError::Type("a value in a map has no name".to_owned()))?;
        self.insert(name, value)
    }

    fn end(self) -> Result<Value, ValueError> {
        Ok(tagged(self.variant, Value::Map(self.map)))
    }
}

macro_rules! fields {
    ($($name:ident),*) => { $(
        impl ser::$name for Fields {
            type Ok = Value;
            type Error = ValueError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), ValueError> {
                self.insert(name.to_owned(), value)
            }

            fn end(self) -> Result<Value, ValueError> {
                SerializeMap::end(self)
            }
        }
    )* };
}

fields!(SerializeStruct, SerializeStructVariant);
