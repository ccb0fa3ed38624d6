//! Nodes do not busy each other: the events of a run are bounded by its nodes and its time.
//!
//! A promise of Atoll's own: whatever happens, what a node does in answer comes to an end.

use super::Broken;

/// The name.
pub const NAME: &str = "calm";

/// Inputs that a node takes in a second, on average over a run, at most: many times of what a node in the worst seeds takes.
const EVENTS_A_SECOND: u64 = 200;

/// Checks the events of a run.
pub fn check(events: u64, nodes: usize, seconds: u64) -> Result<(), Broken> {
    if events <= EVENTS_A_SECOND * nodes as u64 * seconds {
        return Ok(());
    }
    Err(Broken::new(NAME, format!("{nodes} nodes took {events} inputs within {seconds} s")))
}
