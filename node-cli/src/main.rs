//! The command line of Atoll: start a ring, join it, dial a peer.

mod args;
mod bench;
mod channel;
mod daemon;
mod dial;
mod events;
mod join;
mod key;
mod layers;
mod listen;
mod lookup;
mod objects;
mod offer;
mod output;
mod pipe;
mod secrets;
mod settings;
mod status;
mod stop;
mod store;
mod trace;
mod up;
mod values;

use std::borrow::Cow;
use std::process::ExitCode;

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::args::Verb;
use crate::layers::{Parsed, Refused};
use crate::objects::Failed;
use crate::output::Output;
use crate::stop::Interrupted;

/// The words on the command line, a variable or the settings file were wrong: nothing was tried.
const EXIT_USAGE: u8 = 2;

/// Somebody stopped the work before its end. What shells report for Ctrl-C.
const EXIT_INTERRUPTED: u8 = 130;

/// The words are right one by one, yet not together.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) Cow<'static, str>);

fn main() -> ExitCode {
    let parsed = match layers::parse(std::env::args_os()) {
        Ok(parsed) => parsed,
        Err(refused) => return refuse(&refused),
    };
    start_tracing(parsed.cli.verbose);
    let output = Output::new(parsed.cli.json);
    match run(&parsed, output) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) if error.is::<Interrupted>() => EXIT_INTERRUPTED.into(),
        Err(error) => {
            output.error(&error);
            match error.downcast_ref::<Failed>() {
                Some(failed) => failed.exit_code().into(),
                None if error.is::<UsageError>() => EXIT_USAGE.into(),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn refuse(refused: &Refused) -> ExitCode {
    // Whether the settings say `json` is not known: they are what is wrong.
    let json = std::env::args_os().any(|word| word == "--json");
    match refused {
        Refused::Clap(message) if !message.use_stderr() || !json => {
            // Help and version come this way too, and are no failure. Where they cannot be printed nobody reads.
            let _ = message.print();
            if message.use_stderr() { EXIT_USAGE.into() } else { ExitCode::SUCCESS }
        }
        _ => {
            Output::new(json).error(&anyhow::anyhow!("{refused}"));
            EXIT_USAGE.into()
        }
    }
}

fn run(parsed: &Parsed, output: Output) -> anyhow::Result<()> {
    match &parsed.cli.verb {
        Verb::Key(verb) => key::run(verb, &parsed.cli.node, output),
        Verb::Settings => settings::run(parsed, output),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
            let result = runtime.block_on(run_on_the_ring(parsed, output));
            // A thread may still wait for standard input; nobody needs it any more.
            runtime.shutdown_background();
            result
        }
    }
}

async fn run_on_the_ring(parsed: &Parsed, output: Output) -> anyhow::Result<()> {
    let node = &parsed.cli.node;
    match &parsed.cli.verb {
        Verb::Up(args) => up::run(args, node, output).await,
        Verb::Listen(args) => listen::run(args, node, output).await,
        Verb::Dial(args) => dial::run(args, node, output).await,
        Verb::Status(args) => status::run(args, node, output).await,
        Verb::Fingers(args) => status::fingers(args, node, output).await,
        Verb::Lookup(args) => lookup::run(args, node, output).await,
        Verb::Trace(args) => trace::run(args, node, output).await,
        Verb::Bench(args) => bench::run(args, node, output).await,
        Verb::Provide(args) => objects::provide(args, node, output).await,
        Verb::Services(args) => objects::services(args, node, output).await,
        Verb::Get(args) => objects::get(args, node, output).await,
        Verb::Call(args) => objects::call(args, node, output).await,
        Verb::Watch(args) => objects::watch(args, node, output).await,
        Verb::Pub(args) => channel::publish(args, node, output).await,
        Verb::Sub(args) => channel::subscribe(args, node, output).await,
        Verb::BenchChannel(args) => channel::bench(args, output).await,
        Verb::Put(args) => store::put(args, node, output).await,
        Verb::Rm(args) => store::rm(args, node, output).await,
        Verb::Daemon(args) => daemon::run(args, node, output).await,
        Verb::Key(_) | Verb::Settings => unreachable!("these verbs need no ring"),
    }
}

/// `RUST_LOG` decides; without it the number of `-v`.
fn start_tracing(verbose: u8) {
    let default = match verbose {
        0 => "error",
        1 => "warn,atoll=info,node_cli=info,atoll_signalling=info",
        2 => "info,atoll=debug,node_cli=debug,atoll_signalling=debug",
        _ => "debug,atoll=trace,node_cli=trace,atoll_signalling=trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    // Standard output belongs to what was asked for.
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
}
