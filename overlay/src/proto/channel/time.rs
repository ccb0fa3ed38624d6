//! What channels do as time passes.

use std::time::Duration;

use super::super::timer::{Time, Timer};
use super::super::{LinkId, Proto};
use super::edge::{ASK_AGAIN, GIVE_UP_AFTER};
use super::receive::FORGET_AFTER;
use super::tree::{Alarm, BEAT_EVERY, DEAD_AFTER, LATE_AFTER, Place, tree};
use super::{Channel, Scene};
use crate::wire::{ChannelId, Join, Tree};

/// A node that nobody needs in the tree of a channel leaves it after so long; at once, where it has no messages that somebody may yet miss.
const IDLE_AFTER: Duration = Duration::from_secs(5);

/// How often a newer proof of membership is shown to the parent.
const SHOW_EVERY: Duration = Duration::from_secs(200);

/// How often what is old is dropped.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// The shortest wait.
const SHORTEST: Duration = Duration::from_millis(1);

/// What the ring has to do for a channel.
enum Need {
    Nothing,
    /// A place in the tree.
    Seek,
    /// A place, not through this neighbour.
    Another(LinkId),
    /// To know whether the parent lives.
    Probe(LinkId),
    /// To know whether it has answered.
    Judge(LinkId),
    /// To check whether this node is still the root.
    Check,
}

impl Channel {
    /// The next moment at which something is to be done.
    fn due(&self) -> Time {
        let place = match &self.place {
            Place::Detached { retry } => self.is_needed().then_some(*retry),
            Place::Joining { until, .. } => Some(*until),
            Place::Root { beat } => Some(beat.after(BEAT_EVERY)),
            Place::Attached { beat, .. } => match self.alarm {
                Alarm::None => Some(beat.after(LATE_AFTER)),
                Alarm::Asked => Some(beat.after(DEAD_AFTER)),
                Alarm::Off => self.lost_at(),
            },
        };
        let edges = self.edges.iter().filter_map(|edge| match (edge.stuck_since, edge.slow) {
            (Some(since), false) => Some(since.after(edge.patience())),
            (Some(since), true) => Some(since.after(GIVE_UP_AFTER)),
            (None, _) if edge.greeted && !edge.ready => Some(edge.since.after(ASK_AGAIN)),
            (None, _) => None,
        });
        let streams = self.streams.values().filter_map(|stream| stream.due());
        let idle = self.idle_until();
        let member = self.member.as_ref().and_then(|member| member.due());
        let rest = [place, idle, member, Some(self.tidied.after(TIDY_EVERY))];
        rest.into_iter().flatten().chain(edges).chain(streams).min().unwrap_or(self.tidied)
    }

    pub(super) fn is_needed(&self) -> bool {
        self.member.is_some() || self.edges.iter().any(|edge| !edge.is_parent)
    }

    /// A neighbour has left: maybe it was the last that needed this node.
    pub(super) fn note_idle(&mut self, now: Time) {
        self.idle_since = if self.is_needed() { None } else { self.idle_since.or(Some(now)) };
    }

    /// How long the node stays in the tree, where nobody needs it.
    fn idle_until(&self) -> Option<Time> {
        let patience = if self.log.is_empty() { Duration::ZERO } else { IDLE_AFTER };
        self.idle_since.map(|since| since.after(patience))
    }

    fn act(&mut self, scene: &mut Scene<'_>) -> Need {
        let now = scene.now;
        self.give_up_gaps(scene);
        self.look_at_edges(scene);
        self.end_late_join(scene);
        self.end_late_messages(scene);
        if self.member.as_ref().is_some_and(|member| member.has_gathered(now)) {
            self.pump(scene);
        }
        self.leave_when_done(scene);
        if self.tidied.after(TIDY_EVERY) <= now {
            self.tidy(scene);
        }
        self.note_idle(now);
        match &self.place {
            Place::Detached { retry } if *retry <= now && self.is_needed() => Need::Seek,
            Place::Joining { link, until, .. } if *until <= now => {
                let link = *link;
                self.detach(scene);
                Need::Another(link)
            }
            Place::Root { beat } if beat.after(BEAT_EVERY) <= now => Need::Check,
            Place::Attached { beat, .. } => {
                let parent = self.edges.iter().find(|edge| edge.is_parent).map(|edge| edge.link);
                let (Some(lost), Some(parent)) = (self.lost_at(), parent) else { return Need::Seek };
                if lost <= now {
                    self.detach(scene);
                    Need::Another(parent)
                } else if self.alarm == Alarm::None && beat.after(LATE_AFTER) <= now {
                    self.alarm = Alarm::Asked;
                    Need::Probe(parent)
                } else if self.alarm == Alarm::Asked && beat.after(DEAD_AFTER) <= now {
                    self.alarm = Alarm::Off;
                    Need::Judge(parent)
                } else {
                    Need::Nothing
                }
            }
            _ => Need::Nothing,
        }
    }

    fn give_up_gaps(&mut self, scene: &mut Scene<'_>) {
        if self.member.is_none() {
            return;
        }
        let late: Vec<_> = self
            .streams
            .iter()
            .filter(|(_, stream)| stream.due().is_some_and(|due| due <= scene.now))
            .map(|(name, _)| *name)
            .collect();
        for name in late {
            let due = self.streams.get_mut(&name).map(|stream| stream.give_up(scene.now));
            self.deliver(name.0, due.unwrap_or_default(), scene);
        }
    }

    fn look_at_edges(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now;
        let mut at = 0;
        let mut changed = false;
        while at < self.edges.len() {
            let edge = &mut self.edges[at];
            match edge.stuck_since {
                Some(since) if since.after(GIVE_UP_AFTER) <= now && !edge.is_parent => {
                    let edge = self.edges.remove(at);
                    scene.tell(edge.link, edge.peer, Tree::Drop { channel: self.id, attempt: edge.attempt });
                    changed = true;
                    continue;
                }
                Some(since) if since.after(GIVE_UP_AFTER) <= now => {
                    self.detach(scene);
                    continue;
                }
                Some(since) if since.after(edge.patience()) <= now && !edge.slow => {
                    edge.slow = true;
                    changed = true;
                }
                None if edge.greeted && !edge.ready && edge.since.after(ASK_AGAIN) <= now => {
                    edge.since = now;
                    self.greet(at, true, scene);
                }
                _ => {}
            }
            at += 1;
        }
        if changed {
            self.pump(scene);
        }
    }

    /// Drops what is old, and shows a newer proof of membership.
    fn tidy(&mut self, scene: &mut Scene<'_>) {
        let now = scene.now;
        self.tidied = now;
        self.log.expire(now);
        let own = self.member.as_ref().map(|member| member.stream());
        self.streams.retain(|&(publisher, number), stream| {
            (publisher == scene.me && Some(number) == own) || now.since(stream.heard) < FORGET_AFTER
        });
        if self.terms.gate.is_some() && now.since(self.shown) >= SHOW_EVERY {
            self.shown = now;
            let (proof, lost) = (self.own_proof(scene.me, now), Vec::new());
            if let Some(edge) = self.edges.iter().find(|edge| edge.is_parent) {
                scene.tell(
                    edge.link,
                    edge.peer,
                    Tree::Join(Join { terms: self.terms.clone(), attempt: edge.attempt, proof, lost }),
                );
            }
        }
    }
}

impl Proto {
    pub(in super::super) fn on_channel_timer(&mut self, now: Time) {
        let Some(channels) = &self.channels else { return };
        let due: Vec<ChannelId> =
            channels.table.iter().filter(|(_, channel)| channel.due() <= now).map(|(&id, _)| id).collect();
        for id in due {
            match self.with_channel(id, now, Channel::act).unwrap_or(Need::Nothing) {
                Need::Nothing => {}
                Need::Seek => self.seek_place(id, now),
                Need::Another(link) => self.try_another(id, link, now),
                Need::Probe(link) => self.probe_parent(id, link, now),
                Need::Judge(link) => self.judge_parent(id, link, now),
                Need::Check if self.is_root_of(id, now) => {
                    self.with_channel(id, now, |channel, scene| {
                        channel.place = Place::Root { beat: now };
                        channel.send_beats(scene);
                    });
                }
                Need::Check => self.seek_place(id, now),
            }
            self.forget_if_idle(id, now);
        }
        let Some(channels) = &self.channels else { return };
        match channels.table.values().map(|channel| channel.due()).min() {
            Some(next) => self.timers.set(Timer::Channel, next.max(now.after(SHORTEST))),
            None => self.timers.stop(Timer::Channel),
        }
    }

    /// After something happened to a channel.
    pub(super) fn set_channel_timer(&mut self, id: ChannelId, now: Time) {
        if let Some(due) = self.channel(id).map(Channel::due) {
            self.timers.at_latest(Timer::Channel, due.max(now.after(SHORTEST)));
        }
    }

    /// A parent whose beat is late, and that has said nothing else since, is asked for a sign of life.
    fn probe_parent(&mut self, id: ChannelId, link: LinkId, now: Time) {
        let silent = self.links.seat_of(link).is_some_and(|seat| now.since(seat.heard_at) >= BEAT_EVERY / 2);
        if silent {
            self.probe(link, now);
        }
        if self.is_root_of(id, now) {
            self.with_channel(id, now, Channel::become_root);
        }
    }

    /// A parent that gave no sign of life is left; the ring itself may need longer to give it up.
    fn judge_parent(&mut self, id: ChannelId, link: LinkId, now: Time) {
        if self.config.heartbeat_every.is_zero() {
            return;
        }
        let Some(parent) = self.links.seat_of(link).filter(|seat| now.since(seat.heard_at) >= BEAT_EVERY / 2) else {
            return;
        };
        let peer = parent.peer;
        self.with_channel(id, now, |channel, scene| {
            channel.detach(scene);
            channel.lose(peer);
        });
        self.try_another(id, link, now);
    }

    fn forget_if_idle(&mut self, id: ChannelId, now: Time) {
        let Some(channel) = self.channel(id) else { return };
        if channel.idle_until().is_none_or(|until| until > now) {
            return;
        }
        for link in channel.edges.iter().map(|edge| edge.link).collect::<Vec<_>>() {
            self.send_on(link, tree(Tree::Leave { channel: id }));
        }
        self.forget_channel(id);
    }
}
