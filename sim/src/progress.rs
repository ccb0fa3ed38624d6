//! How far a run has come, told on standard error, and how it is asked to stop.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// What shells report for Ctrl-C.
pub const EXIT_INTERRUPTED: u8 = 130;

/// How often a plain line tells the progress.
const LINE_EVERY: Duration = Duration::from_secs(3);

/// How often the bar is drawn.
const BAR_EVERY: Duration = Duration::from_millis(200);

/// Somebody wants the run to end: it is to give what it has measured so far.
static STOP: AtomicBool = AtomicBool::new(false);

/// Has the first Ctrl-C ask the run to end, and the second end the process at once.
///
/// # Errors
///
/// When the process has a handler already, or may not have one.
pub fn stop_on_ctrl_c() -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            std::process::exit(EXIT_INTERRUPTED.into());
        }
        eprintln!("\nending with what was measured so far; press Ctrl-C again to end at once");
    })
}

/// How progress is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Telling {
    /// Not at all.
    #[default]
    Silent,
    /// A bar that is drawn over and over.
    Bar,
    /// A line every few seconds.
    Lines,
}

impl Telling {
    /// A bar for people, lines where they are asked for, silence for programs.
    pub fn fitting(asked_for: bool, quiet: bool) -> Self {
        match (std::io::stderr().is_terminal(), asked_for) {
            (true, _) if !quiet || asked_for => Telling::Bar,
            (_, true) => Telling::Lines,
            _ => Telling::Silent,
        }
    }
}

/// The state of one run, shared by all its threads.
#[derive(Debug)]
pub struct Progress {
    telling: Telling,
    bar: ProgressBar,
    began: Instant,
    work: AtomicU64,
    done: AtomicU64,
    events: AtomicU64,
    told: Mutex<Instant>,
    stop: &'static AtomicBool,
}

impl Progress {
    /// The progress of a run that begins now, told in this way.
    pub fn new(telling: Telling) -> Self {
        Progress::stopped_by(telling, &STOP)
    }

    fn stopped_by(telling: Telling, stop: &'static AtomicBool) -> Self {
        let bar = match telling {
            Telling::Bar => ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()),
            _ => ProgressBar::hidden(),
        };
        let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {elapsed} gone, {eta} left");
        bar.set_style(style.expect("the template is well formed"));
        let now = Instant::now();
        Progress {
            telling,
            bar,
            began: now,
            work: AtomicU64::new(0),
            done: AtomicU64::new(0),
            events: AtomicU64::new(0),
            told: Mutex::new(now),
            stop,
        }
    }

    /// There is so much more to do, in a unit of the run's own: lookups, or virtual milliseconds.
    pub fn expect(&self, work: u64) {
        let work = work + self.work.fetch_add(work, Ordering::Relaxed);
        self.bar.set_length(work);
    }

    /// So much of it is done, and so many events happened meanwhile.
    pub fn did(&self, work: u64, events: u64) {
        self.done.fetch_add(work, Ordering::Relaxed);
        self.events.fetch_add(events, Ordering::Relaxed);
        self.tell();
    }

    /// Whether the run has been asked to end. It then gives what it has measured so far.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Events so far.
    pub fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Real time so far.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Clears the bar.
    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    fn tell(&self) {
        if self.telling == Telling::Silent {
            return;
        }
        let every = if self.telling == Telling::Bar { BAR_EVERY } else { LINE_EVERY };
        // Whoever does not get the lock at once leaves it to the thread that has it.
        let Ok(mut told) = self.told.try_lock() else { return };
        if told.elapsed() < every {
            return;
        }
        *told = Instant::now();
        let (done, work) = (self.done.load(Ordering::Relaxed), self.work.load(Ordering::Relaxed));
        let rate = events_per_second(self.events(), self.elapsed());
        match self.telling {
            Telling::Bar => {
                self.bar.set_message(rate);
                self.bar.set_position(done.min(work));
            }
            _ => eprintln!("{}", line(done, work, &rate, self.elapsed())),
        }
    }
}

fn line(done: u64, work: u64, rate: &str, elapsed: Duration) -> String {
    let share = if work == 0 { 0.0 } else { done.min(work) as f64 / work as f64 };
    let left = match share {
        0.0 => "unknown time".to_owned(),
        share => seconds(elapsed.as_secs_f64() * (1.0 / share - 1.0)),
    };
    format!("{:.0} % done, {rate}, {} gone, {left} left", 100.0 * share, seconds(elapsed.as_secs_f64()))
}

fn events_per_second(events: u64, elapsed: Duration) -> String {
    match events as f64 / elapsed.as_secs_f64().max(1e-3) {
        rate if rate >= 1e6 => format!("{:.2} million events/s", rate / 1e6),
        rate => format!("{rate:.0} events/s"),
    }
}

fn seconds(seconds: f64) -> String {
    match seconds.round() as u64 {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_share_the_rate_and_the_time_left() {
        let rate = events_per_second(2_500_000, Duration::from_secs(1));
        let told = line(25, 100, &rate, Duration::from_secs(30));
        assert_eq!(told, "25 % done, 2.50 million events/s, 30 s gone, 1 min 30 s left");
        assert_eq!(line(0, 0, "0 events/s", Duration::ZERO), "0 % done, 0 events/s, 0 s gone, unknown time left");
    }

    #[test]
    fn a_run_that_is_asked_to_end_is_told_so() {
        static ASKED: AtomicBool = AtomicBool::new(false);
        let progress = Progress::stopped_by(Telling::Silent, &ASKED);
        progress.expect(10);
        progress.did(4, 100);
        assert!(!progress.is_stopped());
        ASKED.store(true, Ordering::Relaxed);
        assert!(progress.is_stopped());
        assert_eq!(progress.events(), 100);
    }
}
