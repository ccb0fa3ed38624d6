//! The frames that are on their way.

use std::slice::from_ref;

use atoll::id::Id;
use atoll::wire::{Frame, Header, Message, kind};
use prefetch_index::prefetch_index;

use super::event::FrameAt;

/// Each stands in a place that is given to another once it has arrived: those used last are still in the caches.
#[derive(Debug, Default)]
pub(super) struct Frames {
    places: Vec<Frame>,
    /// The places that hold no frame but a [`nothing`].
    free: Vec<FrameAt>,
}

impl Frames {
    pub(super) fn put(&mut self, frame: Frame) -> FrameAt {
        match self.free.pop() {
            Some(at) => {
                self.places[at.0 as usize] = frame;
                at
            }
            None => {
                self.places.push(frame);
                FrameAt(self.places.len() as u32 - 1)
            }
        }
    }

    /// Takes a frame out, once.
    pub(super) fn take(&mut self, at: FrameAt) -> Frame {
        self.free.push(at);
        std::mem::replace(&mut self.places[at.0 as usize], nothing())
    }

    /// Has the caches fetch a frame.
    pub(super) fn prefetch(&self, at: FrameAt) {
        let frame = &self.places[at.0 as usize];
        prefetch_index(from_ref(&frame.header.dst), 0);
        prefetch_index(from_ref(&frame.message), 0);
    }

    /// Where a frame that has been fetched goes to.
    pub(super) fn target(&self, at: FrameAt) -> Id {
        self.places[at.0 as usize].header.target()
    }

    /// Has the caches fetch what a frame that has been fetched leads to.
    pub(super) fn prefetch_body(&self, at: FrameAt) {
        match &self.places[at.0 as usize].message {
            Message::Neighbours(neighbours) => {
                prefetch_index(&neighbours.ids, 0);
                prefetch_index(&neighbours.ids, neighbours.ids.len() / 2);
            }
            Message::Ring(view) => {
                prefetch_index(from_ref(&**view), 0);
                prefetch_index(from_ref(&view.successors), 0);
                // The end of the view.
                prefetch_index(from_ref(&**view), 1);
            }
            _ => {}
        }
    }

    /// Bytes that they take, with the room that is kept for more.
    pub(super) fn memory(&self) -> usize {
        self.places.capacity() * size_of::<Frame>() + self.free.capacity() * size_of::<FrameAt>()
    }
}

/// What stands in a free place.
fn nothing() -> Frame {
    Frame { header: Header::new(kind::PING, Id::default(), Id::default()), message: Message::Ping }
}
