//! The requests of the application: sent to the owner of a point, again by another way when no answer comes.

use std::time::Duration;

use super::seconds;
use crate::proto::{Answer, Hop, LinkId, Output, Phase, Proto, Time, Token};
use crate::record::{Key, Place, Record, RecordError};
use crate::wire::{Ask, Frame, Message, Outcome, Store, StoreRefusal, Stored, kind};
use rand::RngExt;

/// Requests of the application under way at most.
const MAX_REQUESTS: usize = 128;

/// How long a request may take altogether.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// How long one try may take.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);

/// The pause before an owner that is not ready is asked again.
const RETRY: Duration = Duration::from_millis(200);

/// Why a request to the store came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No answer came in time. A write may have been kept all the same.
    #[error("no answer in time; the ring may be repairing itself, try again")]
    TimedOut,
    /// The node is not on a ring yet, or no longer.
    #[error("the node is not on a ring")]
    NotJoined,
    /// Too many requests are under way.
    #[error("too many requests to the store at once; at most {MAX_REQUESTS}")]
    Busy,
    /// The record is none.
    #[error(transparent)]
    Invalid(#[from] RecordError),
    /// The owner of the key does not keep it.
    #[error(transparent)]
    Refused(#[from] StoreRefusal),
}

/// A request under way.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Request {
    request: u32,
    token: Token,
    what: What,
    /// First hops that were tried.
    tried: Vec<LinkId>,
    next_try: Time,
    until: Time,
}

#[derive(Clone, PartialEq, Debug)]
enum What {
    Put(Record),
    Get(Key),
}

impl What {
    fn place(&self) -> Place {
        match self {
            What::Put(record) => Place::of(&record.key()),
            What::Get(key) => Place::of(key),
        }
    }
}

impl Request {
    pub(super) fn due(&self) -> Time {
        self.next_try.min(self.until)
    }
}

impl Proto {
    pub(in super::super) fn put_record(&mut self, token: Token, record: Record, now: Time) {
        match record.check_time(seconds(now)) {
            Ok(()) => self.request_store(token, What::Put(record), now),
            Err(error) => self.answer(token, Answer::Put(Err(error.into()))),
        }
    }

    pub(in super::super) fn get_record(&mut self, token: Token, key: Key, now: Time) {
        self.request_store(token, What::Get(key), now);
    }

    fn request_store(&mut self, token: Token, what: What, now: Time) {
        if matches!(self.phase, Phase::Joining | Phase::Left) {
            return self.fail_request(token, &what, StoreError::NotJoined);
        }
        if self.open_store(now).requests.len() >= MAX_REQUESTS {
            return self.fail_request(token, &what, StoreError::Busy);
        }
        let request = self.rng.random();
        let (next_try, until) = (now.after(TRY_TIMEOUT), now.after(REQUEST_TIMEOUT));
        let entry = Request { request, token, what, tried: Vec::new(), next_try, until };
        self.open_store(now).requests.push(entry);
        self.send_request(request, now);
        self.set_store_timer();
    }

    fn send_request(&mut self, request: u32, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let Some(entry) = store.requests.iter_mut().find(|entry| entry.request == request) else { return };
        let place = entry.what.place();
        let ask = match &entry.what {
            What::Put(record) => Ask::Put(record.clone()),
            What::Get(_) => Ask::Get(place.slot),
        };
        let mut tried = std::mem::take(&mut entry.tried);
        let message = Message::Store(Box::new(Store { request, ask }));
        let mut header = self.header(kind::STORE, place.point, None, Self::key_flags(false));
        let hop = self.first_hop(&mut header, &tried);
        let avoid = tried.clone();
        if let Hop::Forward(link) = hop {
            if tried.contains(&link) {
                tried.clear();
            }
            tried.push(link);
        }
        if let Some(entry) =
            self.store.as_mut().and_then(|store| store.requests.iter_mut().find(|r| r.request == request))
        {
            entry.tried = tried;
        }
        match message.beyond_a_frame().filter(|_| hop != Hop::Deliver) {
            Some(body) => {
                self.send_request_in_parts(request, place.point, Self::key_flags(false), body, &avoid, now);
            }
            None => self.start(hop, Frame { header, message }, now),
        }
    }

    pub(super) fn retry_requests(&mut self, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let late: Vec<u32> =
            store.requests.iter().filter(|entry| entry.due() <= now).map(|entry| entry.request).collect();
        for request in late {
            let Some(store) = self.store.as_mut() else { return };
            let Some(at) = store.requests.iter().position(|entry| entry.request == request) else { continue };
            if store.requests[at].until <= now {
                let entry = store.requests.swap_remove(at);
                store.parcels.end_request(request);
                self.fail_request(entry.token, &entry.what, StoreError::TimedOut);
            } else {
                store.requests[at].next_try = now.after(TRY_TIMEOUT);
                self.send_request(request, now);
            }
        }
    }

    /// The answer of an owner; one that does not prove itself is left aside, another may come.
    pub(in super::super) fn on_stored(&mut self, answer: Stored, now: Time) {
        let Some(store) = self.store.as_mut() else { return };
        let Some(at) = store.requests.iter().position(|entry| entry.request == answer.request) else { return };
        let entry = &mut store.requests[at];
        let answer = match (answer.outcome, &entry.what) {
            (Outcome::Refused(StoreRefusal::NotReady), _) => {
                entry.next_try = now.after(RETRY);
                entry.tried.clear();
                return self.set_store_timer();
            }
            (Outcome::Kept(copies), What::Put(_)) => Answer::Put(Ok(copies)),
            (Outcome::Refused(refusal), What::Put(_)) => Answer::Put(Err(refusal.into())),
            (Outcome::Absent, What::Get(_)) => Answer::Get(Ok(None)),
            (Outcome::Found(record), What::Get(key)) if record.key() == *key && record.verify(seconds(now)).is_ok() => {
                Answer::Get(Ok(Some(Box::new(record))))
            }
            _ => {
                self.stats.invalid += 1;
                return;
            }
        };
        let entry = store.requests.swap_remove(at);
        store.parcels.end_request(entry.request);
        self.outputs.push_back(Output::Answer { token: entry.token, answer });
        self.set_store_timer();
    }

    fn fail_request(&mut self, token: Token, what: &What, error: StoreError) {
        let answer = match what {
            What::Put(_) => Answer::Put(Err(error)),
            What::Get(_) => Answer::Get(Err(error)),
        };
        self.answer(token, answer);
    }
}
