//! On a channel every message comes to a member once, and those of one publisher in their order; and once the faults have stopped, to
//! every member.
//!
//! Atoll's own promise: see `docs/channels.md`.

use std::collections::BTreeMap;

use atoll::id::Id;
use atoll::proto::ChannelEvent;

use super::Broken;

/// The name.
pub const NAME: &str = "in-order";

/// What members have had: by member, publisher and stream the next number.
#[derive(Clone, Debug, Default)]
pub struct Heard(BTreeMap<(usize, Id, u64), u64>);

impl Heard {
    /// Something came to the application of a node.
    ///
    /// # Errors
    ///
    /// When it had come before, or something after it had.
    pub fn hear(&mut self, node: usize, event: &ChannelEvent) -> Result<(), Broken> {
        let ChannelEvent::Messages(envelope) = event else { return Ok(()) };
        let (publisher, label) = (envelope.publisher(), envelope.label());
        let next = self.0.entry((node, publisher, label.stream)).or_insert(label.first);
        if label.first < *next {
            let what = format!("message {} of {publisher} came to node {node} after {}", label.first, *next - 1);
            return Err(Broken::new(NAME, what));
        }
        *next = envelope.end();
        Ok(())
    }

    /// Whether a message has come to a node.
    pub fn has(&self, node: usize, publisher: Id, number: u64) -> bool {
        let streams = self.0.range((node, publisher, 0)..=(node, publisher, u64::MAX));
        streams.last().is_some_and(|(_, next)| *next > number)
    }
}

/// Says that a message has not come to a member.
pub fn not_arrived(from: Id, to: Id) -> Broken {
    Broken::new(NAME, format!("on an ideal ring a message of {from} on a channel did not come to {to}"))
}
