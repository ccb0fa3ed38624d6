//! A command as a program at the daemon's door.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Context;
use atoll_door::{DoorError, ErrorKind, Lines};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};

use super::Failed;
use crate::daemon::unix;

/// What the node says, as far as commands need it.
#[derive(Debug, Deserialize)]
pub(crate) struct Said {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) uid: Option<u64>,
    pub(super) fun: Option<String>,
    pub(super) args: Option<Box<RawValue>>,
    pub(super) within: Option<u64>,
    pub(super) list: Option<Vec<String>>,
    pub(crate) ret: Option<Box<RawValue>>,
    pub(super) value: Option<Box<RawValue>>,
    pub(super) error: Option<SaidError>,
    pub(super) info: Option<SaidInfo>,
}

#[derive(Debug, Deserialize)]
pub(super) struct SaidInfo {
    pub(super) hash: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct SaidError {
    kind: String,
    message: String,
    data: Option<Box<RawValue>>,
}

impl From<SaidError> for Failed {
    fn from(error: SaidError) -> Self {
        let kind = serde_json::from_value(error.kind.into()).unwrap_or(ErrorKind::Failed);
        Failed { data: error.data, ..DoorError::new(kind, error.message).into() }
    }
}

/// A connection to the daemon.
pub(crate) struct Client {
    reader: Reader,
    pub(super) writer: OwnedWriteHalf,
    /// The id of the daemon's node.
    pub(super) node: String,
    uid: u64,
}

/// What comes from the daemon.
pub(super) struct Reader {
    from: OwnedReadHalf,
    lines: Lines,
    /// Calls that came while an answer was awaited.
    calls: VecDeque<Said>,
}

impl Client {
    /// Connects, and says hello by this name; `None` if no daemon runs there.
    pub(super) async fn connect(path: &Path, name: &str) -> anyhow::Result<Option<Self>> {
        let opened = unix::connect(path).await.with_context(|| format!("the daemon at {}", path.display()))?;
        let Some(stream) = opened else { return Ok(None) };
        let (from, writer) = stream.into_split();
        let reader = Reader { from, lines: Lines::default(), calls: VecDeque::new() };
        let mut client = Client { reader, writer, node: String::new(), uid: 0 };
        client.send(&json!({ "type": "hello", "name": name, "init": true })).await?;
        let said = client.reader.hear().await?;
        if let Some(error) = said.error {
            return Err(Failed::from(error).into());
        }
        client.node = said.info.context("the daemon did not say who it is")?.hash;
        Ok(Some(client))
    }

    /// Asks, and waits for the response.
    pub(crate) async fn ask(&mut self, mut request: serde_json::Value) -> anyhow::Result<Said> {
        self.uid += 1;
        request["uid"] = self.uid.into();
        self.send(&request).await?;
        loop {
            let said = self.reader.hear().await?;
            if let Some(error) = said.error {
                return Err(Failed::from(error).into());
            }
            match said.kind.as_str() {
                "response" if said.uid == Some(self.uid) => return Ok(said),
                // The daemon has no more of them under way than it may.
                "call" => self.reader.calls.push_back(said),
                _ => {}
            }
        }
    }

    /// Asks for many, and shows each.
    pub(super) async fn ask_for_many(
        &mut self,
        request: serde_json::Value,
        show: &mut dyn FnMut(&RawValue) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.ask(request).await?;
        while let Some(value) = self.next_item().await? {
            show(&value)?;
        }
        Ok(())
    }

    /// The next of what was asked for; `None` after the last.
    pub(crate) async fn next_item(&mut self) -> anyhow::Result<Option<Box<RawValue>>> {
        loop {
            let said = self.reader.next().await?;
            match (said.kind.as_str(), said.error) {
                ("item", _) => return said.value.context("an item without a value").map(Some),
                ("end", None) => return Ok(None),
                (_, Some(error)) => return Err(Failed::from(error).into()),
                _ => {}
            }
        }
    }

    async fn send(&mut self, message: &serde_json::Value) -> anyhow::Result<()> {
        let sent = self.writer.write_all(format!("{message}\n").as_bytes()).await;
        sent.context("the daemon has gone")
    }

    /// Reading, and writing.
    pub(super) fn into_split(self) -> (Reader, OwnedWriteHalf) {
        (self.reader, self.writer)
    }
}

impl Reader {
    /// The next message; calls that came earlier first.
    pub(super) async fn next(&mut self) -> anyhow::Result<Said> {
        match self.calls.pop_front() {
            Some(call) => Ok(call),
            None => self.hear().await,
        }
    }

    async fn hear(&mut self) -> anyhow::Result<Said> {
        loop {
            if let Some(line) = self.lines.next_line()? {
                return serde_json::from_slice(&line).context("the daemon does not keep to the protocol");
            }
            if self.from.read_buf(self.lines.buffer()).await.context("the daemon has gone")? == 0 {
                return Err(Failed::from(DoorError::new(ErrorKind::Closed, "the daemon has gone")).into());
            }
        }
    }
}
