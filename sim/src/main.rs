//! `sim`: runs, checks and draws rings on a virtual clock.

use clap::Parser;

#[derive(Parser)]
enum Cli {
    /// Checks the protocol with random scenarios of faults
    Check(sim::check::CheckArgs),
}

fn main() -> anyhow::Result<()> {
    let Cli::Check(args) = Cli::parse();
    let outcome = sim::check::run(&args, 1, &|_, _| true)?;
    println!("{outcome}");
    std::process::exit(i32::from(!outcome.passed()))
}
