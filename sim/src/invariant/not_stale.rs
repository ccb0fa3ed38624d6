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

#[cfg(test)]
mod tests {
    use atoll::proto::StoreError;
    use atoll::record::Seconds;

    use super::*;

    #[test]
    fn only_what_was_written_is_fresh() {
        let identity = crate::scenario::identity(0);
        let entry =
            |sequence| Record::entry(&identity, "a", sequence, Seconds(3600), Some("x".into())).expect("an entry");
        let found = |sequence| Some(Answer::Get(Ok(Some(Box::new(entry(sequence))))));
        assert_eq!(check(&entry(2), found(2).as_ref()), Ok(()));
        let absent = Some(Answer::Get(Ok(None)));
        let failed = Some(Answer::Get(Err(StoreError::TimedOut)));
        for answer in [found(1), found(3), absent, failed, None] {
            let broken = check(&entry(2), answer.as_ref()).expect_err("it is something else");
            assert_eq!(broken.invariant, NAME, "{answer:?}");
        }
    }
}
