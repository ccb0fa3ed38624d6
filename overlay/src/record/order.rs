//! Which of two records under one key counts. All nodes come to the same answer, in whatever order the records reach them.

use super::{Content, Kind, Record, Scope, Seconds};

/// What a record is to another one under the same key that is held already.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judgement {
    /// It takes the other's place.
    Newer,
    /// It is the same.
    Same,
    /// The other stays.
    Older,
    /// The other is a living claim of somebody else.
    Taken,
}

impl Record {
    /// What this record is to `held`, which has the same key.
    ///
    /// `merging`: both have been stored already, at nodes that did not know of each other, so of two living claims the one that says to be
    /// older stays. Otherwise whoever holds a name keeps it, whatever the other says.
    pub fn judge(&self, held: &Record, merging: bool, now: Seconds) -> Judgement {
        if self == held {
            return Judgement::Same;
        }
        let newer = match (&self.0, &held.0) {
            (Kind::Value { expires, .. }, Kind::Value { expires: other, .. }) => expires > other,
            (
                Kind::Signed { content: ours, signature: our_signature },
                Kind::Signed { content: theirs, signature: their_signature },
            ) => {
                if ours.writer != theirs.writer {
                    return between_claims(ours, theirs, merging, now);
                }
                // A writer that signs two of one number gets one of them, the same everywhere.
                let rank = |content: &Content| (content.sequence, content.expires);
                (rank(ours), our_signature) > (rank(theirs), their_signature)
            }
            // Never under the same key.
            _ => false,
        };
        if newer { Judgement::Newer } else { Judgement::Older }
    }
}

fn between_claims(ours: &Content, theirs: &Content, merging: bool, now: Seconds) -> Judgement {
    let lives = |content: &Content| content.expires > now && content.value.is_some();
    let since = |content: &Content| match content.scope {
        Scope::Claim { since } => (since, content.writer),
        Scope::Entry => (content.expires, content.writer),
    };
    match (lives(ours), lives(theirs)) {
        (false, _) => Judgement::Older,
        (true, false) => Judgement::Newer,
        (true, true) if merging && since(ours) < since(theirs) => Judgement::Newer,
        (true, true) => Judgement::Taken,
    }
}
