//! `sim`: runs, checks and draws rings on a virtual clock.

fn main() -> std::process::ExitCode {
    sim::cli::main(std::env::args_os())
}
