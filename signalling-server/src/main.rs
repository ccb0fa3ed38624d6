//! `sig-server`: the signalling server as a program.

mod options;

use std::process::ExitCode;

use anyhow::Context;
use atoll_signalling::Server;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::options::{Command, Options};

fn main() -> ExitCode {
    let command = Command::parse();
    match run(command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sig-server: {}", one_line(&error));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> anyhow::Result<()> {
    let from_file = match &command.config {
        Some(path) => Options::read(path)?,
        None => Options::default(),
    };
    let options = command.options.or(from_file);
    let json = options.json.unwrap_or_default();
    start_log(json);
    let settings = options.into_settings();
    settings.check().context("these settings cannot work")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start")?;
    runtime.block_on(async {
        let server = Server::bind(settings).await?;
        let handle = server.handle();
        let stop = stop_signal()?;
        if json {
            println!("{}", serde_json::json!({ "listening": server.url(), "page": server.page_url() }));
        } else {
            println!("listening on {}", server.url());
            if let Some(page) = server.page_url() {
                println!("page for browsers at {page}");
            }
        }
        tokio::spawn(async move {
            stop.await;
            tracing::info!("stopping");
            handle.stop();
        });
        server.serve().await;
        Ok(())
    })
}

/// Returns on Ctrl-C or, on Unix, SIGTERM. The signals are caught from this call on, not only once the future is awaited.
#[cfg(unix)]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

/// Returns on Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

/// The log goes to standard error; `RUST_LOG` chooses what is in it.
fn start_log(json: bool) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if json {
        log.json().init();
    } else {
        log.init();
    }
}

fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").split_whitespace().collect::<Vec<_>>().join(" ")
}
