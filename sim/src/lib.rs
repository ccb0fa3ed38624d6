//! The protocol of Atoll on a virtual clock and a simulated network: the very [`Proto`](atoll::proto::Proto) that ships, with up to
//! a million nodes on one machine. What happens follows from the seed alone.

pub mod check;
pub mod cli;
pub mod engine;
pub mod invariant;
mod machine;
pub mod model;
pub mod output;
pub mod progress;
pub mod scenario;
pub mod settings;
pub mod theory;
