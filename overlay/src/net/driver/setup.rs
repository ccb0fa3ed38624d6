//! Sets one link up: from the agreement of both ends to a link whose other end has proved who it is.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::Event;
use crate::id::Id;
use crate::key::Identity;
use crate::net::link::hello::{self, HelloError, HelloSettings, Peer};
use crate::net::link::{Link, LinkError, MAX_CANDIDATES, Opening, Transport, is_candidate};
use crate::proto::LinkId;

/// Descriptions from the other end that wait to be looked at, at most: an offer or an answer, and candidates.
pub(super) const MAX_DESCRIPTIONS: usize = 16;

/// Why a link did not come up.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Hello(#[from] HelloError),
    #[error("the peer sent no offer")]
    NoOffer,
}

/// What it takes to set a link up.
pub(super) struct Setup {
    pub(super) link: LinkId,
    pub(super) peer: Id,
    /// Whether this side makes the offer.
    pub(super) offers: bool,
    pub(super) transport: Transport,
    pub(super) identity: Arc<Identity>,
    pub(super) hello: Arc<HelloSettings>,
    /// What the other end says.
    pub(super) descriptions: mpsc::Receiver<String>,
    /// What this end says, and how it ends.
    pub(super) events: mpsc::Sender<Event>,
}

impl Setup {
    /// Runs to the end, and tells the driver how it was. Dropped half-way it leaves nothing behind.
    pub(super) async fn run(mut self) {
        let result = self.open().await;
        let _ = self.events.send(Event::SetUp { link: self.link, result }).await;
    }

    async fn open(&mut self) -> Result<(Link, Peer), SetupError> {
        let opening = if self.offers {
            let (opening, offer) = self.transport.offer().await?;
            self.describe(offer).await;
            opening
        } else {
            let (offer, early) = self.offer().await.ok_or(SetupError::NoOffer)?;
            let (opening, answer) = self.transport.answer(&offer).await?;
            self.describe(answer).await;
            for candidate in early {
                let _ = opening.accept(&candidate).await;
            }
            opening
        };
        let mut link = self.exchange(&opening).await?;
        let peer = hello::greet(&mut link, &self.identity, &self.hello, Some(self.peer)).await?;
        Ok((link, peer))
    }

    /// The offer of the other end, and the candidates that overtook it on the way.
    async fn offer(&mut self) -> Option<(String, Vec<String>)> {
        let mut early = Vec::new();
        loop {
            match self.descriptions.recv().await? {
                candidate if is_candidate(&candidate) && early.len() < MAX_CANDIDATES => early.push(candidate),
                offer => return Some((offer, early)),
            }
        }
    }

    /// Carries descriptions to and fro until the link is open.
    async fn exchange(&mut self, opening: &Opening) -> Result<Link, LinkError> {
        let open = opening.open();
        tokio::pin!(open);
        let mut gathering = true;
        loop {
            tokio::select! {
                biased;
                link = &mut open => return link,
                Some(description) = self.descriptions.recv() => {
                    // A bad candidate costs a candidate, a bad answer the time limit: nothing that a hop sends ends an attempt.
                    if let Err(error) = opening.accept(&description).await {
                        tracing::debug!(peer = %self.peer, %error, "a description was refused");
                    }
                }
                candidate = opening.next_candidate(), if gathering => match candidate {
                    Some(candidate) => self.describe(candidate).await,
                    None => gathering = false,
                },
            }
        }
    }

    async fn describe(&self, description: String) {
        let _ = self.events.send(Event::Describe { link: self.link, description }).await;
    }
}
