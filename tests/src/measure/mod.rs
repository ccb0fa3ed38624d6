//! The measurements behind the program `measure`: a file for each group of figures.

mod browser;
mod channels;
pub mod child;
mod children;
mod daemon;
mod faults;
mod kills;
mod link;
mod memory;
mod objects;
mod pair;
pub mod pest;
mod process;
mod raw;
mod report;
mod ring;
mod samples;
mod services;
mod session;
mod signalling;
mod sim;
mod storage;

use clap::ValueEnum;

pub use report::Report;

/// Figures that are measured together.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Group {
    /// How fast nodes become one ring, and that its messages arrive.
    Ring,
    /// One WebRTC link beside a plain data channel: opening, round trip, throughput.
    Link,
    /// Sockets over one and more links beside a plain data channel.
    Session,
    /// Calls of objects beside sockets and a plain data channel; large results; remote functions; many callers; through daemons.
    Objects,
    /// Channels: delivery times, the highest rate, what a message costs, and what arrives when a third of the nodes is killed.
    Channels,
    /// The store: times and rates of records, a file beside a stream, and what is there when a third of the nodes is killed.
    Storage,
    /// The signalling server: memory of idle connections, registering, relaying.
    Signalling,
    /// Memory of a node, and what is left behind by opening and closing.
    Memory,
    /// Processes that are killed: the ring heals, and works without its signalling server.
    Faults,
    /// Tabs of Chromium and Firefox beside plain data channels between them.
    Browser,
    /// The simulator: the protocol among 1,000 and 10,000 nodes. Takes minutes.
    Sim,
    /// The simulator's other figures, with rings of up to 1,000,000 nodes. Takes an hour, and is no part of all.
    SimLarge,
    /// Everything but sim-large.
    All,
}

impl Group {
    /// What [`Group::All`] stands for.
    pub const EACH: [Group; 11] = [
        Group::Ring,
        Group::Link,
        Group::Session,
        Group::Objects,
        Group::Channels,
        Group::Storage,
        Group::Signalling,
        Group::Memory,
        Group::Faults,
        Group::Browser,
        Group::Sim,
    ];

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// What it measures.
    pub fn about(self) -> String {
        self.to_possible_value().and_then(|value| Some(value.get_help()?.to_string())).unwrap_or_default()
    }

    /// Measures, and reports each figure as soon as it is known.
    pub async fn measure(self, report: &mut Report) -> anyhow::Result<()> {
        report.begin(&self.name());
        match self {
            Group::Ring => ring::measure(report).await,
            Group::Link => link::measure(report).await,
            Group::Session => session::measure(report).await,
            Group::Objects => objects::measure(report).await,
            Group::Channels => channels::measure(report).await,
            Group::Storage => storage::measure(report).await,
            Group::Signalling => signalling::measure(report).await,
            Group::Memory => memory::measure(report).await,
            Group::Faults => faults::measure(report).await,
            Group::Browser => browser::measure(report).await,
            Group::Sim => sim::measure(report).await,
            Group::SimLarge => sim::measure_large(report).await,
            Group::All => {
                for group in Group::EACH {
                    Box::pin(group.measure(report)).await?;
                }
                Ok(())
            }
        }
    }
}
