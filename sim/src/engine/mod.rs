//! The engine: nodes that run the very protocol that ships, what the network does to what they say, and a virtual clock.
//!
//! One run is one thread: what happens follows from the seed and the calls alone, and [`World::trace_hash`] says so in a number.

mod event;
mod frames;
mod happening;
mod network;
mod routes;
mod server;
mod trace;
mod wheel;
mod wires;
mod world;

#[cfg(test)]
mod tests;

pub use happening::{Counts, Fate, Happening, Sabotage, Watch};
pub use network::{Latency, Network};
pub use routes::Routes;
pub use wheel::Wheel;
pub use world::{Node, TICK, World};
