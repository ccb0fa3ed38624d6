//! Every request of an application is answered, once, and within the time that its tries may take.
//!
//! A promise of Atoll's own ([`Config::lookup_timeout`](atoll::proto::Config::lookup_timeout) and
//! [`lookup_tries`](atoll::proto::Config::lookup_tries)): whatever the faults, nobody waits for ever.

use std::collections::BTreeMap;
use std::time::Duration;

use atoll::proto::{Config, Time};

use super::Broken;

/// The name.
pub const NAME: &str = "answered";

/// What the last answer may take beyond all tries: a timer's own.
const LEEWAY: Duration = Duration::from_millis(100);

/// The requests that wait for their answers.
#[derive(Clone, Debug, Default)]
pub struct Asked(BTreeMap<u64, (usize, Time)>);

impl Asked {
    /// A node asked.
    pub fn ask(&mut self, token: u64, node: usize, config: &Config, now: Time) {
        let limit = config.lookup_timeout * u32::from(config.lookup_tries) + LEEWAY;
        self.0.insert(token, (node, now.after(limit)));
    }

    /// A node was answered.
    pub fn answer(&mut self, token: u64, node: usize, now: Time) -> Result<(), Broken> {
        match self.0.remove(&token) {
            Some((asked, due)) if asked == node && now <= due => Ok(()),
            Some((asked, due)) if asked == node => {
                Err(Broken::new(NAME, format!("request {token} of node {node} was due {:?} ago", now.since(due))))
            }
            _ => {
                Err(Broken::new(NAME, format!("node {node} got an answer to request {token}, which it has not asked")))
            }
        }
    }

    /// Nobody waits longer than they may. Those that are not `owed` anything are forgotten: they were killed, or left.
    pub fn check(&mut self, now: Time, owed: impl Fn(usize) -> bool) -> Result<(), Broken> {
        self.0.retain(|_, &mut (node, _)| owed(node));
        match self.0.iter().find(|&(_, &(_, due))| due < now) {
            None => Ok(()),
            Some((token, (node, due))) => {
                let late = now.since(*due);
                Err(Broken::new(NAME, format!("request {token} of node {node} waits {late:?} longer than it may")))
            }
        }
    }
}
