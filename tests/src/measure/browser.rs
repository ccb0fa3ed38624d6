//! Tabs beside a plain data channel between the same tabs: round trips, throughput, a ring of ten, joining and leaving.
//!
//! The work is done by `tests/browser/measure.mjs`, which needs what the tests in browsers need.

use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, ensure};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use super::report::{Figure, Report};
use crate::TestServer;

/// What a line of the script says.
#[derive(Deserialize)]
struct Line {
    name: String,
    value: f64,
    unit: String,
    p99: Option<f64>,
    at_most: Option<f64>,
    at_least: Option<f64>,
}

pub(super) async fn measure(report: &mut Report) -> anyhow::Result<()> {
    for browser in ["chrome", "firefox"] {
        report.progress(&format!("tabs of {browser}"));
        let server = TestServer::start().await;
        let mut script = Command::new("node")
            .args(["measure.mjs", &server.url, browser])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("browser"))
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("Node.js does not run")?;
        let mut lines = BufReader::new(script.stdout.take().context("no output")?).lines();
        while let Some(line) = lines.next_line().await? {
            report.add(serde_json::from_str::<Line>(&line).with_context(|| line.clone())?.figure());
        }
        ensure!(script.wait().await?.success(), "the measurement in {browser} failed");
    }
    Ok(())
}

impl Line {
    fn figure(self) -> Figure {
        let unit = match &*self.unit {
            "ms" => "ms",
            "MiB" => "MiB",
            "MiB/s" => "MiB/s",
            "connections" => "connections",
            _ => "times",
        };
        let figure = Figure::new(self.name, self.value, unit);
        let figure = self.p99.into_iter().fold(figure, |figure, p99| figure.with_number("p99_ms", p99));
        let figure = self.at_most.into_iter().fold(figure, Figure::at_most);
        self.at_least.into_iter().fold(figure, Figure::at_least)
    }
}
