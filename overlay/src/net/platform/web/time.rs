//! Timers on the browser's event loop.
//!
//! All of them share one `setTimeout`, set for the earliest: a session changes its timers with every packet, which is a change in a
//! table here, and a call into the browser only when the earliest one moves forward. A timer never fires before its time, though
//! browsers count in whole milliseconds.

use std::cell::RefCell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::small_map::SmallMap;
use futures::future::{Either, select};
use js_sys::{Function, Reflect};
use wasm_bindgen::closure::Closure;
use wasm_bindgen::{JsCast, JsValue};
use web_time::Instant;

/// The longest time that is asked of the browser, which takes some 24 days. What lasts longer is asked for again.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// Waits for so long.
pub(crate) fn sleep(duration: Duration) -> Sleep {
    sleep_until(Instant::now() + duration)
}

/// Waits until then.
pub(crate) fn sleep_until(deadline: Instant) -> Sleep {
    Sleep { deadline, key: None }
}

/// What the future gives, or an error after so long.
pub(crate) fn timeout<F: Future>(within: Duration, future: F) -> impl Future<Output = Result<F::Output, Elapsed>> {
    timeout_at(Instant::now() + within, future)
}

/// What the future gives, or an error at this moment.
pub(crate) async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    match select(pin!(future), sleep_until(deadline)).await {
        Either::Left((value, _)) => Ok(value),
        Either::Right(((), _)) => Err(Elapsed),
    }
}

/// The time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Elapsed;

/// A timer.
#[derive(Debug)]
pub(crate) struct Sleep {
    deadline: Instant,
    /// Its place in the table, while it waits.
    key: Option<Key>,
}

impl Sleep {
    /// Moves it to another time.
    pub(super) fn reset(&mut self, deadline: Instant) {
        let waker = self.key.take().and_then(|key| with(|timers| timers.waiting.remove(&key)));
        self.deadline = deadline;
        self.key = waker.map(|waker| with(|timers| timers.add(deadline, waker)));
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            if let Some(key) = self.key.take() {
                with(|timers| timers.waiting.remove(&key));
            }
            return Poll::Ready(());
        }
        let (key, deadline) = (self.key, self.deadline);
        self.key = Some(with(|timers| match key.and_then(|key| Some((key, timers.waiting.get_mut(&key)?))) {
            Some((key, waker)) => {
                waker.clone_from(cx.waker());
                key
            }
            None => timers.add(deadline, cx.waker().clone()),
        }));
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            with(|timers| timers.waiting.remove(&key));
        }
    }
}

/// When a timer fires, and a number that no other has.
type Key = (Instant, u64);

/// All timers that wait.
#[derive(Default)]
struct Timers {
    waiting: SmallMap<Key, Waker>,
    made: u64,
    alarm: Option<Alarm>,
}

impl Timers {
    fn add(&mut self, deadline: Instant, waker: Waker) -> Key {
        self.made += 1;
        let key = (deadline, self.made);
        self.waiting.insert(key, waker);
        self.arm(Instant::now());
        key
    }

    /// Has the browser call when the earliest is due. A call that comes too early, because that one is no more, does no harm.
    fn arm(&mut self, now: Instant) {
        let Some((&(earliest, _), _)) = self.waiting.first() else { return };
        self.alarm.get_or_insert_with(Alarm::new).set(earliest, now);
    }

    /// Takes the wakers of those that are due.
    fn due(&mut self, now: Instant) -> Vec<Waker> {
        let mut due = Vec::new();
        while let Some((&first, _)) = self.waiting.first().filter(|((at, _), _)| *at <= now) {
            due.extend(self.waiting.remove(&first));
        }
        due
    }
}

/// The one timer of the browser's that is used.
struct Alarm {
    set_timeout: Function,
    clear_timeout: Function,
    ring: Closure<dyn FnMut()>,
    /// For when it is set, and the browser's number for it.
    set: Option<(Instant, JsValue)>,
}

impl Alarm {
    fn new() -> Self {
        // Pages and workers have them, and nothing that runs WebAssembly with a network is without.
        let function = |name: &str| {
            let found = Reflect::get(&js_sys::global(), &name.into()).ok();
            found.and_then(|found| found.dyn_into().ok()).unwrap_or_else(|| Function::new_no_args(""))
        };
        let (set_timeout, clear_timeout) = (function("setTimeout"), function("clearTimeout"));
        Alarm { set_timeout, clear_timeout, ring: Closure::new(ring), set: None }
    }

    fn set(&mut self, at: Instant, now: Instant) {
        if self.set.as_ref().is_some_and(|(earlier, _)| *earlier <= at) {
            return;
        }
        if let Some((_, number)) = self.set.take() {
            let _ = self.clear_timeout.call1(&JsValue::UNDEFINED, &number);
        }
        let wait = at.saturating_duration_since(now).min(LONGEST);
        let milliseconds = wait.as_micros().div_ceil(1000) as f64;
        let number = self.set_timeout.call2(&JsValue::UNDEFINED, self.ring.as_ref(), &milliseconds.into());
        self.set = number.ok().map(|number| (at.min(now + LONGEST), number));
    }
}

/// Wakes those whose time has come.
fn ring() {
    let now = Instant::now();
    let due = with(|timers| {
        if let Some(alarm) = &mut timers.alarm {
            alarm.set = None;
        }
        let due = timers.due(now);
        timers.arm(now);
        due
    });
    due.into_iter().for_each(Waker::wake);
}

thread_local! {
    static TIMERS: RefCell<Timers> = RefCell::default();
}

/// Nothing is woken while the table is lent: only what is in it is changed.
fn with<T>(change: impl FnOnce(&mut Timers) -> T) -> T {
    TIMERS.with_borrow_mut(change)
}
