//! `node-cli put`, `get` of a key, `rm`: the store of the ring on the command line.

use std::borrow::Cow;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use atoll::key::hex;
use atoll::node::{FileError, Put};
use atoll::proto::StoreError;
use atoll::record::{FileKey, Key, MAX_VALUE};
use atoll_door::ErrorKind;
use serde_json::json;
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, BufWriter};

use crate::UsageError;
use crate::args::{NodeArgs, PutArgs, RmArgs};
use crate::join::Visit;
use crate::objects::Failed;
use crate::output::Output;
use crate::values::StoreKey;

/// How often progress is shown.
const SHOW_EVERY: Duration = Duration::from_millis(200);

/// Without the key of a node nobody could write the entry again.
const NEEDS_KEY: UsageError =
    UsageError(Cow::Borrowed("what is stored under a name is a node's own: name its key file with --key"));

pub(crate) async fn put(args: &PutArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    if args.name.is_some() && node.key.is_none() {
        return Err(NEEDS_KEY.into());
    }
    let (mut from, size) = open(&args.file).await?;
    let mut head = Vec::new();
    (&mut from).take(MAX_VALUE as u64 + 1).read_to_end(&mut head).await.context("cannot read what is to be stored")?;
    let is_file = head.len() > MAX_VALUE;
    if is_file && args.name.is_some() {
        let why =
            format!("under a name fit {MAX_VALUE} bytes; put the file without --name, and its key under the name");
        return Err(failed(ErrorKind::TooLarge, why).into());
    }
    Visit::run(node, None, async |visit: &Visit| {
        if is_file {
            let mut progress = Progress::new(size, output);
            let whole = std::io::Cursor::new(head).chain(from);
            let put = visit.node.put_file_with(whole, args.ttl, |bytes| progress.show(bytes)).await;
            progress.clear();
            let put = put.map_err(file_failed)?;
            return output.line(
                put.key,
                &json!({
                    "key": put.key.to_string(), "bytes": put.bytes, "values": put.values, "copies": put.copies,
                }),
            );
        }
        let bytes = head.len();
        let put = match &args.name {
            Some(name) => visit.node.put_entry(name, head, args.ttl).await,
            None => visit.node.put(head, args.ttl).await,
        };
        let Put { key, copies, .. } = put.map_err(store_failed)?;
        output.line(&key, &json!({ "key": key.to_string(), "bytes": bytes, "copies": copies }))
    })
    .await
}

pub(crate) async fn rm(args: &RmArgs, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    if node.key.is_none() {
        return Err(NEEDS_KEY.into());
    }
    Visit::run(node, None, async |visit: &Visit| {
        let Put { key, copies, .. } = visit.node.delete(&args.name).await.map_err(store_failed)?;
        output.event(
            format_args!("deleted {key}"),
            &json!({ "event": "deleted", "key": key.to_string(), "copies": copies }),
        );
        Ok(())
    })
    .await
}

/// `node-cli get KEY`.
pub(crate) async fn get(key: &StoreKey, to: Option<&Path>, node: &NodeArgs, output: Output) -> anyhow::Result<()> {
    if matches!(key, StoreKey::File(_)) && to.is_none() && output.is_json() {
        return Err(UsageError(Cow::Borrowed("a file is no JSON: name where to write it with -o")).into());
    }
    Visit::run(node, None, async |visit: &Visit| match key {
        StoreKey::File(key) => get_file(visit, *key, to, output).await,
        StoreKey::Record(key) => get_value(visit, key.clone(), to, output).await,
        StoreKey::EntryOf { holder, name } => {
            let writer = visit.node.resolve(holder).await.with_context(|| format!("cannot find @{holder}"))?;
            get_value(visit, Key::Entry { writer, name: name.clone() }, to, output).await
        }
    })
    .await
}

async fn get_value(visit: &Visit, key: Key, to: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let value = visit.node.get(&key).await.map_err(store_failed)?;
    let value = value.ok_or_else(|| failed(ErrorKind::NoSuchValue, format!("nothing is stored under {key}")))?;
    let mut object = json!({ "key": key.to_string(), "bytes": value.len() });
    if let Some(to) = to {
        let mut writing = Writing::begin(to).await?;
        writing.file.write_all(&value).await?;
        writing.finish().await?;
        object["file"] = json!(to);
    } else if output.is_json() {
        match std::str::from_utf8(&value) {
            Ok(text) => object["text"] = text.into(),
            Err(_) => object["hex"] = hex(&value).into(),
        }
    } else {
        let mut out = tokio::io::stdout();
        out.write_all(&value).await?;
        return Ok(out.flush().await?);
    }
    if output.is_json() { output.line("", &object) } else { Ok(()) }
}

async fn get_file(visit: &Visit, key: FileKey, to: Option<&Path>, output: Output) -> anyhow::Result<()> {
    let mut reader = visit.node.read_file(&key).await.map_err(file_failed)?;
    let mut progress = Progress::new(Some(reader.bytes()), output);
    let mut done = 0;
    let Some(to) = to else {
        let mut out = tokio::io::stdout();
        while let Some(block) = reader.next().await.map_err(file_failed)? {
            out.write_all(&block).await?;
            done += block.len() as u64;
            progress.show(done);
        }
        progress.clear();
        return Ok(out.flush().await?);
    };
    let mut writing = Writing::begin(to).await?;
    while let Some(block) = reader.next().await.map_err(file_failed)? {
        writing.file.write_all(&block).await?;
        done += block.len() as u64;
        progress.show(done);
    }
    writing.finish().await?;
    progress.clear();
    if output.is_json() {
        output.line("", &json!({ "key": key.to_string(), "bytes": done, "file": to }))?;
    }
    Ok(())
}

/// What is to be stored, and its size where that is known.
async fn open(path: &Path) -> anyhow::Result<(Box<dyn AsyncRead + Unpin>, Option<u64>)> {
    if path == Path::new("-") {
        return Ok((Box::new(tokio::io::stdin()), None));
    }
    let file = File::open(path).await.with_context(|| format!("cannot read {}", path.display()))?;
    let about = file.metadata().await?;
    anyhow::ensure!(!about.is_dir(), "{} is a directory; pack it first: tar c DIR | node-cli put -", path.display());
    Ok((Box::new(file), about.is_file().then_some(about.len())))
}

/// A file that comes about whole, or not at all: it has another name until then.
struct Writing {
    file: BufWriter<File>,
    part: PathBuf,
    path: PathBuf,
    finished: bool,
}

impl Writing {
    async fn begin(path: &Path) -> anyhow::Result<Self> {
        let mut part = path.as_os_str().to_owned();
        part.push(".part");
        let part = PathBuf::from(part);
        let file = File::create(&part).await.with_context(|| format!("cannot write {}", part.display()))?;
        Ok(Writing { file: BufWriter::new(file), part, path: path.to_owned(), finished: false })
    }

    async fn finish(mut self) -> anyhow::Result<()> {
        self.file.flush().await?;
        tokio::fs::rename(&self.part, &self.path)
            .await
            .with_context(|| format!("cannot write {}", self.path.display()))?;
        self.finished = true;
        Ok(())
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_file(&self.part);
        }
    }
}

/// How far a transfer has come, for people at a terminal.
struct Progress {
    size: Option<u64>,
    begun: Instant,
    shown: Instant,
    visible: bool,
    /// Something stands there.
    drawn: bool,
}

impl Progress {
    fn new(size: Option<u64>, output: Output) -> Self {
        let visible = !output.is_json() && std::io::stderr().is_terminal();
        Progress { size, begun: Instant::now(), shown: Instant::now(), visible, drawn: false }
    }

    fn show(&mut self, bytes: u64) {
        if !self.visible || self.shown.elapsed() < SHOW_EVERY {
            return;
        }
        (self.shown, self.drawn) = (Instant::now(), true);
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let rate = mib(bytes) / self.begun.elapsed().as_secs_f64();
        let of = self.size.map_or_else(String::new, |size| format!(" of {:.1}", mib(size)));
        let _ = write!(std::io::stderr(), "\r\x1b[K{:.1}{of} MiB, {rate:.1} MiB/s", mib(bytes));
    }

    fn clear(&mut self) {
        if self.drawn {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}

fn failed(kind: ErrorKind, message: impl ToString) -> Failed {
    Failed { kind, message: message.to_string(), data: None }
}

fn store_failed(error: StoreError) -> Failed {
    let kind = match error {
        StoreError::TimedOut => ErrorKind::TimedOut,
        StoreError::Invalid(_) => ErrorKind::WrongArguments,
        StoreError::Refused(_) => ErrorKind::Refused,
        StoreError::NotJoined => ErrorKind::Closed,
        _ => ErrorKind::TooMany,
    };
    failed(kind, error)
}

fn file_failed(error: FileError) -> anyhow::Error {
    let kind = match &error {
        FileError::Io(_) => return error.into(),
        FileError::Store(error) => return store_failed(*error).into(),
        FileError::Absent | FileError::Missing(_) => ErrorKind::NoSuchValue,
        FileError::TooLarge(_) => ErrorKind::TooLarge,
        _ => ErrorKind::Malformed,
    };
    failed(kind, error).into()
}
