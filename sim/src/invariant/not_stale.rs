//! On a ring whose members do not change, a read that follows an acknowledged writing gives what was written, from whatever node.
//!
//! Atoll's own promise: see `docs/storage.md`.

use atoll::proto::Answer;
use atoll::record::Record;

use super::Broken;

/// The name.
pub const NAME: &str = "not-stale";

/// What a node read after `record` was acknowledged.
///
/// # Errors
///
/// When it is what was there before, or nothing.
pub fn check(record: &Record, answer: Option<&Answer>) -> Result<(), Broken> {
    match answer {
        Some(Answer::Get(Ok(Some(found)))) if **found == *record => Ok(()),
        other => {
            let what =
                format!("number {} of {} was acknowledged, then read: {other:?}", record.sequence(), record.key());
            Err(Broken::new(NAME, what))
        }
    }
}
