//! Checks every state of a small ring: `cargo run --release -p atoll-sim --example model -- --help`.

use clap::Parser;
use sim::model::{ModelArgs, run};

/// Model checking of small rings.
#[derive(Parser)]
struct Args {
    #[command(flatten)]
    model: ModelArgs,
    /// Print the outcome as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let outcome = run(&args.model)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&outcome)?);
    } else {
        println!("{outcome}");
    }
    std::process::exit(i32::from(outcome.failure.is_some()));
}
