//! A function that runs a command: arguments go in as JSON, the result comes out as JSON.

use std::process::Stdio;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use atoll::object::MAX_FAILURE_TEXT;
use atoll_door::limits::MAX_LINE;
use atoll_door::{DoorError, ErrorKind};
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Commands that run at once, at most. More wait, within their time.
pub(super) const MAX_RUNNING: usize = 64;

/// A function, and the command that it runs.
#[derive(Debug, Clone)]
pub(crate) struct Exec {
    /// Where in the object: `f`, or `deep.x.f`.
    pub(crate) path: String,
    /// What the shell runs.
    command: String,
}

impl FromStr for Exec {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((path, command)) if !path.is_empty() && !command.trim().is_empty() => {
                Ok(Exec { path: path.to_owned(), command: command.to_owned() })
            }
            _ => Err("write the function and its command: echo='jq .[0]'"),
        }
    }
}

impl Exec {
    /// Runs it with these arguments, a list in JSON. It is killed, with whatever it started, when its time is over or this is
    /// dropped.
    pub(super) async fn run(&self, args: &str, within: Duration, places: &Arc<Semaphore>) -> Result<String, DoorError> {
        let running = async {
            let _place = places.acquire().await.expect("the semaphore is never closed");
            self.run_now(args).await
        };
        let late = || DoorError::new(ErrorKind::TimedOut, "the command took too long");
        timeout(within, running).await.map_err(|_| late())?
    }

    async fn run_now(&self, args: &str) -> Result<String, DoorError> {
        let failed = |what: String| DoorError::new(ErrorKind::Failed, what);
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command).env("ATOLL_FUNCTION", &self.path).process_group(0).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| failed(format!("the command does not start: {error}")))?;
        let _group = Group(child.id().and_then(|id| Pid::from_raw(id.cast_signed())));
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let give = async {
            if let Some(mut stdin) = stdin {
                // A command need not read its arguments.
                let _ = stdin.write_all(args.as_bytes()).await;
            }
        };
        let ((), out, said) = tokio::join!(give, all_of(stdout, MAX_LINE), all_of(stderr, MAX_FAILURE_TEXT));
        let status = child.wait().await.map_err(|error| failed(error.to_string()))?;
        if !status.success() {
            let said = String::from_utf8_lossy(&said[..said.len().min(MAX_FAILURE_TEXT)]).trim().to_owned();
            return Err(failed(if said.is_empty() { format!("the command ended with {status}") } else { said }));
        }
        if out.len() > MAX_LINE {
            return Err(DoorError::new(ErrorKind::TooLarge, format!("the result is longer than {MAX_LINE} bytes")));
        }
        let out = String::from_utf8(out).map_err(|_| failed("the result is not UTF-8".to_owned()))?;
        Ok(if out.trim().is_empty() { "null".to_owned() } else { out.trim().to_owned() })
    }
}

/// Reads it to its end, and keeps one byte more than `most`.
async fn all_of(from: Option<impl AsyncRead + Unpin>, most: usize) -> Vec<u8> {
    let mut kept = Vec::new();
    if let Some(mut from) = from {
        let _ = (&mut from).take(most as u64 + 1).read_to_end(&mut kept).await;
        // Or the command would wait for ever.
        let _ = tokio::io::copy(&mut from, &mut tokio::io::sink()).await;
    }
    kept
}

/// The command and whatever it started.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It has ended already: as good.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}
