//! One session as its calls see it: whether the peer is still there, and which of its functions are held here.
//!
//! QUIC gives a silent peer up after 30 s, for a route may be repaired meanwhile. Calls must not wait so long: while some are
//! under way over a session, its packets are watched, the peer is asked when none come, and after [`LOST_AFTER`] without any the
//! calls fail. The session goes on, and sockets in it may recover.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, watch};

use super::core::{Core, lock};
use super::flow::Lent;
use super::load::Results;
use super::message::{OBJECT, Request, Terms};
use super::value::ValueError;
use crate::id::Id;
use crate::net::platform::{self, Instant, timeout};
use crate::net::session::{Session, SocketError};

/// How often a session with calls under way is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// After how long without a packet the peer is asked whether it is there.
const ASK_AFTER: Duration = Duration::from_millis(900);

/// After how long without a packet the peer counts as lost for the calls under way.
pub const LOST_AFTER: Duration = Duration::from_millis(3500);

/// How late a look has to be for this node to have stood still, not the peer: that time does not count.
const STOOD_STILL: Duration = Duration::from_secs(1);

/// How long a session is looked at after its last call: most calls are followed by others.
const LOOK_ON: Duration = Duration::from_secs(2);

/// How often functions are looked for that nobody took.
const EXPIRE_EVERY: Duration = Duration::from_secs(10);

/// How long the stream that tells of held functions is kept open when none is held.
const HOLD_ON: Duration = Duration::from_secs(5);

/// The length of a record of held functions.
pub(super) const RECORD: usize = 9;

/// The first byte of a record: this end has taken a function, and keeps it for now.
pub(super) const TAKEN: u8 = 1;

/// The first byte of a record: this end needs a function no more.
pub(super) const RELEASED: u8 = 0;

pub(super) struct Line {
    pub(super) session: Session,
    under_way: AtomicUsize,
    /// Whether the task looks at the session now and then, or sleeps until it is woken.
    looking: AtomicBool,
    woken: Notify,
    lost: watch::Sender<bool>,
    held: Mutex<HeldFunctions>,
    held_changed: Notify,
    /// What results that are taken one by one may have on their way.
    pub(super) lent: Lent,
    /// What results that are put together may take.
    pub(super) results: Results,
}

/// The peer's functions that are held here.
#[derive(Default)]
struct HeldFunctions {
    count: usize,
    /// Whether a task tells the peer of them.
    telling: bool,
    /// What it has not been told.
    records: Vec<(u8, u64)>,
}

impl Line {
    pub(super) fn new(session: Session, results: Results) -> Arc<Self> {
        Arc::new(Line {
            session,
            under_way: AtomicUsize::new(0),
            looking: AtomicBool::new(false),
            woken: Notify::new(),
            lost: watch::Sender::new(false),
            held: Mutex::default(),
            held_changed: Notify::new(),
            lent: Lent::default(),
            results,
        })
    }

    pub(super) fn peer(&self) -> Id {
        self.session.peer()
    }

    /// Has the session looked at until the guard is dropped.
    pub(super) fn call(self: &Arc<Self>) -> UnderWay {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        if !self.looking.load(Ordering::SeqCst) {
            self.woken.notify_one();
        }
        UnderWay { lost: self.lost.subscribe(), line: self.clone() }
    }

    /// Runs until the session has ended.
    pub(super) async fn look_after(line: Arc<Line>, core: Weak<Core>) {
        let session = line.session.clone();
        tokio::select! {
            _ = session.closed() => {}
            () = line.look(&core) => {}
        }
        line.lost.send_replace(true);
        if let Some(core) = core.upgrade() {
            core.forget_line(&line);
        }
    }

    /// Runs until the node is gone.
    async fn look(self: &Arc<Self>, core: &Weak<Core>) {
        let mut expired = Instant::now();
        loop {
            // First this, then the count: a call does the opposite, so one of the two sees the other.
            self.looking.store(false, Ordering::SeqCst);
            if self.under_way.load(Ordering::SeqCst) == 0 {
                let _ = timeout(EXPIRE_EVERY, self.woken.notified()).await;
            }
            let Some(core) = core.upgrade() else { return };
            if expired.elapsed() >= EXPIRE_EVERY {
                expired = Instant::now();
                let late = core.exports().expire(self, false);
                drop(late);
            }
            drop(core);
            if self.under_way.load(Ordering::Relaxed) > 0 {
                self.looking.store(true, Ordering::Relaxed);
                self.look_closely().await;
            }
        }
    }

    /// Looks until there has been no call for a while.
    async fn look_closely(self: &Arc<Self>) {
        let mut looked = Instant::now();
        let (mut packets, mut heard, mut used) = (0, looked, looked);
        loop {
            let now = Instant::now();
            let late = (now - looked).saturating_sub(LOOK_EVERY);
            if late >= STOOD_STILL {
                heard += late;
            }
            looked = now;
            let received = self.session.stats().received_packets;
            if received != packets {
                (packets, heard) = (received, now);
                self.lost.send_if_modified(|lost| std::mem::replace(lost, false));
            }
            let silent = now - heard;
            if self.under_way.load(Ordering::Relaxed) > 0 {
                used = now;
            }
            if silent >= LOST_AFTER {
                self.lost.send_if_modified(|lost| !std::mem::replace(lost, true));
            }
            let lost = *self.lost.borrow();
            if silent >= ASK_AFTER {
                platform::spawn(ask(self.session.clone()));
            }
            if now - used >= LOOK_ON && !lost {
                return;
            }
            platform::sleep(LOOK_EVERY).await;
        }
    }

    /// A function of the peer is held here from now on.
    pub(super) fn hold(self: &Arc<Self>, handle: u64) {
        let mut held = lock(&self.held);
        held.count += 1;
        held.records.push((TAKEN, handle));
        if !std::mem::replace(&mut held.telling, true) {
            platform::spawn(tell(self.clone()));
        }
        drop(held);
        self.held_changed.notify_one();
    }

    /// One is held no longer.
    pub(super) fn let_go(&self, handle: u64) {
        let mut held = lock(&self.held);
        held.count -= 1;
        if held.telling {
            held.records.push((RELEASED, handle));
        }
        drop(held);
        self.held_changed.notify_one();
    }
}

/// One more call under way over a session.
pub(super) struct UnderWay {
    pub(super) line: Arc<Line>,
    lost: watch::Receiver<bool>,
}

impl UnderWay {
    /// Waits until the peer counts as lost.
    pub(super) async fn lost(&mut self) {
        let _ = self.lost.wait_for(|lost| *lost).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.line.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Has the peer send a packet, if it is there: it acknowledges this.
async fn ask(session: Session) {
    let asking = async {
        let request = Request::Ping.encode(Terms::default(), &mut |_| Err(ValueError::TooManyFunctions)).ok()?;
        let socket = session.open_with(OBJECT, &request).await.ok()?;
        let (mut reader, mut writer) = socket.into_split();
        writer.shutdown().await.ok()?;
        reader.read_bytes(1).await.ok()
    };
    let _ = timeout(LOST_AFTER, asking).await;
}

/// Tells the peer which of its functions are held here, until none is.
async fn tell(line: Arc<Line>) {
    if tell_all(&line).await.is_err() {
        // The peer does not want to know, or is gone: it releases them by itself.
        let mut held = lock(&line.held);
        held.telling = false;
        held.records.clear();
    }
}

async fn tell_all(line: &Arc<Line>) -> Result<(), SocketError> {
    let none = &mut |_: &_| Err(ValueError::TooManyFunctions);
    let request = Request::Hold.encode(Terms::default(), none).map_err(|_| SocketError::Closed)?;
    let (_reader, mut writer) = line.session.open_with(OBJECT, &request).await?.into_split();
    let mut idle_since = Instant::now();
    loop {
        let (records, count) = {
            let mut held = lock(&line.held);
            (std::mem::take(&mut held.records), held.count)
        };
        if !records.is_empty() {
            let mut bytes = Vec::with_capacity(records.len() * RECORD);
            for (what, handle) in records {
                bytes.push(what);
                bytes.extend_from_slice(&handle.to_be_bytes());
            }
            writer.write_bytes(bytes.into()).await?;
            idle_since = Instant::now();
        }
        if count > 0 {
            line.held_changed.notified().await;
        } else if timeout(HOLD_ON.saturating_sub(idle_since.elapsed()), line.held_changed.notified()).await.is_err() {
            let mut held = lock(&line.held);
            if held.count == 0 && held.records.is_empty() {
                held.telling = false;
                break;
            }
        }
    }
    // An error means that the peer ended it first.
    let _ = writer.shutdown().await;
    Ok(())
}
