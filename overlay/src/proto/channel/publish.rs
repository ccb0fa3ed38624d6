//! The application's side: joining, publishing, leaving.

use std::collections::VecDeque;
use std::time::Duration;

use super::super::timer::Time;
use super::super::{Answer, Output, Proto, Token};
use super::edge::GATHER_FOR;
use super::stream::Stream;
use super::tree::{Place, tree};
use super::{Channel, MAX_CHANNELS, Scene};
use crate::id::Id;
use crate::key::{Identity, Purpose, SIGNATURE_BYTES};
use crate::wire::{
    ChannelId, Envelope, Head, JoinRefusal, Label, MAX_PAYLOAD, MAX_SCOPE, Proof, Published, Terms, Tree, pass_bytes,
};

/// Messages that wait to be published on a channel at most.
const MAX_WAITING: usize = 1024;

/// Bytes of them at most.
const MAX_WAITING_BYTES: usize = 1 << 20;

/// While neighbours have so many bytes still to be sent, what is published waits.
const SEAL_BELOW: usize = 32 << 10;

/// While neighbours have so many bytes still to take, those on the way included, what is published waits for more, to go out together: they are
/// busy, and many messages under one signature cost them little more than one. No longer than [`GATHER_FOR`].
const GATHER_ABOVE: usize = 12 << 10;

/// How long a message waits to be published at most.
const PUBLISH_WITHIN: Duration = Duration::from_secs(30);

/// How long joining may take.
const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// How long leaving waits for the neighbours to take what is for them.
const LEAVE_WITHIN: Duration = Duration::from_secs(2);

/// What a node joins a channel with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Membership {
    /// The channel's terms.
    pub terms: Terms,
    /// The node's key pair, to sign what it publishes.
    pub identity: Identity,
    /// Of a private channel: the key pair that members share.
    pub gate: Option<Identity>,
}

/// Why a request about a channel came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// No place in the channel's tree was found in time, or nobody took what was to be published.
    #[error("no place in the channel's tree in time; the ring may be repairing itself, try again")]
    TimedOut,
    /// The nodes on the way to the root refuse.
    #[error(transparent)]
    Refused(#[from] JoinRefusal),
    /// The node takes part in too many channels.
    #[error("the node takes part in too many channels; at most {MAX_CHANNELS}")]
    TooMany,
    /// The node has joined this channel already.
    #[error("the node has joined this channel already")]
    Joined,
    /// The node has not joined this channel, or has left it.
    #[error("the node has not joined this channel")]
    NotJoined,
    /// The message is too large.
    #[error("the message is too large; a payload has at most {MAX_PAYLOAD} bytes, a scope {MAX_SCOPE}")]
    TooLarge,
    /// Scopes that begin with a zero byte are the channel's own.
    #[error("a scope does not begin with a zero byte")]
    Scope,
    /// The channel's secret is too short.
    #[error("the channel's secret is too short; at least 16 bytes, and random")]
    Secret,
    /// Too many messages wait to be published.
    #[error("too many messages wait to be published; at most {MAX_WAITING}")]
    Busy,
}

/// The application's place in a channel.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Member {
    membership: Membership,
    /// Of a private channel: shows others that this node may publish.
    pass: Option<[u8; SIGNATURE_BYTES]>,
    joining: Option<(Token, Time)>,
    leaving: Option<(Token, Time)>,
    /// Why a neighbour did not take the node, the last time.
    pub(super) refused: Option<JoinRefusal>,
    stream: u64,
    next: u64,
    /// Each with the time at which it has waited for too long.
    waiting: VecDeque<(Token, Published, Time)>,
    waiting_bytes: usize,
    /// Until when what waits is gathered, to go out together.
    gathers_until: Option<Time>,
}

impl Member {
    /// The number of its stream.
    pub(super) fn stream(&self) -> u64 {
        self.stream
    }

    /// Whether somebody speaks of what this node itself publishes.
    pub(super) fn is_own(&self, head: &Head) -> bool {
        head.publisher == self.membership.identity.id() && head.stream == self.stream
    }

    pub(super) fn due(&self) -> Option<Time> {
        let waiting = self.waiting.front().map(|&(_, _, until)| until);
        let moments = self.joining.iter().chain(&self.leaving).map(|&(_, until)| until);
        moments.chain(waiting).chain(self.gathers_until).min()
    }

    /// Whether what waits has been gathered for long enough.
    pub(super) fn has_gathered(&self, now: Time) -> bool {
        self.gathers_until.is_some_and(|until| until <= now)
    }
}

impl Channel {
    /// Shows that a member in this part of the tree wants the channel.
    pub(super) fn own_proof(&self, me: Id, now: Time) -> Option<Proof> {
        match self.member.as_ref().and_then(|member| member.membership.gate.as_ref()) {
            Some(gate) => Some(Proof::new(gate, self.id, me, now.0)),
            None => self.proof.clone(),
        }
    }

    pub(super) fn finish_joining(&mut self, result: Result<(), ChannelError>, scene: &mut Scene<'_>) {
        let Some(member) = self.member.as_mut() else { return };
        let Some((token, _)) = member.joining.take() else { return };
        scene.outputs.push_back(Output::Answer { token, answer: Answer::Joined(result) });
        if result.is_err() {
            self.drop_member(scene);
        }
    }

    /// The application is gone; what it still waits for fails.
    fn drop_member(&mut self, scene: &mut Scene<'_>) {
        let Some(member) = self.member.take() else { return };
        self.streams.values_mut().for_each(Stream::rest);
        if let Some((token, _)) = member.joining {
            let answer = Answer::Joined(Err(ChannelError::NotJoined));
            scene.outputs.push_back(Output::Answer { token, answer });
        }
        for (token, ..) in member.waiting {
            let answer = Answer::Published(Err(ChannelError::NotJoined));
            scene.outputs.push_back(Output::Answer { token, answer });
        }
        if let Some((token, _)) = member.leaving {
            scene.outputs.push_back(Output::Answer { token, answer: Answer::LeftChannel });
        }
    }

    /// Puts what waits into envelopes, as long as neighbours take them. Whether there was any.
    pub(super) fn publish_more(&mut self, scene: &mut Scene<'_>) -> bool {
        let (backlog, untaken) = (self.backlog(), self.untaken(scene.now));
        let Some(member) = self.member.as_mut() else { return false };
        if member.joining.is_some() {
            // Should it find no place, its messages would come to nobody.
            return false;
        }
        let count = Envelope::fit(member.waiting.iter().map(|(_, message, _)| message));
        let is_full = count < member.waiting.len();
        if count == 0 || backlog >= SEAL_BELOW {
            member.gathers_until = None;
            return false;
        }
        if !is_full && backlog + untaken >= GATHER_ABOVE && !member.has_gathered(scene.now) {
            member.gathers_until.get_or_insert(scene.now.after(GATHER_FOR));
            return false;
        }
        member.gathers_until = None;
        let (tokens, messages): (Vec<Token>, Vec<Published>) =
            member.waiting.drain(..count).map(|(token, message, _)| (token, message)).unzip();
        member.waiting_bytes -= messages.iter().map(size).sum::<usize>();
        let (stream, first) = (member.stream, member.next);
        member.next += count as u64;
        let label = Label { channel: self.id, stream, sent: scene.now.0, first, pass: member.pass };
        let envelope = Envelope::seal(&member.membership.identity, self.terms.signed, label, &messages);
        scene.stats.published += count as u64;
        self.take(envelope.into(), None, scene);
        for (number, token) in (first..).zip(tokens) {
            scene.outputs.push_back(Output::Answer { token, answer: Answer::Published(Ok(number)) });
        }
        true
    }

    /// The application leaves, when its neighbours have what is for them or have had their time. Whether it has left.
    pub(super) fn leave_when_done(&mut self, scene: &mut Scene<'_>) -> bool {
        let Some(member) = &self.member else { return false };
        let Some((_, until)) = member.leaving else { return false };
        let done = (member.waiting.is_empty() && self.backlog() == 0) || until <= scene.now;
        if done {
            self.drop_member(scene);
        }
        done
    }

    /// Messages that nobody has taken for too long.
    pub(super) fn end_late_messages(&mut self, scene: &mut Scene<'_>) {
        let Some(member) = self.member.as_mut() else { return };
        while let Some((token, message, _)) = member.waiting.pop_front_if(|(_, _, until)| *until <= scene.now) {
            member.waiting_bytes -= size(&message);
            let answer = Answer::Published(Err(ChannelError::TimedOut));
            scene.outputs.push_back(Output::Answer { token, answer });
        }
    }

    /// A join that has taken too long.
    pub(super) fn end_late_join(&mut self, scene: &mut Scene<'_>) {
        let Some(member) = &self.member else { return };
        if member.joining.is_some_and(|(_, until)| until <= scene.now) {
            let error = member.refused.map_or(ChannelError::TimedOut, ChannelError::Refused);
            self.finish_joining(Err(error), scene);
        }
    }
}

impl Proto {
    pub(in super::super) fn join_channel(&mut self, token: Token, membership: Membership, now: Time) {
        let id = membership.terms.id();
        let channels = self.channels.get_or_insert_default();
        let stays = |member: &Member| member.leaving.is_none();
        let fail = match channels.table.get(&id) {
            Some(channel) if channel.member.as_deref().is_some_and(stays) => Some(ChannelError::Joined),
            None if channels.table.len() >= MAX_CHANNELS => Some(ChannelError::TooMany),
            _ => None,
        };
        if let Some(error) = fail {
            return self.answer_channel(token, Answer::Joined(Err(error)));
        }
        let is_new = !channels.table.contains_key(&id);
        // One that is about to leave has left.
        self.with_channel(id, now, Channel::drop_member);
        let channels = self.channels.get_or_insert_default();
        let channel = channels.table.entry(id).or_insert_with(|| Channel::new(membership.terms.clone(), now).into());
        let me = membership.identity.id();
        let sign = |gate: &Identity| gate.sign(Purpose::Membership, &pass_bytes(id, me, now.0));
        let pass = membership.gate.as_ref().map(sign);
        let member = Member {
            membership,
            pass,
            joining: Some((token, now.after(JOIN_WITHIN))),
            leaving: None,
            refused: None,
            stream: now.0,
            next: 0,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            gathers_until: None,
        };
        channel.member = Some(Box::new(member));
        (channel.since, channel.idle_since) = (now, None);
        channel.streams.values_mut().for_each(|stream| stream.begin(0, now));
        if is_new {
            self.seek_place(id, now);
        } else {
            self.with_channel(id, now, |channel, scene| {
                if channel.is_attached() {
                    channel.finish_joining(Ok(()), scene);
                }
            });
        }
    }

    pub(in super::super) fn publish(&mut self, id: ChannelId, messages: Vec<(Token, Published)>, now: Time) {
        let is_member = |channel: &&mut Channel| channel.member.as_ref().is_some_and(|member| member.leaving.is_none());
        let Some(channel) = self.channel_mut(id).filter(is_member) else {
            for (token, _) in messages {
                self.answer_channel(token, Answer::Published(Err(ChannelError::NotJoined)));
            }
            return;
        };
        let mut refused = Vec::new();
        if let Some(member) = channel.member.as_mut() {
            for (token, message) in messages {
                let bytes = size(&message);
                if !message.fits() {
                    refused.push((token, ChannelError::TooLarge));
                } else if member.waiting.len() >= MAX_WAITING || member.waiting_bytes + bytes > MAX_WAITING_BYTES {
                    refused.push((token, ChannelError::Busy));
                } else {
                    member.waiting_bytes += bytes;
                    member.waiting.push_back((token, message, now.after(PUBLISH_WITHIN)));
                }
            }
        }
        for (token, error) in refused {
            self.answer_channel(token, Answer::Published(Err(error)));
        }
        self.with_channel(id, now, Channel::pump);
    }

    pub(in super::super) fn leave_channel(&mut self, token: Token, id: ChannelId, now: Time) {
        let member = self.channel_mut(id).and_then(|channel| channel.member.as_mut());
        match member.filter(|member| member.leaving.is_none()) {
            Some(member) => {
                member.leaving = Some((token, now.after(LEAVE_WITHIN)));
                if self.with_channel(id, now, Channel::leave_when_done) == Some(true) {
                    self.release_if_idle(id);
                }
            }
            None => self.answer_channel(token, Answer::LeftChannel),
        }
    }

    /// A node whose application has left, and that has no children, leaves the tree.
    pub(super) fn release_if_idle(&mut self, id: ChannelId) {
        let Some(channel) = self.channel(id) else { return };
        if channel.member.is_none() && channel.edges.iter().all(|edge| edge.is_parent) && !channel.is_root() {
            let parent = channel.edges.first().map(|edge| edge.link);
            let asked = if let Place::Joining { link, .. } = channel.place { Some(link) } else { None };
            for link in parent.into_iter().chain(asked) {
                self.send_on(link, tree(Tree::Leave { channel: id }));
            }
            self.forget_channel(id);
        }
    }

    fn answer_channel(&mut self, token: Token, answer: Answer) {
        self.outputs.push_back(Output::Answer { token, answer });
    }
}

/// Bytes that a message counts while it waits.
fn size(message: &Published) -> usize {
    message.scope.len() + message.payload.len() + size_of::<(Token, Published)>()
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{NOW, outputs};
    use super::super::super::{Config, Input};
    use super::*;

    fn answers(proto: &mut Proto) -> Vec<(u64, Answer)> {
        let answer = |output| match output {
            Output::Answer { token, answer } => Some((token.0, answer)),
            _ => None,
        };
        outputs(proto).into_iter().filter_map(answer).collect()
    }

    fn join(proto: &mut Proto, token: u64, terms: &Terms) {
        let membership = Membership { terms: terms.clone(), identity: Identity::generate(), gate: None };
        proto.handle(Input::JoinChannel { token: Token(token), membership: membership.into() }, NOW);
    }

    #[test]
    fn who_leaves_before_it_has_joined_has_an_answer_to_both() {
        // It knows no ring: it cannot find a place in the tree.
        let mut proto = Proto::new(Id::new(1), Config::default(), 1, NOW);
        let terms = Terms::new("news", false, None);
        let channel = terms.id();
        join(&mut proto, 1, &terms);
        proto.handle(Input::LeaveChannel { token: Token(2), channel }, NOW);
        let not_joined = || Answer::Joined(Err(ChannelError::NotJoined));
        assert_eq!(answers(&mut proto), [(1, not_joined()), (2, Answer::LeftChannel)]);

        // What it publishes waits for its place; it leaves, and joins anew.
        join(&mut proto, 3, &terms);
        let messages = vec![(Token(4), Published { scope: String::new(), payload: "first".into() })];
        proto.handle(Input::Publish { channel, messages }, NOW);
        assert_eq!(answers(&mut proto), []);
        proto.handle(Input::LeaveChannel { token: Token(5), channel }, NOW);
        join(&mut proto, 6, &terms);
        let answered: Vec<u64> = answers(&mut proto).into_iter().map(|(token, _)| token).collect();
        assert_eq!(answered, [3, 4, 5]);
    }
}
