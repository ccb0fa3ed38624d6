//! Links between nodes of one process, without a network: for tests.
//!
//! They behave as real links do: the same queues with the same bounds, frames refused over the limit, an end that hears when the
//! other closes. They lose and reorder nothing.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::watch;

use super::pipe::Pipe;
use super::{Begun, Channel, CloseReason, Fingerprint, Link, LinkError, OpeningWire, Side, Transport, Wait, Wire};
use crate::net::platform::{self, Instant, timeout_at};

/// How long opening may take.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);

/// Offers without an answer that a network holds at most.
const MAX_OFFERS: usize = 4096;

/// What joins the nodes of a test: every [transport](Self::transport) of one network reaches every other.
#[derive(Clone, Default)]
pub struct MemoryNetwork(Arc<Shared>);

impl MemoryNetwork {
    /// A network without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// The transport of one more node.
    pub fn transport(&self) -> Transport {
        let mut fingerprint = [0; 32];
        fingerprint[..8].copy_from_slice(&self.0.next.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Transport(Arc::new(Node { shared: Arc::clone(&self.0), fingerprint: Fingerprint(fingerprint) }))
    }

    /// An open link, both ends of it.
    pub fn pair(&self) -> (Link, Link) {
        let [near, far] = [self.transport(), self.transport()].map(|_| self.0.next.fetch_add(1, Ordering::Relaxed));
        let fingerprint = |number: u64| {
            let mut bytes = [0xff; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            Fingerprint(bytes)
        };
        let (a, b) = join();
        (
            Link::new(a, fingerprint(near), fingerprint(far), Side::Offered),
            Link::new(b, fingerprint(far), fingerprint(near), Side::Answered),
        )
    }
}

#[derive(Default)]
struct Shared {
    next: AtomicU64,
    offers: Mutex<BTreeMap<u64, Offer>>,
}

/// An offer that waits for its answer.
struct Offer {
    fingerprint: Fingerprint,
    taken: watch::Sender<Option<Taken>>,
}

/// What the answering end leaves for the offering one.
#[derive(Clone)]
struct Taken {
    number: u64,
    fingerprint: Fingerprint,
    pipe: Arc<Pipe>,
}

struct Node {
    shared: Arc<Shared>,
    fingerprint: Fingerprint,
}

impl Wire for Node {
    fn offer(self: Arc<Self>) -> Wait<'static, Begun> {
        Box::pin(async move {
            let number = self.shared.next.fetch_add(1, Ordering::Relaxed);
            let (taken, seen) = watch::channel(None);
            {
                let mut offers = self.shared.offers.lock().unwrap_or_else(PoisonError::into_inner);
                if offers.len() >= MAX_OFFERS {
                    return Err(LinkError::System("too many offers without an answer".into()));
                }
                offers.insert(number, Offer { fingerprint: self.fingerprint, taken });
            }
            let opening = Offering {
                shared: Arc::clone(&self.shared),
                number,
                seen,
                answered: watch::Sender::new(false),
                local: self.fingerprint,
                deadline: Instant::now() + OPEN_TIMEOUT,
            };
            Ok((Arc::new(opening) as Arc<dyn OpeningWire>, format!("offer {number}")))
        })
    }

    fn answer(self: Arc<Self>, offer: String) -> Wait<'static, Begun> {
        Box::pin(async move {
            let number = offer.strip_prefix("offer ").and_then(|number| number.parse().ok());
            let number: u64 = number.ok_or(LinkError::Description("not an offer"))?;
            let offer = self.shared.offers.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
            let offer = offer.ok_or(LinkError::Description("an offer nobody made, or taken already"))?;
            let (near, far) = join();
            let link = Link::new(near, self.fingerprint, offer.fingerprint, Side::Answered);
            offer.taken.send_replace(Some(Taken { number, fingerprint: self.fingerprint, pipe: far }));
            let opening = Answering { link: Mutex::new(Some(link)) };
            Ok((Arc::new(opening) as Arc<dyn OpeningWire>, format!("answer {number}")))
        })
    }
}

/// The end that offered.
struct Offering {
    shared: Arc<Shared>,
    number: u64,
    seen: watch::Receiver<Option<Taken>>,
    answered: watch::Sender<bool>,
    local: Fingerprint,
    deadline: Instant,
}

impl OpeningWire for Offering {
    fn accept_answer(&self, answer: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async move {
            let number = self.seen.borrow().as_ref().map(|taken| taken.number);
            match number.is_some_and(|number| answer == format!("answer {number}")) {
                true if self.answered.send_replace(true) => Err(LinkError::Unexpected),
                true => Ok(()),
                false => Err(LinkError::Description("not the answer to this offer")),
            }
        })
    }

    fn add_candidate(&self, _: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async { Err(LinkError::Candidate) })
    }

    fn next_candidate(&self) -> Wait<'_, Option<String>> {
        Box::pin(async { None })
    }

    fn open(&self) -> Wait<'_, Result<Link, LinkError>> {
        Box::pin(async move {
            let mut answered = self.answered.subscribe();
            let opened = timeout_at(self.deadline, answered.wait_for(|answered| *answered)).await;
            if opened.map_err(|_| LinkError::TimedOut(OPEN_TIMEOUT))?.is_err() {
                return Err(LinkError::Failed);
            }
            let taken = self.seen.borrow().clone().ok_or(LinkError::Failed)?;
            Ok(Link::new(taken.pipe, self.local, taken.fingerprint, Side::Offered))
        })
    }
}

impl Drop for Offering {
    fn drop(&mut self) {
        self.shared.offers.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.number);
    }
}

/// The end that answered: open at once.
struct Answering {
    link: Mutex<Option<Link>>,
}

impl OpeningWire for Answering {
    fn accept_answer(&self, _: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async { Err(LinkError::Unexpected) })
    }

    fn add_candidate(&self, _: String) -> Wait<'_, Result<(), LinkError>> {
        Box::pin(async { Err(LinkError::Candidate) })
    }

    fn next_candidate(&self) -> Wait<'_, Option<String>> {
        Box::pin(async { None })
    }

    fn open(&self) -> Wait<'_, Result<Link, LinkError>> {
        Box::pin(
            async move { self.link.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(LinkError::Failed) },
        )
    }
}

/// Two pipes that carry into each other.
fn join() -> (Arc<Pipe>, Arc<Pipe>) {
    let (a, b) = (Arc::new(Pipe::default()), Arc::new(Pipe::default()));
    let ways = [Way::new(&a, &b), Way::new(&b, &a)];
    platform::spawn(carry(ways));
    (a, b)
}

/// One direction of a link.
struct Way {
    from: Arc<Pipe>,
    to: Arc<Pipe>,
    frame: Option<(Channel, BytesMut)>,
}

impl Way {
    fn new(from: &Arc<Pipe>, to: &Arc<Pipe>) -> Self {
        Way { from: Arc::clone(from), to: Arc::clone(to), frame: None }
    }

    /// Ready when the sending end is closed and all that it sent is delivered.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.from.task.register(cx.waker());
        let _ = self.to.poll_flush(cx);
        loop {
            if self.frame.is_none() {
                match self.from.poll_outbound() {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(None) => return Poll::Ready(()),
                    Poll::Ready(frame) => self.frame = frame,
                }
            }
            let (channel, length) = self.frame.as_ref().map_or((Channel::Ring, 0), |(c, bytes)| (*c, bytes.len()));
            if self.to.poll_deliver(cx, &mut self.frame).is_pending() {
                return match self.to.is_closed() {
                    true => Poll::Ready(()),
                    false => Poll::Pending,
                };
            }
            self.from.set_in_flight(channel, self.from.in_flight(channel).saturating_sub(length));
        }
    }
}

/// Carries in both directions until either end is closed. One task, so that whoever makes room at one end wakes both.
async fn carry(mut ways: [Way; 2]) {
    poll_fn(|cx| {
        let ended = ways.each_mut().map(|way| way.poll(cx).is_ready());
        match ended.contains(&true) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    for way in &ways {
        way.to.end(CloseReason::Peer);
    }
    poll_fn(|cx| {
        let told = ways.each_ref().map(|way| {
            way.to.task.register(cx.waker());
            way.to.poll_finish(cx).is_ready()
        });
        match told == [true; 2] {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::super::testing;
    use super::*;

    fn pair() -> (Transport, Transport) {
        let network = MemoryNetwork::new();
        (network.transport(), network.transport())
    }

    #[tokio::test]
    async fn both_channels_carry_both_ways() {
        testing::both_channels_carry_both_ways(pair()).await;
    }

    #[tokio::test]
    async fn a_full_channel_says_so_and_later_that_it_has_room() {
        testing::a_full_channel_says_so_and_later_that_it_has_room(pair()).await;
    }

    #[tokio::test]
    async fn messages_over_the_limit_are_refused() {
        testing::messages_over_the_limit_are_refused(pair()).await;
    }

    #[tokio::test]
    async fn a_close_is_noticed_after_what_came_before() {
        testing::a_close_is_noticed_after_what_came_before(pair()).await;
    }

    #[tokio::test]
    async fn the_frames_of_many_links_flow_into_one_queue() {
        testing::the_frames_of_many_links_flow_into_one_queue(pair()).await;
    }

    #[tokio::test]
    async fn a_link_closes_when_nobody_holds_it() {
        testing::a_link_closes_when_nobody_holds_it(pair()).await;
    }

    #[tokio::test]
    async fn an_offer_is_answered_once_and_garbage_never() {
        let (a, b) = pair();
        let (_opening, offer) = a.offer().await.unwrap();
        assert!(b.answer("offer 999").await.is_err());
        assert!(b.answer("nonsense").await.is_err());
        let (_answering, _answer) = b.answer(&offer).await.unwrap();
        assert!(b.answer(&offer).await.is_err(), "one offer was answered twice");
    }
}
