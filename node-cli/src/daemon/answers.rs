//! What a program answers when its functions are called: one value, or many, which the caller takes at its pace.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use atoll::object::{CallError, Failure, Reply, Value};
use atoll_door::limits::{MAX_UNTAKEN, WINDOW};
use atoll_door::{DoorError, ErrorKind, FromNode};
use futures::{StreamExt, stream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::outbox::Gone;
use super::program::{Program, lock};

/// After so many results that were taken the program is asked for as many more.
const ASK_AFTER: usize = WINDOW / 2;

/// The calls that a program has not answered for good.
pub(super) struct Answers {
    waiting: Mutex<BTreeMap<u64, mpsc::Sender<Said>>>,
    /// Bytes of results that may wait to be taken.
    room: Arc<Semaphore>,
}

enum Said {
    /// All that there is.
    Response(Result<Value, DoorError>),
    /// One of many.
    Item(Value, OwnedSemaphorePermit),
    /// After the last of many.
    End(Option<DoorError>),
}

impl Answers {
    pub(super) fn new() -> Self {
        Answers { waiting: Mutex::default(), room: Arc::new(Semaphore::new(MAX_UNTAKEN)) }
    }

    /// Somebody waits for what this call gives.
    fn expect(&self, uid: u64) -> mpsc::Receiver<Said> {
        // One place is for the end.
        let (sender, said) = mpsc::channel(WINDOW + 1);
        lock(&self.waiting).insert(uid, sender);
        said
    }

    /// The program gives one value, or an error.
    pub(super) fn response(&self, uid: u64, result: Result<Value, DoorError>) {
        self.last(uid, Said::Response(result));
    }

    /// The program gives one of many, in a line of so many bytes. Gives whether it was too much: then it was the last.
    pub(super) fn item(&self, uid: u64, value: Value, bytes: usize) -> bool {
        let sender = lock(&self.waiting).get(&uid).cloned();
        let Some(sender) = sender else { return false };
        let room = self.room.clone().try_acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX));
        let too_much = match room {
            _ if sender.capacity() <= 1 => format!("{WINDOW} results of the function wait to be taken"),
            Err(_) => format!("{MAX_UNTAKEN} bytes of results of the program wait to be taken"),
            Ok(room) => {
                // Who does not wait any more needs nothing.
                let _ = sender.try_send(Said::Item(value, room));
                return false;
            }
        };
        self.end(uid, Some(DoorError::new(ErrorKind::TooMany, too_much)));
        true
    }

    /// The program gives no more.
    pub(super) fn end(&self, uid: u64, error: Option<DoorError>) {
        self.last(uid, Said::End(error));
    }

    /// Nobody waits for anything any more.
    pub(super) fn clear(&self) {
        lock(&self.waiting).clear();
    }

    fn last(&self, uid: u64, said: Said) {
        if let Some(sender) = lock(&self.waiting).remove(&uid) {
            let _ = sender.try_send(said);
        }
    }
}

/// A call to a program, until it is answered for good. Dropped before, the program is told.
pub(super) struct Asked {
    program: Arc<Program>,
    uid: u64,
    said: mpsc::Receiver<Said>,
}

impl Asked {
    /// Calls the program; `None` if it has as many calls under way as it may.
    pub(super) fn new(program: Arc<Program>) -> Option<Self> {
        let uid = program.session().call()?;
        let said = program.answers.expect(uid);
        Some(Asked { program, uid, said })
    }

    /// The number of the call.
    pub(super) fn uid(&self) -> u64 {
        self.uid
    }

    /// Waits for the first that the program says to it.
    pub(super) async fn reply(mut self) -> Result<Reply, Failure> {
        let first = self.said.recv().await;
        if let Some(Said::Response(result)) = first {
            return result.map(Reply::Value).map_err(|error| Failure::relay(error.into()));
        }
        let first = self.result(first).transpose()?;
        let Some(first) = first else { return Ok(Reply::Items(stream::empty().boxed())) };
        let rest = stream::try_unfold((self, 1), |(mut asked, mut taken)| async move {
            if taken == ASK_AFTER {
                let more = FromNode::More { uid: asked.uid, count: std::mem::take(&mut taken) };
                asked.program.say(more).await.map_err(|Gone| cancelled())?;
            }
            let said = asked.said.recv().await;
            Ok(asked.result(said).transpose()?.map(|value| (value, (asked, taken + 1))))
        });
        Ok(Reply::Items(stream::iter([Ok(first)]).chain(rest).boxed()))
    }

    /// One of many results; `None` after the last.
    fn result(&self, said: Option<Said>) -> Option<Result<Value, Failure>> {
        match said {
            Some(Said::Item(value, _room)) => Some(Ok(value)),
            Some(Said::End(None)) => None,
            Some(Said::End(Some(error)) | Said::Response(Err(error))) => Some(Err(Failure::relay(error.into()))),
            Some(Said::Response(Ok(_))) => Some(Err(Failure::new("the program gave many results, and then one"))),
            // The program has gone.
            None => Some(Err(cancelled())),
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        lock(&self.program.answers.waiting).remove(&self.uid);
        if self.program.session().give_up(self.uid) {
            self.program.outbox.asides.cancel(self.uid);
        }
    }
}

pub(super) fn cancelled() -> Failure {
    Failure::relay(CallError::Cancelled)
}
