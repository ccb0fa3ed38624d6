//! How far the opening of a link over WebRTC is: the same for every library that opens one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use super::count::Counted;
use super::description::{Candidate, Description, Setup};
use super::pipe::Pipe;
use super::{Channel, Fingerprint, Link, LinkError, MAX_CANDIDATES, Side};
use crate::net::platform::{Instant, timeout_at};

/// Both channels, as bits of [`State::open`].
const OPEN: u8 = 0b11;

/// What is known of a link that is being opened, and who waits for it to change.
pub(super) struct Progress {
    state: Mutex<State>,
    changed: Notify,
    settled: AtomicBool,
    deadline: Instant,
    /// The connection lives as long as this.
    _counted: Counted,
}

#[derive(Default)]
struct State {
    /// Of this end, not yet given to the peer.
    candidates: Vec<Candidate>,
    gathered: bool,
    /// Of the peer, before its answer.
    early: Vec<Candidate>,
    /// How many the peer sent besides its description.
    taken: usize,
    local: Option<Fingerprint>,
    remote: Option<Fingerprint>,
    /// Whether this end answered an offer.
    answers: bool,
    open: u8,
    failed: bool,
    given: bool,
}

/// What the library tells of the connection.
impl Progress {
    /// A link is to open within this time.
    pub(super) fn new(within: Duration) -> Self {
        let (state, changed, settled) = Default::default();
        Progress { state, changed, settled, deadline: Instant::now() + within, _counted: Counted::new() }
    }

    /// This end may be reached there. What is no usable candidate is passed over.
    pub(super) fn found(&self, candidate: &str) {
        let Ok(candidate) = Candidate::parse(candidate) else { return };
        self.change(|state| {
            if state.candidates.len() < MAX_CANDIDATES {
                state.candidates.push(candidate);
            }
        });
    }

    /// There are no more candidates of this end.
    pub(super) fn gathered(&self) {
        self.change(|state| state.gathered = true);
    }

    /// The channel is open. Says whether both are.
    pub(super) fn opened(&self, channel: Channel) -> bool {
        let mut open = false;
        self.change(|state| {
            state.open |= 1 << channel.id();
            open = state.open == OPEN;
        });
        if open {
            self.settled.store(true, Ordering::Relaxed);
        }
        open
    }

    /// There will be no link, or no longer.
    pub(super) fn failed(&self) {
        if !self.settled.load(Ordering::Relaxed) {
            self.change(|state| state.failed = true);
        }
    }
}

/// An offer that came, checked before anything is spent on it.
pub(super) fn offer(text: &str) -> Result<Description, LinkError> {
    let offer = Description::parse(text)?;
    match offer.setup {
        Setup::Passive => Err(LinkError::Description("an offer must leave DTLS to the other side, or start it")),
        Setup::ActPass | Setup::Active => Ok(offer),
    }
}

/// What the two ends tell each other.
impl Progress {
    /// This end answers that offer.
    pub(super) fn answers(&self, offer: &Description) {
        let mut state = self.lock();
        (state.remote, state.answers) = (Some(offer.fingerprint), true);
    }

    /// The text for the peer of this end's description, with the candidates that are found within `wait`: the hosts' come at
    /// once, all others only when a server answers.
    pub(super) async fn describe(&self, mut local: Description, wait: Duration) -> String {
        let gathered = self.until(|state| state.gathered.then_some(()));
        let _ = timeout_at(self.deadline.min(Instant::now() + wait), gathered).await;
        let mut state = self.lock();
        local.candidates = state.candidates.drain(..).collect();
        state.local = Some(local.fingerprint);
        local.to_string()
    }

    /// The answer that came, checked, and the candidates that came before it.
    pub(super) fn take_answer(&self, answer: &str) -> Result<(Description, Vec<Candidate>), LinkError> {
        let answer = Description::parse(answer)?;
        if answer.setup == Setup::ActPass {
            return Err(LinkError::Description("an answer must say who starts DTLS"));
        }
        let mut state = self.lock();
        if state.remote.is_some() {
            return Err(LinkError::Unexpected);
        }
        state.remote = Some(answer.fingerprint);
        Ok((answer, std::mem::take(&mut state.early)))
    }

    /// A candidate that came, checked; `None`: it is kept for [`take_answer`](Self::take_answer).
    pub(super) fn take_candidate(&self, candidate: &str) -> Result<Option<Candidate>, LinkError> {
        let candidate = Candidate::parse(candidate)?;
        let mut state = self.lock();
        state.taken += 1;
        if state.taken > MAX_CANDIDATES {
            return Err(LinkError::Candidate);
        }
        if state.remote.is_none() {
            state.early.push(candidate);
            return Ok(None);
        }
        Ok(Some(candidate))
    }

    /// The next candidate for the peer; `None` when there will be no more.
    pub(super) async fn next_candidate(&self) -> Option<String> {
        let next = self.until(|state| match state.candidates.is_empty() {
            false => Some(Some(state.candidates.remove(0).to_string())),
            true => (state.gathered || state.failed || state.open == OPEN).then_some(None),
        });
        timeout_at(self.deadline, next).await.ok().flatten()
    }

    /// The link, when both channels are open. To be called once.
    pub(super) async fn link(&self, pipe: &Arc<Pipe>) -> Result<Link, LinkError> {
        let begun = Instant::now();
        let opened = self.until(|state| match (state.failed, state.open == OPEN) {
            (true, _) => Some(Err(LinkError::Failed)),
            (false, true) => Some(Ok(())),
            (false, false) => None,
        });
        match timeout_at(self.deadline, opened).await {
            Ok(opened) => opened?,
            Err(_) => return Err(LinkError::TimedOut(self.deadline.saturating_duration_since(begun))),
        }
        let (local, remote, side) = {
            let mut state = self.lock();
            let first = !std::mem::replace(&mut state.given, true);
            let side = if state.answers { Side::Answered } else { Side::Offered };
            match (first, state.local, state.remote) {
                (true, Some(local), Some(remote)) => (local, remote, side),
                _ => return Err(LinkError::Failed),
            }
        };
        Ok(Link::new(Arc::clone(pipe), local, remote, side))
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_waiters();
    }

    async fn until<T>(&self, mut ready: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            changed.as_mut().enable();
            if let Some(value) = ready(&mut self.lock()) {
                return value;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An attempt that nobody waits for any more ends; a link that was given away lives on.
pub(super) struct Guard {
    pub(super) pipe: Arc<Pipe>,
    pub(super) progress: Arc<Progress>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.progress.lock().given {
            self.pipe.abandon();
        }
    }
}
