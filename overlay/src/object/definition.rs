//! Objects as their provider defines them.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::access::{Access, Caller};
use super::core::Core;
use super::error::{CallError, ProvideError};
use super::function::Local;
use super::limits::MAX_NAME;
use super::shape::{FunctionShape, Member, Shape, ValueShape};
use super::value::{Function, Value, ValueError};

/// Objects in objects, at most.
pub const MAX_OBJECT_DEPTH: usize = 32;

/// Values and functions, by name, to be provided as a service. Objects lie in each other to any depth up to [`MAX_OBJECT_DEPTH`].
///
/// ```
/// use atoll::object::{Call, Object};
///
/// let object = Object::new()
///     .doc("Says things back.")
///     .value("a", "information here")
///     .function("echo", |call: Call| async move { call.arg::<String>(0) })
///     .object("deep", Object::new().value("x", 21));
/// ```
#[derive(Clone, Debug, Default)]
pub struct Object {
    doc: String,
    access: Access,
    members: BTreeMap<String, Entry>,
}

/// A member of an object.
#[derive(Clone, Debug)]
pub(super) enum Entry {
    Value { value: Value, doc: String },
    Function(Function),
    Object(Object),
}

/// What lies at a path.
pub(super) enum Found<'a> {
    Value(&'a Value),
    Function(&'a Function),
    Object(&'a Object),
}

impl Object {
    /// One that has nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Says what it is for.
    #[must_use]
    pub fn doc(mut self, doc: impl Into<String>) -> Self {
        self.doc = doc.into();
        self
    }

    /// Who may use it, and all that lies in it.
    #[must_use]
    pub fn access(mut self, access: Access) -> Self {
        self.access = access;
        self
    }

    /// A value, which can be read, watched, and set later on ([`super::Service::set`]).
    #[must_use]
    pub fn value(self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.documented_value(name, value, "")
    }

    /// A value that says what it means.
    #[must_use]
    pub fn documented_value(self, name: impl Into<String>, value: impl Into<Value>, doc: impl Into<String>) -> Self {
        self.with(name.into(), Entry::Value { value: value.into(), doc: doc.into() })
    }

    /// A function: a closure that takes a [`super::Call`], or a [`Function`] that says more about itself.
    #[must_use]
    pub fn function(self, name: impl Into<String>, function: impl Into<Function>) -> Self {
        self.with(name.into(), Entry::Function(function.into()))
    }

    /// An object in this one.
    #[must_use]
    pub fn object(self, name: impl Into<String>, object: Object) -> Self {
        self.with(name.into(), Entry::Object(object))
    }

    fn with(mut self, name: String, entry: Entry) -> Self {
        self.members.insert(name, entry);
        self
    }

    /// Whether all names are such, and all values can be sent; tells the functions to which node they belong.
    pub(super) fn settle(&self, core: &Arc<Core>) -> Result<(), ProvideError> {
        self.settle_at(core, 0)
    }

    fn settle_at(&self, core: &Arc<Core>, depth: usize) -> Result<(), ProvideError> {
        if depth > MAX_OBJECT_DEPTH {
            return Err(ValueError::TooDeep.into());
        }
        for (name, entry) in &self.members {
            check_name(name)?;
            match entry {
                Entry::Value { value, .. } => {
                    value.check()?;
                    settle_functions(value, core);
                }
                Entry::Function(function) => settle_function(function, core),
                Entry::Object(object) => object.settle_at(core, depth + 1)?,
            }
        }
        Ok(())
    }

    /// What lies at `path`, if the caller may go there.
    pub(super) async fn find<'a>(&'a self, path: &str, caller: &Caller) -> Result<Option<Found<'a>>, CallError> {
        let mut here = self;
        let mut rest = path;
        loop {
            if !here.access.is_everyone() && !here.access.admits(caller, path).await {
                return Err(CallError::Refused);
            }
            if rest.is_empty() {
                return Ok(Some(Found::Object(here)));
            }
            let (first, more) = rest.split_once('.').unwrap_or((rest, ""));
            match here.members.get(first) {
                Some(Entry::Object(object)) => (here, rest) = (object, more),
                Some(Entry::Function(function)) if more.is_empty() => return Ok(Some(Found::Function(function))),
                Some(Entry::Value { value, .. }) => {
                    return Ok(value.at(more).map(|value| match value {
                        Value::Function(function) => Found::Function(function),
                        value => Found::Value(value),
                    }));
                }
                _ => return Ok(None),
            }
        }
    }

    /// Its values as a map, objects in it likewise, without the functions, and without what the caller may not see.
    pub(super) async fn values(&self, path: &str, caller: &Caller) -> Value {
        let mut map = BTreeMap::new();
        for (name, entry) in &self.members {
            let value = match entry {
                Entry::Value { value, .. } => value.clone(),
                Entry::Object(object) if object.access.is_everyone() || object.access.admits(caller, path).await => {
                    Box::pin(object.values(path, caller)).await
                }
                _ => continue,
            };
            map.insert(name.clone(), value);
        }
        Value::Map(map)
    }

    /// Sets the value at `path`, or in the value there. A member that is not there yet becomes one.
    pub(super) fn set(&mut self, path: &str, value: Value) -> Result<(), ProvideError> {
        let nothing = || ProvideError::NoSuchValue(path.to_owned());
        let mut here = self;
        let mut rest = path;
        loop {
            let (first, more) = rest.split_once('.').unwrap_or((rest, ""));
            if !here.members.contains_key(first) && more.is_empty() {
                check_name(first)?;
                here.members.insert(first.to_owned(), Entry::Value { value, doc: String::new() });
                return Ok(());
            }
            match here.members.get_mut(first) {
                Some(Entry::Object(object)) if !more.is_empty() => (here, rest) = (object, more),
                Some(Entry::Value { value: old, .. }) => {
                    *old.at_mut(more).ok_or_else(nothing)? = value;
                    return Ok(());
                }
                _ => return Err(nothing()),
            }
        }
    }

    /// What it offers.
    pub fn shape(&self) -> Shape {
        let member = |entry: &Entry| match entry {
            Entry::Value { value, doc } => {
                Member::Value(ValueShape { doc: doc.clone(), kind: value.kind().to_owned() })
            }
            Entry::Function(function) => Member::Function(
                function.behind::<Local>().map_or_else(FunctionShape::default, |local| local.shape.clone()),
            ),
            Entry::Object(object) => Member::Object(object.shape()),
        };
        let members = self.members.iter().map(|(name, entry)| (name.clone(), member(entry))).collect();
        Shape { doc: self.doc.clone(), members }
    }
}

impl From<Value> for Object {
    /// A map becomes an object, with the functions in it as functions; anything else an object with this value under `value`.
    fn from(value: Value) -> Self {
        // One that is nested too deep stays whole, and is refused when it is provided.
        let map = match value {
            Value::Map(_) if value.check().is_err() => return Object::new().value("value", value),
            Value::Map(map) => map,
            other => return Object::new().value("value", other),
        };
        map.into_iter().fold(Object::new(), |object, (name, value)| match value {
            Value::Function(function) => object.function(name, function),
            Value::Map(_) => object.object(name, value.into()),
            value => object.value(name, value),
        })
    }
}

pub(super) fn settle_functions(value: &Value, core: &Arc<Core>) {
    match value {
        Value::Function(function) => settle_function(function, core),
        Value::Array(list) => list.iter().for_each(|value| settle_functions(value, core)),
        Value::Map(map) => map.values().for_each(|value| settle_functions(value, core)),
        _ => {}
    }
}

fn settle_function(function: &Function, core: &Arc<Core>) {
    if let Some(local) = function.behind::<Local>() {
        local.settle(core);
    }
}

/// Whether this can be the name of a service, a scope or a member.
pub(super) fn check_name(name: &str) -> Result<(), ProvideError> {
    let plain = !name.contains(|c: char| c == '.' || c.is_control());
    if plain && (1..=MAX_NAME).contains(&name.len()) { Ok(()) } else { Err(ProvideError::Name(name.to_owned())) }
}
