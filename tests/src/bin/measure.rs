//! Prints every figure that Atoll is judged by: `cargo run --release -p atoll-tests --bin measure -- all`.

use std::process::ExitCode;

use atoll_tests::measure::{Group, Report, child, pest};
use clap::{Parser, Subcommand};

/// Measures Atoll and prints each figure beside its target.
///
/// It measures, it does not judge: the exit code is 0 also where a target does not hold, and 1 where a measurement failed.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
struct Arguments {
    /// What to measure.
    #[arg(value_enum, required_unless_present = "list")]
    groups: Vec<Group>,
    /// One JSON object a line, instead of a table.
    #[arg(long)]
    json: bool,
    /// Tells what the groups measure, and measures nothing.
    #[arg(long)]
    list: bool,
    /// The seed of every choice that is made at random.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(subcommand)]
    child: Option<Child>,
}

/// What this program runs in processes of its own.
#[derive(Subcommand)]
enum Child {
    /// A node that does what it reads.
    #[command(hide = true)]
    Node(child::NodeOptions),
    /// A signalling server.
    #[command(hide = true)]
    Server(child::ServerOptions),
    /// A hostile member of a channel.
    #[command(hide = true)]
    Pest(pest::PestOptions),
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.child {
        Some(Child::Node(options)) => child::node(options).await,
        Some(Child::Server(options)) => child::server(options).await,
        Some(Child::Pest(options)) => pest::pest(options).await,
        None if arguments.list => {
            list();
            Ok(())
        }
        None => return measure(&arguments).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    for group in Group::EACH.into_iter().chain([Group::SimLarge]) {
        println!("{:12} {}", group.name(), group.about());
    }
}

/// A group that fails does not keep the others from being measured.
async fn measure(arguments: &Arguments) -> ExitCode {
    let mut report = Report::new(arguments.json, arguments.seed);
    let groups = match arguments.groups.contains(&Group::All) {
        true => Group::EACH.to_vec(),
        false => arguments.groups.clone(),
    };
    let mut code = ExitCode::SUCCESS;
    for group in groups {
        if let Err(error) = group.measure(&mut report).await {
            eprintln!("error: {}: {error:#}", group.name());
            code = ExitCode::FAILURE;
        }
    }
    code
}
