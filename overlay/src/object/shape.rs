//! What an object offers, told by itself: names, kinds, parameters, documentation.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a service, or an object in it, offers. On the wire it is a map of these fields; those that are empty are left out, and
/// those that are not known are passed over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Shape {
    /// What it is for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// Its values, functions and objects, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub members: BTreeMap<String, Member>,
}

/// Something in an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Member {
    /// A value, which can be read and watched.
    Value(ValueShape),
    /// A function.
    Function(FunctionShape),
    /// An object in the object.
    Object(Shape),
}

/// A value of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ValueShape {
    /// What it means.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// What kind of value it is now: `null`, `bool`, `int`, `float`, `text`, `bytes`, `array` or `map`.
    #[serde(default)]
    pub kind: String,
}

/// A function of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FunctionShape {
    /// What it does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub doc: String,
    /// The names of its parameters in their order; `None` where the provider does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Vec<String>>,
    /// What it gives.
    #[serde(default)]
    pub gives: Gives,
}

/// What a function gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Gives {
    /// Its provider does not say, or may do either.
    #[default]
    Any,
    /// One value.
    Value,
    /// Any number of values, one after the other.
    Stream,
    /// Bytes, any number of them.
    Bytes,
}

impl Shape {
    /// The member at `path`, such as `deep.x`.
    pub fn member(&self, path: &str) -> Option<&Member> {
        let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
        match (self.members.get(first)?, rest) {
            (member, None) => Some(member),
            (Member::Object(object), Some(rest)) => object.member(rest),
            _ => None,
        }
    }

    /// The paths of all functions and their shapes, in order.
    pub fn functions(&self) -> Vec<(String, &FunctionShape)> {
        let mut found = Vec::new();
        self.collect("", &mut |path, member| {
            if let Member::Function(function) = member {
                found.push((path.to_owned(), function));
            }
        });
        found
    }

    /// The paths of all values and their shapes, in order.
    pub fn values(&self) -> Vec<(String, &ValueShape)> {
        let mut found = Vec::new();
        self.collect("", &mut |path, member| {
            if let Member::Value(value) = member {
                found.push((path.to_owned(), value));
            }
        });
        found
    }

    fn collect<'a>(&'a self, prefix: &str, found: &mut dyn FnMut(&str, &'a Member)) {
        for (name, member) in &self.members {
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}.{name}") };
            found(&path, member);
            if let Member::Object(object) = member {
                object.collect(&path, found);
            }
        }
    }
}

impl FunctionShape {
    /// How many arguments it takes, if its provider says so.
    pub fn arity(&self) -> Option<usize> {
        self.parameters.as_ref().map(Vec::len)
    }
}
