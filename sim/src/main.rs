//! `sim`: runs, checks and draws rings on a virtual clock.

/// A million nodes are many small tables: a fifth of the time is theirs otherwise (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What the allocator is told: to give no part of a huge page back to the system, which would break it up, and not to go through all
/// of its pages so often.
#[cfg(unix)]
const SETTINGS: [(&str, &str); 2] = [("MIMALLOC_ALLOW_THP", "2"), ("MIMALLOC_GENERIC_COLLECT", "1000000")];

fn main() -> std::process::ExitCode {
    #[cfg(unix)]
    set_up_allocator();
    sim::cli::main(std::env::args_os())
}

/// The allocator reads its settings from the environment, before `main`: so this program takes its own place once more, with them. What is
/// set already stays as it is.
#[cfg(unix)]
fn set_up_allocator() {
    use std::os::unix::process::CommandExt;

    let missing = SETTINGS.into_iter().filter(|(name, _)| std::env::var_os(name).is_none());
    let mut words = std::env::args_os();
    if missing.clone().next().is_some()
        && let Ok(program) = std::env::current_exe()
        && let Some(name) = words.next()
    {
        // Where this fails, it is only slower.
        let _error = std::process::Command::new(program).arg0(name).args(words).envs(missing).exec();
    }
}
