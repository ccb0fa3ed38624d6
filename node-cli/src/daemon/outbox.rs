//! What the node has to say to a program, in a queue that is bounded in bytes.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use atoll_door::body::Mention;
use atoll_door::limits::{MAX_LINE, MAX_MENTIONS};
use atoll_door::{DoorError, ErrorKind, FromNode};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// Bytes in the queue of a program, at most. Who has more to say to it waits.
const MAX_QUEUED: usize = MAX_LINE;

/// Bytes of long lines that wait until there is room in the queue, at most. Beyond it they are refused.
const MAX_WAITING: usize = 64 << 20;

/// Lines up to so many bytes wait, however many others do: there are no more than requests and calls.
const SHORT: usize = 4 << 10;

/// Lines in the queue of a program, at most.
const MAX_LINES: usize = 4096;

/// How long a program may leave what waits for it unread. Then it is cut off.
const READ_WITHIN: Duration = Duration::from_secs(10);

/// Bytes written at one time: within [`READ_WITHIN`] the program must take so many.
const PIECE: usize = 64 << 10;

/// The program is gone.
#[derive(Debug)]
pub(super) struct Gone;

/// A line was not sent.
#[derive(Debug)]
pub(super) enum Unsent {
    /// The program is gone.
    Gone,
    /// It cannot be sent; others can.
    Refused(DoorError),
}

/// Where lines for a program go. Clones are the same.
#[derive(Clone)]
pub(super) struct Outbox {
    lines: mpsc::Sender<Queued>,
    /// Of the queue, in bytes.
    room: Arc<Semaphore>,
    /// Of those who wait for that, in bytes.
    waiting: Arc<Semaphore>,
    pub(super) asides: Arc<Asides>,
}

/// The other end, for the one who writes.
pub(super) struct Queue {
    lines: mpsc::Receiver<Queued>,
    asides: Arc<Asides>,
}

enum Queued {
    Line(Vec<u8>, OwnedSemaphorePermit),
    End,
}

impl Outbox {
    pub(super) fn new() -> (Self, Queue) {
        let (sender, lines) = mpsc::channel(MAX_LINES);
        let asides = Arc::new(Asides::default());
        // One more for the end of the longest line.
        let (room, waiting) = (Arc::new(Semaphore::new(MAX_QUEUED + 1)), Arc::new(Semaphore::new(MAX_WAITING)));
        (Outbox { lines: sender, room, waiting, asides: asides.clone() }, Queue { lines, asides })
    }

    /// Puts a line in, once there is room.
    pub(super) async fn send(&self, line: Vec<u8>) -> Result<(), Unsent> {
        let size = u32::try_from(line.len()).expect("lines have a limit far below");
        let waiting = match line.len() {
            ..=SHORT => None,
            _ => match self.waiting.clone().try_acquire_many_owned(size) {
                Ok(waiting) => Some(waiting),
                Err(_) => {
                    let why = format!("{MAX_WAITING} bytes wait for the program to read them");
                    return Err(Unsent::Refused(DoorError::new(ErrorKind::TooMany, why)));
                }
            },
        };
        let place = self.room.clone().acquire_many_owned(size).await.map_err(|_| Unsent::Gone)?;
        drop(waiting);
        self.lines.send(Queued::Line(line, place)).await.map_err(|_| Unsent::Gone)
    }

    /// Nothing follows.
    pub(super) async fn end(&self) {
        let _ = self.lines.send(Queued::End).await;
    }

    /// Whoever waits for room waits no longer.
    pub(super) fn close(&self) {
        self.room.close();
    }
}

impl Queue {
    /// Writes until the end. Gives why it could not go on.
    pub(super) async fn write(mut self, mut to: impl AsyncWrite + Unpin) -> Result<(), String> {
        loop {
            let (line, _place) = tokio::select! {
                queued = self.lines.recv() => match queued {
                    Some(Queued::Line(line, place)) => (line, Some(place)),
                    Some(Queued::End) | None => return Ok(()),
                },
                () = self.asides.news.notified() => (self.asides.lines(), None),
            };
            for piece in line.chunks(PIECE) {
                match timeout(READ_WITHIN, to.write_all(piece)).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => return Err(error.to_string()),
                    Err(_) => return Err(format!("it read nothing for {READ_WITHIN:?}")),
                }
            }
        }
    }
}

/// What is to be told from where nobody can wait: functions that were dropped, calls that nobody waits for.
#[derive(Default)]
pub(super) struct Asides {
    released: Mutex<Vec<u64>>,
    cancelled: Mutex<Vec<u64>>,
    /// Functions of the program that are held somewhere.
    mentions: AtomicUsize,
    news: Notify,
}

impl Asides {
    /// Counts a function of the program. Gives whether it may have one more.
    pub(super) fn mention(&self) -> bool {
        let add = |count| (count < MAX_MENTIONS).then_some(count + 1);
        self.mentions.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    /// Nobody holds that one any more.
    pub(super) fn release(&self, number: u64) {
        self.mentions.fetch_sub(1, Ordering::Relaxed);
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(number);
        self.news.notify_one();
    }

    /// Nobody waits for that call any more.
    pub(super) fn cancel(&self, uid: u64) {
        self.cancelled.lock().unwrap_or_else(PoisonError::into_inner).push(uid);
        self.news.notify_one();
    }

    fn lines(&self) -> Vec<u8> {
        let take = |list: &Mutex<Vec<u64>>| std::mem::take(&mut *list.lock().unwrap_or_else(PoisonError::into_inner));
        let mut messages: Vec<_> = take(&self.cancelled).into_iter().map(|uid| FromNode::Cancel { uid }).collect();
        let funs: Vec<_> = take(&self.released).into_iter().map(|number| Mention::Own(number).to_string()).collect();
        if !funs.is_empty() {
            messages.push(FromNode::Release { funs });
        }
        messages.iter().flat_map(|message| message.encode().expect("numbers are short")).collect()
    }
}
