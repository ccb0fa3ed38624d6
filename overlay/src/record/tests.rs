//! Records that prove themselves, and those that do not.

use proptest::prelude::*;

use super::*;

const NOW: Seconds = Seconds(1_800_000_000);
const LATER: Seconds = Seconds(NOW.0 + 600);

/// A key pair that follows from a number.
pub(crate) fn identity(number: u8) -> Identity {
    // RFC 5958: an EC key on P-256, without its public half.
    const HEAD: &[u8] = &[
        0x30, 0x41, 0x02, 0x01, 0x00, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08,
        0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x04, 0x27, 0x30, 0x25, 0x02, 0x01, 0x01, 0x04, 0x20,
    ];
    Identity::from_pkcs8_der(&[HEAD, &[number.max(1); 32]].concat()).expect("a key")
}

fn claim(number: u8, since: u64, sequence: u64) -> Record {
    Record::claim(&identity(number), "alice", Seconds(since), sequence, LATER, false).unwrap()
}

fn record() -> impl Strategy<Value = Record> {
    let value = || prop::collection::vec(any::<u8>(), 0..400).prop_map(Bytes::from);
    prop_oneof![
        (value(), any::<u64>()).prop_map(|(value, expires)| Record::value_of(value, Seconds(expires)).unwrap()),
        (1..9u8, ".{1,30}", any::<u64>(), any::<u64>(), prop::option::of(value())).prop_map(
            |(who, name, sequence, expires, value)| {
                Record::entry(&identity(who), name, sequence, Seconds(expires), value).unwrap()
            }
        ),
        (1..9u8, "[a-z0-9._-]{1,63}", any::<u64>(), any::<u64>(), any::<u64>(), any::<bool>()).prop_map(
            |(who, name, since, sequence, expires, released)| {
                Record::claim(&identity(who), name, Seconds(since), sequence, Seconds(expires), released).unwrap()
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_survives_its_encoding_and_keeps_its_key(record in record()) {
        let bytes = postcard::to_allocvec(&record).unwrap();
        let again: Record = postcard::from_bytes(&bytes).unwrap();
        prop_assert_eq!(again.key(), record.key());
        prop_assert_eq!(record.key().to_string().parse(), Ok(record.key()));
        prop_assert_eq!(again.version(), record.version());
        prop_assert_eq!(again.check_sizes(), Ok(()));
        prop_assert_eq!(again, record);
    }

    #[test]
    fn no_byte_of_a_signed_record_can_be_changed(
        name in "[a-z]{1,20}", sequence: u64, value in prop::collection::vec(any::<u8>(), 0..100), at: prop::sample::Index, by in 1..=255u8,
    ) {
        let record = Record::entry(&identity(1), name, sequence, LATER, Some(value.into())).unwrap();
        prop_assert_eq!(record.verify(NOW), Ok(()));
        let mut bytes = postcard::to_allocvec(&record).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        // It is no record, or another one without a proof; or a value of the same bytes under a key of its own.
        if let Ok(forged) = postcard::from_bytes::<Record>(&bytes) && forged != record {
            prop_assert!(forged.verify(NOW).is_err() || forged.key() != record.key());
        }
    }

    #[test]
    fn of_two_records_all_nodes_keep_the_same_one(a in (1..4u8, 0..3u64, 0..3u64), b in (1..4u8, 0..3u64, 0..3u64)) {
        let (a, b) = (claim(a.0, a.1, a.2), claim(b.0, b.1, b.2));
        let keeps_b = |judgement| judgement == Judgement::Newer;
        prop_assume!(a != b);
        prop_assert_ne!(keeps_b(b.judge(&a, true, NOW)), keeps_b(a.judge(&b, true, NOW)));
    }
}

#[test]
fn the_first_that_claims_a_name_keeps_it_while_the_claim_lives() {
    let (alice, bob) = (claim(1, 100, 1), claim(2, 50, 9));
    assert_eq!(bob.judge(&alice, false, NOW), Judgement::Taken);
    assert_eq!(claim(1, 100, 2).judge(&alice, false, NOW), Judgement::Newer);
    assert_eq!(bob.judge(&alice, false, LATER), Judgement::Older, "both are over");
    let released = Record::claim(&identity(1), "alice", Seconds(100), 2, LATER, true).unwrap();
    assert_eq!(released.judge(&alice, false, NOW), Judgement::Newer);
    assert_eq!(bob.judge(&released, false, NOW), Judgement::Newer);
    assert_eq!(alice.judge(&released, true, NOW), Judgement::Older, "an old claim does not come back");
}

#[test]
fn a_record_lives_for_a_day_at_most() {
    let of = |expires| Record::value_of("x", Seconds(expires)).unwrap().verify(NOW);
    assert_eq!(of(NOW.0), Err(RecordError::Expired));
    assert_eq!(of(NOW.0 + MAX_TTL.as_secs()), Ok(()));
    assert_eq!(of(NOW.0 + 2 * MAX_TTL.as_secs()), Err(RecordError::TooLong));
    let of_the_future = claim(1, NOW.0 + 2 * CLOCK_SKEW.as_secs(), 1);
    assert_eq!(of_the_future.verify(NOW), Err(RecordError::TooLong));
}

#[test]
fn what_is_too_large_or_no_name_is_no_record() {
    assert!(Record::value_of(vec![0; MAX_VALUE], LATER).is_ok());
    assert_eq!(Record::value_of(vec![0; MAX_VALUE + 1], LATER), Err(RecordError::ValueSize));
    for name in ["", "Alice", "a b", "ä", "@a", &"a".repeat(MAX_CLAIM_NAME + 1)] {
        let claim = Record::claim(&identity(1), name, NOW, 1, LATER, false);
        assert_eq!(claim, Err(RecordError::Name), "{name:?}");
    }
    let long = Record::entry(&identity(1), "a".repeat(MAX_ENTRY_NAME + 1), 1, LATER, None);
    assert_eq!(long, Err(RecordError::Name));
}

#[test]
fn the_same_name_of_two_writers_is_two_keys_and_a_claim_of_it_one() {
    let entry = |who| Record::entry(&identity(who), "alice", 1, LATER, None).unwrap().key();
    assert_ne!(entry(1), entry(2));
    assert_eq!(claim(1, 0, 1).key(), claim(2, 0, 1).key());
    assert_ne!(entry(1).slot(), claim(1, 0, 1).key().slot());
}
