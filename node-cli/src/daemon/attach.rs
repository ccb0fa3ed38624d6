//! The life of one program at the door.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use atoll::object::Object;
use atoll_door::{DoorError, ErrorKind, FromNode, FromProgram, Info, Lines, Payload, Refusal, Session};
use futures::FutureExt;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::Daemon;
use super::outbox::{Gone, Outbox};
use super::program::Program;
use super::requests;
use crate::events::Happening;

/// How long a program may take to say `hello`.
const HELLO_WITHIN: Duration = Duration::from_secs(10);

/// How long the last line to a program may take.
const LAST_LINE_WITHIN: Duration = Duration::from_secs(1);

/// Bytes read at one time.
const READ: usize = 64 << 10;

/// Why a program is served no longer.
enum End {
    /// It went.
    Gone,
    /// The line that it is told, the last.
    Refused(Box<FromNode>),
    /// It could not be read from, or written to.
    Broken(String),
}

/// Serves one program until it goes.
pub(super) async fn attach(daemon: Arc<Daemon>, reader: impl AsyncRead + Unpin, writer: impl AsyncWrite + Unpin) {
    let (outbox, queue) = Outbox::new();
    let program = Program::new(daemon.node.clone(), outbox.clone());
    let mut writing = pin!(queue.write(writer));
    let mut serving = Serving { daemon: &daemon, program: &program, tasks: JoinSet::new(), under_way: BTreeMap::new() };
    let end = tokio::select! {
        end = serving.read(reader) => end,
        written = &mut writing => End::Broken(written.err().unwrap_or_else(|| "the connection was closed".to_owned())),
    };
    // Before anything else: nobody is to find services of a program that has gone.
    drop(serving);
    program.leave();
    let told = match &end {
        End::Refused(last) => {
            let saying = async {
                let _ = program.say((**last).clone()).await;
                outbox.end().await;
            };
            // Whoever reads nothing is not told, and nobody waits for it.
            let _ = timeout(LAST_LINE_WITHIN, async { tokio::join!(saying, writing) }).await;
            last.encode().ok().and_then(|line| String::from_utf8(line).ok()).map(|line| line.trim_end().to_owned())
        }
        End::Broken(reason) => Some(reason.clone()),
        End::Gone => None,
    };
    outbox.close();
    let name = program.session().name().map(str::to_owned);
    if name.is_some() || told.is_some() {
        daemon.teller.tell(Happening::ProgramGone { name: name.unwrap_or_default(), reason: told });
    }
}

/// Tells a program that there is no place for it.
pub(super) async fn turn_away(writer: impl AsyncWrite + Unpin, most: usize) {
    let (outbox, queue) = Outbox::new();
    let why = format!("{most} programs are attached, as many as may be; try again when one has gone");
    let answer = FromNode::Error { error: DoorError::new(ErrorKind::TooMany, why).into(), uid: None };
    let saying = async {
        let _ = outbox.send(answer.encode().expect("it is short")).await;
        outbox.end().await;
    };
    let _ = timeout(LAST_LINE_WITHIN, async { tokio::join!(saying, queue.write(writer)) }).await;
}

struct Serving<'a> {
    daemon: &'a Daemon,
    program: &'a Arc<Program>,
    /// Requests under way; they end with the program.
    tasks: JoinSet<()>,
    under_way: BTreeMap<u64, AbortHandle>,
}

impl Serving<'_> {
    async fn read(&mut self, mut reader: impl AsyncRead + Unpin) -> End {
        let mut lines = Lines::default();
        loop {
            loop {
                let line = match lines.next_line() {
                    Ok(Some(line)) => line,
                    Ok(None) => break,
                    Err(too_long) => return End::Refused(Session::too_long(too_long).answer),
                };
                let received = self.program.session().receive(&line, &mut |mention| self.program.take(mention));
                let bytes = line.len();
                drop(line);
                let handled = match received {
                    Ok(Some(message)) => self.handle(message, bytes).await,
                    Ok(None) => Ok(()),
                    Err(Refusal { answer, close: true }) => return End::Refused(answer),
                    Err(Refusal { answer, .. }) => self.program.say(*answer).await,
                };
                if handled.is_err() {
                    return End::Gone;
                }
            }
            let buffer = lines.buffer();
            buffer.reserve(READ);
            let read = reader.read_buf(buffer);
            let greeted = self.program.session().name().is_some();
            let read = match greeted {
                true => read.await,
                false => match timeout(HELLO_WITHIN, read).await {
                    Ok(read) => read,
                    Err(_) => return End::Broken(format!("it did not say hello within {HELLO_WITHIN:?}")),
                },
            };
            match read {
                Ok(0) => return End::Gone,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return End::Gone,
                Err(error) => return End::Broken(error.to_string()),
            }
        }
    }

    /// Does what a message says, or begins to. `bytes`: the length of its line.
    async fn handle(&mut self, message: FromProgram, bytes: usize) -> Result<(), Gone> {
        let program = self.program;
        match message {
            FromProgram::Hello { name, init } => {
                self.daemon.teller.tell(Happening::ProgramAttached { name, init });
                let hash = program.node.id().to_string();
                let version = env!("CARGO_PKG_VERSION").to_owned();
                let claimed = program.node.names().into_iter().next().map(|name| format!("@{name}"));
                let name = claimed.unwrap_or_else(|| hash.clone());
                program.say(FromNode::Hello { info: Info { name, hash, version } }).await
            }
            FromProgram::Provide { name, body, uid } => {
                let done = program.provide(name, Object::from(body));
                self.done(uid, done).await
            }
            FromProgram::Withdraw { name, uid } => {
                let done = program.withdraw(name);
                self.done(uid, done).await
            }
            FromProgram::Set { name, path, value, uid } => {
                let done = program.set(name, &path, value);
                self.done(uid, done).await
            }
            FromProgram::Handle { scope, fun, uid } => {
                let done = program.scopes.handle(scope, fun);
                self.done(uid, done).await
            }
            FromProgram::Unhandle { scope, uid } => {
                let done = program.scopes.unhandle(&scope);
                self.done(uid, done).await
            }
            FromProgram::Unclaim { name, uid } => {
                let done = program.claims.give_up(&name);
                self.done(uid, done).await
            }
            FromProgram::List { uid } => {
                let list = program.node.peer(program.node.key()).services().await.unwrap_or_default();
                program.say(FromNode::done(uid, Payload::List(list))).await
            }
            FromProgram::Response { uid, result } => {
                program.answers.response(uid, result);
                Ok(())
            }
            FromProgram::Item { uid, value } => {
                if program.answers.item(uid, value, bytes) && program.session().give_up(uid) {
                    program.outbox.asides.cancel(uid);
                }
                Ok(())
            }
            FromProgram::End { uid, error } => {
                program.answers.end(uid, error);
                Ok(())
            }
            FromProgram::More { uid, count } => {
                program.take_more(uid, count);
                Ok(())
            }
            FromProgram::Release { funs } => {
                program.release(&funs);
                Ok(())
            }
            FromProgram::Cancel { uid } => self.cancel(uid).await,
            request => {
                self.start(request);
                Ok(())
            }
        }
    }

    fn start(&mut self, request: FromProgram) {
        while self.tasks.try_join_next().is_some() {}
        // Those that are done: the session allows so many at once.
        if self.under_way.len() >= 2 * atoll_door::limits::MAX_REQUESTS {
            self.under_way.retain(|_, task| !task.is_finished());
        }
        if let Some(uid) = request.request() {
            let mut task = Box::pin(requests::carry_out(self.program.clone(), request));
            // Each begins here, so that what a program publishes keeps its order.
            if (&mut task).now_or_never().is_none() {
                let task = self.tasks.spawn(task);
                self.under_way.insert(uid, task);
            }
        }
    }

    async fn cancel(&mut self, uid: u64) -> Result<(), Gone> {
        if !self.program.session().finished(uid) {
            // It has been answered meanwhile.
            return Ok(());
        }
        if let Some(task) = self.under_way.remove(&uid) {
            task.abort();
            // It may be at work on another thread: nothing of it is to come behind the end.
            while !task.is_finished() && self.tasks.join_next().await.is_some() {}
        }
        let error = DoorError::new(ErrorKind::Cancelled, "cancelled by the program");
        self.program.say(FromNode::End { uid, error: Some(error.into()) }).await
    }

    async fn done(&self, uid: Option<u64>, done: Result<(), DoorError>) -> Result<(), Gone> {
        let answer = match (uid, done) {
            (Some(uid), Ok(())) => FromNode::done(uid, Payload::Nothing),
            (Some(uid), Err(error)) => FromNode::failed(uid, error.into()),
            (None, Ok(())) => return Ok(()),
            (None, Err(error)) => FromNode::Error { error: error.into(), uid: None },
        };
        self.program.say(answer).await
    }
}
