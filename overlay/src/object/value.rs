//! What calls carry: a self-describing value, as JSON has it, with bytes and functions besides.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

use super::limits::{MAX_DEPTH, MAX_FUNCTIONS, MAX_MESSAGE, MAX_VALUES};

/// A value of any type: what a call takes and gives where the types are not known beforehand.
///
/// Types with serde become values by [`Value::of`] and are made of them by [`Value::to`].
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// Nothing: `()`, `None`, JavaScript's `null` and `undefined`.
    #[default]
    Null,
    /// Yes or no.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number above `i64::MAX`; those below are [`Value::Int`].
    Uint(u64),
    /// Any other number.
    Float(f64),
    /// Text.
    Text(String),
    /// Bytes. `Vec<u8>` is a list of numbers to serde: use [`Bytes`] for them.
    Bytes(Bytes),
    /// A list.
    Array(Vec<Value>),
    /// Values by name.
    Map(BTreeMap<String, Value>),
    /// A function: of this node, or of another.
    Function(Function),
}

/// Why something is no value, or a value not what it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Larger than [`MAX_MESSAGE`].
    #[error("larger than {MAX_MESSAGE} bytes; send it as a stream")]
    TooLarge,
    /// More than [`MAX_VALUES`].
    #[error("more than {MAX_VALUES} values; send them as a stream")]
    TooMany,
    /// Nested deeper than [`MAX_DEPTH`].
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// More than [`MAX_FUNCTIONS`].
    #[error("more than {MAX_FUNCTIONS} functions in one message")]
    TooManyFunctions,
    /// Not of the type that was asked for, or none that a value can have.
    #[error("{0}")]
    Type(String),
    /// The bytes are no value.
    #[error("not a value: {0}")]
    Malformed(&'static str),
}

impl Value {
    /// What kind of value it is, in one word.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Int(_) | Value::Uint(_) => "int",
            Value::Float(_) => "float",
            Value::Text(_) => "text",
            Value::Bytes(_) => "bytes",
            Value::Array(_) => "array",
            Value::Map(_) => "map",
            Value::Function(_) => "function",
        }
    }

    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The whole number, if it is one that fits.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The bytes, if it is such.
    pub fn as_bytes(&self) -> Option<&Bytes> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }

    /// The function, if it is one.
    pub fn as_function(&self) -> Option<&Function> {
        match self {
            Value::Function(function) => Some(function),
            _ => None,
        }
    }

    /// What lies at `path`: names of maps and numbers of lists, with dots between them. The empty path is the value itself.
    pub fn at(&self, path: &str) -> Option<&Value> {
        let mut here = self;
        for step in path.split('.').filter(|_| !path.is_empty()) {
            here = match here {
                Value::Map(map) => map.get(step)?,
                Value::Array(list) => list.get(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }

    /// The same, to be changed. In a map the last name may be a new one.
    #[cfg(feature = "net")]
    pub(crate) fn at_mut(&mut self, path: &str) -> Option<&mut Value> {
        let mut here = self;
        let mut steps = path.split('.').filter(|_| !path.is_empty()).peekable();
        while let Some(step) = steps.next() {
            here = match here {
                Value::Map(map) => match steps.peek() {
                    None => map.entry(step.to_owned()).or_default(),
                    Some(_) => map.get_mut(step)?,
                },
                Value::Array(list) => list.get_mut(step.parse::<usize>().ok()?)?,
                _ => return None,
            };
        }
        Some(here)
    }

    /// Bytes of text, names and bytes in it, and one for each value.
    #[cfg(feature = "net")]
    pub(crate) fn size(&self) -> usize {
        1 + match self {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Array(list) => list.iter().map(Value::size).sum(),
            Value::Map(map) => map.iter().map(|(name, value)| name.len() + value.size()).sum(),
            _ => 0,
        }
    }

    /// Whether it can be sent, apart from its bytes: not nested too deep, not too many values or functions.
    pub fn check(&self) -> Result<(), ValueError> {
        let mut waiting = vec![(self, 0)];
        let (mut values, mut functions) = (0, 0);
        while let Some((value, depth)) = waiting.pop() {
            values += 1;
            match value {
                Value::Array(list) => waiting.extend(list.iter().map(|inner| (inner, depth + 1))),
                Value::Map(map) => waiting.extend(map.values().map(|inner| (inner, depth + 1))),
                Value::Function(_) => functions += 1,
                _ => {}
            }
            if depth > MAX_DEPTH {
                return Err(ValueError::TooDeep);
            }
            if values > MAX_VALUES {
                return Err(ValueError::TooMany);
            }
            if functions > MAX_FUNCTIONS {
                return Err(ValueError::TooManyFunctions);
            }
        }
        Ok(())
    }
}

macro_rules! from {
    ($($from:ty => |$value:ident| $to:expr),* $(,)?) => { $(
        impl From<$from> for Value {
            fn from($value: $from) -> Self {
                $to
            }
        }
    )* };
}

from! {
    bool => |value| Value::Bool(value),
    i8 => |value| Value::Int(value.into()),
    i16 => |value| Value::Int(value.into()),
    i32 => |value| Value::Int(value.into()),
    i64 => |value| Value::Int(value),
    u8 => |value| Value::Int(value.into()),
    u16 => |value| Value::Int(value.into()),
    u32 => |value| Value::Int(value.into()),
    u64 => |value| i64::try_from(value).map_or(Value::Uint(value), Value::Int),
    f32 => |value| Value::Float(value.into()),
    f64 => |value| Value::Float(value),
    &str => |value| Value::Text(value.to_owned()),
    String => |value| Value::Text(value),
    Bytes => |value| Value::Bytes(value),
    Vec<Value> => |value| Value::Array(value),
    BTreeMap<String, Value> => |value| Value::Map(value),
    Function => |value| Value::Function(value),
    () => |_value| Value::Null,
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Null, Into::into)
    }
}

impl From<serde_json::Value> for Value {
    /// A number that is neither a whole one of 64 bits nor a finite float becomes `Null`, as in JavaScript.
    fn from(json: serde_json::Value) -> Self {
        use serde_json::Value as Json;
        match json {
            Json::Null => Value::Null,
            Json::Bool(value) => value.into(),
            Json::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(number), _, _) => number.into(),
                (_, Some(number), _) => number.into(),
                (_, _, number) => number.into(),
            },
            Json::String(text) => text.into(),
            Json::Array(list) => list.into_iter().map(Value::from).collect::<Vec<_>>().into(),
            Json::Object(map) => Value::Map(map.into_iter().map(|(name, value)| (name, value.into())).collect()),
        }
    }
}

/// A function as a value. Clones are the same function.
///
/// One of this node is made by `Function::new` and can be passed in arguments and results; it becomes a remote function at the
/// other end, which is released when its last clone is dropped there, when this node asks (`Function::release`), or when either
/// goes. What is called, and how, the module above knows.
#[derive(Clone)]
pub struct Function(pub(crate) Arc<dyn Callable>);

/// What stands behind a [`Function`].
pub(crate) trait Callable: Any + Send + Sync {}

impl Function {
    /// What stands behind it, if it is of this type.
    #[cfg(feature = "net")]
    pub(crate) fn behind<T: Callable>(&self) -> Option<&T> {
        let behind: &dyn Any = &*self.0;
        behind.downcast_ref()
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Function")
    }
}
