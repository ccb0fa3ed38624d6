//! What a program has of the node for itself, besides its services: scopes that it handles, names that it claimed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use atoll::Node;
use atoll::node::{Claim, ClaimError};
use atoll::object::{Function, ProvideError};
use atoll_door::limits::MAX_SERVICES;
use atoll_door::{DoorError, ErrorKind};

use super::program::lock;

/// The scopes that a program handles. They go with it.
pub(super) struct Scopes {
    node: Node,
    handled: Mutex<BTreeSet<String>>,
}

impl Scopes {
    pub(super) fn new(node: Node) -> Self {
        Scopes { node, handled: Mutex::default() }
    }

    /// Answers calls to a scope, in place of what did.
    pub(super) fn handle(&self, scope: String, function: Function) -> Result<(), DoorError> {
        let mut handled = lock(&self.handled);
        if handled.remove(&scope) {
            self.node.objects().unhandle(&scope);
        }
        if handled.len() >= MAX_SERVICES {
            let why = format!("a program handles {MAX_SERVICES} scopes at most");
            return Err(DoorError::new(ErrorKind::TooMany, why));
        }
        self.node.handle(scope.as_str(), function).map_err(|error| match error {
            ProvideError::Taken(scope) => {
                DoorError::new(ErrorKind::NameTaken, format!("the scope {scope:?} is handled on this node already"))
            }
            other => other.into(),
        })?;
        handled.insert(scope);
        Ok(())
    }

    /// Answers them no longer.
    pub(super) fn unhandle(&self, scope: &str) -> Result<(), DoorError> {
        if !lock(&self.handled).remove(scope) {
            let why = format!("this program does not handle the scope {scope:?}");
            return Err(DoorError::new(ErrorKind::NoSuchService, why));
        }
        self.node.objects().unhandle(scope);
        Ok(())
    }

    pub(super) fn clear(&self) {
        for scope in std::mem::take(&mut *lock(&self.handled)) {
            self.node.objects().unhandle(&scope);
        }
    }
}

/// The names that a program claimed for the node. They are released with it.
pub(super) struct Claims {
    node: Node,
    /// `None` once the program has gone.
    held: Mutex<Option<BTreeMap<String, Claim>>>,
}

impl Claims {
    pub(super) fn new(node: Node) -> Self {
        Claims { node, held: Mutex::new(Some(BTreeMap::new())) }
    }

    /// Claims a name, with or without its `@`. One that the program has it keeps.
    pub(super) async fn claim(&self, name: &str) -> Result<(), DoorError> {
        let name = plain(name);
        if lock(&self.held).as_ref().is_some_and(|held| held.contains_key(name)) {
            return Ok(());
        }
        let claim = self.node.claim(name).await.map_err(|error| {
            let kind = match &error {
                ClaimError::Taken | ClaimError::Held => ErrorKind::NameTaken,
                ClaimError::Invalid(_) => ErrorKind::BadName,
                ClaimError::TooMany => ErrorKind::TooMany,
                _ => ErrorKind::TimedOut,
            };
            DoorError::new(kind, format!("the name @{name}: {error}"))
        })?;
        if let Some(held) = &mut *lock(&self.held) {
            held.insert(name.to_owned(), claim);
        }
        Ok(())
    }

    /// Gives a name up.
    pub(super) fn give_up(&self, name: &str) -> Result<(), DoorError> {
        let name = plain(name);
        let claim = lock(&self.held).as_mut().and_then(|held| held.remove(name));
        let none = || DoorError::new(ErrorKind::BadName, format!("this program has not claimed @{name}"));
        claim.map(drop).ok_or_else(none)
    }

    pub(super) fn clear(&self) {
        let held = lock(&self.held).take();
        drop(held);
    }
}

fn plain(name: &str) -> &str {
    name.strip_prefix('@').unwrap_or(name)
}
