//! The protocol of Atoll on a virtual clock and a simulated network: the very [`Proto`](atoll::proto::Proto) that ships, with up to
//! a million nodes on one machine. What happens follows from the seed alone.

pub mod check;
pub mod engine;
pub mod invariant;
