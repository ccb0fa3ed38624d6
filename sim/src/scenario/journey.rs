//! One lookup, watched at every node that it comes by.

use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use atoll::id::Id;
use atoll::proto::{Answer, Time};
use atoll::wire::{Message, TTL};

use crate::engine::{Fate, Happening, World};

/// Frames of one lookup at most: tries, hops and turns together are far fewer.
const MAX_FRAMES: usize = 4096;

/// A lookup that was watched.
#[derive(Clone, Debug)]
pub(super) struct Journey {
    pub(super) from: Id,
    pub(super) key: Id,
    /// What its nodes sent, in the order of time.
    pub(super) steps: Vec<Step>,
    /// How long it took, and the owner; `None` when no answer came.
    pub(super) answer: Option<(Duration, Id)>,
}

/// A node sent a frame of the lookup.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    /// Virtual time since the lookup began.
    pub(super) after: Duration,
    pub(super) node: Id,
    /// It is the answer, on its way back.
    pub(super) back: bool,
    /// Hops that the frame may still take.
    pub(super) ttl: u8,
    /// Nodes that it has turned back from, or comes by while it goes round a dead end.
    pub(super) trail: usize,
}

impl Step {
    /// Whoever looks the key up tries once (more).
    pub(super) fn is_try(&self) -> bool {
        !self.back && self.ttl == TTL - 1
    }
}

impl Journey {
    /// The nodes that the last try came by, the owner last.
    pub(super) fn path(&self) -> Vec<Id> {
        let there = || self.steps.iter().filter(|step| !step.back);
        let begun = there().collect::<Vec<_>>().iter().rposition(|step| step.is_try()).unwrap_or(0);
        let mut path: Vec<Id> = there().skip(begun).map(|step| step.node).collect();
        if let Some((_, owner)) = self.answer
            && path.last() != Some(&owner)
        {
            path.push(owner);
        }
        path
    }
}

/// Has a node look a key up, and watches. `patience`: how long an answer is waited for.
pub(super) fn follow(world: &mut World, from: usize, key: Id, patience: Duration) -> Journey {
    let asking = world.nodes[from].proto.id();
    let began = world.now();
    let mut journey = Journey { from: asking, key, steps: Vec::new(), answer: None };
    let sent = watch(world, asking, key);
    world.watch.answers = true;
    world.happened.clear();
    world.lookup(from, 0, key);
    let end = began.after(patience);
    loop {
        journey.note(world, began, &sent);
        if journey.answer.is_some() || !world.step_until(end) {
            break;
        }
    }
    world.sabotage = None;
    world.watch.answers = false;
    journey
}

impl Journey {
    fn note(&mut self, world: &mut World, began: Time, sent: &Receiver<(usize, bool, u8, usize)>) {
        let after = world.now().since(began);
        for (at, back, ttl, trail) in sent.try_iter() {
            let node = world.nodes[at].proto.id();
            self.steps.push(Step { after, node, back, ttl, trail });
        }
        for (at, happening) in world.happened.drain(..) {
            if let Happening::Answer { answer: Answer::Lookup(answer), .. } = happening {
                self.answer = answer.ok().map(|owner| (at.since(began), owner.id));
            }
        }
    }
}

/// Tells of every frame of this lookup that a node sends: its index, whether it is the answer, hops left, and the trail's length.
fn watch(world: &mut World, asking: Id, key: Id) -> Receiver<(usize, bool, u8, usize)> {
    let (told, heard) = sync_channel(MAX_FRAMES);
    let mut request = None;
    world.sabotage = Some(Box::new(move |at, frame| {
        let header = &frame.header;
        let back = match &frame.message {
            Message::Find(number) if header.src == asking && header.dst == key => {
                request = Some(*number);
                false
            }
            Message::Found(found) if header.dst == asking && Some(found.request) == request => true,
            _ => return Fate::Goes,
        };
        // Beyond the bound the picture is incomplete, and the lookup goes on.
        let _ = told.try_send((at, back, header.ttl, header.trail.len()));
        Fate::Goes
    }));
    heard
}
