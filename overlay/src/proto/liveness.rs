//! Links that fall silent: a killed process or a closed tab sends no farewell.

use std::time::Duration;

use super::failed::Verdict;
use super::links::LinkId;
use super::timer::{Time, Timer};
use super::{LookupError, Proto};
use crate::wire::{Message, Role};

/// How long a peer that is believed to be gone has to show the opposite.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

impl Proto {
    /// Asks silent peers for a sign of life, avoids those silent for longer, and gives up the dead.
    pub(super) fn on_heartbeat_timer(&mut self, now: Time) {
        let config = self.config.clone();
        let (mut silent, mut dead) = (Vec::new(), Vec::new());
        for seat in self.links.open() {
            let silence = now.since(seat.heard_at);
            if silence >= config.dead_after {
                dead.push((seat.link, seat.peer));
            } else if silence >= config.heartbeat_every / 2 {
                silent.push((seat.link, silence >= config.suspect_after));
            }
        }
        for (link, suspect) in silent {
            self.links.update(link, |link| link.suspect = suspect);
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
        let strangers = self.links.open().filter(|seat| seat.role() == Role::Member && !seat.is_member());
        for link in strangers.map(|seat| seat.link).collect::<Vec<_>>() {
            self.send_on(link, Message::AskRing);
        }
    }

    /// A peer acts as if a link were gone: give it a moment to show the opposite.
    pub(super) fn probe(&mut self, link: LinkId, now: Time) {
        let last_chance = self.last_chance(now);
        self.ask_for_life(link, |heard| heard.min(last_chance), now);
    }

    /// Any link may be gone, and this node may not have listened for a while: it takes up what it has missed first.
    pub(super) fn probe_all(&mut self, now: Time) {
        let last_chance = self.last_chance(now);
        for link in self.links.open().map(|seat| seat.link).collect::<Vec<_>>() {
            self.ask_for_life(link, |_| last_chance, now);
        }
    }

    fn ask_for_life(&mut self, link: LinkId, heard: impl FnOnce(Time) -> Time, now: Time) {
        if self.config.heartbeat_every.is_zero() {
            return;
        }
        if let Some(seat) = self.links.seat_mut(link) {
            seat.heard_at = heard(seat.heard_at);
        }
        self.links.update(link, |link| link.suspect = true);
        self.send_on(link, Message::Ping);
        self.timers.at_latest(Timer::Heartbeat, now.after(ANSWER_WITHIN));
    }

    /// When a peer was heard that has to show a sign of life now.
    fn last_chance(&self, now: Time) -> Time {
        let silence = self.config.dead_after.saturating_sub(ANSWER_WITHIN);
        Time(now.0.saturating_sub(silence.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Id;
    use crate::proto::testing::{NOW, asks, connecting, outputs};
    use crate::proto::{Config, Input, Output};
    use crate::wire::{Frame, Header, Purpose};

    /// A member with links to two others.
    fn member_of_three() -> (Proto, LinkId, LinkId) {
        let mut proto = Proto::new(Id::new(1), Config::with_links(6), 1, NOW);
        proto.handle(Input::Members { found: true, members: Vec::new() }, NOW);
        let mut link = |peer| {
            asks(&mut proto, Id::new(peer), 1, Purpose::Ring);
            let link = connecting(&mut proto);
            proto.handle(Input::LinkUp { link, role: Role::Member }, NOW);
            link
        };
        let links = (link(2), link(3));
        outputs(&mut proto);
        (proto, links.0, links.1)
    }

    fn closed(outputs: &[Output]) -> Vec<LinkId> {
        outputs
            .iter()
            .filter_map(|output| if let Output::Close { link } = output { Some(*link) } else { None })
            .collect()
    }

    #[test]
    fn after_a_sleep_each_peer_gets_a_second_and_only_who_is_silent_is_given_up() {
        let (mut proto, alive, gone) = member_of_three();
        let woken = NOW.after(Duration::from_secs(3600));
        proto.handle(Input::NetworkChanged, woken);
        let asked = outputs(&mut proto);
        assert_eq!(closed(&asked), []);
        let pinged = |link: LinkId| {
            asked.iter().any(|output| {
                matches!(output, Output::Send { link: on, frame } if *on == link && frame.message == Message::Ping)
            })
        };
        assert!(pinged(alive) && pinged(gone), "{asked:?}");
        proto.handle_timeout(woken);
        assert_eq!(closed(&outputs(&mut proto)), [], "the time of the sleep does not count as silence");
        let frame = Frame { header: Header::new(Message::Pong.kind(), Id::new(2), proto.id()), message: Message::Pong };
        proto.handle(Input::Frame { link: alive, frame }, woken.after(Duration::from_millis(500)));
        proto.handle_timeout(woken.after(ANSWER_WITHIN));
        assert_eq!(closed(&outputs(&mut proto)), [gone]);
    }
}
