//! Links that fall silent: a killed process or a closed tab sends no farewell.

use std::time::Duration;

use super::failed::Verdict;
use super::links::LinkId;
use super::timer::{Time, Timer};
use super::{LookupError, Proto};
use crate::wire::{Message, Role};

impl Proto {
    /// Asks silent peers for a sign of life, avoids those silent for longer, and gives up the dead.
    pub(super) fn on_heartbeat_timer(&mut self, now: Time) {
        let config = self.config.clone();
        let (mut silent, mut dead) = (Vec::new(), Vec::new());
        for link in self.links.iter_mut().filter(|link| link.is_open()) {
            let silence = now.since(link.time);
            if silence >= config.dead_after {
                dead.push((link.id, link.peer));
            } else if silence >= config.heartbeat_every / 2 {
                link.suspect = silence >= config.suspect_after;
                silent.push(link.id);
            }
        }
        for link in silent {
            self.send_on(link, Message::Ping);
        }
        for (link, peer) in dead {
            self.stats.dead += 1;
            self.failed.insert(peer, Verdict::Gone, config.failed_for, now);
            self.close_dead(link, now);
            self.fail_traces_to(peer, LookupError::NoWay);
        }
        self.ask_strangers();
        if self.links.open().next().is_some() {
            self.timers.set(Timer::Heartbeat, now.after(config.heartbeat_every));
        }
    }

    /// Asks the peers that have not said that they are members: what was told once may have been lost.
    pub(super) fn ask_strangers(&mut self) {
        let strangers = self.links.open().filter(|link| link.role == Role::Member && !link.member);
        for link in strangers.map(|link| link.id).collect::<Vec<_>>() {
            self.send_on(link, Message::AskRing);
        }
    }

    /// A peer acts as if a link were gone: give it a moment to show the opposite.
    pub(super) fn probe(&mut self, link: LinkId, now: Time) {
        const ANSWER_WITHIN: Duration = Duration::from_secs(1);
        if self.config.heartbeat_every.is_zero() {
            return;
        }
        let latest =
            Time(now.0.saturating_sub(self.config.dead_after.saturating_sub(ANSWER_WITHIN).as_micros() as u64));
        if let Some(link) = self.links.get_mut(link) {
            link.time = link.time.min(latest);
            link.suspect = true;
        }
        self.send_on(link, Message::Ping);
        self.timers.at_latest(Timer::Heartbeat, now.after(ANSWER_WITHIN));
    }
}
