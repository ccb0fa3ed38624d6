//! `sim`: runs, checks and draws rings on a virtual clock.

/// A million nodes are many small tables: a fifth of the time is theirs otherwise (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    sim::cli::main(std::env::args_os())
}
